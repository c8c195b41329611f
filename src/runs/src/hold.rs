//! Whether the open run is gone on with by itself after a boot.
//!
//! A run that a person ended, or that has to wait for one, is held: a file in the folder of runs, whose being there says so and
//! whose text says why. Whoever may write there can hold it, root too, and needs no right to anything else of the run. Each
//! start of the trainer releases it. An open run that is not held was cut off by the end of the boot before, whichever way that
//! came; that nothing has trained since the boot is for the service manager to know.

use crate::{
    Error, Run,
    folder::{HELD, RUNS},
};
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

/// Only a person's start goes on with the open run from now on.
///
/// # Errors
/// The folder of runs cannot be written in.
pub fn hold(root: &Path, why: &str) -> Result<(), Error> {
    let text = format!("{}\n", why.replace(['\n', '\r'], " "));
    Ok(store::atomic::replace(
        &root.join(RUNS).join(HELD),
        text.as_bytes(),
    )?)
}

/// The open run is gone on with. Durable: a power cut does not bring the hold back.
///
/// # Errors
/// The folder of runs cannot be written in.
pub fn release(root: &Path) -> Result<(), Error> {
    let folder = root.join(RUNS);
    let released = match fs::remove_file(folder.join(HELD)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| File::open(&folder)?.sync_all()),
    };
    released.map_err(|source: io::Error| Error::Release {
        path: folder.join(HELD),
        source,
    })
}

/// Why the open run is held; none if it is not. Where that cannot be read it is held all the same.
#[must_use]
pub fn held(root: &Path) -> Option<String> {
    match fs::read_to_string(root.join(RUNS).join(HELD)) {
        Ok(why) => Some(why.trim_end().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("held; why cannot be read: {error}")),
    }
}

/// What a boot finds.
#[derive(Clone, Debug, PartialEq)]
pub enum AfterBoot {
    /// This run is open, and nobody has stopped it.
    GoesOn(Box<Run>),
    /// There is nothing to go on with: why.
    Nothing(String),
}

/// Looks for a run to go on with by itself.
///
/// # Errors
/// As [`Run::open`].
pub fn after_boot(root: &Path) -> Result<AfterBoot, Error> {
    let Some(run) = Run::open(root)? else {
        return Ok(AfterBoot::Nothing("no run is open".to_owned()));
    };
    Ok(match held(root) {
        Some(why) => AfterBoot::Nothing(format!("{} waits for a person: {why}", run.name())),
        None => AfterBoot::GoesOn(Box::new(run)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Begin, State};

    fn begun() -> (tempfile::TempDir, Run) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(RUNS)).unwrap();
        let begin = Begin {
            dataset: "datasets/cells".into(),
            dataset_hash: None,
            model: "yolo26n".into(),
            hyper: serde_json::json!({}),
        };
        let run = Run::begin(root.path(), begin).unwrap();
        (root, run)
    }

    fn nothing(root: &Path) -> String {
        match after_boot(root).unwrap() {
            AfterBoot::Nothing(why) => why,
            AfterBoot::GoesOn(run) => panic!("{run:?}"),
        }
    }

    #[test]
    fn an_open_run_goes_on_and_one_that_has_ended_does_not() {
        let (root, mut run) = begun();
        let root = root.path();
        assert_eq!(
            after_boot(root).unwrap(),
            AfterBoot::GoesOn(Box::new(run.clone()))
        );
        run.end(root, State::Finished).unwrap();
        assert_eq!(nothing(root), "no run is open");
    }

    #[test]
    fn what_is_held_waits_for_a_person_until_it_is_released() {
        let (root, run) = begun();
        let root = root.path();
        hold(root, "stopped by\nan operator").unwrap();
        assert_eq!(held(root).as_deref(), Some("stopped by an operator"));
        let why = nothing(root);
        assert_eq!(
            why,
            format!("{} waits for a person: stopped by an operator", run.name())
        );
        release(root).unwrap();
        release(root).unwrap();
        assert_eq!(held(root), None);
        assert!(matches!(after_boot(root).unwrap(), AfterBoot::GoesOn(_)));
        // Whatever the reason, it is there.
        fs::create_dir(root.join(RUNS).join(HELD)).unwrap();
        assert!(nothing(root).contains("waits for a person: held; why cannot be read"));
    }
}
