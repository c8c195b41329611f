//! How far a backup is: told to whoever asked, about what the library below does as well.

use rustic_core::{Progress, ProgressBars, ProgressType, RusticProgress};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Files of the tree are read and sent; counted in files.
    Saving,
    /// What no kept backup needs is removed.
    Pruning,
    /// Part of the data is read back; counted in bytes.
    Checking,
    /// Files are restored; counted in files.
    Restoring,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Saving => "saving",
            Self::Pruning => "pruning",
            Self::Checking => "checking",
            Self::Restoring => "restoring",
        })
    }
}

/// Hears how much of how much of a step is done; from any thread.
pub type Tell = Arc<dyn Fn(Step, u64, u64) + Send + Sync>;

/// Nobody hears.
#[must_use]
pub fn quiet() -> Tell {
    Arc::new(|_, _, _| {})
}

/// The library's bars. Those of bytes are of a check; what is saved and restored is counted here, in files.
pub(crate) struct Bars(pub(crate) Tell);

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bars")
    }
}

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, prefix: &str) -> Progress {
        match kind {
            ProgressType::Bytes if prefix.starts_with("reading pack data") => Progress::new(Read {
                tell: Arc::clone(&self.0),
                done: AtomicU64::new(0),
                total: AtomicU64::new(0),
            }),
            _ => Progress::hidden(),
        }
    }
}

/// Bytes that a check has read back.
struct Read {
    tell: Tell,
    done: AtomicU64,
    total: AtomicU64,
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Read")
    }
}

impl RusticProgress for Read {
    fn is_hidden(&self) -> bool {
        false
    }

    fn set_length(&self, length: u64) {
        self.total.store(length, Ordering::Relaxed);
    }

    fn set_title(&self, _: &str) {}

    fn inc(&self, more: u64) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        (self.tell)(Step::Checking, done, self.total.load(Ordering::Relaxed));
    }

    fn finish(&self) {}
}
