//! A run as a bar in a terminal: the epoch in hand, losses, time left.

use crate::pace::Pace;
use cli::console::Task;
use train::{Event, Observer};

/// Shows where a run is; nothing where there is no terminal.
pub(crate) struct Bar {
    task: Task,
    pace: Pace,
}

impl Default for Bar {
    fn default() -> Self {
        Self {
            task: Task::new("training", 0),
            pace: Pace::default(),
        }
    }
}

impl Bar {
    /// The piece of work that it shows.
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// Ends it with a line that stays; returns its seconds.
    pub(crate) fn done(self, text: &str) -> f64 {
        self.task.done(text)
    }
}

impl Observer for Bar {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Started {
                images,
                schedule,
                resumed,
                ..
            } => {
                self.task.restart(schedule.batches_per_epoch);
                self.pace = Pace::begin(schedule, images, resumed);
            }
            Event::Batch {
                epoch,
                batch,
                loss: [boxes, classes, distances],
            } => self.task.at(batch, || {
                let seconds = self.pace.left(epoch, batch) as u64;
                format!(
                    "epoch {epoch}/{}, {}:{:02} left  box {boxes:.3}  cls {classes:.3}  l1 {distances:.3}",
                    self.pace.epochs(),
                    seconds / 60,
                    seconds % 60
                )
            }),
            _ => {}
        }
    }
}
