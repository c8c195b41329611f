//! What `azaion top` shows, and where it is looked for. Each part is there or says why it is not.

use super::gpu::Gpus;
use crate::{
    manager::{answer, property},
    runs::{self, Look, Standing},
    tree::TreeArgs,
};
use anyhow::Result;
use gpu::Gpu;
use jiff::Timestamp;
use service::Config;
use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use store::Paths;

/// Folders are measured anew when this has passed, and ten times as long as it took.
const MEASURE_EVERY: Duration = Duration::from_secs(60);
/// In a single look nobody waits longer for the sizes of folders.
const MEASURE_ONCE: Duration = Duration::from_secs(3);
/// The service manager is asked so often.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The queue's rate is over this time.
const RATE_OVER: Duration = Duration::from_secs(30);
/// Alerts that are read: the newest.
const ALERTS: usize = 50;
/// The status that azaion-health leaves, and how long it is about now.
const STATUS: &str = "status/status.json";
const FRESH: Duration = Duration::from_secs(16 * 60);
/// All of it, at one moment.
pub(super) struct Seen {
    pub now: Timestamp,
    pub root: PathBuf,
    /// The run that is shown, which one it is, and of how many.
    pub run: Result<Option<(Look, usize, usize)>, String>,
    pub gpus: Result<Vec<Gpu>, String>,
    pub queue: Queue,
    pub disk: Result<Disk, String>,
    pub alerts: Result<Vec<Alert>, String>,
}

/// The queue, by its tree and its unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub offset: Option<Result<u64, String>>,
    /// Messages a second, once two samples were taken.
    pub rate: Option<f64>,
    pub writer: Option<u32>,
    pub quarantined: Option<usize>,
    /// What the unit says of itself, lag included; or why it says nothing.
    pub unit: Option<Result<String, String>>,
}

/// The disk beneath the root.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub total: u64,
    pub free: u64,
    /// Folders and their bytes; none while they are measured.
    pub folders: Option<Vec<(&'static str, u64)>>,
}

/// A unit that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    pub time: String,
    pub unit: String,
    pub result: String,
}

