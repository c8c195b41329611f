//! What the file system forgets, what it keeps, and how it refuses.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use powercut::forgetful::{Cut, ForgetfulFs, Mounted, Options, Renames, State};
use powercut::namespace::{missing_for_fuse, privately};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn with_mounted(name: &str, options: Options, test: impl FnOnce(Mounted) + Send) {
    match missing_for_fuse() {
        Some(why) => eprintln!("skipped: {name}: {why}"),
        None => privately(|| {
            test(ForgetfulFs::mount(State::default(), options)?);
            Ok(())
        })
        .unwrap(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> File {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn sync(folder: &Path) {
    File::open(folder).unwrap().sync_all().unwrap();
}

/// The names and bytes in the root and in its folders `a` and `b` after a cut now.
fn left(disk: &Mounted, cut: Cut, seed: u64) -> Vec<(String, Vec<u8>)> {
    let recording = disk.recording();
    let chance = &mut ChaCha8Rng::seed_from_u64(seed);
    let next = ForgetfulFs::mount(
        recording.cut(recording.operations(), cut, chance),
        Options::default(),
    )
    .unwrap();
    let mut found = Vec::new();
    for folder in ["", "a", "b"] {
        let Ok(names) = fs::read_dir(next.path().join(folder)) else {
            continue;
        };
        for path in names
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
        {
            let name = path
                .strip_prefix(next.path())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.push((name, fs::read(path).unwrap()));
        }
    }
    found.sort();
    next.end().unwrap();
    found
}

fn file(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.to_vec())
}

#[test]
fn bytes_are_kept_with_a_sync_of_the_file_and_names_with_one_of_the_folder() {
    with_mounted("bytes_are_kept", Options::default(), |disk| {
        let path = disk.path().join("cell.jpg");
        let written = write(&path, b"cell");
        written.sync_data().unwrap();
        assert_eq!(left(&disk, Cut::Strict, 0), [], "the name was not synced");
        sync(disk.path());
        assert_eq!(left(&disk, Cut::Strict, 0), [file("cell.jpg", b"cell")]);

        drop(write(&disk.path().join("empty.jpg"), b"not synced"));
        sync(disk.path());
        let expected = [file("cell.jpg", b"cell"), file("empty.jpg", b"")];
        assert_eq!(left(&disk, Cut::Strict, 0), expected);

        fs::remove_file(&path).unwrap();
        assert_eq!(
            left(&disk, Cut::Strict, 0),
            expected,
            "the removal was not synced"
        );
    });
}

#[test]
fn a_process_that_is_killed_leaves_what_is_visible_and_not_durable() {
    with_mounted("a_process_that_is_killed", Options::default(), |disk| {
        drop(write(&disk.path().join("cell.jpg"), b"cell"));
        let recording = disk.recording();
        let next = ForgetfulFs::mount(recording.killed(recording.operations()), Options::default()).unwrap();
        assert_eq!(fs::read(next.path().join("cell.jpg")).unwrap(), b"cell");
        assert_eq!(left(&next, Cut::Strict, 0), []);
        sync(next.path());
        File::open(next.path().join("cell.jpg"))
            .unwrap()
            .sync_all()
            .unwrap();
        assert_eq!(left(&next, Cut::Strict, 0), [file("cell.jpg", b"cell")]);
        next.end().unwrap();
    });
}

/// A file that was moved from folder `a` to folder `b`, and one of the folders synced.
fn moved(disk: &Mounted, synced: &str) -> Vec<(String, Vec<u8>)> {
    let root = disk.path();
    ["a", "b"]
        .iter()
        .for_each(|folder| fs::create_dir(root.join(folder)).unwrap());
    write(&root.join("a/cell"), b"cell").sync_all().unwrap();
    ["", "a"].iter().for_each(|folder| sync(&root.join(folder)));
    fs::rename(root.join("a/cell"), root.join("b/cell")).unwrap();
    assert_eq!(left(disk, Cut::Strict, 0), [file("a/cell", b"cell")]);
    sync(&root.join(synced));
    left(disk, Cut::Strict, 0)
}

#[test]
fn a_rename_between_folders_is_one_step_where_the_disk_has_a_journal() {
    for folder in ["a", "b"] {
        with_mounted("a_rename_in_one_step", Options::default(), |disk| {
            assert_eq!(moved(&disk, folder), [file("b/cell", b"cell")]);
        });
    }
}

#[test]
fn a_torn_rename_leaves_the_file_in_both_folders_or_in_neither() {
    let torn = || Options {
        renames: Renames::Torn,
        ..Options::default()
    };
    with_mounted("a_torn_rename", torn(), |disk| assert_eq!(moved(&disk, "a"), []));
    let both = [file("a/cell", b"cell"), file("b/cell", b"cell")];
    with_mounted("a_torn_rename", torn(), |disk| {
        assert_eq!(moved(&disk, "b"), both)
    });
}

#[test]
fn unsynced_bytes_end_as_old_new_zeros_or_garbage_and_synced_ones_as_they_were() {
    with_mounted("unsynced_bytes", Options::default(), |disk| {
        let path = disk.path().join("log");
        write(&path, &[b'o'; 3000]).sync_all().unwrap();
        sync(disk.path());
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(&[b'n'; 3000]).unwrap();
        let found: Vec<Vec<u8>> = (0..40)
            .map(|seed| left(&disk, Cut::Random(0.5), seed).remove(0).1)
            .collect();
        assert!(
            found
                .iter()
                .all(|bytes| bytes.len() >= 3000 && bytes[..3000] == [b'o'; 3000])
        );
        let any = |test: &dyn Fn(&[u8]) -> bool| found.iter().any(|bytes| test(&bytes[3000..]));
        assert!(any(&|new| new.is_empty()) && any(&|new| new.len() == 3000));
        assert!(any(&|new| (1..3000).contains(&new.len())));
        assert!(any(&|new| new.contains(&0)) && any(&|new| new.contains(&b'n')));
        assert!(any(&|new| new.iter().any(|byte| ![0, b'n', b'o'].contains(byte))));
    });
}

#[test]
fn a_sync_that_is_ignored_is_acknowledged_and_not_done() {
    let ignored = Options {
        ignored: Arc::new(|sync| sync.bytes.is_some()),
        ..Options::default()
    };
    with_mounted("a_sync_that_is_ignored", ignored, |disk| {
        write(&disk.path().join("cell"), b"cell").sync_all().unwrap();
        sync(disk.path());
        assert_eq!(left(&disk, Cut::Strict, 0), [file("cell", b"")]);
        assert_eq!(disk.recording().syncs.len(), 2);
    });
}

#[test]
fn a_full_disk_takes_what_fits_and_goes_on_when_there_is_room() {
    with_mounted("a_full_disk", Options::default(), |disk| {
        disk.set_room(Some(1000));
        let path = disk.path().join("cell");
        let full = fs::write(&path, [1; 1500]).unwrap_err();
        assert_eq!((full.kind(), disk.used()), (ErrorKind::StorageFull, 1000));
        let full = File::create(disk.path().join("other")).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        fs::remove_file(path).unwrap();
        fs::write(disk.path().join("other"), [1; 900]).unwrap();
        disk.set_room(None);
        fs::write(disk.path().join("cell"), [1; 1500]).unwrap();
    });
}

#[test]
fn a_disk_that_became_read_only_refuses_every_change_and_still_reads() {
    with_mounted("a_read_only_disk", Options::default(), |disk| {
        let path = disk.path().join("cell");
        let mut open = write(&path, b"cell");
        disk.set_read_only(true);
        let refused = [
            open.write_all(b"more").unwrap_err(),
            File::create(disk.path().join("other")).unwrap_err(),
            fs::rename(&path, disk.path().join("other")).unwrap_err(),
            fs::remove_file(&path).unwrap_err(),
            fs::create_dir(disk.path().join("folder")).unwrap_err(),
        ];
        assert!(
            refused
                .iter()
                .all(|error| error.kind() == ErrorKind::ReadOnlyFilesystem),
            "{refused:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"cell");
        disk.set_read_only(false);
        open.write_all(b"more").unwrap();
    });
}

#[test]
fn nobody_else_sees_a_mount_and_nothing_is_left_of_it() {
    let mut seen = String::new();
    with_mounted("nobody_else_sees", Options::default(), |disk| {
        fs::write(disk.path().join("cell"), b"cell").unwrap();
        seen = disk.path().to_str().unwrap().to_owned();
        // The main thread's table of mounts.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&seen));
    });
    assert!(seen.is_empty() || !Path::new(&seen).exists());
}
