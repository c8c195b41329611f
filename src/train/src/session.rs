//! A run in memory: opened or resumed, trained epoch by epoch, saved, concluded.

use crate::{
    Error, Hyper,
    checkpoint::{Array, Best, Checkpoint, FORMAT, Position},
    ema::Ema,
    model_file,
    optim::{StepReport, Stepper},
    pages::Pages,
    run::{BEST, CHECKPOINT, Event, Observer, REPORT, RESULTS, RunOptions, Summary},
    run_report,
    schedule::{Schedule, Settings},
    staging::{Staged, Staging},
    start,
    step::{self, Criteria, Execution},
    validate::{Measured, Network, ValidationOptions, validate},
};
use dataset::{
    Dataset,
    load::{Loader, LoaderOptions, ValLoader, ValOptions},
    manifest::Split,
};
use detector::{Detector, Head, loss::branch_weights};
use report::EpochRow;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// Whether the work goes on after an epoch.
#[derive(PartialEq, Eq)]
pub(crate) enum Flow {
    /// The epoch is done.
    GoOn,
    /// A stop was asked for.
    Stop,
}

/// A run in memory.
pub(crate) struct Session<'a> {
    pub(crate) options: &'a RunOptions,
    pub(crate) execution: Execution,
    pub(crate) schedule: Schedule,
    criteria: Criteria,
    loader: Loader,
    measured: ValLoader,
    pub(crate) train: Arc<Dataset>,
    pub(crate) valid: Arc<Dataset>,
    pub(crate) detector: Detector,
    optimizer: Stepper,
    ema: Ema,
    pub(crate) position: Position,
    pub(crate) pages: Pages,
    started: Instant,
}

impl<'a> Session<'a> {
    pub(crate) fn open(options: &'a RunOptions, observer: &mut dyn Observer) -> Result<Self, Error> {
        let hyper = options.hyper.clone().validated()?;
        let execution = Execution::on(options.device.resolve()?, hyper.precision, options.threads);
        torch::set_threads(options.threads.get())?;
        let train = Arc::new(Dataset::open(&options.data, Split::Train)?);
        let valid = Arc::new(Dataset::open(&options.data, Split::Valid)?);
        let classes = train
            .items
            .iter()
            .flat_map(|i| i.label.rows.iter().map(|r| r.class))
            .collect::<BTreeSet<_>>();
        if classes.is_empty() {
            return Err(Error::NothingToTrainOn(options.data.clone()));
        }
        let schedule = Schedule::new(&hyper, train.items.len(), classes.len());
        std::fs::create_dir_all(&options.folder).map_err(|source| Error::Read {
            path: options.folder.clone(),
            source,
        })?;
        let fresh = Position {
            format: FORMAT,
            scale: options.scale.letter().to_owned(),
            dataset: start::fingerprint(&train, &valid),
            epoch: 0,
            batch: 0,
            last_step: -1,
            optimizer_steps: 0,
            ema_updates: 0,
            scaler: None,
            loss_means: [0.0; 3],
            best: None,
            seconds: 0.0,
            history: Vec::new(),
            hyper,
        };
        let checkpoint = Checkpoint::read(&options.folder.join(CHECKPOINT))?;
        if let Some(checkpoint) = &checkpoint {
            start::refuse_other_run(&options.folder, &checkpoint.position, &fresh)?;
        }
        let mut detector = match &checkpoint {
            Some(checkpoint) => start::saved_network(&options.folder, checkpoint, &train.names)?,
            None => start::initial_network(options, &fresh.hyper, &train.names, observer)?,
        };
        if execution.device.is_cuda() {
            detector.to_device(execution.device)?;
            detector.to_channels_last()?;
        }
        let optimizer = Stepper::new(&schedule, start::parameters(&detector), execution.device)?;
        let ema = Ema::new(&detector, 0)?;
        let loader = Loader::new(
            Arc::clone(&train),
            LoaderOptions {
                imgsz: fresh.hyper.imgsz,
                batch: fresh.hyper.batch,
                workers: options.workers,
                seed: fresh.hyper.seed,
                augment: fresh.hyper.augment,
                cache_bytes: options.cache_bytes,
                ..LoaderOptions::default()
            },
        )?;
        let measured = ValLoader::new(
            Arc::clone(&valid),
            ValOptions {
                imgsz: fresh.hyper.imgsz,
                batch: 2 * fresh.hyper.batch,
                workers: options.workers,
                cache_bytes: options.cache_bytes / 4,
                ..ValOptions::default()
            },
        )?;
        let criteria = Criteria::new(fresh.hyper.gains, options.threads);
        let mut session = Self {
            options,
            execution,
            schedule,
            criteria,
            loader,
            measured,
            train,
            valid,
            detector,
            optimizer,
            ema,
            position: fresh,
            pages: Pages::new(&options.folder),
            started: Instant::now(),
        };
        let resumed = match checkpoint {
            Some(checkpoint) => Some(session.restore(checkpoint)?),
            None => None,
        };
        observer.on(Event::Started {
            images: session.train.items.len(),
            validation: session.valid.items.len(),
            parameters: session.detector.state().parameter_count(),
            schedule: &session.schedule,
            execution: &session.execution,
            resumed,
        });
        Ok(session)
    }

