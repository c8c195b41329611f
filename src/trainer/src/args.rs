//! The command line of `azaion-train`, as data.

use crate::convert;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use torch::DeviceChoice;

/// What of azaion needs libtorch: training, and everything that asks a model.
#[derive(Debug, Parser)]
#[command(
    name = "azaion-train",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command it is the service: one training run by the configuration, or what is left of it.\n\
                  Exit codes: 0 done, 1 failed, 2 no dataset can be formed, 64 bad usage, 75 interrupted: run it again to go on"
)]
pub struct Cli {
    /// More log lines on stderr (-v: info, -vv: debug).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// The service's configuration.
    #[arg(long, value_name = "FILE", default_value = queue::verbs::CONFIG)]
    pub config: PathBuf,
    /// Train on this dataset, a folder's name in datasets/, instead of forming one.
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Go on with the open run though its dataset or hyper-parameters are not those that it was begun with any more; it then
    /// ends as no other run would.
    #[arg(long)]
    pub resume_anyway: bool,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole way from annotations to a model in one command: stream, queue, tree, dataset, training, report.
    Demo(DemoArgs),
    /// Find objects in images.
    Detect(DetectArgs),
    /// Work with model files.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Take a few training steps on drawn images, to see that training works on this machine.
    Probe(ProbeArgs),
}

/// Work with model files.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Measure a model on a dataset: mAP50, mAP50-95, precision, recall.
    Val(ValArgs),
    /// Write a model in the other format: .pt (PyTorch) or .safetensors.
    Convert(ConvertArgs),
}

/// Arguments of `azaion demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// A folder with images/ and labels/, optionally classes.json, train.txt, val.txt, test.txt [default: drawn scenes].
    #[arg(long, value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Network: yolo26n, s, m, l or x with random weights, or a model file (.pt or .safetensors) to train further.
    #[arg(long, default_value = "yolo26n")]
    pub model: String,
    /// Passes over the training images.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: u32,
    /// Side of the network's input in pixels.
    #[arg(long, default_value_t = 256)]
    pub imgsz: usize,
    /// Images a batch.
    #[arg(long, default_value_t = 16)]
    pub batch: usize,
    /// Every random choice follows from this number.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where everything is written.
    #[arg(long, default_value = "azaion-demo", value_name = "DIR")]
    pub root: PathBuf,
    /// Drawn scenes, when there is no --dataset.
    #[arg(long, default_value_t = 480)]
    pub scenes: usize,
    /// Processor threads for training [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
    /// Where the network is trained: auto (a CUDA device if there is one), cpu, cuda or cuda:N.
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// Number format of the network's forward and backward pass.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub precision: PrecisionArg,
    /// The last line on stdout is one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Number format of the network's forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// On a GPU fp16, on a processor bf16 where it multiplies that natively, else 32 bit.
    Auto,
    /// 32 bit throughout: the same bits on every processor with the same libtorch.
    Fp32,
    /// Convolutions and matrix products in bf16.
    Bf16,
    /// Convolutions and matrix products in fp16, with a scaled loss. Made for GPUs.
    Fp16,
}

/// Which of the two heads answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HeadArg {
    /// One box an object; no suppression needed.
    #[value(name = "one2one")]
    One2one,
    /// Many boxes an object, thinned out by non-maximum suppression.
    #[value(name = "one2many")]
    One2many,
}

/// Arguments of `azaion detect`.
#[derive(Debug, Args)]
pub struct DetectArgs {
    /// Model file (.pt or .safetensors).
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Images, or folders of images.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Side of the network's input in pixels [default: what the model was trained at].
    #[arg(long)]
    pub imgsz: Option<usize>,
    /// Which head answers.
    #[arg(long, value_enum, default_value_t = HeadArg::One2many)]
    pub head: HeadArg,
    /// Least score of a box.
    #[arg(long, default_value_t = 0.25)]
    pub conf: f32,
    /// Boxes of one class that overlap more than this are one (one2many).
    #[arg(long, default_value_t = 0.7)]
    pub iou: f32,
    /// One JSON list on stdout: {"image", "boxes": [[x1, y1, x2, y2, score, class], ...]}.
    #[arg(long)]
    pub json: bool,
    /// Write pictures with the boxes drawn into this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the network runs: auto (a CUDA device if there is one), cpu, cuda or cuda:N.
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// Processor threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}

/// A split to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitArg {
    /// The validation images.
    Val,
    /// The test images.
    Test,
}

/// Arguments of `azaion model val`.
#[derive(Debug, Args)]
pub struct ValArgs {
    /// Model file (.pt or .safetensors).
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// The dataset's data.yaml.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Side of the network's input in pixels [default: what the model was trained at].
    #[arg(long)]
    pub imgsz: Option<usize>,
    /// Images a batch.
    #[arg(long, default_value_t = 16)]
    pub batch: usize,
    /// Which images.
    #[arg(long, value_enum, default_value_t = SplitArg::Val)]
    pub split: SplitArg,
    /// Which head answers.
    #[arg(long, value_enum, default_value_t = HeadArg::One2many)]
    pub head: HeadArg,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// Where the network runs: auto (a CUDA device if there is one), cpu, cuda or cuda:N.
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// Processor threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Arguments of `azaion model convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Model file (.pt or .safetensors): a checkpoint of the reference package, a state dictionary, or one of ours.
    #[arg(value_name = "A")]
    pub from: PathBuf,
    /// The file to write; its ending, .pt or .safetensors, says what.
    #[arg(value_name = "B")]
    pub to: convert::Target,
    /// Replace B if it exists.
    #[arg(long)]
    pub force: bool,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `azaion-train probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Training steps.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub steps: u32,
    /// Where the network is trained: auto (a CUDA device if there is one), cpu, cuda or cuda:N.
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// Processor threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}
