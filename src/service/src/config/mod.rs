//! `config.yaml` as types: the one configuration that programs read (CFG-2).
//!
//! Keys are lower-case and grouped by concern; every key has a default but the account of the API, which only the
//! programs that talk to it ask for ([`Config::api_login`]). [`VARIABLES`] says which variable of `.env` becomes which
//! key, and [`render()`] makes a configuration of it. Guarantees: a [`Config`] that was loaded is valid throughout; an unknown key is an error that names the
//! nearest known one (CFG-5); all problems of a file are reported at once; no message holds a secret.
//!
//! ```yaml
//! root_dir: /azaion
//! rabbitmq: {host: 127.0.0.1, port: 5552, password_file: /run/secrets/rabbitmq}
//! training: {model: yolo26m.pt, epochs: 120, batch_size: 11, imgsz: 1280}
//! ```

#[macro_use]
mod documented;
mod check;
mod dotenv;
mod example;
mod keys;
mod render;
mod yaml;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use dotenv::{Dotenv, DotenvError};
pub use example::{commented, example};
pub use keys::{MORE_VARIABLES, VARIABLES};
pub use render::{Apart, Profile, UnknownProfile, render};

use crate::secret::{Credentials, Secret, SecretError};

documented! {
    /// Everything that can be configured.
    pub struct Config {
        /// The tree: everything the suite keeps lies under it. Absolute.
        pub root_dir: PathBuf = "/azaion".into(),
        /// Validated annotations, relative to `root_dir`.
        pub data_dir: PathBuf = "data".into(),
        /// Annotations not yet validated, relative to `root_dir`.
        pub data_seed_dir: PathBuf = "data-seed".into(),
        /// Soft-deleted annotations, relative to `root_dir`.
        pub data_deleted_dir: PathBuf = "data_deleted".into(),
        /// The REST API that models are published to.
        pub api: Api = Api::default(),
        /// The broker with the annotation stream.
        pub rabbitmq: RabbitMq = RabbitMq::default(),
        /// A training run.
        pub training: Training = Training::default(),
        /// The export of a trained model.
        pub export: Export = Export::default(),
        /// Backups of the tree.
        pub backup: Backup = Backup::default(),
    }
}

documented! {
    /// The REST API that models are published to.
    pub struct Api {
        /// Base address; plain HTTP only towards this machine.
        pub url: String = "https://api.azaion.com".into(),
        /// Account that logs in.
        pub email: Option<String> = None,
        /// Its password. Prefer the credential `api-password` or `password_file`.
        pub password: Option<Secret> = None,
        /// A file that holds the password; other users must not be able to read it.
        pub password_file: Option<PathBuf> = None,
    }
}

documented! {
    /// The broker with the annotation stream.
    pub struct RabbitMq {
        /// Host name or address.
        pub host: String = "127.0.0.1".into(),
        /// Port of the stream protocol.
        pub port: u16 = 5552,
        /// Account that reads the stream.
        pub user: String = "azaion_receiver".into(),
        /// Its password. Prefer the credential `rabbitmq-password` or `password_file`.
        pub password: Option<Secret> = None,
        /// A file that holds the password; other users must not be able to read it.
        pub password_file: Option<PathBuf> = None,
        /// Name of the stream.
        pub queue_name: String = "azaion-annotations".into(),
        /// The broker's virtual host.
        pub virtual_host: String = "/".into(),
        /// Whether the connection is encrypted and the broker's certificate verified.
        pub tls: bool = false,
        /// Certificates (PEM) that vouch for the broker, instead of those of the system.
        pub tls_ca_file: Option<PathBuf> = None,
        /// Seconds between two signs of life on an idle connection; a broker that is silent for twice as long is lost.
        pub heartbeat_s: u32 = 10,
        /// Megabytes of messages that may be in memory at once, those being written included; one larger message still fits.
        pub buffer_mb: u32 = 48,
        /// Messages before this offset may be missing from the stream: set it, to the offset that the error names, to go on
        /// after retention has removed messages that were not read yet.
        pub accept_loss_before: u64 = 0,
    }
}

