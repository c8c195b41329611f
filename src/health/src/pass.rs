//! A pass: look, judge, remember, show, tell.
//!
//! Order matters where it can be broken off. What is to be told is put into the spools before the alerts' own state says that
//! it was told, so a pass that is killed tells something twice rather than never. A disk that takes nothing more stops no
//! alert: everything is told from memory then, and a reading says that it could not be kept.

use crate::{
    Grade, Reading,
    alerts::{Book, Notice, Occasion, Standing, record, silence},
    catalog,
    checks::{self, Context, Found},
    deliver::{self, Deliverer, Outcome},
    kept, metrics, page,
    past::{Past, Sample},
    status::{self, Status},
};
use jiff::Timestamp;
use service::{Config, Credentials};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use store::atomic;

/// Files of the status folder, relative to the root.
const PAST: &str = "status/health.json";
const BOOK: &str = "status/alerts.json";
const SILENCES: &str = "status/silences.json";
const METRICS: &str = "status/metrics/health.prom";
/// The page, relative to the root.
pub const PAGE: &str = "status/index.html";
/// One pass at a time.
const LOCK: &str = "status/.azaion-health.lock";
/// How long the one before may take to its end: it looks without the lock, and tells for eight seconds at most.
const BUSY: Duration = Duration::from_secs(12);
/// Lines of the journal that go with an alert, and how long they are waited for.
const LINES: &str = "20";
const JOURNAL: Duration = Duration::from_secs(2);

/// What a pass came to.
#[derive(Debug)]
pub struct Outcomes {
    /// The status that it made.
    pub status: Status,
    /// What was told, and what was not.
    pub told: Vec<Outcome>,
}

/// Why there was no pass.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The status folder cannot be used.
    #[error("the status folder {} cannot be used: {source}; systemd-tmpfiles --create makes it", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another pass is at work.
    #[error("another pass is at work: {0}")]
    Busy(store::Error),
}

/// Makes a pass, of all checks or of those that are quick.
///
/// # Errors
/// The tree has no status folder, or another pass is at work.
pub fn run(config: Config, config_file: &Path, full: bool) -> Result<Outcomes, Error> {
    let root = config.root_dir.clone();
    let folder = root.join("status");
    // Of a disk that is not mounted only the place is there: nothing is made in it.
    let made = fs::metadata(&root).and_then(|_| match fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    });
    made.map_err(|source| Error::Folder { path: folder, source })?;
    let credentials = Credentials::from_systemd();
    let deliverer = Deliverer::of(&config, &credentials);
    let silences = silences(&root, &config);
    let context = Arc::new(Context {
        paths: queue::verbs::layout(&config),
        config_file: config_file.to_owned(),
        credentials,
        now: Timestamp::now(),
        past: Past::read(&root.join(PAST)),
        book: book(&root),
        proc: "/proc".into(),
        run: "/run".into(),
        full,
        config,
    });
    let mut found = checks::run(&context);
    // Looking may take minutes, and a pass that is quick does not wait for that; what follows is for one at a time.
    let _lock = lock(&root)?;
    let (mut past, mut book) = (Past::read(&root.join(PAST)), book(&root));
    let now = Timestamp::now();
    found
        .readings
        .extend(deliver::waiting(&root, deliverer.channels()));
    remember(&mut past, &context, &found, now);
    if !full {
        // What only a full pass looks at is as it was then.
        found.readings.extend(past.full_readings.iter().cloned());
    }
    let mut taken = std::mem::take(&mut book.taken);
    let events = record::news(&root.join(store::alerts::ALERTS), &mut taken, now).unwrap_or_else(|error| {
        let what = format!("records of alerts cannot be read: {error}");
        found
            .readings
            .push(Reading::problem("alerts", "alerts", what).about(catalog::CHECK_BROKEN));
        Vec::new()
    });
    book.taken = taken;
    let mut notices = book.step(&found.readings, events, &silences, now);
    explain(&mut notices, &mut book);
    for notice in &notices {
        log(notice);
    }
    let kept = deliverer.keep(&notices);
    let unkept = match &kept {
        Ok(()) => keep(&root, &past, &book).map(|()| &[][..]),
        // The state is not written either: what was not kept is found anew.
        Err(error) => Err(error.clone()),
    };
    let unkept = unkept.unwrap_or_else(|error| {
        tracing::error!(error, "the state of health cannot be kept");
        found.readings.push(Reading::problem(
            "status",
            root.join("status").display(),
            format!("cannot be written: {error}"),
        ));
        if kept.is_err() { &notices[..] } else { &[] }
    });
    let is_silenced = |one: &Standing| silences.cover(&one.code, &one.subject, now);
    let status = Status::of(&context, &found, &past, &book, now, is_silenced);
    show(&root, &status);
    let told = deliverer.deliver(unkept, now);
    for outcome in &told {
        if let Err(error) = &outcome.told {
            tracing::warn!(
                channel = outcome.channel,
                waiting = outcome.waiting,
                error,
                "alerts could not be told"
            );
        }
    }
    Ok(Outcomes { status, told })
}

