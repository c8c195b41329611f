//! What a disk under ext4 keeps: everything before a flush, and any part of what came after it.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use powercut::calls::{Call, without};
use powercut::forgetful::Cut;
use powercut::lossy::{FileSystem, LossyDisk, Mounted};
use powercut::namespace::{missing_for_fuse, privately};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn with_mounted(name: &str, test: impl FnOnce(Mounted) + Send) {
    match FileSystem::Ext4.missing().or_else(missing_for_fuse) {
        Some(why) => eprintln!("skipped: {name}: {why}"),
        None => privately(|| {
            test(LossyDisk::mount(
                &FileSystem::Ext4.format()?,
                FileSystem::Ext4,
                false,
            )?);
            Ok(())
        })
        .unwrap(),
    }
}

fn write_synced(folder: &Path, name: &str) {
    let mut file = File::create(folder.join(name)).unwrap();
    file.write_all(name.as_bytes()).unwrap();
    file.sync_all().unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

/// Mounts what a cut behind event `at` leaves, after a replay of the journal.
fn boot(disk: &Mounted, at: usize, cut: Cut, seed: u64) -> Mounted {
    let chance = &mut ChaCha8Rng::seed_from_u64(seed);
    let image = disk.recording().cut(at, cut, chance);
    LossyDisk::mount(&image, FileSystem::Ext4, false).unwrap()
}

#[test]
fn what_was_synced_is_there_after_a_cut_and_what_was_not_is_gone() {
    with_mounted("what_was_synced", |disk| {
        write_synced(disk.path(), "synced");
        fs::write(disk.path().join("not"), b"not").unwrap();
        let next = boot(&disk, disk.recording().operations(), Cut::Strict, 0);
        assert_eq!(fs::read(next.path().join("synced")).unwrap(), b"synced");
        assert!(!next.path().join("not").exists());
        next.end().unwrap();
        disk.end().unwrap();
    });
}

#[test]
fn the_file_system_is_whole_after_a_cut_behind_any_write() {
    with_mounted("the_file_system_is_whole", |disk| {
        let mut synced = vec![(0, 0)];
        for n in 1..=4 {
            write_synced(disk.path(), &n.to_string());
            synced.push((disk.recording().operations(), n));
        }
        let last = disk.recording().operations();
        assert!(disk.recording().flushes() >= 4 && last > 12);
        for at in 0..=last {
            let next = boot(&disk, at, Cut::Random(0.5), at as u64);
            let (_, least) = synced.iter().rfind(|(operations, _)| *operations <= at).unwrap();
            for n in 1..=*least {
                let text = n.to_string();
                assert_eq!(
                    fs::read(next.path().join(&text)).unwrap(),
                    text.as_bytes(),
                    "behind event {at}"
                );
            }
            next.end().unwrap();
        }
        disk.end().unwrap();
    });
}

#[test]
fn a_call_that_is_taken_out_succeeds_and_nothing_is_flushed() {
    with_mounted("a_call_that_is_taken_out", |disk| {
        let before = disk.recording().flushes();
        let write = || {
            write_synced(disk.path(), "cell");
            Ok(())
        };
        without(&Call::ALL, write).unwrap();
        assert_eq!(disk.recording().flushes(), before);
        without(&[], write).unwrap();
        assert!(disk.recording().flushes() > before);
        disk.end().unwrap();
    });
}
