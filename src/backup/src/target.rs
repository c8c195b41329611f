//! Where backups go, as the configuration names it.

use crate::{
    bucket::Bucket,
    error::{Error, Result},
};
use rustic_backend::BackendOptions;
use rustic_core::WriteBackend;
use service::{Config, Credentials, Secret};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// A place for a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket of an S3 server.
    S3(S3),
    /// A remote of rclone: SFTP, and whatever else it knows.
    Rclone(String),
}

/// A prefix in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// The server: scheme, host and port.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// What the names of all objects begin with; may be empty.
    pub prefix: String,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unusable = || Error::Address {
            reason: format!(
                "{text} is neither an absolute path nor s3:https://HOST/BUCKET/PREFIX nor rclone:REMOTE:PATH"
            ),
        };
        if let Some(url) = text.strip_prefix("s3:") {
            let (scheme, rest) = url.split_once("://").ok_or_else(unusable)?;
            let (host, path) = rest.split_once('/').ok_or_else(unusable)?;
            let path = path.trim_matches('/');
            let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
            if host.is_empty() || bucket.is_empty() {
                return Err(unusable());
            }
            return Ok(Self::S3(S3 {
                endpoint: format!("{scheme}://{host}"),
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            }));
        }
        if let Some(remote) = text.strip_prefix("rclone:") {
            return Ok(Self::Rclone(remote.to_owned()));
        }
        match Path::new(text) {
            path if path.is_absolute() => Ok(Self::Folder(path.to_owned())),
            _ => Err(unusable()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::S3(S3 {
                endpoint,
                bucket,
                prefix,
            }) if prefix.is_empty() => write!(f, "s3:{endpoint}/{bucket}"),
            Self::S3(S3 {
                endpoint,
                bucket,
                prefix,
            }) => write!(f, "s3:{endpoint}/{bucket}/{prefix}"),
            Self::Rclone(remote) => write!(f, "rclone:{remote}"),
        }
    }
}

/// What opens a target beside the password.
#[derive(Debug, Clone)]
pub enum Keys {
    /// None are needed.
    None,
    /// Of an S3 server: its region, access key and secret key.
    S3 {
        /// The region.
        region: String,
        /// Access key and secret key.
        keys: [Secret; 2],
    },
    /// rclone's configuration; without one it looks where it always does.
    Rclone(Option<PathBuf>),
}

impl Keys {
    /// Those that the configuration and this service's credentials have for a target.
    ///
    /// # Errors
    /// A key is missing, or cannot be read.
    pub fn of(target: &Target, config: &Config, credentials: &Credentials) -> Result<Self> {
        Ok(match target {
            Target::Folder(_) => Self::None,
            Target::S3(_) => Self::S3 {
                region: config.backup.s3_region.clone(),
                keys: config.backup_s3_keys(credentials)?,
            },
            Target::Rclone(_) => Self::Rclone(
                credentials
                    .file(service::config::BACKUP_RCLONE_CONFIG)
                    .or_else(|| config.backup.rclone_config_file.clone()),
            ),
        })
    }
}

impl Target {
    /// What reads and writes there.
    pub(crate) fn backend(&self, keys: &Keys) -> Result<Arc<dyn WriteBackend>> {
        match (self, keys) {
            (Self::S3(at), Keys::S3 { region, keys }) => Ok(Arc::new(Bucket::new(at, region, keys)?)),
            (Self::S3(_), _) => Err(Error::Address {
                reason: format!("{self} needs the keys of its server"),
            }),
            (Self::Folder(path), _) => {
                self.of_the_library(BackendOptions::default().repository(format!("local:{}", path.display())))
            }
            (Self::Rclone(remote), keys) => self.of_the_library(
                BackendOptions::default()
                    .repository(format!("rclone:{remote}"))
                    .options([("rclone-command".to_owned(), rclone(keys))]),
            ),
        }
    }

    fn of_the_library(&self, options: BackendOptions) -> Result<Arc<dyn WriteBackend>> {
        let backends = options
            .to_backends()
            .map_err(Error::of("reach anything", &self.to_string()))?;
        Ok(backends.repository())
    }
}

/// rclone as a server for this process alone: on loopback, behind a password that is made for it.
fn rclone(keys: &Keys) -> String {
    let config = match keys {
        Keys::Rclone(Some(file)) => format!(" --config '{}'", file.display()),
        _ => String::new(),
    };
    format!("rclone serve restic --addr 127.0.0.1:0{config}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_names_is_shown_as_it_was_named() {
        for text in [
            "/srv/backup",
            "s3:https://s3.example.com/bucket/trees/one",
            "s3:http://127.0.0.1:9000/bucket",
            "rclone:nas:backup/azaion",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_is_refused_in_words() {
        for text in [
            "backup",
            "",
            "s3:s3.example.com/bucket",
            "s3:https://host",
            "s3:https:///x",
        ] {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(error.starts_with("backup.repository: "), "{error}");
        }
    }
}
