//! `azaion queue`: the verbs of [`queue::verbs`], with a progress bar.

use crate::{console::Task, program};
use ::queue::verbs::{self, Verb};
use anyhow::Result;
use service::shutdown::Shutdown;
use std::process::ExitCode;

/// Runs the command: the answer goes to stdout.
pub fn run(verb: &Verb, shutdown: &Shutdown) -> Result<ExitCode> {
    let mut task = None;
    let answer = verbs::run(verb, &shutdown.flag(), |done, all| {
        let task = task.get_or_insert_with(|| Task::new("queue", all));
        task.at_of(done, all);
    })?;
    drop(task);
    program::answer(&answer.text);
    Ok(answer.code.into())
}
