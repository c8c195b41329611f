//! `azaion-train --config FILE`: one training run as a service (TRN-4).
//!
//! It goes on with the run that is not finished, or forms a dataset and begins a new one. systemd hears when training has
//! begun, what it is at, and of progress only: annotations that were checked, batches, epochs. SIGTERM and
//! SIGPWR end it behind the batch in hand, with a checkpoint; SIGUSR2 behind the epoch in hand; SIGUSR1 saves it and it goes on. Whether a finished model gets into service is not decided here; only where none is yet
//! does the first one become it.
//!
//! A run that was drained, or that waits for a person, is held ([`runs::hold`]): no boot goes on with it by itself.

mod alarm;
mod gpu;
mod herald;
pub(crate) mod open_run;

use crate::{detect::threads, watched};
use anyhow::{Context, Result, bail};
use dataset::form::{FormOptions, form_watched};
use gpu::Gpu;
pub(crate) use herald::Herald;
use herald::Limits;
use runs::{Begin, Next, Run, State};
use service::{Config, notify};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use train::{Control, Hyper, Memory, Outcome, RunOptions, Start, Thermometer, checkpoint::Checkpoint};

/// Exit code where starting again changes nothing: no dataset can be formed, or the run waits for a person.
const PROBLEMS: u8 = 2;
/// What is learnt of the GPU's memory, in the folder of runs.
const MEMORY: &str = ".azaion-memory.json";
/// Memory for decoded images.
const CACHE_BYTES: usize = 2 << 30;

/// What is to be trained.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The configuration.
    pub config: &'a Path,
    /// A dataset's name, instead of forming one.
    pub dataset: Option<&'a str>,
    /// Go on with the open run though what it was begun with is not the same any more.
    pub resume_anyway: bool,
}

