//! Where alerts are kept in the tree: `status/alerts/TIME-SUBJECT.json`, a file each, written whole or not at all (ALR-9).

use crate::{
    atomic,
    error::{Error, Result},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of alerts, relative to the root.
pub const ALERTS: &str = "status/alerts";

/// Keeps the record of an alert about `subject` at `time` (RFC 3339); returns its path. Two alerts in one second are two
/// records.
pub fn keep(root: &Path, time: &str, subject: &str, record: &[u8]) -> Result<PathBuf> {
    let folder = root.join(ALERTS);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let name = format!("{}-{subject}", time.replace(':', ""));
    let mut path = folder.join(format!("{name}.json"));
    let mut number = 2;
    while path.exists() {
        path = folder.join(format!("{name}-{number}.json"));
        number += 1;
    }
    atomic::replace(&path, record)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_alerts_of_one_second_are_two_records_whose_names_sort_by_time() {
        let root = tempfile::tempdir().unwrap();
        let kept = |time: &str, text: &str| {
            let path = keep(root.path(), time, "azaion-queue.service", text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        let names = ["1", "2"].map(|text| kept("2026-03-28T14:30:00Z", text));
        assert_eq!(
            names,
            [
                "2026-03-28T143000Z-azaion-queue.service.json",
                "2026-03-28T143000Z-azaion-queue.service-2.json"
            ]
        );
        assert!(kept("2026-03-28T14:30:01Z", "3") > names[0]);
    }
}
