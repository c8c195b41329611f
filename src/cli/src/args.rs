//! The command line of `azaion`, as data.

use crate::alert::Unit;
use crate::{check, deploy, import, runs, top, train};
use clap::{Args, Parser, Subcommand};
use service::config::Profile;
use std::ffi::OsString;
use std::path::PathBuf;

/// Takes a detector from annotations to production.
#[derive(Debug, Parser)]
#[command(
    name = "azaion",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 found problems, 64 bad usage, 75 interrupted: run it again to go on"
)]
pub struct Cli {
    /// More log lines on stderr (-v: info, -vv: debug).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole way from annotations to a model in one command: stream, queue, tree, dataset, training, report.
    #[command(disable_help_flag = true)]
    Demo(Passed),
    /// Find objects in images.
    #[command(disable_help_flag = true)]
    Detect(Passed),
    /// Work with model files: val measures one on a dataset, convert writes it in the other format.
    #[command(disable_help_flag = true)]
    Model(Passed),
    /// Back the tree up and bring it back: run, list, check, drill, restore.
    #[command(disable_help_flag = true)]
    Backup(Passed),
    /// Look after everything once: checks, alerts, status page. Exit code 2 where something was found.
    #[command(disable_help_flag = true)]
    Health(Passed),
    /// What the last look found, as text or JSON.
    #[command(disable_help_flag = true)]
    Status(Passed),
    /// Alerts: what stands, whether messages arrive, what is not to be told for a while.
    #[command(disable_help_flag = true)]
    Alerts(Passed),
    /// Turn existing datasets into annotation messages.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Look at the queue and its tree, and put right what went wrong.
    #[command(subcommand)]
    Queue(queue::verbs::Verb),
    /// Form datasets, look for what is wrong with them, and compare them.
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Say what a model was made of: run, code, dataset, offsets of its labels; exit code 2 where the trace is broken.
    Why(WhyArgs),
    /// Tell an image's history: what happened to it, where it is, which datasets and runs it was in.
    Blame(BlameArgs),
    /// Make, check and explain the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at everything that a start needs, and change nothing: exit code 2 where something has to be seen to.
    Check(CheckArgs),
    /// Write down that a unit failed, with its last words: for the alert unit.
    Alert(AlertArgs),
    /// Look at training runs: list, show, compare two, find a report.
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Begin a training run, ask it to save itself or to end, see where it stands.
    #[command(subcommand)]
    Train(train::TrainCommand),
    /// Watch run, GPU, queue, disk and alerts on one screen.
    Top(top::TopArgs),
    /// Switch to another version, see whether it works, and go back by itself where it does not.
    #[command(subcommand)]
    Deploy(DeployCommand),
}

/// Switch to another version, see whether it works, and go back by itself where it does not.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Exit codes: 0 confirmed, 1 failed, 2 problems found before anything was changed, 3 rolled back, 4 rollback failed \
                  too, 64 bad usage, 75 another deploy is under way"
)]
pub enum DeployCommand {
    /// Look whether a switch may begin, and change nothing.
    Preflight(PreflightArgs),
    /// See whether the queue works: active, no errors, offset advancing or nothing waiting, disk adequate.
    Confirm(ConfirmArgs),
    /// Switch, confirm, and roll back by itself what does not confirm.
    Switch(SwitchArgs),
    /// Go back to the generation before, and confirm it.
    Rollback(RollbackArgs),
}

/// What every part of a deploy needs to know.
#[derive(Debug, Args)]
pub struct DeployPlaces {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = queue::verbs::CONFIG)]
    pub config: PathBuf,
    /// Where the lock and an unfinished deploy are noted.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/azaion-deploy")]
    pub state: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `azaion deploy preflight`.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// The new version, as a path: its own tool does the checks.
    #[arg(value_name = "GENERATION")]
    pub generation: Option<PathBuf>,
    /// The profile that it is to be installed in.
    #[arg(long, value_name = "LINK", default_value = deploy::SUITE_PROFILE)]
    pub profile: PathBuf,
    /// The folder in which systemd finds the units.
    #[arg(long, value_name = "DIR", default_value = deploy::UNITS)]
    pub units: PathBuf,
    /// Places.
    #[command(flatten)]
    pub places: DeployPlaces,
}

