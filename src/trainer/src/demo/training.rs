//! The demo's training stage, with its bar.

use super::{Flow, State};
use crate::{
    args::{DemoArgs, PrecisionArg},
    detect::threads,
    service::open_run,
};
use anyhow::{Context, Result};
use cli::console::Task;
use runs::{Begin, Run};
use service::shutdown::Shutdown;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};
use train::{Control, Event, Hyper, Observer, Outcome, Precision, RunOptions, Start, Summary};

/// Memory for decoded images.
const CACHE_BYTES: usize = 2 << 30;

/// What `--model` names; a file's path is as seen from where the command was given.
pub fn start(model: &str) -> Result<Start> {
    Start::named(model, Path::new("")).with_context(|| format!("--model {model}"))
}

/// Trains, or goes on training; the best model becomes the one in service.
pub fn train(
    args: &DemoArgs,
    Start { scale, base }: Start,
    shutdown: &Shutdown,
    state: &mut State,
) -> Result<Flow<Summary>> {
    let dataset = state.dataset.clone().context("the dataset was not formed")?;
    let threads = threads(args.threads);
    let hyper = Hyper {
        epochs: args.epochs,
        batch: args.batch,
        imgsz: args.imgsz,
        seed: args.seed,
        precision: match args.precision {
            PrecisionArg::Auto => Precision::Auto,
            PrecisionArg::Fp32 => Precision::Fp32,
            PrecisionArg::Bf16 => Precision::Bf16,
            PrecisionArg::Fp16 => Precision::Fp16,
        },
        ..Hyper::default()
    };
    let mut run = demo_run(state, dataset.clone(), &args.model, &hyper)?;
    let options = RunOptions {
        base,
        device: args.device,
        threads,
        workers: threads.get(),
        cache_bytes: CACHE_BYTES,
        control: Control {
            stop: shutdown.flag(),
            ..Control::default()
        },
        ..RunOptions::new(
            state.root.join(&run.folder),
            state.root.join(dataset).join("data.yaml"),
            scale,
            hyper,
        )
    };
    let mut bar = Bar::new(args.epochs);
    let outcome = train::run(&options, &mut bar)?;
    match outcome {
        Outcome::Stopped { epoch, batch } => {
            let text = format!("stopped in epoch {epoch} of {} after batch {batch}", args.epochs);
            let seconds = bar.task.done(&text);
            state.note("training", seconds, text)?;
            Ok(Flow::Stopped)
        }
        Outcome::Finished(summary) => {
            let best = &summary.one2many.metrics;
            let text = format!(
                "{} epochs, best {}, mAP50 {:.3}",
                summary.epochs, summary.best.epoch, best.map50
            );
            let seconds = bar.task.done(&text);
            state.note("training", seconds, text)?;
            run.put_into_service(&state.root)?;
            run.end(&state.root, runs::State::Finished)?;
            Ok(Flow::Done(*summary))
        }
    }
}

/// The demo's run: the one begun, or a new one with a folder of its own.
fn demo_run(state: &mut State, dataset: PathBuf, model: &str, hyper: &Hyper) -> Result<Run> {
    if let Some(folder) = &state.run
        && let Some(run) = Run::at(&state.root.join(folder))?
    {
        return Ok(run);
    }
    let begin = Begin {
        dataset_hash: open_run::dataset_hash(&state.root.join(&dataset)),
        dataset,
        model: model.to_owned(),
        hyper: serde_json::to_value(hyper)?,
    };
    let run = Run::begin(&state.root, begin)?;
    state.run = Some(run.folder.clone());
    state.save()?;
    Ok(run)
}

/// Shows a run's events.
struct Bar {
    task: Task,
    epochs: u32,
    batches_per_epoch: u64,
    /// When and at which batch of the run this process began.
    begun: (Instant, u64),
}

impl Bar {
    fn new(epochs: u32) -> Self {
        Self {
            task: Task::new("training", 0),
            epochs,
            batches_per_epoch: 0,
            begun: (Instant::now(), 0),
        }
    }

    /// Time left by the pace so far, validation included.
    fn left(&self, epoch: u32, batch: u64) -> String {
        let done = u64::from(epoch - 1) * self.batches_per_epoch + batch;
        let all = u64::from(self.epochs) * self.batches_per_epoch;
        let pace = self.begun.0.elapsed().as_secs_f64() / done.saturating_sub(self.begun.1).max(1) as f64;
        let seconds = (pace * all.saturating_sub(done) as f64) as u64;
        format!("{}:{:02} left", seconds / 60, seconds % 60)
    }
}

impl Observer for Bar {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Started {
                images,
                validation,
                parameters,
                schedule,
                execution,
                resumed,
            } => {
                self.task.restart(schedule.batches_per_epoch);
                self.batches_per_epoch = schedule.batches_per_epoch;
                let done = resumed.map_or(0, |(epoch, batch)| {
                    u64::from(epoch) * schedule.batches_per_epoch + batch
                });
                self.begun = (Instant::now(), done);
                let precision = match execution.precision {
                    torch::Precision::BFloat16 => "bf16",
                    torch::Precision::Float16 => "fp16",
                    torch::Precision::Float32 => "32 bit",
                };
                self.task.note(&format!(
                    "{images} images, {validation} to validate; {:.2} million parameters, {:?}, {precision}, {execution}",
                    parameters as f64 / 1e6,
                    schedule.optimizer
                ));
                if let Some((epoch, batch)) = resumed {
                    self.task
                        .note(&format!("goes on in epoch {} after batch {batch}", epoch + 1));
                }
            }
            Event::Batch {
                epoch,
                batch,
                loss: [boxes, classes, distances],
            } => self.task.at(batch, || {
                format!(
                    "epoch {epoch}/{}, {}  box {boxes:.3}  cls {classes:.3}  l1 {distances:.3}",
                    self.epochs,
                    self.left(epoch, batch)
                )
            }),
            Event::Epoch { row, best } => self.task.note(&format!(
                "epoch {:>3}/{}  loss {:.3}  mAP50 {:.3}  mAP50-95 {:.3}{}",
                row.epoch,
                self.epochs,
                row.train.iter().sum::<f64>(),
                row.map50,
                row.map50_95,
                if best { "  best" } else { "" }
            )),
            event => {
                if let Some(text) = event.incident() {
                    self.task.note(&text);
                }
            }
        }
    }
}