    pub(crate) fn hyper(&self) -> &Hyper {
        &self.position.hyper
    }

    pub(crate) fn is_done(&self) -> bool {
        let Position { epoch, history, .. } = &self.position;
        let patience = self.hyper().patience;
        *epoch >= self.hyper().epochs || (patience > 0 && *epoch >= best_epoch(history) + patience)
    }

    /// Trains the rest of the current epoch.
    pub(crate) fn train_epoch(&mut self, observer: &mut dyn Observer) -> Result<Flow, Error> {
        let epoch = self.position.epoch;
        let mosaic = epoch < self.hyper().epochs.saturating_sub(self.hyper().close_mosaic);
        let weights = branch_weights(epoch as usize, self.schedule.epochs as usize);
        let batches = self
            .loader
            .epoch(u64::from(epoch), self.position.batch as usize, mosaic)?;
        for staged in Staging::new(batches, self.execution.device) {
            let Staged { batch, images } = staged?;
            if self.options.stop.load(Ordering::Relaxed) {
                return Ok(Flow::Stop);
            }
            self.pages.see(epoch + 1, mosaic, &batch);
            let ni = u64::from(epoch) * self.schedule.batches_per_epoch + self.position.batch;
            let batch_in_epoch = ni % self.schedule.batches_per_epoch + 1;
            let not_finite = |what| Error::NotFinite {
                what,
                epoch: epoch + 1,
                batch: batch_in_epoch,
            };
            let loss = step::train_images(
                &self.detector,
                &self.criteria,
                &self.execution,
                &images,
                &batch,
                weights.times(self.loss_scale()),
            )?;
            if !loss.total().is_finite() {
                return Err(not_finite("loss"));
            }
            let settings = self.schedule.at(ni);
            if ni as i64 - self.position.last_step >= settings.accumulate as i64 {
                if !self.step(&settings)? {
                    return Err(not_finite("gradient"));
                }
                self.position.last_step = ni as i64;
            }
            let done = self.position.batch as f64;
            for (mean, item) in self.position.loss_means.iter_mut().zip(loss.items) {
                *mean = (*mean * done + item) / (done + 1.0);
            }
            self.position.batch += 1;
            observer.on(Event::Batch {
                epoch: epoch + 1,
                batch: self.position.batch,
                loss: self.position.loss_means,
            });
        }
        Ok(Flow::GoOn)
    }