documented! {
    /// A training run (TRN-4).
    pub struct Training {
        /// Base weights: a `.pt` or `.safetensors` file, or the name of a known model.
        pub model: String = "yolo26m.pt".into(),
        /// Epochs of a whole run.
        pub epochs: u32 = 120,
        /// Images a step.
        pub batch_size: u32 = 11,
        /// Side of the network's square input in pixels; a multiple of 32.
        pub imgsz: u32 = 1280,
        /// A checkpoint every so many epochs.
        pub save_period: u32 = 1,
        /// Threads that load images; 0 loads in the training thread.
        pub workers: u32 = 24,
        /// Where the network is trained: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N` (a GPU is needed).
        pub device: String = "auto".into(),
        /// Processor threads for the network; 0: all cores.
        pub threads: u32 = 0,
        /// How many checkpoints of epochs' ends are kept beside the latest one.
        pub keep_checkpoints: u32 = 2,
        /// The run is saved within an epoch too, after so many minutes.
        pub save_minutes: u32 = 5,
        /// Number format of forward and backward pass: `auto` (GPU: fp16; CPU: bf16 where it is fast), `fp32`, `bf16` or `fp16`.
        pub precision: String = "auto".into(),
        /// `auto` (AdamW for short runs, MuSGD for long ones; it sets `lr0` and `momentum` too), `MuSGD`, `AdamW` or `SGD`.
        pub optimizer: String = "auto".into(),
        /// Learning rate at the start.
        pub lr0: f64 = 0.01,
        /// Learning rate at the end, as a share of `lr0`.
        pub lrf: f64 = 0.01,
        /// SGD's momentum, or Adam's first beta.
        pub momentum: f64 = 0.937,
        /// Weight decay at the nominal batch size.
        pub weight_decay: f64 = 0.0005,
        /// Nominal batch size: gradients are accumulated over `nbs / batch_size` batches.
        pub nbs: u32 = 64,
        /// Epochs of warm-up.
        pub warmup_epochs: f64 = 3.0,
        /// Momentum at the start of the warm-up.
        pub warmup_momentum: f64 = 0.8,
        /// Learning rate of biases at the start of the warm-up; not with `auto`.
        pub warmup_bias_lr: f64 = 0.1,
        /// Cosine instead of linear decay of the learning rate.
        pub cos_lr: bool = false,
        /// Mosaic and mixup are off in so many last epochs.
        pub close_mosaic: u32 = 10,
        /// Epochs without a better model after which the run ends; 0: never.
        pub patience: u32 = 100,
        /// Every random choice of a run is a function of this number.
        pub seed: u64 = 0,
        /// Weight of the box loss.
        pub r#box: f64 = 7.5,
        /// Weight of the class loss.
        pub cls: f64 = 0.5,
        /// Weight of the distance loss.
        pub dfl: f64 = 1.5,
        /// Hue is shifted by up to this share of the circle.
        pub hsv_h: f64 = 0.015,
        /// Saturation is multiplied by up to `1 - hsv_s` to `1 + hsv_s`.
        pub hsv_s: f64 = 0.7,
        /// Brightness is multiplied by up to `1 - hsv_v` to `1 + hsv_v`.
        pub hsv_v: f64 = 0.4,
        /// Rotation by up to so many degrees, either way.
        pub degrees: f64 = 0.0,
        /// Translation by up to this share of the side, either way.
        pub translate: f64 = 0.1,
        /// Zoom by `1 - scale` to `1 + scale`.
        pub scale: f64 = 0.5,
        /// Shear by up to so many degrees, either way.
        pub shear: f64 = 0.0,
        /// Perspective terms of up to this size; useful ones are below 0.001.
        pub perspective: f64 = 0.0,
        /// Probability of turning an image upside down.
        pub flipud: f64 = 0.0,
        /// Probability of mirroring an image.
        pub fliplr: f64 = 0.5,
        /// Probability of putting four images together.
        pub mosaic: f64 = 1.0,
        /// Probability of blending with a second sample.
        pub mixup: f64 = 0.0,
    }
}

documented! {
    /// The export of a trained model.
    pub struct Export {
        /// Side of the exported model's square input in pixels; a multiple of 32.
        pub onnx_imgsz: u32 = 1280,
    }
}

