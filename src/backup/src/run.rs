//! A backup: look, read, send; then remove what no kept one needs.

use crate::{
    error::{Error, Result},
    progress::{Step, Tell},
    source::{Outcome, Source, locked},
    vault::{LABEL, Vault, name},
    view::View,
};
use rustic_core::{
    BackupOptions, KeepOptions, PruneOptions, SnapshotOptions, jiff::Zoned, repofile::SnapshotFile,
};
use service::Config;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use store::backups::Taken;

/// How often a tree is looked at anew in which files went away while they were read.
const TRIES: u32 = 3;

/// Takes a backup of the tree of this configuration; the queue may go on meanwhile.
///
/// # Errors
/// A file cannot be read, the repository cannot be written, or `stop` was set. There is no new snapshot then.
pub fn take(vault: &Vault, config: &Config, stop: &Arc<AtomicBool>, tell: &Tell) -> Result<Taken> {
    let begun = Instant::now();
    let mut tries = 1;
    loop {
        let view = Arc::new(View::take(config)?);
        let outcome = Arc::new(Outcome::default());
        let sent = send(vault, &view, &outcome, stop, tell);
        if stop.load(Ordering::SeqCst) {
            return Err(Error::Interrupted);
        }
        let unreadable = locked(&outcome.unreadable);
        if let Some((path, reason)) = unreadable.first() {
            return Err(Error::Unreadable {
                count: unreadable.len(),
                path: path.clone(),
                reason: reason.clone(),
            });
        }
        if let Some(path) = locked(&outcome.gone).first() {
            tracing::info!(path = %path.display(), tries, "a file went away, the tree is looked at anew");
            tries += 1;
            if tries > TRIES {
                return Err(Error::Restless {
                    tries: TRIES,
                    path: path.clone(),
                });
            }
            continue;
        }
        return whole(vault, &view, sent?, begun);
    }
}

fn send(
    vault: &Vault,
    view: &Arc<View>,
    outcome: &Arc<Outcome>,
    stop: &Arc<AtomicBool>,
    tell: &Tell,
) -> Result<SnapshotFile> {
    vault.shut.store(false, Ordering::SeqCst);
    let failed = || Error::of("write a backup", &vault.location);
    let repository = vault.now()?.to_indexed_ids().map_err(failed())?;
    let source = Source::new(
        Arc::clone(view),
        Arc::clone(&vault.shut),
        Arc::clone(stop),
        Arc::clone(outcome),
        Arc::clone(tell),
    );
    let snapshot = SnapshotOptions::default()
        .label(LABEL.to_owned())
        .description(format!("offset {}", view.offset))
        .command(String::from("azaion-backup run"))
        .to_snapshot()
        .map_err(failed())?;
    let root: PathBuf = view.paths.root().to_owned();
    repository
        .archive(&BackupOptions::default(), &source, snapshot, &[root])
        .map_err(failed())
}

/// A snapshot counts once every file that was read is in it; else it goes again.
fn whole(vault: &Vault, view: &View, snapshot: SnapshotFile, begun: Instant) -> Result<Taken> {
    let summary = snapshot.summary.clone().unwrap_or_default();
    if summary.total_files_processed != view.files + links(view) {
        vault
            .now()?
            .delete_snapshots(&[snapshot.id])
            .map_err(Error::of("remove half a backup", &vault.location))?;
        return Err(Error::Incomplete {
            expected: view.files + links(view),
            found: summary.total_files_processed,
            reason: "look for what is wrong with the disk or server that it is on",
        });
    }
    Ok(Taken {
        at: now(),
        snapshot: name(&snapshot),
        offset: view.offset,
        files: view.files,
        bytes: summary.total_bytes_processed,
        added_bytes: summary.data_added_packed,
        duration_s: begun.elapsed().as_secs_f64(),
    })
}

fn links(view: &View) -> u64 {
    let is_link = |origin: &crate::view::Origin| matches!(origin, crate::view::Origin::Link);
    view.entries.iter().filter(|(_, origin)| is_link(origin)).count() as u64
}

/// Removes the snapshots that the configuration does not keep, and what only they needed. What is removed is marked first and
/// goes a day later, so that a backup which another machine makes meanwhile does not lose what it relies on. Returns how
/// many snapshots went.
///
/// # Errors
/// The repository cannot be read or written. It is as usable as before.
pub fn thin(vault: &Vault, config: &Config, tell: &Tell) -> Result<usize> {
    tell(Step::Pruning, 0, 1);
    let failed = || Error::of("remove what is not kept", &vault.location);
    let keep = |number: u32| i32::try_from(number).ok().filter(|number| *number > 0);
    let mut options = KeepOptions::default();
    options.keep_daily = keep(config.backup.keep_daily);
    options.keep_weekly = keep(config.backup.keep_weekly);
    options.keep_monthly = keep(config.backup.keep_monthly);
    // The last one is what a restore begins with, whatever the clock said.
    options.keep_last = Some(1);
    let mine: Vec<_> = vault
        .snapshots()?
        .into_iter()
        .filter(|snapshot| snapshot.paths.contains(&config.root_dir.display().to_string()))
        .collect();
    let forgotten: Vec<_> = options
        .apply(mine, &Zoned::now())
        .map_err(failed())?
        .into_iter()
        .filter(|judged| !judged.keep)
        .map(|judged| judged.snapshot.id)
        .collect();
    let repository = vault.now()?;
    repository.delete_snapshots(&forgotten).map_err(failed())?;
    let options = PruneOptions::default();
    let plan = repository.prune_plan(&options).map_err(failed())?;
    repository.prune(&options, plan).map_err(failed())?;
    tell(Step::Pruning, 1, 1);
    Ok(forgotten.len())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}
