//! `azaion-queue`: the daemon that takes annotations from the stream into the tree.
//!
//! With a verb it is the operator's tool instead: `azaion-queue status` looks, and does not start the daemon.
//!
//! It is ready once the broker has accepted its subscription, feeds systemd's watchdog with progress only, and ends within a
//! batch when it is asked to. What it does is in the library; here it meets configuration, logs and the service manager.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use queue::verbs::{self, Verb};
use queue::{Options, Progress, Status, Summary, connection, megabytes, standing};
use service::notify::{self, Watchdog};
use service::{Config, Credentials, Shutdown, log};
use store::Tree;
use stream::Source;
use stream::file::FileSource;
use stream::rabbit::RabbitSource;
use tracing::level_filters::LevelFilter;

/// Exit code for bad usage.
const BAD_USAGE: u8 = 64;
/// How much longer than until now systemd waits for a start in which something happens: a broker may be away for hours.
const START_EXTENSION: Duration = Duration::from_secs(90);
/// How often a verb that takes long says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// Messages that become durable together, at most.
const BATCH_MESSAGES: usize = 4096;
/// Batches in memory: received, prepared, synced, waiting, written, and on their way.
const BATCHES: usize = 6;

/// Takes annotations from a RabbitMQ Stream into the labelled tree.
#[derive(Debug, Parser)]
#[command(
    name = "azaion-queue",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 stopped when asked to, or done, 1 failed, 2 found problems, 64 bad usage, 75 interrupted"
)]
struct Cli {
    /// What to look at or to put right; without a verb the daemon starts.
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/azaion/config.yaml")]
    config: PathBuf,
    /// Read this stream file, and wait at its end for more, instead of asking the broker.
    #[arg(long, value_name = "FILE")]
    stream: Option<PathBuf>,
    /// More log lines (-v: debug, -vv: trace).
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Best effort: there is no one to tell that the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() {
                BAD_USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if let Some(verb) = &cli.verb {
        return ask(verb);
    }
    if let Err(error) = log::init("queue", log::Format::of_a_daemon(), log::level(cli.verbose)) {
        eprintln!("azaion-queue: {error}");
        return ExitCode::FAILURE;
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "queue ended");
            notify::status(&format!("ended: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what the operator asks: the answer on stdout, everything else on stderr.
fn ask(verb: &Verb) -> ExitCode {
    let asked = || -> anyhow::Result<ExitCode> {
        log::init_human(LevelFilter::WARN, |line| eprint!("{line}"))?;
        let shutdown = Shutdown::install().context("cannot listen to signals")?;
        let mut told = Instant::now();
        let answer = verbs::run(verb, &shutdown.flag(), |done, all| {
            if told.elapsed() >= SAY_EVERY {
                eprintln!("{done} of {all}");
                told = Instant::now();
            }
        })?;
        // A reader that has gone away, as `head` does, wants no more; `print!` would panic.
        let _ = std::io::stdout().lock().write_all(answer.text.as_bytes());
        Ok(answer.code.into())
    };
    asked().unwrap_or_else(|error| {
        eprintln!("azaion-queue: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let shutdown = Shutdown::install().context("cannot listen to signals")?;
    let config = Config::load(&cli.config)?;
    allow_open_files();
    let tree = Tree::open_at(verbs::layout(&config))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let summary = runtime.block_on(async {
        match &cli.stream {
            Some(path) => {
                let mut source = FileSource::open(path, tree.offset(), true)?;
                tracing::info!(root = %config.root_dir.display(), stream = %path.display(), offset = tree.offset(), "queue started");
                serve(&mut source, tree, &config, &shutdown).await
            }
            None => {
                let mut source = RabbitSource::start(connection(&config, &Credentials::from_systemd(), tree.offset()));
                let broker = &config.rabbitmq;
                tracing::info!(
                    root = %config.root_dir.display(),
                    host = broker.host,
                    port = broker.port,
                    stream = broker.queue_name,
                    offset = tree.offset(),
                    "queue started"
                );
                let done = serve(&mut source, tree, &config, &shutdown).await;
                source.close().await;
                done
            }
        }
    })?;
    let Progress {
        counters,
        next_offset,
        ..
    } = summary.progress;
    tracing::info!(
        offset = next_offset,
        processed = counters.processed,
        failed = counters.failed,
        "queue stopped"
    );
    Ok(())
}

/// Files of the next batch are open until they get their names; by default a process may have a thousand. What is not
/// granted makes the queue slower and nothing else.
fn allow_open_files() {
    let granted = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        // Two files a message, in the batches that are prepared, synced, waiting and written.
        let wanted = (2 * 4 * BATCH_MESSAGES + 1024) as u64;
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard).max(soft), hard)
    });
    if let Err(error) = granted {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

/// Runs the queue and tells the service manager about it.
async fn serve(
    source: &mut impl Source,
    tree: Tree,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Summary> {
    let options = Options {
        batch: stream::Limits {
            max_messages: BATCH_MESSAGES,
            max_bytes: megabytes(config.rabbitmq.buffer_mb) / BATCHES,
        },
        ..Options::default()
    };
    let mut manager = Manager::new(&config.root_dir);
    let flag = shutdown.flag();
    let done = queue::run(source, tree, &options, &flag, |progress| manager.hear(progress)).await;
    notify::stopping();
    Ok(done?)
}

/// What the service manager is told.
struct Manager {
    status: Status,
    watchdog: Watchdog,
    standing: standing::Writer,
    ready: bool,
    told: Option<Instant>,
}

impl Manager {
    fn new(root: &Path) -> Self {
        Self {
            status: Status::new(),
            watchdog: Watchdog::from_systemd(),
            standing: standing::Writer::new(root),
            ready: false,
            told: None,
        }
    }

    fn hear(&mut self, progress: &Progress) {
        let now = Instant::now();
        if self.status.advance(progress, now) {
            self.watchdog.progress();
            if !self.ready {
                notify::extend_timeout(START_EXTENSION);
            }
        }
        let ready = !self.ready && progress.link.subscribed;
        if ready {
            self.ready = true;
            notify::ready();
            tracing::info!(
                offset = progress.next_offset,
                lag = progress.lag(),
                "queue is ready"
            );
        }
        // A line a second says as much as one a batch.
        if ready || self.told.is_none_or(|told| now - told >= Duration::from_secs(1)) {
            notify::status(&self.status.line(progress));
            self.told = Some(now);
        }
        self.standing.hear(progress, self.status.rate(), now);
    }
}
