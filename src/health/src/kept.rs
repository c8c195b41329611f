//! Small JSON files of the status folder: read with a version, replaced whole.
//!
//! A file that is damaged, or of a version that this program does not know, must not stop health: it is put aside with the
//! ending `.damaged`, told of, and begun anew.

use serde::{Serialize, de::DeserializeOwned};
use std::{fs, io, path::Path};

/// None of these files is ever larger.
const MOST_BYTES: u64 = 16 << 20;

/// What is in the file; none where there is none, or it was put aside.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, version: u32) -> Option<T> {
    let damage = match load(path, version) {
        Ok(value) => return value,
        Err(error) => error,
    };
    let aside = path.with_extension("json.damaged");
    let moved = fs::rename(path, &aside);
    tracing::warn!(
        path = %path.display(),
        damage,
        kept_as = moved.is_ok().then(|| aside.display().to_string()),
        "a file of the status cannot be used and is begun anew"
    );
    None
}

fn load<T: DeserializeOwned>(path: &Path, version: u32) -> Result<Option<T>, String> {
    let size = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if size > MOST_BYTES {
        return Err(format!("it has {size} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if value["version"] != version {
        return Err(format!("its version is {}, not {version}", value["version"]));
    }
    serde_json::from_value(value)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Replaces the file, whole or not at all.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> store::Result<()> {
    // Plain structs always become JSON.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    store::atomic::replace(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::Past;

    #[test]
    fn what_cannot_be_used_is_put_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health.json");
        assert_eq!(read::<Past>(&path, 1), None);
        let mut past = Past::default();
        past.gpus = 3;
        past.write(&path).unwrap();
        assert_eq!(Past::read(&path), past);
        for damage in ["", "{", "[]", r#"{"version":2}"#, r#"{"version":1}"#, "\u{0}"] {
            fs::write(&path, damage).unwrap();
            assert_eq!(Past::read(&path), Past::default());
            assert_eq!(
                fs::read_to_string(folder.path().join("health.json.damaged")).unwrap(),
                damage
            );
            assert!(!path.exists());
        }
    }
}
