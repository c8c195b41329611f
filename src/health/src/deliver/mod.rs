//! Tells what is to be told (ALR-9): by e-mail, to a webhook, and to whoever notices when nothing is heard any more.
//!
//! What is told goes into each channel's spool first, a file in `status/spool/`, and stays there until that channel took it: a
//! network, a mail server or a reboot in the way loses nothing. All that waits for a channel goes out as one message. A
//! channel that failed is tried again after five minutes, then ever more seldom, once an hour at last. Nothing here can hold
//! a pass up for longer than [`LIMIT`]. A channel that took a message in its last moment, unseen, gets it twice: told twice
//! is better than not at all.

mod mail;
mod ping;
mod spool;
mod webhook;
pub mod words;

use crate::{Reading, alerts::Notice, catalog};
use jiff::Timestamp;
use service::{Config, Credentials};
use spool::Spool;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long all channels together may take.
pub const LIMIT: Duration = Duration::from_secs(8);
/// The spools, relative to the root.
const SPOOL: &str = "status/spool";

/// A way to tell somebody.
trait Channel: Send {
    /// Tells all of it, as one message.
    fn tell(&self, notices: &[Notice], words: &Words) -> Result<(), String>;
}

/// What every message says beside the notices.
#[derive(Clone, Debug)]
pub struct Words {
    /// Name of the machine.
    pub host: String,
    /// Where the runbook is.
    pub runbook: String,
}

/// What became of a channel in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name.
    pub channel: &'static str,
    /// How many notices it took, or why it took none.
    pub told: Result<usize, String>,
    /// How many still wait.
    pub waiting: usize,
}

/// All channels of a configuration.
pub struct Deliverer {
    channels: BTreeMap<&'static str, Result<Box<dyn Channel>, String>>,
    ping: Option<Result<ping::Ping, String>>,
    folder: PathBuf,
    words: Words,
}

impl Deliverer {
    /// Those that are configured. One that cannot be used, for its password is missing, fails when it is to tell something.
    #[must_use]
    pub fn of(config: &Config, credentials: &Credentials) -> Self {
        let mut channels: BTreeMap<_, Result<Box<dyn Channel>, String>> = BTreeMap::new();
        if config.alerts.smtp_host.is_some() {
            channels.insert(
                "mail",
                mail::Mail::of(config, credentials).map(|mail| Box::new(mail) as _),
            );
        }
        match webhook::Webhook::of(config, credentials) {
            Ok(None) => {}
            Ok(Some(webhook)) => drop(channels.insert("webhook", Ok(Box::new(webhook)))),
            Err(error) => drop(channels.insert("webhook", Err(error))),
        }
        Self {
            channels,
            ping: ping::Ping::of(config, credentials).transpose(),
            folder: config.root_dir.join(SPOOL),
            words: Words {
                host: host(),
                runbook: config.alerts.runbook.clone(),
            },
        }
    }

    /// Names of the channels.
    pub fn channels(&self) -> impl Iterator<Item = &'static str> {
        self.channels.keys().copied()
    }

    /// Puts what is to be told into the spools.
    ///
    /// # Errors
    /// One cannot be written. What could be is told all the same by [`Deliverer::deliver`], but a restart would not know of it.
    pub fn keep(&self, notices: &[Notice]) -> Result<(), String> {
        for name in self.channels.keys().filter(|_| !notices.is_empty()) {
            let mut spool = Spool::read(&self.folder, name);
            spool.add(notices);
            spool
                .write(&self.folder, name)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Tells all that is due: what waits in the spools, and `unkept`, which could not be put there.
    #[must_use]
    pub fn deliver(self, unkept: &[Notice], now: Timestamp) -> Vec<Outcome> {
        let deadline = Instant::now() + LIMIT;
        let (folder, words) = (self.folder, self.words);
        let ping = self
            .ping
            .map(|ping| aside(move || ping.and_then(|ping| ping.send())));
        let mut asked = Vec::new();
        for (name, channel) in self.channels {
            let mut spool = Spool::read(&folder, name);
            spool.add(unkept);
            if !spool.is_due(now) {
                asked.push((name, spool, None));
                continue;
            }
            let (notices, words) = (spool.waiting(), words.clone());
            let answer = aside(move || channel.and_then(|channel| channel.tell(&notices, &words)));
            asked.push((name, spool, Some(answer)));
        }
        let mut outcomes: Vec<_> = asked
            .into_iter()
            .map(|(name, mut spool, answer)| {
                let all = spool.waiting().len();
                let told = match answer.map(|answer| wait(&answer, deadline)) {
                    None => Ok(0),
                    Some(Ok(())) => {
                        spool.took();
                        Ok(all)
                    }
                    Some(Err(why)) => {
                        spool.refused(&why, now);
                        Err(why)
                    }
                };
                if (told != Ok(0) || !unkept.is_empty())
                    && let Err(error) = spool.write(&folder, name)
                {
                    tracing::warn!(%error, channel = name, "what waits to be told cannot be kept");
                }
                Outcome {
                    channel: name,
                    told,
                    waiting: spool.waiting().len(),
                }
            })
            .collect();
        if let Some(answer) = ping {
            outcomes.push(Outcome {
                channel: "ping",
                told: wait(&answer, deadline).map(|()| 0),
                waiting: 0,
            });
        }
        outcomes
    }

    /// Tells a notice now, past the spools.
    #[must_use]
    pub fn test(self, notice: &Notice) -> Vec<Outcome> {
        let deadline = Instant::now() + LIMIT;
        let words = self.words;
        let asked: Vec<_> = self
            .channels
            .into_iter()
            .map(|(name, channel)| {
                let (notice, words) = (notice.clone(), words.clone());
                let answer = aside(move || channel.and_then(|channel| channel.tell(&[notice], &words)));
                (name, answer)
            })
            .collect();
        let told = |(channel, answer)| Outcome {
            channel,
            told: wait(&answer, deadline).map(|()| 1),
            waiting: 0,
        };
        asked.into_iter().map(told).collect()
    }
}

/// What waits in the spools of a tree, as readings: something that waits for half an hour is an alert of its own.
#[must_use]
pub fn waiting(root: &Path, channels: impl Iterator<Item = &'static str>) -> Vec<Reading> {
    let folder = root.join(SPOOL);
    channels
        .map(|name| {
            let spool = Spool::read(&folder, name);
            let reading = match spool.trouble() {
                Some(why) => Reading::warning(
                    "delivery",
                    name,
                    format!("{} alerts wait: {why}", spool.waiting().len()),
                ),
                None => Reading::ok("delivery", name, "took everything"),
            };
            reading.about(catalog::UNDELIVERED)
        })
        .collect()
}

/// Does it in a thread of its own.
fn aside(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> mpsc::Receiver<Result<(), String>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more where it took too long.
        let _ = sender.send(work());
    });
    receiver
}

fn wait(answer: &mpsc::Receiver<Result<(), String>>, deadline: Instant) -> Result<(), String> {
    let left = deadline.saturating_duration_since(Instant::now());
    answer
        .recv_timeout(left)
        .unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "azaion".to_owned(), |name| name.trim().to_owned())
}
