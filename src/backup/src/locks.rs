//! restic's locks. A repository of ours can be worked on with restic, which leaves a small encrypted file in `locks/` while it
//! does; the library below neither writes nor minds them.
//!
//! So before anything is written here they are looked at. An exclusive one (restic prunes, or repairs) is waited for by
//! whoever called; a lock is removed only where its process is provably gone: it was of this machine, and no process has its
//! number. What another machine left is for a person to judge. Two backups of one tree are kept apart by a lock of the
//! tree's own ([`store::Lock`]), not by these. What cannot be read is somebody else's and left alone.

use crate::{
    error::{Error, Result},
    target::{Keys, Target},
    vault::Vault,
};
use aes256ctr_poly1305aes::{
    Aes256CtrPoly1305Aes, Key,
    aead::{Aead as _, Nonce},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustic_core::repofile::MasterKey;
use serde::Deserialize;
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Their folder in a repository.
const LOCKS: &str = "locks";
/// Bytes in front of what is encrypted.
const NONCE: usize = 16;
/// What a compressed file begins with, once decrypted.
const COMPRESSED: u8 = 2;
/// More than any lock is.
const MOST: u64 = 64 * 1024;

/// A lock as restic writes it; what else is in it says nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Lock {
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: u32,
}

/// Removes locks whose processes are gone; an error where one of the others is exclusive.
pub(crate) fn clear(vault: &Vault, key: &MasterKey) -> Result<()> {
    let shelf = Shelf::of(&vault.target, &vault.keys);
    let failed = |error: io::Error| Error::Repository {
        action: "look for restic's locks",
        location: vault.location.clone(),
        reason: error.to_string(),
    };
    for name in shelf.names().map_err(failed)? {
        // It may have ended meanwhile.
        let Ok(bytes) = shelf.read(&name) else { continue };
        let Some(lock) = decrypt(&bytes, key) else {
            continue;
        };
        if is_dead(&lock, &this_machine(), Path::new("/proc")) {
            shelf.remove(&name).map_err(failed)?;
            tracing::warn!(pid = lock.pid, "removed the lock of a restic that is gone");
        } else if lock.exclusive {
            return Err(Error::LockedByRestic {
                location: vault.location.clone(),
                holder: format!("process {} of {} on {}", lock.pid, lock.username, lock.hostname),
            });
        }
    }
    Ok(())
}

/// Whether the process that holds a lock is provably gone.
fn is_dead(lock: &Lock, machine: &str, processes: &Path) -> bool {
    !machine.is_empty()
        && lock.hostname == machine
        && lock.pid != 0
        && processes.join("self").exists()
        && !processes.join(lock.pid.to_string()).exists()
}

fn this_machine() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default()
}

/// A file of the repository as it is in there: nonce, ciphertext and authentication, and in it JSON, perhaps compressed.
fn decrypt(bytes: &[u8], key: &MasterKey) -> Option<Lock> {
    let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
    let cipher = Aes256CtrPoly1305Aes::new(&raw(key)?);
    let text = cipher
        .decrypt(Nonce::<Aes256CtrPoly1305Aes>::from_slice(nonce), sealed)
        .ok()?;
    let text = match text.split_first()? {
        (&COMPRESSED, packed) => {
            let mut text = Vec::new();
            let decoder = ruzstd::decoding::StreamingDecoder::new(packed).ok()?;
            decoder.take(MOST).read_to_end(&mut text).ok()?;
            text
        }
        _ => text,
    };
    serde_json::from_slice(&text).ok()
}

/// The key's bytes: for AES, and the two halves for Poly1305.
fn raw(key: &MasterKey) -> Option<Key> {
    let parts = serde_json::to_value(key).ok()?;
    let mut whole = Vec::new();
    for part in [&parts["encrypt"], &parts["mac"]["k"], &parts["mac"]["r"]] {
        whole.extend(BASE64.decode(part.as_str()?).ok()?);
    }
    (whole.len() == Key::default().len()).then(|| *Key::from_slice(&whole))
}

