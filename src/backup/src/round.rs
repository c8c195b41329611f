//! What the timers and an operator ask for, as a whole: under the lock that keeps two apart, with what became of it in
//! `status/backup.json` ([`store::backups`]).

use crate::{
    check::{Share, check},
    drill::drill,
    error::{Error, Result},
    progress::Tell,
    run::{now, take, thin},
    target::{Keys, Target},
    vault::{Place, Vault},
};
use service::{Config, Credentials};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};
use store::{
    Lock,
    backups::{BACKUPS, Backups, Checked, Drilled, Failed, Taken},
};

/// The lock, beside the result file.
const LOCK: &str = "status/backup.lock";
/// What the folders of drills are called, beside it.
const SCRATCH: &str = "drill-";

/// What a run came to.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Ran {
    /// The backup.
    pub backup: Taken,
    /// How many earlier ones are not kept any more.
    pub forgotten: usize,
    /// The look at the repository that followed.
    pub check: Checked,
}

/// Backups of one tree.
pub struct Round<'c> {
    config: &'c Config,
    place: Place,
    stop: Arc<AtomicBool>,
    tell: Tell,
}

impl<'c> Round<'c> {
    /// With what the configuration and this service's credentials say. Nothing is reached for yet.
    ///
    /// # Errors
    /// No repository is configured, or a password or key is missing.
    pub fn new(
        config: &'c Config,
        credentials: &Credentials,
        stop: Arc<AtomicBool>,
        tell: Tell,
    ) -> Result<Self> {
        let target: Target = config
            .backup
            .repository
            .as_deref()
            .ok_or(Error::NotConfigured)?
            .parse()?;
        let place = Place {
            keys: Keys::of(&target, config, credentials)?,
            target,
            password: config.backup_password(credentials)?,
        };
        Ok(Self {
            config,
            place,
            stop,
            tell,
        })
    }

    /// Opens the repository, for those who only look or restore.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn vault(&self) -> Result<Vault> {
        Vault::open(&self.place, &self.tell)
    }

    /// Takes a backup, removes what is not kept, and looks at the repository. The first one makes it.
    ///
    /// # Errors
    /// A step did not come to its end. Where that was the backup's, there is no new one; else it is there and counts.
    pub fn run(&self) -> Result<Ran> {
        self.recorded("run", |record| {
            let vault = self.vault_for_writing(record)?;
            vault.clear_locks()?;
            let backup = take(&vault, self.config, &self.stop, &self.tell)?;
            tracing::info!(
                snapshot = backup.snapshot,
                offset = backup.offset,
                files = backup.files,
                added_bytes = backup.added_bytes,
                duration_s = backup.duration_s,
                "backup taken"
            );
            record.backup = Some(backup.clone());
            let forgotten = thin(&vault, self.config, &self.tell)?;
            let share = Share::next(record.check.as_ref(), self.config.backup.check_parts);
            let check = self.look(&vault, share, record)?;
            Ok(Ran {
                backup,
                forgotten,
                check,
            })
        })
    }

    /// Looks at the repository: at all of the data, or at the part whose turn it is.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn check(&self, all: bool) -> Result<Checked> {
        self.recorded("check", |record| {
            let share = match all {
                true => Share::All,
                false => Share::next(record.check.as_ref(), self.config.backup.check_parts),
            };
            self.look(&self.vault()?, share, record)
        })
    }

    fn look(&self, vault: &Vault, share: Share, record: &mut Backups) -> Result<Checked> {
        let looked = check(vault, share)?;
        for problem in &looked.problems {
            tracing::error!(problem, "the repository is damaged");
        }
        record.check = Some(looked.clone());
        Ok(looked)
    }

    /// Restores for practice.
    ///
    /// # Errors
    /// As [`drill`](crate::drill::drill).
    pub fn drill(&self) -> Result<Drilled> {
        self.recorded("drill", |record| {
            let vault = self.vault()?;
            let status = status(&self.config.root_dir);
            remove_scratch(&status)?;
            let scratch = tempfile::Builder::new()
                .prefix(SCRATCH)
                .tempdir_in(&status)
                .map_err(Error::io("make a folder in", &status))?;
            let drilled = drill(&vault, self.config, scratch.path(), &self.stop, &self.tell)?;
            for problem in &drilled.problems {
                tracing::error!(problem, "the drill failed");
            }
            record.drill = Some(drilled.clone());
            Ok(drilled)
        })
    }

    /// The repository, which is made if this tree never had one. One that is gone is not made anew behind anybody's back.
    fn vault_for_writing(&self, record: &Backups) -> Result<Vault> {
        if record.backup.is_none() {
            return Vault::open_or_make(&self.place, &self.tell);
        }
        self.vault().map_err(|error| match error {
            Error::NoRepository { location } => Error::RepositoryGone {
                location,
                record: self.config.root_dir.join(BACKUPS),
            },
            error => error,
        })
    }

    /// Does something under the lock, and keeps what became of it.
    fn recorded<T>(&self, what: &str, work: impl FnOnce(&mut Backups) -> Result<T>) -> Result<T> {
        let root = &self.config.root_dir;
        if !root.is_dir() {
            return Err(store::Error::NoRoot { path: root.clone() }.into());
        }
        let status = status(root);
        fs::create_dir_all(&status).map_err(Error::io("make", &status))?;
        let _lock = Lock::take(&root.join(LOCK))?;
        let location = self.place.target.to_string();
        let known = Backups::read(root)?.filter(|known| known.repository == location);
        let mut record = known.unwrap_or_else(|| Backups::none(location));
        let done = work(&mut record);
        match &done {
            // Not a failure: somebody asked for it.
            Err(Error::Interrupted) => {}
            Err(error) => {
                record.error = Some(Failed {
                    at: now(),
                    what: what.to_owned(),
                    reason: error.to_string(),
                });
            }
            Ok(_) => record.error = record.error.filter(|error| error.what != what),
        }
        let kept = record.write(root);
        let done = done?;
        kept?;
        Ok(done)
    }
}

fn status(root: &Path) -> PathBuf {
    root.join("status")
}

/// Removes the scratch folder of a drill that was killed.
fn remove_scratch(status: &Path) -> Result<()> {
    for entry in fs::read_dir(status).map_err(Error::io("list", status))? {
        let entry = entry.map_err(Error::io("list", status))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(SCRATCH.as_bytes())
        {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
