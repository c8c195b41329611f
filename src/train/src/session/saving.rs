//! A run on disk: what is saved of it when, and how it is taken up again.

use super::Session;
use crate::{
    Error,
    checkpoint::{Array, Checkpoint, CheckpointError, Position},
    ema::Ema,
    model_file,
    run::{BEST, Event, Observer, Outcome, RunOptions},
    shelf::{Latest, Shelf},
    start,
};
use dataset::Dataset;
use std::{
    collections::BTreeMap,
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How soon saving is tried again after it failed.
const AGAIN: Duration = Duration::from_secs(60);
/// Bytes of a megabyte.
const MB: u64 = 1_000_000;

/// The checkpoint that the run in this folder goes on from; none where it begins.
pub(super) fn latest(
    shelf: &Shelf,
    options: &RunOptions,
    fresh: &Position,
    datasets: [&Dataset; 2],
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>, Error> {
    let Some(Latest {
        mut checkpoint,
        damaged,
    }) = shelf.latest()?
    else {
        return Ok(None);
    };
    for error in damaged {
        observer.on(Event::Warning(&format!(
            "{error}; set aside, the run goes on from an earlier checkpoint"
        )));
    }
    let theirs = &mut checkpoint.position;
    start::refuse_other_network(&options.folder, theirs, fresh)?;
    match start::refuse_other_run(options, theirs, fresh, datasets) {
        Err(difference) if options.resume_anyway => {
            observer.on(Event::Warning(&format!(
                "{difference}; it goes on anyway, as was asked for, from the start of epoch {}",
                theirs.epoch + 1
            )));
            theirs.hyper = fresh.hyper.clone();
            theirs.dataset.clone_from(&fresh.dataset);
            (theirs.batch, theirs.passed_over, theirs.loss_means) = (0, 0, [0.0; 3]);
            Ok(Some(checkpoint))
        }
        other => other.map(|()| Some(checkpoint)),
    }
}

impl Session<'_> {
    /// Saves the run if that was asked for, if it was long ago, or if it failed and may succeed now.
    pub(super) fn save_where_due(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.tell_of_saved(observer);
        if self.unsaved {
            self.refuse_gone_folder()?;
        }
        let due = if self.unsaved {
            AGAIN
        } else {
            self.options.save_every
        };
        let asked = self.options.control.save.swap(false, Ordering::Relaxed);
        if asked || self.saved.elapsed() >= due {
            return self.save(observer);
        }
        Ok(())
    }

    /// Saves the run as it is now, in the background. A disk that takes nothing ends no run: it is told of, and tried again.
    pub(crate) fn save(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        // A checkpoint that knows of a better model must not be there before that is.
        if let Err(error) = self.write_best() {
            self.not_saved(error, observer);
            return Ok(());
        }
        let checkpoint = self.checkpoint()?;
        self.writer.write(checkpoint);
        self.saved = Instant::now();
        Ok(())
    }

    /// What cannot be saved because its folder went away is not trained on in vain.
    fn refuse_gone_folder(&self) -> Result<(), Error> {
        let folder = self.options.folder.clone();
        match folder.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::FolderGone { folder }),
            _ => Ok(()),
        }
    }

    /// Writes the best model, unless it is.
    pub(super) fn write_best(&mut self) -> Result<(), store::Error> {
        if let Some(bytes) = &self.best_unwritten {
            store::atomic::replace(&self.options.folder.join(BEST), bytes)?;
            self.best_unwritten = None;
        }
        Ok(())
    }

    /// Takes note that the run could not be saved: that is tried again soon.
    pub(super) fn not_saved(&mut self, error: store::Error, observer: &mut dyn Observer) {
        self.unsaved = true;
        self.saved = Instant::now();
        observer.on(Event::NotSaved { error: &error.into() });
    }

    /// Waits until everything that was saved is on disk.
    pub(crate) fn settle(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.writer.settle(|| observer.on(Event::Saving));
        self.tell_of_saved(observer);
        Ok(())
    }

    /// Ends the work on the run for now: it is saved, and on disk.
    pub(crate) fn stop(&mut self, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        self.write_best()?;
        self.save(observer)?;
        self.writer.settle(|| observer.on(Event::Saving));
        match self.tell_of_saved(observer) {
            Some(error) => Err(error.into()),
            None => Ok(Outcome::Stopped {
                epoch: self.position.epoch + 1,
                batch: self.position.batch,
            }),
        }
    }

    /// Tells what became of checkpoints; returns why the last one failed, if it did.
    fn tell_of_saved(&mut self, observer: &mut dyn Observer) -> Option<CheckpointError> {
        let mut last = None;
        for saved in self.writer.saved() {
            let (epochs, batches) = saved.at;
            self.unsaved = saved.result.is_err();
            match &saved.result {
                Ok(()) => observer.on(Event::Saved {
                    epochs,
                    batches,
                    took: saved.took,
                }),
                Err(error) => observer.on(Event::NotSaved { error }),
            }
            last = saved.result.err();
        }
        last
    }

    fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let mut arrays = BTreeMap::new();
        for (prefix, network) in [("model/", &self.detector), ("ema/", &self.ema.detector)] {
            for entry in network.state().entries() {
                arrays.insert(format!("{prefix}{}", entry.name()), array(entry.tensor())?);
            }
        }
        for (name, values) in self.optimizer.state()? {
            let shape = vec![values.len()];
            arrays.insert(format!("optimizer/{name}"), Array { shape, values });
        }
        let unscale = (1.0 / self.loss_scale()) as f32;
        for entry in self.detector.state().parameters() {
            if let Some(gradient) = torch::gradient(entry.tensor())? {
                let mut gradient = array(&gradient)?;
                gradient.values.iter_mut().for_each(|value| *value *= unscale);
                arrays.insert(format!("gradient/{}", entry.name()), gradient);
            }
        }
        let position = Position {
            optimizer_steps: self.optimizer.steps(),
            ema_updates: self.ema.updates(),
            seconds: self.seconds(),
            ..self.position.clone()
        };
        Ok(Checkpoint { position, arrays })
    }

    /// Takes the run up where the checkpoint left it.
    pub(super) fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        self.detector.load(&model_file::weights(&checkpoint, "model/")?)?;
        self.ema = Ema::new(&self.detector, checkpoint.position.ema_updates)?;
        self.ema
            .detector
            .load(&model_file::weights(&checkpoint, "ema/")?)?;
        self.optimizer.restore(
            &checkpoint.under("optimizer/"),
            checkpoint.position.optimizer_steps,
        )?;
        self.position = checkpoint.position;
        self.started = Instant::now();
        let scale = self.loss_scale() as f32;
        for entry in self.detector.state().parameters() {
            torch::clear_gradient(entry.tensor())?;
            if let Some(saved) = checkpoint.arrays.get(&format!("gradient/{}", entry.name())) {
                let sizes: Vec<i64> = saved.shape.iter().map(|&s| s as i64).collect();
                let values: Vec<f32> = saved.values.iter().map(|value| value * scale).collect();
                let gradient = torch::from_f32(&values, &sizes)?;
                let gradient = torch::to_device(&gradient, self.execution.device)?;
                // Backward from a leaf adds the given gradient to it.
                torch::backward(&[(entry.tensor(), &gradient)])?;
            }
        }
        Ok(())
    }

    /// A run that cannot keep its checkpoints is not begun.
    pub(super) fn refuse_small_disk(&self) -> Result<(), Error> {
        let folder = &self.options.folder;
        let free = fs2::available_space(folder).map_err(|source| Error::Read {
            path: folder.clone(),
            source,
        })?;
        let state: usize = self
            .detector
            .state()
            .entries()
            .iter()
            .map(|entry| entry.tensor().numel())
            .sum();
        // The network and its average, two moments, gradients; then the best model, and the one that replaces it.
        let one = 4 * (2 * state + 3 * self.detector.state().parameter_count()) as u64;
        let needed = self.shelf.places() * one + 2 * 4 * state as u64;
        if free + self.shelf.bytes() < needed {
            return Err(Error::NoRoom {
                folder: folder.clone(),
                free: free / MB,
                needed: needed.saturating_sub(self.shelf.bytes()).div_ceil(MB),
                one: one.div_ceil(MB),
            });
        }
        Ok(())
    }
}

fn array(tensor: &tch::Tensor) -> Result<Array, torch::Error> {
    let shape = tensor.size().into_iter().map(|s| s as usize).collect();
    Ok(Array {
        shape,
        values: torch::to_vec_f32(tensor)?,
    })
}
