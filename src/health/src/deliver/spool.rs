//! What waits to be told over one channel: `status/spool/CHANNEL.json`.

use crate::alerts::Notice;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

const VERSION: u32 = 1;
/// The pause after a channel has failed, and the longest one.
const PAUSE: SignedDuration = SignedDuration::from_mins(4);
const LONGEST: SignedDuration = SignedDuration::from_mins(60);
/// More than this nobody reads; the oldest are dropped, and it is said how many.
const MOST: usize = 500;

/// What waits, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spool {
    version: u32,
    waiting: Vec<Notice>,
    /// Dropped, for too many waited.
    dropped: u64,
    /// Failures in a row, the last reason, and when it is tried again.
    failures: u32,
    trouble: Option<String>,
    next: Option<Timestamp>,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            version: VERSION,
            waiting: Vec::new(),
            dropped: 0,
            failures: 0,
            trouble: None,
            next: None,
        }
    }
}

impl Spool {
    pub(super) fn read(folder: &Path, channel: &str) -> Self {
        crate::kept::read(&folder.join(format!("{channel}.json")), VERSION).unwrap_or_default()
    }

    pub(super) fn write(&self, folder: &Path, channel: &str) -> store::Result<()> {
        // That it cannot be made is told by what is written there.
        let _ = fs::create_dir_all(folder);
        crate::kept::write(&folder.join(format!("{channel}.json")), self)
    }

    pub(super) fn add(&mut self, notices: &[Notice]) {
        self.waiting.extend_from_slice(notices);
        let more = self.waiting.len().saturating_sub(MOST);
        self.waiting.drain(..more);
        self.dropped += more as u64;
    }

    pub(super) fn waiting(&self) -> Vec<Notice> {
        self.waiting.clone()
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref().filter(|_| !self.waiting.is_empty())
    }

    /// Whether something waits and the pause is over. A clock that was set back ends it too.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let is_over = |next: Timestamp| next <= now || next.duration_since(now) > LONGEST;
        !self.waiting.is_empty() && self.next.is_none_or(is_over)
    }

    pub(super) fn took(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(
                dropped = self.dropped,
                "alerts were dropped untold, for too many waited; the status has them"
            );
        }
        *self = Self::default();
    }

    pub(super) fn refused(&mut self, why: &str, now: Timestamp) {
        let pause = PAUSE * 2_i32.pow(self.failures.min(4));
        self.failures += 1;
        self.trouble = Some(why.to_owned());
        self.next = Some(now + pause.min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Notice;

    #[test]
    fn what_a_channel_refuses_waits_ever_longer_and_through_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-03-28T14:00:00Z".parse().unwrap();
        let mut spool = Spool::default();
        assert!(!spool.is_due(start), "there is nothing to tell");
        spool.add(&[Notice::test(start)]);
        let mut minutes = Vec::new();
        for minute in 0..24 * 60 {
            let now = start + SignedDuration::from_mins(minute);
            spool.write(folder.path(), "mail").unwrap();
            spool = Spool::read(folder.path(), "mail");
            if spool.is_due(now) {
                spool.refused("550", now);
                minutes.push(minute);
            }
        }
        assert_eq!(minutes[..7], [0, 4, 12, 28, 60, 120, 180]);
        assert_eq!((spool.trouble(), spool.waiting().len()), (Some("550"), 1));
        // A clock that is set back by a day does not make it wait for a day.
        assert!(spool.is_due(start - SignedDuration::from_hours(24)));
        spool.took();
        assert_eq!((spool.trouble(), spool.waiting().len()), (None, 0));
    }

    #[test]
    fn of_too_many_the_latest_are_kept() {
        let start: Timestamp = "2026-03-28T14:00:00Z".parse().unwrap();
        let mut spool = Spool::default();
        for minute in 0..MOST as i64 + 7 {
            spool.add(&[Notice::test(start + SignedDuration::from_mins(minute))]);
        }
        assert_eq!((spool.waiting.len(), spool.dropped), (MOST, 7));
        assert_eq!(spool.waiting[0].at, start + SignedDuration::from_mins(7));
    }
}
