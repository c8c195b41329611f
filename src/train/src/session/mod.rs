//! A run in memory: opened or resumed, trained epoch by epoch, saved, concluded.

mod epoch;
mod saving;

use crate::{
    Error, Hyper,
    checkpoint::{Best, FORMAT, Position},
    cooling::Cooling,
    ema::Ema,
    guard::{self, Guards},
    model_file,
    optim::Stepper,
    pages::Pages,
    run::{BEST, Event, Observer, REPORT, RESULTS, RunOptions, Stage, Summary},
    run_report,
    schedule::Schedule,
    shelf::Shelf,
    start,
    step::{Criteria, Execution},
    validate::{Measured, Network, Validation, ValidationOptions, validate},
    writer::Writer,
};
use dataset::{
    Dataset,
    load::{Loader, LoaderOptions, ValLoader, ValOptions},
    manifest::Split,
};
use detector::{Detector, Head};
use report::EpochRow;
use std::{collections::BTreeSet, sync::Arc, time::Instant};

/// How training in an epoch ended.
#[derive(PartialEq, Eq)]
pub(crate) enum Flow {
    /// The epoch is done.
    Done,
    /// The run went back to an earlier checkpoint: the epoch to train is another one.
    WentBack,
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
    /// Images that are validated at a time.
    measured_batch: usize,
    pub(crate) train: Arc<Dataset>,
    pub(crate) valid: Arc<Dataset>,
    pub(crate) detector: Detector,
    optimizer: Stepper,
    ema: Ema,
    pub(crate) position: Position,
    pub(crate) pages: Pages,
    started: Instant,
    /// Images that are taken through the network at a time, where memory does not suffice for a batch.
    micro_batch: usize,
    cooling: Cooling,
    shelf: Shelf,
    writer: Writer,
    /// When the run was last saved, or failed to be.
    saved: Instant,
    /// Whether the last attempt to save it failed.
    unsaved: bool,
    /// The file of the best model, while it could not be written.
    best_unwritten: Option<Vec<u8>>,
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
            passed_over: 0,
            last_step: -1,
            optimizer_steps: 0,
            ema_updates: 0,
            scaler: None,
            loss_means: [0.0; 3],
            best: None,
            seconds: 0.0,
            history: Vec::new(),
            guards: Guards::default(),
            hyper,
        };
        let shelf = Shelf::new(&options.folder, options.keep);
        let checkpoint = saving::latest(&shelf, options, &fresh, [&train, &valid], observer)?;
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
        let measured_batch = 2 * fresh.hyper.batch;
        let measured = val_loader(options, &valid, fresh.hyper.imgsz, measured_batch)?;
        let criteria = Criteria::new(fresh.hyper.gains, options.threads);
        let mut session = Self {
            options,
            execution,
            schedule,
            criteria,
            loader,
            measured,
            measured_batch,
            train,
            valid,
            detector,
            optimizer,
            ema,
            micro_batch: options
                .memory
                .micro_batch()
                .unwrap_or(fresh.hyper.batch)
                .clamp(1, fresh.hyper.batch),
            position: fresh,
            pages: Pages::new(&options.folder),
            started: Instant::now(),
            cooling: Cooling::default(),
            writer: Writer::new(shelf.clone()).map_err(Error::Writer)?,
            shelf,
            saved: Instant::now(),
            unsaved: false,
            best_unwritten: None,
        };
        session.refuse_small_disk()?;
        let resumed = checkpoint.is_some();
        match checkpoint {
            Some(checkpoint) => session.restore(checkpoint)?,
            None => session.save(observer)?,
        }
        observer.on(Event::Started {
            images: session.train.items.len(),
            validation: session.valid.items.len(),
            parameters: session.detector.state().parameter_count(),
            schedule: &session.schedule,
            execution: &session.execution,
            resumed: resumed.then_some((session.position.epoch, session.position.batch)),
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

    /// Validates the average, keeps it if it is the best, and writes everything down.
    pub(crate) fn finish_epoch(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let mut sheet = run_report::Sheet::default();
        observer.on(Event::Stage(Stage::Validation));
        let validation = self.validate_average(&mut sheet, observer)?;
        observer.on(Event::Stage(Stage::Export));
        let settings = self.settings(self.iteration().saturating_sub(1));
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
            self.best_unwritten = Some(model_file::bytes(
                &self.ema.detector,
                &self.train.names,
                self.hyper().imgsz,
            )?);
        }
        self.position.history.push(row);
        self.position.epoch += 1;
        self.position.batch = 0;
        self.position.passed_over = 0;
        self.position.loss_means = [0.0; 3];
        self.tell_of_divergence(observer);
        let table = report::results_csv(&self.position.history);
        if let Err(error) = store::atomic::replace(&self.options.folder.join(RESULTS), table.as_bytes()) {
            // The checkpoint holds every line of it.
            observer.on(Event::Warning(&format!(
                "{error}; written again after the next epoch"
            )));
        }
        self.page(&validation, sheet, observer);
        if self.position.epoch.is_multiple_of(self.hyper().save_period) || self.is_done() {
            return self.save(observer);
        }
        if let Err(error) = self.write_best() {
            self.not_saved(error, observer);
        }
        Ok(())
    }

    /// Measures the average, with smaller batches where memory runs out.
    fn validate_average(
        &mut self,
        sheet: &mut run_report::Sheet,
        observer: &mut dyn Observer,
    ) -> Result<Validation, Error> {
        let all = self.valid.items.len();
        loop {
            let mut done = 0;
            let measured = validate(
                &Network::Averaged(&self.ema.detector, &self.criteria),
                &self.measured,
                self.measuring(Head::One2Many),
                &mut |image| {
                    sheet.note(image);
                    done += 1;
                    observer.on(Event::Validating { done, all });
                },
            );
            match measured {
                Err(error) if error.is_out_of_memory() && self.measured_batch > 1 => {
                    *sheet = run_report::Sheet::default();
                    self.measured_batch = self.measured_batch.div_ceil(2);
                    let batch = self.measured_batch;
                    observer.on(Event::Warning(&format!(
                        "{error}: validating {batch} images at a time"
                    )));
                    self.measured = val_loader(self.options, &self.valid, self.hyper().imgsz, batch)?;
                }
                measured => return measured,
            }
        }
    }

    fn tell_of_divergence(&self, observer: &mut dyn Observer) {
        let losses = self.position.history.iter().map(|row| row.train.iter().sum());
        if guard::diverges(losses) {
            observer.on(Event::Diverging {
                epoch: self.position.epoch,
            });
        }
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

    /// Measures the best model through both heads and writes the report.
    pub(crate) fn conclude(mut self, observer: &mut dyn Observer) -> Result<Summary, Error> {
        self.write_best()?;
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
        let (mut done, all) = (0, 2 * self.valid.items.len());
        observer.on(Event::Stage(Stage::Validation));
        let mut tell = || {
            done += 1;
            observer.on(Event::Validating { done, all });
        };
        let one2many = measure(Head::One2Many, &mut |image| {
            tell();
            sheet.note(image);
        })?;
        let one2one = measure(Head::One2One, &mut |_| tell())?;
        observer.on(Event::Stage(Stage::Export));
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

fn val_loader(
    options: &RunOptions,
    valid: &Arc<Dataset>,
    imgsz: usize,
    batch: usize,
) -> Result<ValLoader, Error> {
    Ok(ValLoader::new(
        Arc::clone(valid),
        ValOptions {
            imgsz,
            batch,
            workers: options.workers,
            cache_bytes: options.cache_bytes / 4,
            ..ValOptions::default()
        },
    )?)
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
