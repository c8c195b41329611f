//! `status/queue.json` and `status/metrics/queue.prom`: where the queue stands, for whoever looks after it (MET-1).
//!
//! Both are replaced at most every five seconds, whole and without a sync: they tell of a moment, and what must not be lost is
//! in `offset.yaml` and the ledger. A queue that was killed takes nothing back, so a reader looks at `at` and `pid`. That they
//! cannot be written stops nothing.

use crate::{Counters, run::Progress};
use serde::{Deserialize, Serialize};
use service::metrics::{self, Family, Kind};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use store::atomic;

/// Version of the file.
pub const VERSION: u32 = 1;
/// The file, relative to the root.
pub const FILE: &str = "status/queue.json";
/// The metrics, relative to the root.
const METRICS: &str = "status/metrics/queue.prom";
/// How often they are replaced.
const EVERY: Duration = Duration::from_secs(5);

/// Where the queue stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    version: u32,
    /// When this was written, in seconds since 1970.
    pub at: u64,
    /// The process that wrote it.
    pub pid: u32,
    /// The offset of the next message to read.
    pub offset: u64,
    /// Messages that wait in the stream, where that is known.
    pub lag: Option<u64>,
    /// Messages a second over the last ten.
    pub rate: f64,
    /// What was done since the process began.
    pub counters: Counters,
    /// Whether the broker has accepted the subscription.
    pub subscribed: bool,
    /// What is wrong with the broker.
    pub trouble: Option<String>,
    /// Why nothing can be written.
    pub blocked: Option<String>,
}

impl Standing {
    /// Reads what a queue left; none where it left nothing.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or of a version that is not known.
    pub fn read(root: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(root.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let standing: Self = serde_json::from_slice(&text)?;
        if standing.version != VERSION {
            let unknown = format!(
                "{FILE} is of version {}, this program knows {VERSION}",
                standing.version
            );
            return Err(io::Error::other(unknown));
        }
        Ok(Some(standing))
    }

    fn of(progress: &Progress, rate: f64) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            version: VERSION,
            at: since_1970.map_or(0, |time| time.as_secs()),
            pid: std::process::id(),
            offset: progress.next_offset,
            lag: progress.lag(),
            rate,
            counters: progress.counters,
            subscribed: progress.link.subscribed,
            trouble: progress.link.trouble.clone(),
            blocked: progress.blocked.clone(),
        }
    }

    fn metrics(&self) -> String {
        let counter = |name, help, value: u64| Family::new(Kind::Counter, name, help).with(&[], value as f64);
        metrics::text(&[
            Family::gauge(
                "queue_offset",
                "Offset of the next message to read.",
                self.offset as f64,
            ),
            Family::gauge(
                "queue_lag_messages",
                "Messages that wait in the stream.",
                self.lag.map(|lag| lag as f64),
            ),
            Family::gauge(
                "queue_subscribed",
                "Whether the broker has accepted the subscription.",
                f64::from(u8::from(self.subscribed)),
            ),
            counter(
                "queue_messages_processed",
                "Messages that were used, since the start.",
                self.counters.processed,
            ),
            counter(
                "queue_messages_failed",
                "Messages that went into quarantine, since the start.",
                self.counters.failed,
            ),
            Family::gauge(
                "queue_updated_timestamp_seconds",
                "When these were written.",
                self.at as f64,
            ),
        ])
    }
}

/// Writes both files.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    written: Option<Instant>,
}

impl Writer {
    /// Into this tree. What a queue left that was killed while it wrote is removed.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        for file in [FILE, METRICS] {
            if let Some(folder) = root.join(file).parent().filter(|folder| folder.is_dir())
                && let Err(error) = atomic::remove_leftovers(folder)
            {
                tracing::debug!(%error, "what was left in the status folder stays");
            }
        }
        Self {
            root: root.to_owned(),
            written: None,
        }
    }

    /// Replaces the files if that is due.
    pub fn hear(&mut self, progress: &Progress, rate: f64, now: Instant) {
        if self.written.is_some_and(|written| now - written < EVERY) {
            return;
        }
        self.written = Some(now);
        if let Err(error) = self.write(&Standing::of(progress, rate)) {
            tracing::debug!(error, "where the queue stands cannot be written down");
        }
    }

    fn write(&self, standing: &Standing) -> Result<(), String> {
        let (file, metrics) = (self.root.join(FILE), self.root.join(METRICS));
        if let Some(folder) = metrics.parent() {
            fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let text = serde_json::to_vec(standing).map_err(|error| error.to_string())?;
        atomic::replace_unsynced(&file, &text)
            .and_then(|()| atomic::replace_unsynced(&metrics, standing.metrics().as_bytes()))
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream::Link;

    fn progress(next_offset: u64) -> Progress {
        Progress {
            counters: Counters {
                processed: 5,
                failed: 1,
                ..Counters::default()
            },
            next_offset,
            link: Link {
                subscribed: true,
                last_offset: Some(9),
                ..Link::default()
            },
            attempts: 1,
            blocked: None,
        }
    }

    #[test]
    fn where_the_queue_stands_is_written_at_most_every_five_seconds() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Standing::read(root.path()).unwrap(), None);
        let (mut writer, start) = (Writer::new(root.path()), Instant::now());
        let offset_after = |writer: &mut Writer, offset, seconds| {
            writer.hear(&progress(offset), 2.5, start + Duration::from_secs(seconds));
            Standing::read(root.path()).unwrap().unwrap().offset
        };
        assert_eq!(offset_after(&mut writer, 6, 0), 6);
        assert_eq!(offset_after(&mut writer, 7, 4), 6);
        assert_eq!(offset_after(&mut writer, 8, 5), 8);
        let standing = Standing::read(root.path()).unwrap().unwrap();
        assert_eq!((standing.lag, standing.pid), (Some(2), std::process::id()));
        let metrics = fs::read_to_string(root.path().join(METRICS)).unwrap();
        for line in [
            "queue_offset 8",
            "queue_messages_processed 5",
            "queue_messages_failed 1",
            "queue_lag_messages 2",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
        }
    }

    #[test]
    fn what_a_killed_queue_left_half_written_is_removed() {
        let root = tempfile::tempdir().unwrap();
        Writer::new(root.path()).hear(&progress(1), 0.0, Instant::now());
        let left = [FILE, METRICS].map(|file| {
            let folder = root.path().join(file);
            let left = folder.with_file_name(format!("{}{}-0", atomic::ASIDE, u32::MAX));
            fs::write(&left, "half").unwrap();
            left
        });
        let _ = Writer::new(root.path());
        assert!(left.iter().all(|left| !left.exists()), "{left:?}");
        assert!(root.path().join(FILE).exists());
    }

    #[test]
    fn a_tree_without_room_for_it_stops_nothing_and_another_version_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("status"), "in the way").unwrap();
        Writer::new(root.path()).hear(&progress(1), 0.0, Instant::now());
        fs::remove_file(root.path().join("status")).unwrap();
        fs::create_dir(root.path().join("status")).unwrap();
        let text = serde_json::to_string(&Standing {
            version: 2,
            ..Standing::of(&progress(1), 0.0)
        })
        .unwrap();
        fs::write(root.path().join(FILE), text).unwrap();
        assert!(
            Standing::read(root.path())
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
    }
}
