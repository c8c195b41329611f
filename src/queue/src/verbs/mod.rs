//! What an operator asks of the queue: the verbs of `azaion queue` and `azaion-queue`.
//!
//! Those that look (`status`, `quarantine list`, `quarantine show`, `verify`, `history`) take no lock and run beside the
//! daemon; those that change the tree (`quarantine replay`, `rebuild-ledger`) need it stopped, and say who holds it. Each
//! is a function with a typed result, which is its text ([`std::fmt::Display`]) and its JSON at once; [`run`] is all of
//! them behind the command line. No result holds an e-mail address or a byte of an image.

mod error;
mod history;
mod quarantine;
mod replay;
mod status;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use annotation::{Limits, Name};
use clap::{Args, Subcommand};
use serde::Serialize;
use service::Config;
use store::{Depth, Paths};

pub use error::Error;
pub use history::{History, Line, history};
pub use quarantine::{
    Entry, Listed, Look, Replayed, Selection, Shown, Stayed, Used, list, replay_quarantined, save_message,
    show,
};
pub use replay::{SecondTree, Sown};
pub use status::{LastEvent, Standing, standing};
pub use verify::{Difference, Rebuilt, Verified, rebuild_ledger, verify};

use replay::{from_broker, from_file};

/// Where the configuration is, unless another place is named.
pub const CONFIG: &str = "/etc/azaion/config.yaml";

/// Done.
const DONE: u8 = 0;
/// Done, and something was found that somebody has to see to.
const PROBLEMS: u8 = 2;
/// Interrupted: run it again to go on.
const AGAIN: u8 = 75;

/// What is asked.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Where the queue is: offset, annotations, quarantine, last event, who writes, space left.
    Status(Asked),
    /// The messages that could not be used.
    #[command(subcommand)]
    Quarantine(QuarantineVerb),
    /// Compare the tree with its ledger, every byte; exit code 2 if they differ.
    Verify(VerifyArgs),
    /// Make a new ledger from what the tree holds; the old file stays beside it.
    RebuildLedger(Asked),
    /// Everything that happened to one annotation.
    History(HistoryArgs),
    /// Read the stream once more, into a second tree, for comparison.
    Replay(ReplayArgs),
}

/// The messages that could not be used.
#[derive(Debug, Clone, Subcommand)]
pub enum QuarantineVerb {
    /// All of them, by offset.
    List(ListArgs),
    /// What is known of one.
    Show(ShowArgs),
    /// Process messages again, as if they came now: what can be used leaves the quarantine; exit code 2 if one stays.
    ///
    /// An old edit replaces a newer one: look at the annotation's history first.
    Replay(ReplayQuarantinedArgs),
}

/// Which tree, and in what form the answer is wanted.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// The configuration, which says where the tree is.
    #[arg(long, value_name = "FILE", default_value = CONFIG, conflicts_with = "root")]
    pub config: PathBuf,
    /// The root of a tree with the default layout; no configuration is needed then.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// One JSON value on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Which annotation lives where, without reading the files.
    #[arg(long)]
    pub names_only: bool,
    /// Which tree.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// The annotation.
    pub name: Name,
    /// Which tree.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `quarantine list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only those refused for this kind of reason.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Which tree.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `quarantine show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The message's offset.
    pub offset: u64,
    /// Write the message as it came into this file, which must not exist. It holds personal data.
    #[arg(long, value_name = "FILE")]
    pub raw: Option<PathBuf>,
    /// Which tree.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `quarantine replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayQuarantinedArgs {
    /// The messages' offsets.
    #[arg(value_name = "OFFSET", required_unless_present = "all")]
    pub offsets: Vec<u64>,
    /// All messages in quarantine.
    #[arg(long, conflicts_with = "offsets")]
    pub all: bool,
    /// Which tree.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The offset to begin at.
    #[arg(long, value_name = "N")]
    pub from: u64,
    /// The second tree: a new folder, or the one where a former replay from the same offset stopped.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Read this stream file, to its end, instead of asking the broker of the configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub stream: Option<PathBuf>,
    /// The configuration, which says where the broker is, and where the tree is: what that has read is read again.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// What a verb came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For stdout: text for people, or one JSON value. Ends with a line break.
    pub text: String,
    /// The process's exit code: 0, 2 where something was found that somebody has to see to, 75 where it was interrupted.
    pub code: u8,
}