/// Arguments of `azaion deploy confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// How long it may take until everything is right.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub within: deploy::Span,
    /// Places.
    #[command(flatten)]
    pub places: DeployPlaces,
}

/// Arguments of `azaion deploy switch`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["generation", "command"]))]
pub struct SwitchArgs {
    /// The new version, as a path: the suite, or a whole NixOS.
    #[arg(value_name = "GENERATION")]
    pub generation: Option<PathBuf>,
    /// A command that installs and activates the new version, such as nixos-rebuild switch.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    /// The profile [default: /nix/var/nix/profiles/azaion for the suite, .../system for a NixOS and for a command].
    #[arg(long, value_name = "LINK")]
    pub profile: Option<PathBuf>,
    /// How, and within what.
    #[command(flatten)]
    pub way: DeployWay,
}

/// Arguments of `azaion deploy rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The number of the generation to go to [default: the last one that was confirmed, else the one before].
    #[arg(long, value_name = "NUMBER")]
    pub to: Option<u64>,
    /// The profile.
    #[arg(long, value_name = "LINK", default_value = deploy::SUITE_PROFILE)]
    pub profile: PathBuf,
    /// How, and within what.
    #[command(flatten)]
    pub way: DeployWay,
}

/// How a switch is done, and within what.
#[derive(Debug, Args)]
pub struct DeployWay {
    /// How long it may take until everything is right.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub within: deploy::Span,
    /// How soon the queue has to be active again: it may be down for less than 30 s, a rollback included.
    #[arg(long, value_name = "TIME", default_value = "20s")]
    pub ready_within: deploy::Span,
    /// The folder in which systemd finds the units.
    #[arg(long, value_name = "DIR", default_value = deploy::UNITS)]
    pub units: PathBuf,
    /// Places.
    #[command(flatten)]
    pub places: DeployPlaces,
}

/// Form datasets, look for what is wrong with them, and compare them.
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Form a dataset of the validated annotations. What was in an earlier one stays in its split.
    Form(DatasetFormArgs),
    /// Look for what is invalid and what smells, and change nothing; exit code 2 where something is found.
    Lint(DatasetLintArgs),
    /// Count images, boxes, classes and sizes.
    Stats(DatasetNamedArgs),
    /// Say what a dataset's manifest says, as a whole or of one image.
    Show(DatasetShowArgs),
    /// Say what was added, removed, relabelled and moved from one dataset to another.
    Diff(DatasetDiffArgs),
}

/// Arguments of `azaion dataset form`.
#[derive(Debug, Args)]
pub struct DatasetFormArgs {
    /// Decides where new images go.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Divide everything anew, whatever earlier datasets say: what was judged by may then be learned from, and models of
    /// before and after cannot be compared.
    #[arg(long)]
    pub forget: bool,
    /// Which tree.
    #[command(flatten)]
    pub asked: queue::verbs::Asked,
}

/// Arguments of `azaion dataset lint`.
#[derive(Debug, Args)]
pub struct DatasetLintArgs {
    /// A dataset's name in the tree, or its folder [default: the validated annotations of the tree].
    #[arg(value_name = "DATASET")]
    pub dataset: Option<String>,
    /// Which tree.
    #[command(flatten)]
    pub asked: queue::verbs::Asked,
}

/// Arguments of `azaion dataset stats`.
#[derive(Debug, Args)]
pub struct DatasetNamedArgs {
    /// A dataset's name in the tree, or its folder [default: the newest].
    #[arg(value_name = "DATASET")]
    pub dataset: Option<String>,
    /// Which tree.
    #[command(flatten)]
    pub asked: queue::verbs::Asked,
}

