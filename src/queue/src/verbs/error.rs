//! Why a verb could not be done.

use std::io;
use std::path::PathBuf;

/// Why a verb could not be done, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("{0}; with --root DIR no configuration is needed")]
    Config(#[from] service::ConfigError),
    /// The tree cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] stream::Error),
    /// The stream could not be read into the second tree.
    #[error(transparent)]
    Run(#[from] crate::Error),
    /// There is no message with that offset in quarantine.
    #[error(
        "no message with offset {offset} is in quarantine; `azaion queue quarantine list` tells which are"
    )]
    NotQuarantined {
        /// The offset asked for.
        offset: u64,
    },
    /// Several messages have that offset: the stream was made anew.
    #[error("{count} messages have offset {offset}: copy the one that is meant from {}", .folder.display())]
    Ambiguous {
        /// The offset asked for.
        offset: u64,
        /// How many there are.
        count: usize,
        /// The quarantine.
        folder: PathBuf,
    },
    /// The folder for a second tree holds something else.
    #[error("{} holds something else than a replay's tree; name a new folder", .path.display())]
    NotAReplay {
        /// The folder.
        path: PathBuf,
    },
    /// The second tree was begun elsewhere.
    #[error("{} was begun at offset {begun}, not {from}; name a new folder, or give --from {begun} to go on with it", .path.display())]
    BegunElsewhere {
        /// The folder.
        path: PathBuf,
        /// Where it begins.
        begun: u64,
        /// Where it was to begin.
        from: u64,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A result is no JSON.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
}
