//! A run, and everyone who is told of it: each observer hears every event, in order.

mod status_file;

use crate::{bar::Bar, service::Herald};
use runs::Run;
use status_file::StatusFile;
use std::{
    io::{IsTerminal, stdout},
    path::Path,
};
use train::{Error, Event, Observer, Outcome, RunOptions};

/// Trains as the service does: told to the service manager, the log, the status files, and a person at a terminal.
///
/// # Errors
/// As [`train::run`].
pub(crate) fn train_as_service(
    root: &Path,
    run: &Run,
    options: &RunOptions,
    herald: &mut Herald,
) -> Result<Outcome, Error> {
    if stdout().is_terminal() {
        train(root, run, options, &mut [herald, &mut Bar::default()])
    } else {
        train(root, run, options, &mut [herald])
    }
}

/// Trains; the run's status files are kept, and `observers` told.
///
/// # Errors
/// As [`train::run`].
pub(crate) fn train(
    root: &Path,
    run: &Run,
    options: &RunOptions,
    observers: &mut [&mut dyn Observer],
) -> Result<Outcome, Error> {
    let mut told = Told {
        status: StatusFile::new(root, run),
        observers,
    };
    let outcome = train::run(options, &mut told);
    told.status.end(&outcome);
    outcome
}

struct Told<'a, 'o> {
    status: StatusFile,
    observers: &'a mut [&'o mut dyn Observer],
}

impl Observer for Told<'_, '_> {
    fn on(&mut self, event: Event<'_>) {
        for observer in self.observers.iter_mut() {
            observer.on(event.clone());
        }
        self.status.on(event);
    }
}
