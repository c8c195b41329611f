//! Secrets: where they come from and how they are kept out of sight (SEC-1, SEC-4).
//!
//! A secret comes from a systemd credential (a file in `$CREDENTIALS_DIRECTORY`) or from a file that the
//! configuration names; never from the Nix store, which every user can read. In memory it is a [`Secret`]: its
//! `Debug` and `Display` print `[redacted]` and its bytes are wiped when it is dropped. It is read anew on every
//! start, so rotating one is: change the file, restart the services concerned (SEC-3).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Longest secret that is read: a password, a token or a key, not a document.
const MAX_BYTES: u64 = 64 * 1024;
const REDACTED: &str = "[redacted]";

/// A text that is never printed and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret over.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file; one line end after it is not part of it.
    ///
    /// Refused: a file in the Nix store, one that other users can read, an empty one, one that is not UTF-8 text.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let in_store = |place: &Path| place.starts_with("/nix/store");
        let real = path.canonicalize();
        if in_store(path) || real.as_deref().is_ok_and(in_store) {
            return Err(SecretError::InStore {
                path: path.to_owned(),
            });
        }
        let real = real.map_err(|source| SecretError::read(path, source))?;
        let file = File::open(&real).map_err(|source| SecretError::read(path, source))?;
        let mode = file
            .metadata()
            .map_err(|source| SecretError::read(path, source))?
            .mode()
            & 0o777;
        if mode & 0o007 != 0 {
            return Err(SecretError::TooOpen {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = Zeroizing::new(String::with_capacity(256));
        match file.take(MAX_BYTES + 1).read_to_string(&mut text) {
            Ok(read) if read as u64 > MAX_BYTES => {
                return Err(SecretError::unusable(path, "is longer than 64 KiB"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(SecretError::unusable(path, "is not UTF-8 text"));
            }
            Err(source) => return Err(SecretError::read(path, source)),
        }
        let secret = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() {
            return Err(SecretError::unusable(path, "is empty"));
        }
        Ok(Self::new(secret.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Serialises as `[redacted]`: a configuration that is shown shows no secret.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// The credentials that systemd passed to this service (`LoadCredential=`), if any.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    directory: Option<PathBuf>,
}

impl Credentials {
    /// Those of this process: the folder that `$CREDENTIALS_DIRECTORY` names.
    pub fn from_systemd() -> Self {
        Self {
            directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }

    /// Those in a folder.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: Some(directory.into()),
        }
    }

    /// The file of the credential of that name, for a program that reads it itself; `None` if this service was given none of
    /// that name.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.directory.as_ref()?.join(name);
        path.is_file().then_some(path)
    }

    /// The credential of that name, or `None` if this service was given none of that name.
    pub fn read(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let Some(path) = self.directory.as_ref().map(|directory| directory.join(name)) else {
            return Ok(None);
        };
        match Secret::from_file(&path) {
            Err(SecretError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            result => result.map(Some),
        }
    }
}

/// Why a secret could not be had. Holds paths, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("cannot read the secret in {}: {source}; check that the file exists and that this user may read it", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Other users of the machine can read or change it.
    #[error("the secret in {} is open to every user (mode {mode:04o}); run: chmod o-rwx {}", .path.display(), .path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It lies where every user can read it and where it is kept for ever.
    #[error("the secret in {} lies in the Nix store, which every user can read; keep it outside and pass its path", .path.display())]
    InStore {
        /// The file.
        path: PathBuf,
    },
    /// The file is there, but holds nothing that can be a secret.
    #[error("the secret in {} {problem}; write the secret there as one line of text", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing provides it.
    #[error(
        "no {what}: pass the systemd credential `{credential}`, or set `{key}` in config.yaml to a file that holds it"
    )]
    Missing {
        /// What is missing, in words.
        what: &'static str,
        /// The credential looked for.
        credential: &'static str,
        /// The configuration key looked at.
        key: &'static str,
    },
}

impl SecretError {
    /// Whether the file is not there, or not for this user: on another machine, or for another user, it may be right.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Read { source, .. }
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied))
    }

    fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    fn unusable(path: &Path, problem: &'static str) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(bytes: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rabbitmq-password");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("hunter2".into());
        let holder = (1, Some(secret.clone()));
        for text in [format!("{secret:?}"), format!("{secret}"), format!("{holder:#?}")] {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("[redacted]"), "{text}");
        }
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn one_line_end_is_not_part_of_the_secret() {
        for (bytes, expected) in [
            ("pa ss", "pa ss"),
            ("pa ss\n", "pa ss"),
            ("pa ss\r\n", "pa ss"),
            (" a \n\n", " a \n"),
        ] {
            let (_dir, path) = file(bytes.as_bytes(), 0o640);
            assert_eq!(Secret::from_file(&path).unwrap().expose(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn unusable_files_are_refused_and_say_what_to_do() {
        for (bytes, mode, expected) in [
            (&b"x"[..], 0o644, "chmod o-rwx"),
            (b"x", 0o602, "mode 0602"),
            (b"", 0o600, "is empty"),
            (b"\n", 0o600, "is empty"),
            (&[0xff, 0xfe], 0o600, "is not UTF-8"),
            (&[b'a'; 65_537], 0o600, "longer than 64 KiB"),
        ] {
            let (_dir, path) = file(bytes, mode);
            let error = Secret::from_file(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        let error = Secret::from_file(Path::new("/nonexistent/secret")).unwrap_err();
        assert!(matches!(error, SecretError::Read { .. }), "{error}");
        let error = Secret::from_file(Path::new("/nix/store/none/secret")).unwrap_err();
        assert!(matches!(error, SecretError::InStore { .. }), "{error}");
    }

    #[test]
    fn a_credential_that_was_not_passed_is_none_and_a_broken_one_an_error() {
        let (dir, _path) = file(b"changed\n", 0o400);
        let credentials = Credentials::in_directory(dir.path());
        assert_eq!(
            credentials.read("rabbitmq-password").unwrap().unwrap().expose(),
            "changed"
        );
        assert!(credentials.read("api-password").unwrap().is_none());
        assert!(
            Credentials::default()
                .read("rabbitmq-password")
                .unwrap()
                .is_none()
        );

        let (open, _path) = file(b"x", 0o666);
        assert!(
            Credentials::in_directory(open.path())
                .read("rabbitmq-password")
                .is_err()
        );
    }
}
