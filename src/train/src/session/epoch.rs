//! The training of an epoch, and what is done where a step goes wrong.

use super::{Flow, Session};
use crate::{
    Error,
    cooling::Verdict,
    guard::{BatchAt, NotFinite, Remedy},
    optim::StepReport,
    run::{Event, Observer, Stage},
    schedule::Settings,
    staging::{Staged, Staging},
    step,
};
use detector::loss::{BranchLoss, BranchWeights, branch_weights};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tch::{Kind, Tensor};

/// How often the temperature is looked at while the run waits for the GPU to cool down.
const BREATH: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Trains the rest of the current epoch.
    pub(crate) fn train_epoch(&mut self, observer: &mut dyn Observer) -> Result<Flow, Error> {
        observer.on(Event::Stage(Stage::Training));
        let epoch = self.position.epoch;
        let mosaic = epoch < self.hyper().epochs.saturating_sub(self.hyper().close_mosaic);
        let weights = branch_weights(epoch as usize, self.schedule.epochs as usize);
        let batches = self
            .loader
            .epoch(u64::from(epoch), self.position.batch as usize, mosaic)?;
        for staged in Staging::new(batches, self.execution.device) {
            let staged = staged?;
            if self.is_stopped() || !self.rest_while_hot(observer) {
                return Ok(Flow::Stop);
            }
            self.save_where_due(observer)?;
            self.pages.see(epoch + 1, mosaic, &staged.batch);
            let at = (epoch, self.position.batch);
            let remedy = if self.position.guards.set_aside.contains(&at) {
                self.pass_over();
                Remedy::GoOn
            } else {
                self.train_batch(&staged, weights, observer)?
            };
            match remedy {
                Remedy::GoOn => {}
                Remedy::GoBack => {
                    self.go_back(at, observer)?;
                    return Ok(Flow::WentBack);
                }
                Remedy::GiveUp => return Err(self.gave_up(at)),
            }
        }
        Ok(Flow::Done)
    }

    fn is_stopped(&self) -> bool {
        self.options.control.stop.load(Ordering::Relaxed)
    }

    /// Waits while the GPU is too hot; false if a stop was asked for meanwhile.
    fn rest_while_hot(&mut self, observer: &mut dyn Observer) -> bool {
        let Some(thermometer) = self.options.thermometer.clone() else {
            return true;
        };
        while !self.is_stopped() {
            let verdict = self.cooling.look(thermometer.as_ref(), Instant::now());
            match verdict {
                Verdict::Train => return true,
                Verdict::Pause(celsius) => observer.on(Event::TooHot { celsius }),
                Verdict::Wait(celsius) => observer.on(Event::Cooling { celsius }),
                Verdict::Resume(celsius) => {
                    observer.on(Event::Cooled { celsius });
                    return true;
                }
            }
            std::thread::sleep(BREATH);
        }
        false
    }

    /// Counts the batch as done with, untrained.
    fn pass_over(&mut self) {
        self.position.batch += 1;
        self.position.passed_over += 1;
    }

    fn train_batch(
        &mut self,
        staged: &Staged,
        weights: BranchWeights,
        observer: &mut dyn Observer,
    ) -> Result<Remedy, Error> {
        let at = (self.position.epoch, self.position.batch);
        let iteration = self.iteration();
        let loss = self.forward_and_backward(staged, weights, observer)?;
        if !loss.total().is_finite() {
            self.pass_over();
            self.mend_statistics()?;
            return self.skip(NotFinite::Loss, &[at], observer);
        }
        self.count(loss);
        let settings = self.settings(iteration);
        let remedy = if iteration as i64 - self.position.last_step >= settings.accumulate as i64 {
            let since = (self.position.last_step + 1) as u64;
            let applied = self.step(&settings)?;
            self.position.last_step = iteration as i64;
            if applied {
                self.position.guards.good();
                Remedy::GoOn
            } else {
                let window: Vec<BatchAt> = (since..=iteration).map(|at| self.batch_at(at)).collect();
                self.skip(NotFinite::Gradients, &window, observer)?
            }
        } else {
            Remedy::GoOn
        };
        observer.on(Event::Batch {
            epoch: self.position.epoch + 1,
            batch: self.position.batch,
            loss: self.position.loss_means,
        });
        Ok(remedy)
    }

    /// Takes a batch's loss into the means of the epoch.
    fn count(&mut self, loss: BranchLoss) {
        let done = (self.position.batch - self.position.passed_over) as f64;
        for (mean, item) in self.position.loss_means.iter_mut().zip(loss.items) {
            *mean = (*mean * done + item) / (done + 1.0);
        }
        self.position.batch += 1;
    }

    /// The batch's loss, its gradients added to those that are there. Where memory runs out, the same batch is taken in
    /// smaller parts from then on: the effective batch and the schedule stay.
    fn forward_and_backward(
        &mut self,
        staged: &Staged,
        weights: BranchWeights,
        observer: &mut dyn Observer,
    ) -> Result<BranchLoss, Error> {
        loop {
            let before = self.gradients_before()?;
            match self.in_parts(staged, weights) {
                Err(error) if error.is_out_of_memory() && self.micro_batch > 1 => {
                    self.put_gradients(before)?;
                    self.micro_batch = self.micro_batch.min(staged.batch.len()).div_ceil(2);
                    observer.on(Event::OutOfMemory {
                        error: &error,
                        micro_batch: self.micro_batch,
                    });
                    if let Err(error) = self.options.memory.remember(self.micro_batch) {
                        observer.on(Event::Warning(&format!("{error}; the next run learns it again")));
                    }
                }
                result => return result,
            }
        }
    }

    fn in_parts(&self, staged: &Staged, weights: BranchWeights) -> Result<BranchLoss, Error> {
        let Staged { batch, images } = staged;
        let poisoned = self
            .options
            .faults
            .poison(batch.len())
            .map(|factor| images * factor);
        let images = poisoned.as_ref().unwrap_or(images);
        let weights = weights.times(self.loss_scale());
        let parts = batch.len().div_ceil(self.micro_batch).max(1);
        let mut whole: Option<BranchLoss> = None;
        for part in 0..parts {
            let (from, to) = (part * batch.len() / parts, (part + 1) * batch.len() / parts);
            self.options.faults.forward(to - from)?;
            let loss = step::train_part(
                &self.detector,
                &self.criteria,
                &self.execution,
                images,
                batch,
                from..to,
                weights,
            )?;
            let share = (to - from) as f64 / batch.len() as f64;
            whole = Some(match whole {
                None if parts == 1 => loss,
                None => loss.times(share),
                Some(sum) => sum.plus(loss.times(share)),
            });
            if !loss.total().is_finite() {
                break;
            }
        }
        whole.ok_or(Error::EmptyBatch)
    }

    /// Copies of the gradients that are there, where a backward pass may be cut off half-way.
    fn gradients_before(&self) -> Result<Option<Vec<Option<Tensor>>>, Error> {
        if !self.execution.device.is_cuda() && !self.options.faults.are_expected() {
            return Ok(None);
        }
        let copy = |tensor: &Tensor| Ok(torch::gradient(tensor)?.map(|gradient| gradient.copy()));
        let copies = self
            .detector
            .state()
            .parameters()
            .map(|entry| copy(entry.tensor()));
        copies.collect::<Result<_, Error>>().map(Some)
    }

    fn put_gradients(&self, copies: Option<Vec<Option<Tensor>>>) -> Result<(), Error> {
        let Some(copies) = copies else { return Ok(()) };
        for (entry, copy) in self.detector.state().parameters().zip(copies) {
            torch::clear_gradient(entry.tensor())?;
            if let Some(copy) = copy {
                torch::backward(&[(entry.tensor(), &copy)])?;
            }
        }
        Ok(())
    }

    /// What the loss is multiplied by before backward.
    pub(super) fn loss_scale(&self) -> f64 {
        if self.execution.scales_loss() {
            self.position.scaler.unwrap_or_default().scale()
        } else {
            1.0
        }
    }

    /// Iteration of the run, from 0, that the next batch is.
    pub(super) fn iteration(&self) -> u64 {
        u64::from(self.position.epoch) * self.schedule.batches_per_epoch + self.position.batch
    }

    fn batch_at(&self, iteration: u64) -> BatchAt {
        let an_epoch = self.schedule.batches_per_epoch;
        ((iteration / an_epoch) as u32, iteration % an_epoch)
    }

    /// What an iteration runs with.
    pub(super) fn settings(&self, iteration: u64) -> Settings {
        self.schedule.at(iteration).slowed(self.position.guards.lr_factor)
    }

    /// Steps with what has been accumulated; false if that is not finite. Under a scaled loss such a step is skipped, as
    /// the reference skips it, until no scale helps.
    fn step(&mut self, settings: &Settings) -> Result<bool, Error> {
        let scale = self.loss_scale();
        let StepReport { applied, .. } = self.optimizer.step_scaled(settings, scale)?;
        let mut goes_on = applied;
        if self.execution.scales_loss() {
            goes_on = self.position.scaler.get_or_insert_default().update(applied);
            if !applied {
                tracing::info!(
                    scale,
                    "gradients overflowed at this scale of the loss: step skipped"
                );
            }
        }
        if goes_on {
            self.ema.update(&self.detector)?;
        }
        Ok(goes_on)
    }

    /// A forward pass that was not finite may have left such values in the running statistics: the average has none.
    fn mend_statistics(&self) -> Result<(), Error> {
        let (ours, average) = (
            self.detector.state().entries(),
            self.ema.detector.state().entries(),
        );
        for (entry, average) in ours.iter().zip(average) {
            let mut tensor = entry.tensor().shallow_clone();
            if tensor.kind() == Kind::Float
                && !torch::to_vec_f32(&tensor)?.iter().all(|value| value.is_finite())
            {
                torch::no_grad(|| {
                    torch::During::during(tensor.f_copy_(average.tensor()), "mend statistics")
                })?;
            }
        }
        Ok(())
    }

    /// Takes note of a step that is skipped, on disk too, and names the images.
    fn skip(
        &mut self,
        what: NotFinite,
        batches: &[BatchAt],
        observer: &mut dyn Observer,
    ) -> Result<Remedy, Error> {
        let remedy = self.position.guards.bad(what, batches);
        let items: BTreeSet<usize> = batches
            .iter()
            .flat_map(|&(epoch, batch)| self.loader.items(u64::from(epoch), batch as usize))
            .collect();
        let images: Vec<&Path> = items
            .into_iter()
            .filter_map(|item| Some(self.train.items.get(item)?.image.as_path()))
            .collect();
        observer.on(Event::Skipped {
            epoch: self.position.epoch + 1,
            batch: self.position.batch,
            what,
            images: &images,
        });
        if remedy == Remedy::GoOn {
            self.save(observer)?;
        }
        Ok(remedy)
    }

    /// Back to the end of an earlier epoch, slower, without the batches that failed.
    fn go_back(&mut self, from: BatchAt, observer: &mut dyn Observer) -> Result<(), Error> {
        self.settle(observer)?;
        let mut guards = self.position.guards.clone();
        let best = self.position.best;
        let Some(mut earlier) = self.shelf.earlier(guards.how_far(from.0))? else {
            return Err(self.gave_up(from));
        };
        let to = earlier.position.epoch;
        guards.go_back(from, to);
        observer.on(Event::WentBack {
            from: (from.0 + 1, from.1 + 1),
            epochs: to,
            lr_factor: guards.lr_factor,
            set_aside: guards.set_aside.len(),
        });
        earlier.position.guards = guards;
        // The file of the best model is of the better one, whichever way it was found on.
        earlier.position.best = best;
        self.restore(earlier)?;
        self.shelf.forget_after(to)?;
        self.save(observer)?;
        self.settle(observer)
    }

    fn gave_up(&self, (epoch, batch): BatchAt) -> Error {
        let guards = &self.position.guards;
        Error::GaveUp {
            what: guards
                .skipped
                .last()
                .map_or(NotFinite::Loss, |skipped| skipped.what),
            epoch: epoch + 1,
            batch: batch + 1,
            returns: guards.returns.len(),
        }
    }
}
