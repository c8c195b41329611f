//! Brings what the queue is tested against, and what reads a run's events. What this machine cannot have is named with what to install, and the tests
//! that need it skip themselves by name.

use std::fmt::Display;

use super::{Context, Outcome};
use crate::brokers::{self, Version};
use crate::libtorch::SetupError;
use crate::python::PythonError;
use crate::{rstream, tensorboard};

/// All of it; with everything in place this takes no time.
pub(super) fn bring(context: &Context<'_>) -> Outcome {
    let mut outcome = Outcome::Ok;
    for version in Version::ALL {
        if let Err(error) = brokers::bring(version, &context.cache, context.env) {
            outcome = worse(outcome, &version, &error, error.is_missing());
        }
    }
    let readers = [
        ("rstream", rstream::interpreter(context.env)),
        ("TensorBoard", tensorboard::interpreter(context.env)),
    ];
    for (name, reader) in readers {
        if let Err(error) = reader {
            let missing =
                error.is_temporary() || matches!(error, PythonError::Tool(SetupError::MissingProgram { .. }));
            outcome = worse(outcome, &name, &error, missing);
        }
    }
    outcome
}

/// A failure outweighs what is only missing, whose reasons are kept together.
fn worse(before: Outcome, what: &dyn Display, error: &dyn Display, missing: bool) -> Outcome {
    eprintln!("{what}: {error}");
    match before {
        Outcome::Failed(_) => before,
        _ if !missing => Outcome::Failed(format!("{what}: see above")),
        Outcome::Skipped(others) => Outcome::Skipped(format!("{others}; {what}: see above")),
        Outcome::Ok => Outcome::Skipped(format!("{what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_skips_and_names_everything_and_a_failure_outweighs_it() {
        let missing = worse(Outcome::Ok, &"a", &"no network", true);
        assert_eq!(missing, Outcome::Skipped("a: no network".into()));
        let two = worse(missing, &"b", &"no network", true);
        assert_eq!(two, Outcome::Skipped("a: no network; b: see above".into()));
        let failed = worse(two, &"c", &"disk full", false);
        assert_eq!(failed, Outcome::Failed("c: see above".into()));
        assert_eq!(worse(failed.clone(), &"d", &"no network", true), failed);
    }
}