/// Folders and their bytes, when they were measured, and how long that took.
type Measured = (Instant, Duration, Vec<(&'static str, u64)>);

/// Looks.
pub(super) struct Looker {
    paths: Paths,
    /// The unit is asked only where the tree is the configured one.
    asks_unit: bool,
    gpus: Gpus,
    /// Where the queue was, oldest first.
    offsets: VecDeque<(Instant, u64)>,
    unit: Option<(Instant, Result<String, String>)>,
    folders: Option<Measured>,
    /// Which run is shown, counted from the latest.
    back: usize,
}

impl Looker {
    pub(super) fn new(tree: &TreeArgs) -> Result<Self> {
        let (paths, asks_unit) = match &tree.root {
            Some(root) => (Paths::under(root), false),
            None => (queue::verbs::layout(&Config::load(&tree.config)?), true),
        };
        Ok(Self {
            paths,
            asks_unit,
            gpus: Gpus::open(),
            offsets: VecDeque::new(),
            unit: None,
            folders: None,
            back: 0,
        })
    }

    /// Another run is shown: an earlier one with -1, a later one with 1.
    pub(super) fn turn(&mut self, by: i32) {
        self.back = match by {
            ..0 => self.back.saturating_add(1),
            _ => self.back.saturating_sub(1),
        };
    }

    /// Everything as it is now, for the first and last time.
    pub(super) fn look_once(&mut self) -> Seen {
        self.measure(Some(Instant::now() + MEASURE_ONCE));
        self.seen()
    }

    /// Everything as it is now; what is costly as it was a moment ago.
    pub(super) fn look(&mut self) -> Seen {
        let seen = self.seen();
        let due = |(at, took, _): &Measured| at.elapsed() >= MEASURE_EVERY.max(*took * 10);
        // After the first look: the screen does not wait for it.
        if self.folders.as_ref().is_none_or(due) {
            self.measure(None);
        }
        seen
    }

    fn seen(&mut self) -> Seen {
        Seen {
            now: Timestamp::now(),
            root: self.paths.root().to_owned(),
            run: self.run(),
            gpus: self.gpus.look(),
            queue: self.queue(),
            disk: self.disk(),
            alerts: standing(self.paths.root(), Timestamp::now())
                .map_or_else(|| alerts(&self.paths.root().join(store::alerts::ALERTS)), Ok),
        }
    }

    /// The run that is trained, else the latest; `back` goes to earlier ones.
    fn run(&mut self) -> Result<Option<(Look, usize, usize)>, String> {
        if !self.paths.models().is_dir() {
            return Err(format!("{} is missing", self.paths.models().display()));
        }
        let mut looks = runs::all(self.paths.root()).map_err(|error| format!("{error:#}"))?;
        if let Some(trained) = looks.iter().position(|look| look.state == Standing::Training) {
            let trained = looks.remove(trained);
            looks.push(trained);
        }
        let count = looks.len();
        self.back = self.back.min(count.saturating_sub(1));
        let place = count.saturating_sub(1 + self.back);
        Ok((place < count).then(|| (looks.swap_remove(place), place + 1, count)))
    }

    fn queue(&mut self) -> Queue {
        let file = self.paths.offset_file();
        // Missing means that no message was read yet: that is not 0 of something.
        let offset = file
            .exists()
            .then(|| store::offset::read(&file).map_err(|error| error.to_string()));
        let now = Instant::now();
        if let Some(Ok(offset)) = offset {
            self.offsets.push_back((now, offset));
        }
        while self.offsets.front().is_some_and(|(at, _)| now - *at > RATE_OVER) {
            self.offsets.pop_front();
        }
        let rate = match (self.offsets.front(), self.offsets.back()) {
            (Some((from, first)), Some((to, last))) if to > from => {
                Some(last.saturating_sub(*first) as f64 / (*to - *from).as_secs_f64())
            }
            _ => None,
        };
        let quarantined = fs::read_dir(self.paths.quarantine()).ok().map(|entries| {
            let is_record = |name: &Path| name.extension().is_some_and(|ending| ending == "json");
            entries.flatten().filter(|entry| is_record(&entry.path())).count()
        });
        Queue {
            offset,
            rate,
            writer: store::writer(&self.paths).ok().flatten(),
            quarantined,
            unit: self.asks_unit.then(|| self.unit()),
        }
    }

    fn unit(&mut self) -> Result<String, String> {
        if let Some((at, said)) = &self.unit
            && at.elapsed() < ASK_EVERY
        {
            return said.clone();
        }
        let shown = answer(Command::new("systemctl").args([
            "show",
            "--property=ActiveState,StatusText",
            "azaion-queue.service",
        ]));
        let said = shown.map(|shown| {
            let state = property(&shown, "ActiveState").unwrap_or("unknown");
            match property(&shown, "StatusText") {
                Some(status) => format!("{state}: {status}"),
                None => state.to_owned(),
            }
        });
        self.unit = Some((Instant::now(), said.clone()));
        said
    }

    fn disk(&self) -> Result<Disk, String> {
        let root = self.paths.root();
        let stat =
            nix::sys::statvfs::statvfs(root).map_err(|error| format!("{}: {error}", root.display()))?;
        // As df does: what is kept for root is neither free nor used.
        let used = stat.blocks().saturating_sub(stat.blocks_free());
        let free = stat.blocks_available();
        Ok(Disk {
            total: (used + free) * stat.fragment_size(),
            free: free * stat.fragment_size(),
            folders: self.folders.as_ref().map(|(.., folders)| folders.clone()),
        })
    }

    /// Measures the folders; gives up where it would take longer than until `end`.
    fn measure(&mut self, end: Option<Instant>) {
        let begun = Instant::now();
        let sizes = store::usage::folders(self.paths.root(), end);
        if let Some(sizes) = sizes {
            self.folders = Some((Instant::now(), begun.elapsed(), sizes));
        }
    }
}

/// The alerts that stand, by the last look of azaion-health; none where that was not lately, or never.
fn standing(root: &Path, now: Timestamp) -> Option<Vec<Alert>> {
    let status: serde_json::Value = serde_json::from_slice(&fs::read(root.join(STATUS)).ok()?).ok()?;
    let at: Timestamp = status["at"].as_str()?.parse().ok()?;
    if now.duration_since(at).unsigned_abs() > FRESH {
        return None;
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let alert = |alert: &serde_json::Value| Alert {
        time: text(&alert["since"]),
        unit: text(&alert["subject"]),
        result: format!("{} {}", text(&alert["code"]), text(&alert["title"])),
    };
    Some(status["alerts"].as_array()?.iter().map(alert).collect())
}

/// The records of failures, newest first. One that cannot be read is an alert too.
fn alerts(folder: &Path) -> Result<Vec<Alert>, String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
        .collect();
    // Names begin with the time.
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names
        .iter()
        .take(ALERTS)
        .map(|name| alert(folder, name))
        .collect())
}

fn alert(folder: &Path, name: &str) -> Alert {
    let read = fs::read(folder.join(name)).ok();
    let record: serde_json::Value = read
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    match (text(&record["time"]), text(&record["unit"])) {
        (Some(time), Some(unit)) => Alert {
            time,
            unit,
            result: text(&record["alert"])
                .or_else(|| text(&record["state"]["result"]))
                .unwrap_or_else(|| "unknown".to_owned()),
        },
        _ => Alert {
            time: String::new(),
            unit: name.to_owned(),
            result: "not readable".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_come_newest_first_and_a_damaged_one_is_one_too() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(alerts(&folder.path().join("gone")).unwrap(), []);
        for (name, text) in [
            (
                "2026-03-01T000000Z-a.json",
                r#"{"time":"2026-03-01T00:00:00Z","unit":"a","state":{"result":"exit-code"}}"#,
            ),
            ("2026-03-02T000000Z-b.json", "{"),
            (
                "2026-02-01T000000Z-ALR-8.json",
                r#"{"time":"2026-02-01T00:00:00Z","unit":"c","alert":"ALR-8","message":"not saved"}"#,
            ),
            (".azaion-tmp-1-1.json", "{}"),
            ("notes.txt", ""),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = alerts(folder.path()).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!((found[2].unit.as_str(), found[2].result.as_str()), ("c", "ALR-8"));
        assert_eq!(found[0].result, "not readable");
        assert_eq!(
            (found[1].unit.as_str(), found[1].result.as_str()),
            ("a", "exit-code")
        );
    }

    #[test]
    fn what_health_says_stands_as_long_as_it_is_fresh() {
        let root = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-03-28T14:30:00Z".parse().unwrap();
        assert_eq!(standing(root.path(), now), None);
        fs::create_dir(root.path().join("status")).unwrap();
        let text = r#"{"at":"2026-03-28T14:20:00Z","alerts":[
            {"code":"ALR-3","title":"disk almost full","subject":"/azaion","since":"2026-03-28T14:00:00Z"}]}"#;
        fs::write(root.path().join(STATUS), text).unwrap();
        let found = standing(root.path(), now).unwrap();
        assert_eq!(
            (found.len(), found[0].result.as_str()),
            (1, "ALR-3 disk almost full")
        );
        assert_eq!(standing(root.path(), now + Duration::from_secs(3600)), None);
    }
}