documented! {
    /// Backups of the tree. Its password comes as the credential `backup-password` or from `password_file`, never from here.
    pub struct Backup {
        /// Where they go: a folder, `s3:https://HOST/BUCKET/PREFIX` or `rclone:REMOTE:PATH`. Without it none are made.
        pub repository: Option<String> = None,
        /// A file that holds the password that encrypts them; keep a copy of it elsewhere, without it nothing can be restored.
        pub password_file: Option<PathBuf> = None,
        /// S3: the region, where the server asks for one.
        pub s3_region: String = "us-east-1".into(),
        /// S3: a file that holds the access key. Prefer the credential `backup-s3-access-key`.
        pub s3_access_key_file: Option<PathBuf> = None,
        /// S3: a file that holds the secret key. Prefer the credential `backup-s3-secret-key`.
        pub s3_secret_key_file: Option<PathBuf> = None,
        /// rclone: its configuration, which holds the remote. Prefer the credential `backup-rclone-config`.
        pub rclone_config_file: Option<PathBuf> = None,
        /// The last backup of so many days is kept.
        pub keep_daily: u32 = 7,
        /// The last backup of so many weeks is kept.
        pub keep_weekly: u32 = 5,
        /// The last backup of so many months is kept.
        pub keep_monthly: u32 = 12,
        /// Each backup is followed by a check that reads one of so many parts of the data back, in turn; 0 reads none.
        pub check_parts: u32 = 30,
        /// Files that a drill restores, drawn anew each time, beside the model and the last checkpoint.
        pub drill_files: u32 = 50,
        /// Whether datasets are backed up whole. Without it their manifests are, of which they can be formed again.
        pub datasets: bool = false,
    }
}

/// Who logs in at the API.
#[derive(Debug, Clone)]
pub struct ApiLogin {
    /// The account.
    pub email: String,
    /// Its password.
    pub password: Secret,
}

/// Name of the credential that holds the broker's password.
pub const RABBITMQ_CREDENTIAL: &str = "rabbitmq-password";
/// Name of the credential that holds the API's password.
pub const API_CREDENTIAL: &str = "api-password";
/// Name of the credential that holds the password of backups.
pub const BACKUP_CREDENTIAL: &str = "backup-password";
/// Name of the credential that holds the access key of the S3 server that backups go to.
pub const BACKUP_S3_ACCESS_KEY: &str = "backup-s3-access-key";
/// Name of the credential that holds the secret key that belongs to it.
pub const BACKUP_S3_SECRET_KEY: &str = "backup-s3-secret-key";
/// Name of the credential that is rclone's configuration.
pub const BACKUP_RCLONE_CONFIG: &str = "backup-rclone-config";
/// The broker's password in development, where none is configured (REQUIREMENTS 1).
const DEVELOPMENT_PASSWORD: &str = "changeme";

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// A file that holds a password itself must not be readable by other users.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(read)?);
        let config = Self::parse(&text, path)?;
        let mode = std::fs::metadata(path).map_err(read)?.mode() & 0o777;
        if config.holds_a_secret() && mode & 0o007 != 0 {
            return Err(ConfigError::TooOpen {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(config)
    }

    /// Reads and checks the text of a configuration file; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |detail| ConfigError::Syntax {
            path: path.to_owned(),
            detail,
        };
        let invalid = |problems| ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        };
        let tree: serde_json::Value = yaml::read(text).map_err(syntax)?;
        if tree.is_null() {
            return Ok(Self::default());
        }
        let unknown = keys::unknown(&tree);
        if !unknown.is_empty() {
            return Err(invalid(unknown));
        }
        let config: Self = yaml::read(text).map_err(syntax)?;
        let problems = check::problems(&config);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(invalid(problems))
        }
    }

    /// `data_dir` in the tree.
    pub fn data(&self) -> PathBuf {
        self.root_dir.join(&self.data_dir)
    }

    /// `data_seed_dir` in the tree.
    pub fn data_seed(&self) -> PathBuf {
        self.root_dir.join(&self.data_seed_dir)
    }

    /// `data_deleted_dir` in the tree.
    pub fn data_deleted(&self) -> PathBuf {
        self.root_dir.join(&self.data_deleted_dir)
    }

    /// The broker's password: the credential `rabbitmq-password`, else the file or the text that the configuration
    /// names, else the development default.
    pub fn rabbitmq_password(&self, credentials: &Credentials) -> Result<Secret, SecretError> {
        let RabbitMq {
            password,
            password_file,
            ..
        } = &self.rabbitmq;
        let found = find(
            credentials,
            RABBITMQ_CREDENTIAL,
            password_file.as_deref(),
            password.as_ref(),
        )?;
        Ok(found.unwrap_or_else(|| Secret::new(DEVELOPMENT_PASSWORD.into())))
    }

    /// The API's account: `api.email` with the credential `api-password`, or the file or text configured.
    pub fn api_login(&self, credentials: &Credentials) -> Result<ApiLogin, LoginError> {
        let Api {
            email,
            password,
            password_file,
            ..
        } = &self.api;
        let email = email.clone().ok_or(LoginError::NoEmail)?;
        let found = find(
            credentials,
            API_CREDENTIAL,
            password_file.as_deref(),
            password.as_ref(),
        )?;
        let password = found.ok_or(SecretError::Missing {
            what: "password for the API",
            credential: API_CREDENTIAL,
            key: "api.password_file",
        })?;
        Ok(ApiLogin { email, password })
    }

    /// The password of backups: the credential `backup-password`, else the file that the configuration names.
    pub fn backup_password(&self, credentials: &Credentials) -> Result<Secret, SecretError> {
        let file = self.backup.password_file.as_deref();
        find(credentials, BACKUP_CREDENTIAL, file, None)?.ok_or(SecretError::Missing {
            what: "password for backups",
            credential: BACKUP_CREDENTIAL,
            key: "backup.password_file",
        })
    }

    /// The keys of the S3 server that backups go to, access key first: credentials, else the files configured.
    pub fn backup_s3_keys(&self, credentials: &Credentials) -> Result<[Secret; 2], SecretError> {
        let Backup {
            s3_access_key_file: access,
            s3_secret_key_file: secret,
            ..
        } = &self.backup;
        let access = find(credentials, BACKUP_S3_ACCESS_KEY, access.as_deref(), None)?;
        let secret = find(credentials, BACKUP_S3_SECRET_KEY, secret.as_deref(), None)?;
        let missing = |what, credential, key| SecretError::Missing {
            what,
            credential,
            key,
        };
        Ok([
            access.ok_or(missing(
                "S3 access key",
                BACKUP_S3_ACCESS_KEY,
                "backup.s3_access_key_file",
            ))?,
            secret.ok_or(missing(
                "S3 secret key",
                BACKUP_S3_SECRET_KEY,
                "backup.s3_secret_key_file",
            ))?,
        ])
    }

    /// The same configuration without the passwords that it holds itself.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.api.password = None;
        self.rabbitmq.password = None;
        self
    }

    /// What is wrong with the files that hold secrets, as far as they are there and this user may look at them: where a
    /// configuration is built they are not yet there, and a service gets them as credentials.
    pub fn secret_files(&self) -> Vec<Problem> {
        let named = [
            ("api.password_file", &self.api.password_file),
            ("rabbitmq.password_file", &self.rabbitmq.password_file),
            ("backup.password_file", &self.backup.password_file),
            ("backup.s3_access_key_file", &self.backup.s3_access_key_file),
            ("backup.s3_secret_key_file", &self.backup.s3_secret_key_file),
            ("backup.rclone_config_file", &self.backup.rclone_config_file),
        ];
        named
            .into_iter()
            .filter_map(|(key, file)| Some((key, Secret::from_file(file.as_deref()?).err()?)))
            .filter(|(_, error)| !error.is_out_of_reach())
            .map(|(key, error)| Problem {
                key: key.to_owned(),
                message: error.to_string(),
            })
            .collect()
    }

    fn holds_a_secret(&self) -> bool {
        self.api.password.is_some() || self.rabbitmq.password.is_some()
    }
}