/// The lock, for which it is waited a little.
fn lock(root: &Path) -> Result<Option<store::Lock>, Error> {
    let path = root.join(LOCK);
    let begun = Instant::now();
    loop {
        match store::Lock::take(&path) {
            Ok(lock) => return Ok(Some(lock)),
            Err(error) if matches!(store::locked_by(&path), Ok(Some(_))) => {
                if begun.elapsed() >= BUSY {
                    return Err(Error::Busy(error));
                }
                thread::sleep(Duration::from_millis(100));
            }
            // A disk that is full or read-only: that is what is to be told.
            Err(error) => {
                tracing::warn!(%error, "no lock can be taken");
                return Ok(None);
            }
        }
    }
}

/// What operators and the configuration do not want to hear now.
#[must_use]
pub fn silences(root: &Path, config: &Config) -> silence::Silences {
    let kept: silence::Silences =
        kept::read(&root.join(SILENCES), crate::alerts::VERSION).unwrap_or_default();
    // The configuration was checked.
    let windows = silence::Window::list(config.alerts.maintenance.as_deref().unwrap_or_default());
    kept.with(windows.unwrap_or_default())
}

/// Replaces the operators' silences.
///
/// # Errors
/// They cannot be written.
pub fn keep_silences(root: &Path, silences: Vec<silence::Silence>) -> store::Result<()> {
    kept::write(
        &root.join(SILENCES),
        &silence::Silences::new(silences, Vec::new()),
    )
}

/// The alerts as the last pass left them.
#[must_use]
pub fn book(root: &Path) -> Book {
    kept::read(&root.join(BOOK), crate::alerts::VERSION).unwrap_or_default()
}

/// What the next pass is to know.
fn remember(past: &mut Past, context: &Context, found: &Found, now: Timestamp) {
    let (facts, at) = (&found.facts, context.now);
    // A quick pass that began later, while this one still looked, knows better. One from the future was before the clock was set
    // back.
    if past.at.is_none_or(|last| last <= at || last > now) {
        past.sample(Sample {
            at,
            offset: facts.offset,
            lag: facts.lag,
            quarantined: facts.quarantined,
            used: facts.disk.as_ref().map(checks::disk::Disk::used),
        });
        past.at = Some(at);
        if let Some((uptime_s, boot_id)) = &facts.boot {
            (past.uptime_s, past.boot_id) = (*uptime_s, boot_id.clone());
        }
        past.oom_kills = facts.oom_kills.or(past.oom_kills);
        for unit in facts.units.iter().flatten() {
            past.restarts
                .entry(unit.name.clone())
                .or_default()
                .count(unit.restarts, at);
        }
    }
    if let Some(gpus) = &facts.gpus {
        past.gpus = past.gpus.max(gpus.len());
    }
    if let Some(folders) = &facts.folders {
        past.folders = Some(folders.clone());
    }
    if context.full {
        past.full_at = Some(at);
        let names: Vec<_> = checks::full_only().collect();
        let is_of_full = |one: &&Reading| {
            names.contains(&one.check.as_str()) && one.alert.as_deref() != Some(catalog::CHECK_BROKEN)
        };
        past.full_readings = found.readings.iter().filter(is_of_full).cloned().collect();
    }
}