impl Answer {
    fn new(told: &(impl Serialize + fmt::Display), json: bool, code: u8) -> Result<Self, Error> {
        let mut text = if json {
            serde_json::to_string(told)?
        } else {
            told.to_string()
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(Self { text, code })
    }
}

/// Does what is asked. `progress` hears how much of how much is done; `shutdown` ends what takes long at a sound place.
///
/// It may start a runtime of its own: it must not be called from within one.
pub fn run(verb: &Verb, shutdown: &Arc<AtomicBool>, progress: impl FnMut(u64, u64)) -> Result<Answer, Error> {
    match verb {
        Verb::Status(asked) => Answer::new(&standing(&asked.paths()?)?, asked.json, DONE),
        Verb::Quarantine(verb) => run_quarantine(verb, progress),
        Verb::Verify(VerifyArgs { names_only, asked }) => {
            let depth = if *names_only { Depth::Names } else { Depth::Bytes };
            let verified = verify(&asked.paths()?, depth, progress)?;
            let code = if verified.is_clean() { DONE } else { PROBLEMS };
            Answer::new(&verified, asked.json, code)
        }
        Verb::RebuildLedger(asked) => {
            Answer::new(&rebuild_ledger(&asked.paths()?, progress)?, asked.json, DONE)
        }
        Verb::History(HistoryArgs { name, asked }) => {
            Answer::new(&history(&asked.paths()?, name)?, asked.json, DONE)
        }
        Verb::Replay(args) => {
            let sown = match &args.stream {
                Some(stream) => from_file(args, stream, shutdown, progress)?,
                None => from_broker(args, &Config::load(&args.config)?, shutdown, progress)?,
            };
            let code = if sown.stopped { AGAIN } else { DONE };
            Answer::new(&sown, args.json, code)
        }
    }
}

fn run_quarantine(verb: &QuarantineVerb, progress: impl FnMut(u64, u64)) -> Result<Answer, Error> {
    match verb {
        QuarantineVerb::List(ListArgs { kind, asked }) => {
            Answer::new(&list(&asked.paths()?, kind.as_deref())?, asked.json, DONE)
        }
        QuarantineVerb::Show(ShowArgs { offset, raw, asked }) => {
            let paths = asked.paths()?;
            let shown = show(&paths, *offset, &Limits::default())?;
            if let Some(file) = raw {
                save_message(&paths, *offset, file)?;
            }
            Answer::new(&shown, asked.json, DONE)
        }
        QuarantineVerb::Replay(ReplayQuarantinedArgs { offsets, all, asked }) => {
            let selection = if *all {
                Selection::All
            } else {
                Selection::Offsets(offsets.clone())
            };
            let replayed = replay_quarantined(&asked.paths()?, &selection, &Limits::default(), progress)?;
            let code = if replayed.stayed.is_empty() {
                DONE
            } else {
                PROBLEMS
            };
            Answer::new(&replayed, asked.json, code)
        }
    }
}

impl Asked {
    /// Where the tree is, which must exist.
    fn paths(&self) -> Result<Paths, Error> {
        let paths = match &self.root {
            Some(root) => Paths::under(root),
            None => layout(&Config::load(&self.config)?),
        };
        if !paths.root().is_dir() {
            let path = paths.root().to_owned();
            return Err(store::Error::NoRoot { path }.into());
        }
        Ok(paths)
    }
}

/// Where the tree of a configuration lies.
#[must_use]
pub fn layout(config: &Config) -> Paths {
    let Config {
        root_dir,
        data_dir,
        data_seed_dir,
        data_deleted_dir,
        ..
    } = config;
    Paths::with_folders(root_dir, data_dir, data_seed_dir, data_deleted_dir)
}

/// A point in time for people and programs: `2026-11-26T20:28:31Z`.
fn utc(secs: u64) -> String {
    let time = i64::try_from(secs)
        .ok()
        .and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    time.map_or_else(|| format!("{secs} s after 1970"), |time| time.to_string())
}

fn plural(count: usize, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

fn io<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> Error + 'p {
    move |source| Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