fn find(
    credentials: &Credentials,
    name: &str,
    file: Option<&Path>,
    inline: Option<&Secret>,
) -> Result<Option<Secret>, SecretError> {
    if let Some(secret) = credentials.read(name)? {
        return Ok(Some(secret));
    }
    match file {
        Some(path) => Secret::from_file(path).map(Some),
        None => Ok(inline.cloned()),
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its section: `training.epochs`.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It holds a password and other users may read it.
    #[error("the configuration {} holds a password and is open to every user (mode {mode:04o}); run: chmod 0640 {}", .path.display(), .path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not YAML, or a value of the wrong type.
    #[error("the configuration {} is not usable: {detail}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where (line and column).
        detail: String,
    },
    /// Unknown keys, or values out of range: all of them.
    #[error("the configuration {} has {}:{}", .path.display(), count(.problems), list(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// At least one problem.
        problems: Vec<Problem>,
    },
}

/// Why the API's account is not known.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No account is configured.
    #[error("no account for the API: set `api.email` in config.yaml")]
    NoEmail,
    /// Its password cannot be had.
    #[error(transparent)]
    Password(#[from] SecretError),
}

fn count(problems: &[Problem]) -> String {
    if problems.len() == 1 {
        "a problem".into()
    } else {
        format!("{} problems", problems.len())
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
