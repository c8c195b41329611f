//! The demo's training stage, with its bar.

use super::{Flow, State};
use crate::{
    args::{DemoArgs, PrecisionArg},
    bar::Bar,
    detect::threads,
    service::open_run,
    watched,
};
use anyhow::{Context, Result};
use runs::{Begin, Run};
use service::shutdown::Shutdown;
use std::path::{Path, PathBuf};
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
    let mut told = Told {
        bar: Bar::default(),
        epochs: args.epochs,
    };
    let outcome = watched::train(&state.root, &run, &options, &mut [&mut told])?;
    match outcome {
        Outcome::Stopped { epoch, batch } => {
            let text = format!("stopped in epoch {epoch} of {} after batch {batch}", args.epochs);
            let seconds = told.bar.done(&text);
            state.note("training", seconds, text)?;
            Ok(Flow::Stopped)
        }
        Outcome::Finished(summary) => {
            let best = &summary.one2many.metrics;
            let text = format!(
                "{} epochs, best {}, mAP50 {:.3}",
                summary.epochs, summary.best.epoch, best.map50
            );
            let seconds = told.bar.done(&text);
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

/// Shows a run's events: the bar, and lines that stay.
struct Told {
    bar: Bar,
    epochs: u32,
}

impl Observer for Told {
    fn on(&mut self, event: Event<'_>) {
        self.bar.on(event.clone());
        let task = self.bar.task();
        match event {
            Event::Started {
                images,
                validation,
                parameters,
                schedule,
                execution,
                resumed,
            } => {
                let precision = match execution.precision {
                    torch::Precision::BFloat16 => "bf16",
                    torch::Precision::Float16 => "fp16",
                    torch::Precision::Float32 => "32 bit",
                };
                task.note(&format!(
                    "{images} images, {validation} to validate; {:.2} million parameters, {:?}, {precision}, {execution}",
                    parameters as f64 / 1e6,
                    schedule.optimizer
                ));
                if let Some((epoch, batch)) = resumed {
                    task.note(&format!("goes on in epoch {} after batch {batch}", epoch + 1));
                }
            }
            Event::Batch { .. } => {}
            Event::Epoch { row, best } => task.note(&format!(
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
                    task.note(&text);
                }
            }
        }
    }
}