/// Adds the last lines of the journal to alerts about units that have none yet.
fn explain(notices: &mut [Notice], book: &mut Book) {
    for notice in notices {
        let is_unit = notice.subject.ends_with(".service");
        if !is_unit || notice.occasion != Occasion::Firing || !notice.journal.is_empty() {
            continue;
        }
        notice.journal = journal(&notice.subject);
        book.explain(&notice.code, &notice.subject, &notice.journal);
    }
}

/// The last lines of a unit's journal; none where it cannot be read in time.
fn journal(unit: &str) -> Vec<String> {
    let mut command = Command::new("journalctl");
    command.args([
        "--unit",
        unit,
        "--lines",
        LINES,
        "--output",
        "cat",
        "--no-pager",
        "--quiet",
    ]);
    match service::child::ask(&mut command, JOURNAL) {
        Ok(answer) if answer.status.success() => String::from_utf8_lossy(&answer.stdout)
            .lines()
            .map(str::to_owned)
            .collect(),
        Ok(answer) => vec![format!("(journalctl ended with {})", answer.status)],
        Err(error) => vec![format!("(the journal cannot be read: {error})")],
    }
}

fn log(notice: &Notice) {
    let Notice {
        code,
        title,
        subject,
        what,
        ..
    } = notice;
    let severity = notice.severity.to_string();
    match notice.occasion {
        Occasion::Firing | Occasion::Reminder if notice.severity >= catalog::Severity::High => {
            tracing::error!(
                alert = code,
                severity,
                subject,
                what,
                next = notice.next,
                "{title}"
            );
        }
        Occasion::Resolved => tracing::info!(alert = code, severity, subject, "over: {title}"),
        _ => tracing::warn!(
            alert = code,
            severity,
            subject,
            what,
            next = notice.next,
            "{title}"
        ),
    }
}

fn keep(root: &Path, past: &Past, book: &Book) -> Result<(), String> {
    let told = |error: store::Error| error.to_string();
    kept::write(&root.join(BOOK), book).map_err(told)?;
    past.write(&root.join(PAST)).map_err(told)
}

/// Replaces the faces of the status. They are made anew in minutes, so nothing waits for the disk.
fn show(root: &Path, status: &Status) {
    let metrics_file = root.join(METRICS);
    if let Some(folder) = metrics_file.parent() {
        // That it cannot be made is told by what is written there.
        let _ = fs::create_dir_all(folder);
    }
    // Of passes that were killed while they wrote.
    for folder in ["status", "status/metrics", "status/spool"] {
        if let Err(error) = atomic::remove_leftovers(&root.join(folder)) {
            tracing::debug!(%error, "what was left in the status folder stays");
        }
    }
    let json = serde_json::to_vec(status).unwrap_or_default();
    let faces = [
        (root.join(status::FILE), json),
        (metrics_file, metrics::text(status).into_bytes()),
        (root.join(PAGE), page::html(status).into_bytes()),
    ];
    for (path, bytes) in faces {
        if let Err(error) = atomic::replace_unsynced(&path, &bytes) {
            tracing::warn!(%error, "the status cannot be shown");
        }
    }
}

/// What a process ends with: 0 where nothing was found, 2 else.
#[must_use]
pub fn code(status: &Status) -> u8 {
    if status.verdict.grade >= Grade::Warning {
        2
    } else {
        0
    }
}
