//! What the folders of a tree take on disk.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt, path::Path, time::Instant};

/// The folders that grow, relative to the root.
pub const FOLDERS: [&str; 7] = [
    "data",
    "data-seed",
    "data_deleted",
    "data-corrupted",
    "datasets",
    "models",
    "quarantine",
];

/// Bytes on disk beneath each of [`FOLDERS`] that is there; none if `end` came first. Each file counts once, whatever its
/// names: the images of a dataset are those of `data/`. What cannot be read is taken to be empty.
#[must_use]
pub fn folders(root: &Path, end: Option<Instant>) -> Option<Vec<(&'static str, u64)>> {
    let mut counted = HashSet::new();
    let there = FOLDERS.into_iter().filter(|name| root.join(name).is_dir());
    there
        .map(|name| Some((name, bytes(&root.join(name), &mut counted, end)?)))
        .collect()
}

fn bytes(folder: &Path, counted: &mut HashSet<(u64, u64)>, end: Option<Instant>) -> Option<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if end.is_some_and(|end| Instant::now() > end) {
            return None;
        }
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            sum += bytes(&entry.path(), counted, end)?;
        } else if meta.nlink() < 2 || counted.insert((meta.dev(), meta.ino())) {
            sum += meta.blocks() * 512;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_file_of_two_names_takes_its_place_once() {
        let root = tempfile::tempdir().unwrap();
        for name in ["data", "datasets"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("data/1.jpg"), vec![1; 100_000]).unwrap();
        fs::hard_link(root.path().join("data/1.jpg"), root.path().join("datasets/1.jpg")).unwrap();
        let found = folders(root.path(), None).unwrap();
        assert!(found[0].0 == "data" && found[0].1 >= 100_000, "{found:?}");
        assert_eq!(found[1..], [("datasets", 0)]);
        let past = Instant::now().checked_sub(Duration::from_secs(1));
        assert_eq!(folders(root.path(), past), None);
    }
}
