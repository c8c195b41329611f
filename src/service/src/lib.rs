//! What every daemon of the suite needs and none should write twice.
//!
//! | module | what it gives |
//! |---|---|
//! | [`child`] | another program asked something, for so long and no longer |
//! | [`config`] | `config.yaml` as types, with every problem named at once |
//! | [`secret`] | secrets from systemd credentials or files, redacted and wiped |
//! | [`log`] | structured logs: journald, JSON lines, or a line for a person |
//! | [`shutdown`] | SIGINT and SIGTERM as a flag; a second signal ends at once |
//! | [`metrics`] | metrics as a text file for Prometheus |
//! | [`notify`] | readiness, status and watchdog towards systemd |
//! | [`program`] | where the suite's other programs are |
//!
//! The environment is not configuration (CFG-2). The only variables read here are systemd's own protocol:
//! `CREDENTIALS_DIRECTORY`, `JOURNAL_STREAM`, `NOTIFY_SOCKET`, `WATCHDOG_USEC`; `NO_COLOR` for terminals, and `PATH`.

pub mod child;
pub mod config;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod program;
pub mod secret;
pub mod shutdown;

pub use config::{Config, ConfigError};
pub use secret::{Credentials, Secret, SecretError};
pub use shutdown::Shutdown;
