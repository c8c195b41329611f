//! What goes wrong: targets that are full, read-only, damaged, locked or gone, a wrong password, a restore over a live tree, a
//! run that is broken off. Each is told in words, and leaves a repository that can be used.

use crate::{
    common::{PASSWORD, Place, content, differences, messages, secret, stop},
    whole::{Restic, furnished},
};
use backup::{Error, Vault, progress::quiet, run::take, vault::LATEST};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};
use store::{Lock, Paths, backups::Backups};

fn told<T: std::fmt::Debug>(result: backup::Result<T>) -> String {
    result.unwrap_err().to_string()
}

/// A mounted tmpfs, gone with the test.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, kilobytes: u32) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&at)
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: small disk: mounting one takes root");
            return None;
        }
        Some(Self(at))
    }

    fn remount(&self, option: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{option}")])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The largest pack of data in a repository.
fn pack(repository: &Path) -> PathBuf {
    let folders = fs::read_dir(repository.join("data")).unwrap();
    folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .max_by_key(|pack| pack.metadata().unwrap().len())
        .unwrap()
}

#[test]
fn a_full_target_is_told_of_and_once_there_is_room_the_next_run_is_whole() {
    let place = furnished();
    let Some(disk) = Small::mount(place.repository(), 300) else {
        return;
    };
    let error = told(place.round().run());
    assert!(error.contains("No space left on device"), "{error}");
    let record = Backups::read(&place.root()).unwrap().unwrap();
    assert_eq!(record.backup, None);
    assert_eq!(record.error.map(|error| error.what).as_deref(), Some("run"));
    assert_eq!(place.round().vault().unwrap().snapshots().unwrap().len(), 0);

    disk.remount("size=64m");
    let ran = place.run();
    assert_eq!(ran.check.problems, [""; 0]);
    assert_eq!(Backups::read(&place.root()).unwrap().unwrap().error, None);
}

#[test]
fn a_read_only_target_is_told_of() {
    let place = furnished();
    let Some(disk) = Small::mount(place.repository(), 65_536) else {
        return;
    };
    place.run();
    disk.remount("ro");
    let error = told(place.round().run());
    assert!(error.contains("Read-only file system"), "{error}");
    assert_eq!(place.round().vault().unwrap().snapshots().unwrap().len(), 1);
    disk.remount("rw");
    place.run();
}

#[test]
fn a_damaged_pack_is_found_and_named_and_nothing_is_restored_out_of_it() {
    let place = furnished();
    place.run();
    let pack = pack(&place.repository());
    let file = File::options().write(true).open(&pack).unwrap();
    file.write_all_at(&[0; 64], pack.metadata().unwrap().len() / 2)
        .unwrap();

    let checked = place.round().check(false).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(
        checked
            .problems
            .iter()
            .any(|problem| problem.contains(&name[..8])),
        "{name} in {:?}",
        checked.problems
    );
    let output = azaion_backup(&place, &["check"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    let restored = place.path("restored");
    told(place.restore(LATEST, &restored));
    assert!(!restored.join("offset.yaml").exists());
    assert!(restored.join("restore.yaml").exists());
}

#[test]
fn a_pack_that_is_gone_is_found_without_reading_any_data() {
    let mut place = furnished();
    place.config.backup.check_parts = 0;
    place.run();
    let pack = pack(&place.repository());
    fs::remove_file(&pack).unwrap();
    let checked = place.round().check(false).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(
        checked
            .problems
            .iter()
            .any(|problem| problem.contains(&name[..8])),
        "{:?}",
        checked.problems
    );
}

#[test]
fn a_wrong_password_is_told_as_such_and_without_it() {
    let place = Place::with(&messages(20, 5, 1));
    place.run();
    secret(&place.path("password"), "an0ther");
    let error = told(place.round().run());
    assert!(
        error.contains("the password does not open the repository"),
        "{error}"
    );
    assert!(!error.contains("an0ther") && !error.contains(PASSWORD), "{error}");
}

#[test]
fn only_the_first_run_makes_a_repository_and_one_that_is_gone_is_not_made_anew() {
    let place = Place::with(&messages(20, 5, 1));
    let error = told(place.round().check(false));
    assert!(error.contains("there is no repository"), "{error}");
    assert!(!place.repository().exists());
    place.run();

    fs::rename(place.repository(), place.path("elsewhere")).unwrap();
    let error = told(place.round().run());
    assert!(
        error.contains("is gone") && error.contains("status/backup.json"),
        "{error}"
    );
    assert!(!place.repository().exists());
    fs::rename(place.path("elsewhere"), place.repository()).unwrap();
    place.run();
}

#[test]
fn nothing_is_restored_over_a_tree_that_is_there_or_that_a_queue_works_in() {
    let place = furnished();
    place.run();
    let before = content(&place.root());
    let error = told(place.restore(LATEST, &place.root()));
    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(differences(&content(&place.root()), &before), [""; 0]);

    let live = place.path("live");
    fs::create_dir(&live).unwrap();
    let lock = Lock::of_tree(&Paths::under(&live)).unwrap();
    let error = told(place.restore(LATEST, &live));
    assert!(error.contains("is in use by process"), "{error}");
    drop(lock);
    // What a boot makes of an empty tree is no content.
    fs::create_dir_all(live.join("data/images")).unwrap();
    place.restore(LATEST, &live).unwrap();
}

#[test]
fn a_restore_that_was_broken_off_goes_on_and_not_with_another_backup() {
    let place = furnished();
    let first = place.run().backup.snapshot;
    fs::write(place.root().join("classes.json"), b"[1]").unwrap();
    let second = place.run().backup.snapshot;
    let to = place.path("restored");
    let vault = place.round().vault().unwrap();
    let snapshot = vault.snapshot(&second).unwrap();
    let flag = stop();
    let files = AtomicU64::new(0);
    let seen = Arc::new(files);
    let (stopper, count) = (Arc::clone(&flag), Arc::clone(&seen));
    let tell: backup::progress::Tell = Arc::new(move |_, done, _| {
        count.store(done, Ordering::SeqCst);
        stopper.store(done >= 20, Ordering::SeqCst);
    });
    let broken = backup::restore::tree(&vault, &snapshot, &to, &flag, &tell);
    assert!(matches!(broken, Err(Error::Interrupted)), "{broken:?}");
    assert!(!to.join("offset.yaml").exists());

    let error = told(place.restore(&first, &to));
    assert!(
        error.contains("half a restore") && error.contains(&second),
        "{error}"
    );
    place.restore(&second, &to).unwrap();
    assert_eq!(fs::read(to.join("classes.json")).unwrap(), b"[1]");
    assert_eq!(
        fs::read(to.join("offset.yaml")).unwrap(),
        fs::read(place.root().join("offset.yaml")).unwrap()
    );
}

#[test]
fn a_file_that_cannot_be_read_makes_no_backup_and_is_named() {
    let place = furnished();
    place.run();
    // A folder where a file is meant to be cannot be read as one, whoever tries.
    let classes = place.root().join("classes.json");
    fs::remove_file(&classes).unwrap();
    fs::create_dir(&classes).unwrap();
    let error = told(place.round().run());
    assert!(error.contains("classes.json"), "{error}");
    assert_eq!(place.round().vault().unwrap().snapshots().unwrap().len(), 1);
}

#[test]
fn a_damaged_ledger_holds_no_backup_up() {
    let place = furnished();
    let ledger = place.root().join("ledger.log");
    let mut bytes = fs::read(&ledger).unwrap();
    bytes[40] ^= 1;
    fs::write(&ledger, &bytes).unwrap();
    place.run();
    let restored = place.path("restored");
    place.restore_latest(&restored);
    assert_eq!(fs::read(restored.join("ledger.log")).unwrap(), bytes);
}

#[test]
fn two_backups_of_one_tree_do_not_run_at_once() {
    let place = furnished();
    place.run();
    let lock = Lock::take(&place.root().join("status/backup.lock")).unwrap();
    assert!(told(place.round().run()).contains("is in use by process"));
    let output = azaion_backup(&place, &["run"]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    drop(lock);
    place.run();
}

#[test]
fn a_run_that_is_stopped_leaves_a_usable_repository_and_the_next_one_does_not_send_twice() {
    let place = furnished();
    let flag = stop();
    let vault = {
        // The repository is there, and empty.
        fs::create_dir(place.path("empty")).unwrap();
        let mut other = Place::new();
        other.config.backup.repository = place.config.backup.repository.clone();
        other.config.backup.password_file = place.config.backup.password_file.clone();
        other.run();
        place.round().vault().unwrap()
    };
    let stopper = Arc::clone(&flag);
    let tell: backup::progress::Tell =
        Arc::new(move |_, done, total| stopper.store(done > total * 3 / 4, Ordering::SeqCst));
    let stopped = take(&vault, &place.config, &flag, &tell);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    assert_eq!(vault.snapshots().unwrap().len(), 1, "half a backup is none");

    let again = take(&vault, &place.config, &stop(), &quiet()).unwrap();
    assert!(again.added_bytes < again.bytes / 2, "{again:?}");
    assert_eq!(place.round().check(true).unwrap().problems, [""; 0]);
}

#[test]
fn a_killed_run_leaves_a_repository_that_the_next_one_makes_a_whole_backup_in() {
    let place = furnished();
    for pause in [30, 120, 300, 600] {
        let mut child = command(&place, &["run"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ran = place.run();
    assert_eq!(ran.check.problems, [""; 0]);
    let restored = place.path("restored");
    place.restore_latest(&restored);
    assert!(restored.join("offset.yaml").exists());
}

#[test]
fn sigterm_ends_a_run_with_the_code_that_says_again() {
    let place = furnished();
    place.run();
    for number in 0..2000 {
        fs::write(
            place.root().join(format!("data/images/more-{number}.jpg")),
            [7; 3000],
        )
        .unwrap();
    }
    let child = command(&place, &["run"]).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(150));
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert_eq!(place.round().check(true).unwrap().problems, [""; 0]);
}

/// restic's lock of a process that is gone is removed, one that works alone is respected.
#[test]
fn a_lock_of_a_dead_restic_is_broken_and_that_of_a_living_one_respected() {
    let place = furnished();
    place.run();
    let Some(restic) = Restic::of(&place) else { return };
    // It holds its lock while it waits for its input.
    let mut living = restic
        .command(&["backup", "--stdin", "--stdin-filename", "cells"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let locks = || fs::read_dir(place.repository().join("locks")).map_or(0, Iterator::count);
    for _ in 0..200 {
        if locks() > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(locks(), 1);
    place.run();
    assert_eq!(locks(), 1, "it is not exclusive, and its process lives");
    living.kill().unwrap();
    living.wait().unwrap();
    assert_eq!(locks(), 1, "what was killed leaves its lock");
    place.run();
    assert_eq!(locks(), 0);
}

fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_azaion-backup"));
    command
        .args(arguments)
        .arg("--config")
        .arg(place.config_file())
        .stdin(Stdio::null());
    command
}

fn azaion_backup(place: &Place, arguments: &[&str]) -> std::process::Output {
    command(place, arguments).output().unwrap()
}

/// Of the vault alone: opening does not make.
#[test]
fn opening_a_repository_that_is_not_there_makes_nothing() {
    let place = Place::new();
    let missing = backup::Place {
        target: place.config.backup.repository.clone().unwrap().parse().unwrap(),
        keys: backup::target::Keys::None,
        password: service::Secret::new(PASSWORD.into()),
    };
    assert!(matches!(
        Vault::open(&missing, &quiet()).map(drop),
        Err(Error::NoRepository { .. })
    ));
    assert!(!place.repository().exists());
}