/// Trains, or goes on training.
///
/// # Errors
/// What cannot be worked with: configuration, tree, base model, run.
pub fn run(order: &Order<'_>, control: Control) -> Result<ExitCode> {
    let Order {
        config,
        dataset,
        resume_anyway,
    } = *order;
    let config = Config::load(config)?;
    let root = config.root_dir.clone();
    let hyper = open_run::configured(&config.training)?;
    let folder = root.join(runs::RUNS);
    let _lock = store::Lock::take(&folder.join(runs::LOCK))
        .context("another training run cannot be begun beside this one")?;
    runs::release(&root)?;
    let mut herald = Herald::new(&root, Limits::configured(&config.training));
    let open = match Run::open(&root)? {
        Some(open) => {
            refuse_other_dataset(&open, dataset)?;
            open_run::warn_of_other_settings(&open, &hyper, &config.training.model)?;
            Some(open)
        }
        None => begin(&config, &hyper, dataset, &herald)?,
    };
    // It was heeded, or cannot be: a run that is open comes first, and without a dataset there is none.
    Next::done(&root)?;
    let Some(mut open) = open else {
        return Ok(PROBLEMS.into());
    };
    let Start { scale, base } = begun_from(&root, &open)?;
    let device: torch::DeviceChoice = config.training.device.parse().context("training.device")?;
    let gpu = Gpu::of(device.resolve()?);
    let hyper = open_run::hyper(&open)?;
    let memory = gpu
        .as_ref()
        .and_then(|gpu| gpu.name().ok())
        .map(|name| Memory::of(folder.join(MEMORY), &name, scale, hyper.imgsz));
    let options = RunOptions {
        thermometer: gpu.map(|gpu| gpu as Arc<dyn Thermometer>),
        memory: memory.unwrap_or_default(),
        base,
        device,
        threads: threads(Some(config.training.threads as usize)),
        workers: config.training.workers as usize,
        cache_bytes: CACHE_BYTES,
        keep: config.training.keep_checkpoints as usize,
        save_every: Duration::from_secs(60 * u64::from(config.training.save_minutes)),
        control,
        resume_anyway,
        ..RunOptions::new(
            root.join(&open.folder),
            root.join(&open.dataset).join("data.yaml"),
            scale,
            hyper,
        )
    };
    let outcome = match watched::train_as_service(&root, &open, &options, &mut herald) {
        Err(error) if error.wants_a_person() => {
            herald.give_up(&error);
            hold(&root, &error.to_string());
            return Ok(PROBLEMS.into());
        }
        other => other?,
    };
    notify::stopping();
    match outcome {
        Outcome::Stopped { epoch, batch } => {
            if options.control.drain.load(Ordering::Relaxed) {
                hold(&root, "it was asked to end behind its epoch");
            }
            tracing::info!(run = %open.folder.display(), epoch, batch, "training stopped, the next start goes on here");
        }
        Outcome::Finished(summary) => {
            let best = &summary.one2many.metrics;
            tracing::info!(
                run = %open.folder.display(),
                epochs = summary.epochs,
                best_epoch = summary.best.epoch,
                mAP50 = best.map50,
                mAP50_95 = best.map50_95,
                duration_s = summary.seconds,
                "training finished"
            );
            first_into_service(&root, &open)?;
            open.end(&root, State::Finished)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A run is gone on with on its own dataset only.
fn refuse_other_dataset(open: &Run, dataset: Option<&str>) -> Result<()> {
    match dataset {
        Some(name) if open.dataset != dataset_folder(name) => bail!(
            "{} is not finished, and it is on {}, not on {name}: finish it without --dataset, or remove its folder",
            open.folder.display(),
            open.dataset.display()
        ),
        _ => Ok(()),
    }
}

/// Begins a run: as it was ordered, else as the configuration says; none where no dataset can be formed, which is told.
fn begin(config: &Config, hyper: &Hyper, dataset: Option<&str>, herald: &Herald) -> Result<Option<Run>> {
    let root = &config.root_dir;
    let ordered = Next::waiting(root)?;
    if let Some(Next { model, why, .. }) = &ordered {
        tracing::info!(model, why, "a run was ordered");
    }
    let model = ordered.map_or_else(|| config.training.model.clone(), |order| order.model);
    // Before the dataset, which takes its time: a name that was mistyped.
    start(&model, &root.join(runs::RUNS))?;
    let dataset = match dataset {
        Some(name) => chosen(root, name)?,
        None => match form(config, herald)? {
            Some(formed) => formed,
            None => return Ok(None),
        },
    };
    let begin = Begin {
        dataset_hash: open_run::dataset_hash(&root.join(&dataset)),
        dataset,
        model,
        hyper: serde_json::to_value(hyper)?,
    };
    Ok(Some(Run::begin(root, begin)?))
}

/// From now on only a person's start goes on with the run. That this cannot be written down ends nothing.
fn hold(root: &Path, why: &str) {
    if let Err(error) = runs::hold(root, why) {
        tracing::warn!(%error, "the next boot may go on with the run by itself");
    }
}

/// What the run began from. Where that is gone, a run that has a checkpoint needs no more than its scale.
fn begun_from(root: &Path, run: &Run) -> Result<Start> {
    let found = start(&run.model, &root.join(runs::RUNS));
    let Err(error) = found else { return found };
    let saved = Checkpoint::read(&root.join(&run.folder).join(runs::CHECKPOINT));
    let scale = saved.ok().flatten().map(|saved| saved.position.scale.parse());
    match scale {
        Some(Ok(scale)) => Ok(Start { scale, base: None }),
        _ => Err(error),
    }
}

fn start(model: &str, folder: &Path) -> Result<Start> {
    Start::named(model, folder).with_context(|| {
        format!("training.model {model}: put the file into {}, or name a scale as yolo26n to begin with random weights", folder.display())
    })
}

/// A dataset that is there, relative to the root.
fn chosen(root: &Path, name: &str) -> Result<PathBuf> {
    let dataset = dataset_folder(name);
    let description = root.join(&dataset).join("data.yaml");
    if !description.is_file() {
        bail!("there is no dataset {name}: {} is missing", description.display());
    }
    Ok(dataset)
}

/// Forms a dataset; none where that is impossible, which is told.
fn form(config: &Config, herald: &Herald) -> Result<Option<PathBuf>> {
    let mut options = FormOptions::new(&config.root_dir, config.training.seed);
    options.data_dir.clone_from(&config.data_dir);
    let formed = form_watched(&options, &|done, all| herald.forming(done, all));
    let formed = match formed {
        Ok(formed) => formed,
        Err(error) => {
            tracing::error!(%error, "no dataset can be formed");
            notify::status(&format!("no dataset can be formed: {error}"));
            return Ok(None);
        }
    };
    Ok(Some(dataset_folder(&formed.manifest.name)))
}

/// Of the dataset with this name, relative to the root.
fn dataset_folder(name: &str) -> PathBuf {
    Path::new("datasets").join(name)
}

/// The first model goes into service by itself; every later one replaces another, which takes a gate.
fn first_into_service(root: &Path, run: &Run) -> Result<()> {
    let link = root.join(runs::RUNS).join(runs::IN_SERVICE);
    if link.symlink_metadata().is_err() {
        run.put_into_service(root)?;
        tracing::info!(run = %run.folder.display(), "first model in service");
    }
    Ok(())
}