/// Where the locks lie.
enum Shelf {
    Folder(PathBuf),
    Remote(String, Option<PathBuf>),
    /// A bucket that takes requests through the keys of its server.
    Bucket(Box<crate::bucket::Bucket>),
    Nowhere,
}

impl Shelf {
    fn of(target: &Target, keys: &Keys) -> Self {
        match (target, keys) {
            (Target::Folder(path), _) => Self::Folder(path.join(LOCKS)),
            (Target::Rclone(remote), Keys::Rclone(config)) => Self::Remote(
                format!("{}/{LOCKS}", remote.trim_end_matches('/')),
                config.clone(),
            ),
            (Target::S3(at), Keys::S3 { region, keys }) => crate::bucket::Bucket::new(at, region, keys)
                .map_or(Self::Nowhere, |bucket| Self::Bucket(bucket.into())),
            _ => Self::Nowhere,
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        match self {
            Self::Folder(folder) => match fs::read_dir(folder) {
                Ok(listed) => Ok(listed
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .collect()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            },
            Self::Bucket(bucket) => bucket.names_in(LOCKS).map_err(io::Error::other),
            // A folder that is not there is an error to rclone, and has no locks.
            Self::Remote(folder, config) => Ok(rclone(config.as_deref(), &["lsf", folder])
                .map(|names| {
                    String::from_utf8_lossy(&names)
                        .lines()
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default()),
            Self::Nowhere => Ok(Vec::new()),
        }
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match self {
            Self::Folder(folder) => {
                let mut bytes = Vec::new();
                fs::File::open(folder.join(name))?
                    .take(MOST)
                    .read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Self::Bucket(bucket) => bucket.read_in(LOCKS, name).map_err(io::Error::other),
            Self::Remote(folder, config) => rclone(config.as_deref(), &["cat", &format!("{folder}/{name}")]),
            Self::Nowhere => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Self::Folder(folder) => fs::remove_file(folder.join(name)),
            Self::Bucket(bucket) => bucket.remove_in(LOCKS, name).map_err(io::Error::other),
            Self::Remote(folder, config) => {
                rclone(config.as_deref(), &["deletefile", &format!("{folder}/{name}")]).map(drop)
            }
            Self::Nowhere => Ok(()),
        }
    }
}

/// What rclone answers.
fn rclone(config: Option<&Path>, arguments: &[&str]) -> io::Result<Vec<u8>> {
    let mut command = Command::new("rclone");
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let answer = command.args(arguments).output()?;
    match answer.status.success() {
        true => Ok(answer.stdout),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&answer.stderr).trim().to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(hostname: &str, pid: u32) -> Lock {
        Lock {
            exclusive: true,
            hostname: hostname.into(),
            username: "operator".into(),
            pid,
        }
    }

    #[test]
    fn a_lock_is_dead_only_where_its_process_is_provably_gone() {
        let processes = tempfile::tempdir().unwrap();
        fs::create_dir(processes.path().join("self")).unwrap();
        fs::create_dir(processes.path().join("7")).unwrap();
        let dead = |lock: &Lock| is_dead(lock, "here", processes.path());
        assert!(dead(&lock("here", 8)));
        assert!(!dead(&lock("here", 7)), "it runs");
        assert!(!dead(&lock("there", 8)), "another machine's cannot be looked for");
        assert!(!dead(&lock("here", 0)));
        assert!(
            !is_dead(&lock("", 8), "", processes.path()),
            "this machine has no name"
        );
        assert!(
            !is_dead(&lock("here", 8), "here", Path::new("/nowhere")),
            "no process can be seen"
        );
    }

    #[test]
    fn what_is_no_lock_is_left_alone() {
        let key = MasterKey::new();
        for bytes in [&b""[..], b"short", &[0; 16], &[7; 200]] {
            assert_eq!(decrypt(bytes, &key), None);
        }
    }
}
