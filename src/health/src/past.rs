//! What a pass remembers for the next one: `status/health.json`.
//!
//! Samples of the last day, and what was counted last, so that a check can say what grew, moved or was restarted. It is
//! replaced after each pass. One that is damaged is put aside as `health.json.damaged` and a new one begun: nothing in it
//! cannot be sampled again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
};

/// Version of the file.
const VERSION: u32 = 1;
/// How far back samples go.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Passes that follow each other faster than this share a sample.
const APART: SignedDuration = SignedDuration::from_mins(4);

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    version: u32,
    /// The last day, the oldest first.
    pub samples: VecDeque<Sample>,
    /// When the last pass was.
    pub at: Option<Timestamp>,
    /// Seconds since the machine was started, then.
    pub uptime_s: f64,
    /// Which start of the machine that was.
    pub boot_id: String,
    /// How often each unit was restarted, and when that count grew.
    pub restarts: BTreeMap<String, Restarts>,
    /// Processes that the kernel ended for want of memory since the machine was started.
    pub oom_kills: Option<u64>,
    /// Sizes of folders, and when they were measured.
    pub folders: Option<Folders>,
    /// GPUs that were there.
    pub gpus: usize,
    /// When a full pass was made last.
    pub full_at: Option<Timestamp>,
    /// What a full pass found that a quick one does not look at.
    pub full_readings: Vec<crate::Reading>,
}

/// How things were at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// The offset of the next message.
    pub offset: Option<u64>,
    /// Messages that waited.
    pub lag: Option<u64>,
    /// Messages in quarantine.
    pub quarantined: Option<u64>,
    /// Bytes used on the disk beneath the root.
    pub used: Option<u64>,
}

/// Restarts of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// What systemd counted last; none before it was asked the first time.
    pub count: Option<u64>,
    /// When it had grown, the latest last.
    pub grown: VecDeque<Timestamp>,
}

/// Bytes in folders of the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Folders {
    /// When they were measured.
    pub at: Timestamp,
    /// Folder and bytes on disk, each file once.
    pub bytes: Vec<(String, u64)>,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            version: VERSION,
            samples: VecDeque::new(),
            at: None,
            uptime_s: 0.0,
            boot_id: String::new(),
            restarts: BTreeMap::new(),
            oom_kills: None,
            folders: None,
            gpus: 0,
            full_at: None,
            full_readings: Vec::new(),
        }
    }
}

impl Past {
    /// Takes a sample, and forgets those of more than a day ago. Times in the future, from before the clock was set back, are
    /// forgotten too.
    pub fn sample(&mut self, sample: Sample) {
        let now = sample.at;
        self.samples
            .retain(|kept| kept.at <= now && now.duration_since(kept.at) <= KEPT);
        let is_due = |last: &Sample| now.duration_since(last.at) >= APART;
        if self.samples.back().is_none_or(is_due) {
            self.samples.push_back(sample);
        }
    }

    /// The sample nearest to so long ago, but no younger; else the oldest.
    #[must_use]
    pub fn ago(&self, now: Timestamp, ago: SignedDuration) -> Option<&Sample> {
        let is_old = |sample: &&Sample| now.duration_since(sample.at) >= ago;
        self.samples.iter().rev().find(is_old).or(self.samples.front())
    }

    /// Reads what the last pass left; a damaged one is put aside, which is told.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        crate::kept::read(path, VERSION).unwrap_or_default()
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> store::Result<()> {
        crate::kept::write(path, self)
    }
}

impl Restarts {
    /// Takes in systemd's count, which begins anew when a unit is started by hand. What was counted before the first look may
    /// be of any time, so it is none of the last hour's.
    pub fn count(&mut self, count: u64, now: Timestamp) {
        let before = self.count.unwrap_or(count);
        let more = if count < before { count } else { count - before };
        // A hundred is as bad as any number.
        for _ in 0..more.min(100) {
            self.grown.push_back(now);
        }
        self.count = Some(count);
        self.grown
            .retain(|at| *at <= now && now.duration_since(*at) <= SignedDuration::from_hours(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        let start: Timestamp = "2026-03-28T00:00:00Z".parse().unwrap();
        start + SignedDuration::from_mins(minutes)
    }

    fn sample(minutes: i64) -> Sample {
        Sample {
            at: at(minutes),
            offset: Some(minutes as u64),
            lag: None,
            quarantined: None,
            used: None,
        }
    }

    #[test]
    fn a_day_is_kept_at_most_every_four_minutes_and_nothing_from_the_future() {
        let mut past = Past::default();
        for minute in 0..3000 {
            past.sample(sample(minute));
        }
        assert_eq!(past.samples.back().unwrap().at, at(2996));
        assert_eq!(past.samples.front().unwrap().at, at(1560));
        assert_eq!(
            past.ago(at(2996), SignedDuration::from_mins(60)).unwrap().at,
            at(2936)
        );
        past.sample(sample(2000));
        assert_eq!(past.samples.back().unwrap().at, at(2000));
        past.sample(sample(10));
        assert_eq!(past.samples.len(), 1);
        assert_eq!(
            past.ago(at(10), SignedDuration::from_mins(60)).unwrap().at,
            at(10)
        );
    }

    #[test]
    fn restarts_of_the_last_hour_are_counted_whatever_systemd_forgets() {
        let mut restarts = Restarts::default();
        for (minute, count, recent) in [
            (0, 7, 0),
            (1, 9, 2),
            (5, 9, 2),
            (10, 10, 3),
            (20, 1, 4),
            (65, 1, 2),
            (90, 1, 0),
        ] {
            restarts.count(count, at(minute));
            assert_eq!(restarts.grown.len(), recent, "minute {minute}");
        }
    }
}