    /// What the loss is multiplied by before backward.
    fn loss_scale(&self) -> f64 {
        if self.execution.scales_loss() {
            self.position.scaler.unwrap_or_default().scale()
        } else {
            1.0
        }
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

    /// Validates the average, keeps it if it is the best, and writes everything down.
    pub(crate) fn finish_epoch(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let mut sheet = run_report::Sheet::default();
        let validation = validate(
            &Network::Averaged(&self.ema.detector, &self.criteria),
            &self.measured,
            self.measuring(Head::One2Many),
            &mut |image| sheet.note(image),
        )?;
        let settings = self
            .schedule
            .at(u64::from(self.position.epoch) * self.schedule.batches_per_epoch
                + self.position.batch.saturating_sub(1));
        let metrics = &validation.metrics;
        let rounded = |v: f64| (v * 1e5).round_ties_even() / 1e5;
        let row = EpochRow {
            epoch: self.position.epoch + 1,
            time_s: self.seconds(),
            train: self.position.loss_means.map(rounded),
            val: validation.loss.map(rounded),
            precision: rounded(metrics.precision),
            recall: rounded(metrics.recall),
            map50: rounded(metrics.map50),
            map50_95: rounded(metrics.map50_95),
            lr: self.optimizer.learning_rates(&settings),
        };
        let fitness = row.map50_95;
        let best = self.position.best.is_none_or(|best| fitness >= best.fitness);
        observer.on(Event::Epoch { row: &row, best });
        if best {
            self.position.best = Some(Best {
                epoch: row.epoch,
                fitness,
            });
            model_file::write(
                &self.options.folder.join(BEST),
                &self.ema.detector,
                &self.train.names,
                self.hyper().imgsz,
            )?;
        }
        self.position.history.push(row);
        self.position.epoch += 1;
        self.position.batch = 0;
        self.position.loss_means = [0.0; 3];
        store::atomic::replace(
            &self.options.folder.join(RESULTS),
            report::results_csv(&self.position.history).as_bytes(),
        )?;
        self.page(&validation, sheet, observer);
        let due = self.position.epoch.is_multiple_of(self.hyper().save_period) || self.is_done();
        if due { self.save() } else { Ok(()) }
    }

    fn measuring(&self, head: Head) -> ValidationOptions {
        ValidationOptions {
            head,
            classes: self.valid.nc,
            execution: self.execution.exact(),
        }
    }

    fn seconds(&self) -> f64 {
        self.position.seconds + self.started.elapsed().as_secs_f64()
    }

    /// Writes the checkpoint.
    pub(crate) fn save(&self) -> Result<(), Error> {
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
        Ok(Checkpoint { position, arrays }.write(&self.options.folder.join(CHECKPOINT))?)
    }

    /// Takes over the rest of the checkpoint that the network is from; returns epoch and batch to go on with.
    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(u32, u64), Error> {
        self.ema = Ema::new(&self.detector, checkpoint.position.ema_updates)?;
        self.ema
            .detector
            .load(&model_file::weights(&checkpoint, "ema/")?)?;
        self.optimizer.restore(
            &checkpoint.under("optimizer/"),
            checkpoint.position.optimizer_steps,
        )?;
        self.position = checkpoint.position;
        let scale = self.loss_scale() as f32;
        for entry in self.detector.state().parameters() {
            if let Some(saved) = checkpoint.arrays.get(&format!("gradient/{}", entry.name())) {
                let sizes: Vec<i64> = saved.shape.iter().map(|&s| s as i64).collect();
                let values: Vec<f32> = saved.values.iter().map(|value| value * scale).collect();
                let gradient = torch::from_f32(&values, &sizes)?;
                let gradient = torch::to_device(&gradient, self.execution.device)?;
                // Backward from a leaf adds the given gradient to it.
                torch::backward(&[(entry.tensor(), &gradient)])?;
            }
        }
        Ok((self.position.epoch, self.position.batch))
    }

    /// Measures the best model through both heads and writes the report.
    pub(crate) fn conclude(self) -> Result<Summary, Error> {
        let best = self.position.best.unwrap_or(Best {
            epoch: 0,
            fitness: 0.0,
        });
        let model = model_file::read_model(&self.options.folder.join(BEST))?.detector;
        let mut sheet = run_report::Sheet::default();
        let measure = |head, note: &mut dyn FnMut(Measured<'_>)| {
            let mut fused = model.fused(head)?;
            fused.to_device(self.execution.device)?;
            validate(
                &Network::Fused(&fused),
                &self.measured,
                self.measuring(head),
                note,
            )
        };
        let one2many = measure(Head::One2Many, &mut |image| sheet.note(image))?;
        let one2one = measure(Head::One2One, &mut |_| {})?;
        let summary = Summary {
            folder: self.options.folder.clone(),
            epochs: self.position.epoch,
            best,
            one2many,
            one2one,
            seconds: self.seconds(),
        };
        let html = run_report::finished(&self, &summary, sheet)?;
        store::atomic::replace(&self.options.folder.join(REPORT), html.as_bytes())?;
        Ok(summary)
    }
}

fn array(tensor: &tch::Tensor) -> Result<Array, torch::Error> {
    let shape = tensor.size().into_iter().map(|s| s as usize).collect();
    Ok(Array {
        shape,
        values: torch::to_vec_f32(tensor)?,
    })
}

/// The epoch (from 1) that patience is counted from: the last one that was better than all before, or, while nothing
/// was ever found, the latest.
fn best_epoch(history: &[EpochRow]) -> u32 {
    let (mut epoch, mut best) = (0, 0.0);
    for row in history {
        if row.map50_95 > best || best == 0.0 {
            (epoch, best) = (row.epoch, row.map50_95);
        }
    }
    epoch
}