/// Arguments of `azaion dataset show`.
#[derive(Debug, Args)]
pub struct DatasetShowArgs {
    /// A dataset's name in the tree, or its folder [default: the newest].
    #[arg(value_name = "DATASET")]
    pub dataset: Option<String>,
    /// Say what is known of this image.
    #[arg(long, value_name = "NAME")]
    pub item: Option<annotation::Name>,
    /// Which tree.
    #[command(flatten)]
    pub asked: queue::verbs::Asked,
}

/// Arguments of `azaion dataset diff`.
#[derive(Debug, Args)]
pub struct DatasetDiffArgs {
    /// The first dataset, by its name in the tree or its folder.
    pub a: String,
    /// The second one.
    pub b: String,
    /// Which tree.
    #[command(flatten)]
    pub asked: queue::verbs::Asked,
}

/// Arguments of `azaion why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// A model's file, a run's folder, or a run's name in the tree [default: the model in service].
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,
    /// Which tree.
    #[command(flatten)]
    pub asked: queue::verbs::Asked,
}

/// Arguments of `azaion blame`.
#[derive(Debug, Args)]
pub struct BlameArgs {
    /// An annotation's name, or the path of its image or label.
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Which tree.
    #[command(flatten)]
    pub asked: queue::verbs::Asked,
}

/// Make, check and explain the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Turn the variables of a .env file into config.yaml, all or nothing; exit code 2 where they cannot be used.
    Render(RenderArgs),
    /// Say everything that is wrong with a configuration; exit code 2 if there is something.
    Check(ConfigCheckArgs),
    /// Print a commented configuration with every default.
    Example,
}

/// Arguments of `azaion config render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The variables. In production it must belong to root, with mode 640 or stricter.
    #[arg(long, value_name = "FILE")]
    pub env_file: PathBuf,
    /// development: defaults stand in for what is missing; production: every variable is required.
    #[arg(long, value_name = "development|production", default_value_t = Profile::Development)]
    pub profile: Profile,
    /// The configuration to write, with mode 0640; the owner and group of one that is there are kept.
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    pub output: PathBuf,
    /// Write the passwords into files of this folder instead, mode 0600, named as the services' credentials [default in
    /// production: secrets/ beside the configuration].
    #[arg(long, value_name = "DIR")]
    pub secrets: Option<PathBuf>,
}

/// Arguments of `azaion config check`.
#[derive(Debug, Args)]
pub struct ConfigCheckArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = queue::verbs::CONFIG)]
    pub config: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `azaion check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = queue::verbs::CONFIG)]
    pub config: PathBuf,
    /// Leave a check out; may be given again for more.
    #[arg(long, value_name = "CHECK", value_parser = check::NAMES)]
    pub skip: Vec<String>,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `azaion alert`.
#[derive(Debug, Args)]
pub struct AlertArgs {
    /// The unit that failed.
    #[arg(value_name = "UNIT")]
    pub unit: Unit,
    /// The configuration, which says where the tree is.
    #[arg(long, value_name = "FILE", default_value = queue::verbs::CONFIG, conflicts_with = "root")]
    pub config: PathBuf,
    /// The root of the tree; no configuration is needed then.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// What is handed on to the program behind a verb as it is, `--help` included.
#[derive(Debug, Args)]
pub struct Passed {
    /// See --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// Turn existing datasets into annotation messages.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// A folder with images/ and labels/ (one text file an image: class cx cy w h).
    Yolo(ImportYoloArgs),
}

/// Arguments of `azaion import yolo`.
#[derive(Debug, Args)]
pub struct ImportYoloArgs {
    /// A folder with images/ and labels/.
    pub dir: PathBuf,
    /// The stream file to append to, or a stream of a broker: rabbitmq-stream://USER@HOST[:PORT]/STREAM, with TLS
    /// rabbitmq-stream+tls://...
    #[arg(long, value_name = "FILE|ADDRESS")]
    pub to: import::Target,
    /// A file that holds the broker's password.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// A configuration that holds the broker's account: user, password, virtual host, certificates.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Certificates (PEM) that vouch for the broker, with TLS.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Make the broker's stream if it does not exist. It keeps everything.
    #[arg(long)]
    pub create: bool,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}
