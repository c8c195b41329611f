//! Training: the training program takes two steps on drawn images, on the device that the configuration names.

use super::{Context, Finding};
use crate::behind::{BehindError, TRAINER};
use service::child;
use std::{io, process::Command, time::Duration};

/// How long two steps on small images may take, start of the program included.
const LIMIT: Duration = Duration::from_secs(150);

pub(super) fn look(context: &Context) -> Vec<Finding> {
    let program = match TRAINER.find() {
        Ok(program) => program,
        Err(error @ BehindError::Missing { .. }) => {
            let next = "install the training package where this machine is to train";
            return vec![Finding::note(
                TRAINER.program,
                format!("not tried: {error}"),
                next,
            )];
        }
        Err(error) => return vec![Finding::problem(TRAINER.program, error, "install it again")],
    };
    let mut command = Command::new(&program);
    command.args([
        "probe",
        "--steps",
        "2",
        "--device",
        &context.config.training.device,
    ]);
    vec![judge(program.display(), child::ask(&mut command, LIMIT))]
}

fn judge(place: impl ToString, answer: io::Result<child::Answer>) -> Finding {
    let next = "run it by hand: azaion-train probe --steps 2";
    match answer {
        Ok(answer) if answer.status.success() => {
            let said = String::from_utf8_lossy(&answer.stdout);
            Finding::right(place, said.lines().last().unwrap_or_default())
        }
        Ok(answer) => {
            let said = String::from_utf8_lossy(&answer.stderr);
            let last = said.lines().last().unwrap_or("without a word");
            Finding::problem(place, format!("ended with {}: {last}", answer.status), next)
        }
        Err(error) => Finding::problem(place, error, next),
    }
}
