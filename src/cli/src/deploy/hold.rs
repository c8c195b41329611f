//! One deploy at a time, and one that was cut off is not forgotten.
//!
//! In the state folder, which is root's, lie `lock` and, from before a switch until its outcome is known, `unfinished.json`.
//! The kernel drops the lock with the process, however it ends; what stays then is the file, and the next command names it.

use super::profile::Generation;
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Most of the file that says who holds the lock.
const NOTE_BYTES: u64 = 4096;

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Hold {
    folder: PathBuf,
    _lock: Flock<File>,
}

/// Another deploy holds the lock.
#[derive(Debug, thiserror::Error)]
#[error("another deploy is under way: {who}; wait for it, then look what it said, and try again")]
pub(super) struct Held {
    who: String,
}

/// A switch whose outcome is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unfinished {
    /// When it began, in UTC.
    pub time: String,
    pub pid: u32,
    pub profile: PathBuf,
    /// Where it came from: what was confirmed before.
    pub from: Option<Generation>,
    /// To what: a path or a command.
    pub to: String,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            time,
            pid,
            profile,
            from,
            to,
        } = self;
        let from = from.as_ref().map_or_else(
            || "nothing".to_owned(),
            |from| format!("generation {}", from.number),
        );
        write!(
            f,
            "the deploy of {to} to {} from {from}, begun {time} by process {pid}, was cut off before it was confirmed or rolled back",
            profile.display()
        )
    }
}

impl Hold {
    /// Takes the lock for `what`, or says who has it.
    pub fn take(folder: &Path, what: &str) -> Result<Result<Self, Held>> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot create {} (a deploy is root's to do)", folder.display()))?;
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, nix::Error::EWOULDBLOCK)) => return Ok(Err(Held { who: note(&file) })),
            Err((_, error)) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        };
        let now = jiff::Timestamp::now().strftime("%FT%TZ");
        sign(
            &mut lock,
            &format!("process {}, since {now}: {what}\n", std::process::id()),
        )
        .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        }))
    }

    /// From now on the deploy is unfinished, whatever becomes of this process.
    pub fn begin(&self, unfinished: &Unfinished) -> Result<()> {
        store::atomic::replace(&marker(&self.folder), &serde_json::to_vec_pretty(unfinished)?)?;
        Ok(())
    }

    /// Its outcome is known.
    pub fn finish(&self) -> Result<()> {
        let path = marker(&self.folder);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The deploy that was cut off, if one was; without the lock it may also be one that is under way.
pub(super) fn unfinished(folder: &Path) -> Result<Option<Unfinished>> {
    let path = marker(folder);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let read = serde_json::from_slice(&bytes);
    let next = || {
        format!(
            "{} is not usable: see which generation is there, confirm it, and remove the file",
            path.display()
        )
    };
    read.map(Some).with_context(next)
}

fn marker(folder: &Path) -> PathBuf {
    folder.join("unfinished.json")
}

fn note(mut file: &File) -> String {
    let mut text = String::new();
    // What cannot be read is not known, and the lock is held all the same.
    let _ = Read::by_ref(&mut file).take(NOTE_BYTES).read_to_string(&mut text);
    match text.trim() {
        "" => "it does not say whose it is".to_owned(),
        text => text.to_owned(),
    }
}

fn sign(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock_and_gets_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = Hold::take(&state, "switch to /store/two").unwrap().unwrap();
        let held = Hold::take(&state, "rollback").unwrap().unwrap_err().to_string();
        let pid = format!("process {}", std::process::id());
        assert!(
            held.contains(&pid) && held.contains("switch to /store/two"),
            "{held}"
        );
        drop(first);
        assert!(Hold::take(&state, "rollback").unwrap().is_ok());
    }

    #[test]
    fn what_was_begun_stays_until_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let hold = Hold::take(folder.path(), "switch").unwrap().unwrap();
        assert_eq!(unfinished(folder.path()).unwrap(), None);
        let begun = Unfinished {
            time: "2026-01-02T03:04:05Z".into(),
            pid: 7,
            profile: "/profiles/azaion".into(),
            from: Some(Generation {
                number: 3,
                path: "/store/one".into(),
            }),
            to: "/store/two".into(),
        };
        hold.begin(&begun).unwrap();
        drop(hold);
        assert_eq!(unfinished(folder.path()).unwrap(), Some(begun.clone()));
        let told = begun.to_string();
        assert!(
            told.contains("/store/two") && told.contains("generation 3") && told.contains("process 7"),
            "{told}"
        );
        let hold = Hold::take(folder.path(), "confirm").unwrap().unwrap();
        hold.finish().unwrap();
        hold.finish().unwrap();
        assert_eq!(unfinished(folder.path()).unwrap(), None);
        fs::write(marker(folder.path()), "rubbish").unwrap();
        assert!(
            unfinished(folder.path())
                .unwrap_err()
                .to_string()
                .contains("remove the file")
        );
    }
}
