//! Scaled losses, tried on the CPU, and what only a GPU can show.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::{SQUARE, dataset, options};
use dataset::{
    batch::{Batch, Target},
    rng::{Purpose, stream},
};
use detector::{
    Config, Detector, Scale,
    loss::{BranchWeights, Gains, branch_weights},
};
use std::{fs, num::NonZeroUsize, path::Path, sync::atomic::Ordering};
use tch::{Device, Tensor};
use torch::DeviceChoice;
use train::{
    CHECKPOINT, Event, Execution, GradScaler, Hyper, Observer, Outcome, Precision, RunOptions,
    checkpoint::Checkpoint,
    ema::Ema,
    hyper::OptimizerChoice,
    optim::Stepper,
    parameters, run,
    schedule::Schedule,
    step::{Criteria, train_batch},
};

const SIDE: usize = 64;

/// Two images, each with a bright square that its box encloses.
fn batch() -> Batch {
    let corners = [[8.0, 12.0, 32.0, 40.0], [20.0, 4.0, 60.0, 50.0]];
    let mut pixels = Vec::new();
    for [x1, y1, x2, y2] in corners {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let inside = (x1..x2).contains(&(x as f32)) && (y1..y2).contains(&(y as f32));
                let shade = (x * 7 + y * 13) % 32;
                pixels.extend([if inside { 220 } else { 30 } + shade as u8; 3]);
            }
        }
    }
    let target = |(image, xyxy)| Target::from_corners(image, image as u8, xyxy, SIDE, SIDE);
    Batch {
        pixels: pixels.into(),
        width: SIDE,
        height: SIDE,
        targets: (0..).zip(corners).map(target).collect(),
        items: vec![0, 1],
        placements: Vec::new(),
    }
}

/// A network in training on one device.
struct Trainee {
    detector: Detector,
    criteria: Criteria,
    execution: Execution,
    optimizer: Stepper,
    ema: Ema,
    schedule: Schedule,
    weights: BranchWeights,
}

impl Trainee {
    fn new(device: Device, precision: Precision, optimizer: OptimizerChoice) -> Self {
        let mut rng = stream(0, Purpose::Init, 0, 0);
        let mut detector = Detector::new(Config::new(Scale::N, 2).unwrap(), &mut rng).unwrap();
        detector.to_device(device).unwrap();
        let hyper = Hyper {
            epochs: 10,
            warmup_epochs: 0.0,
            lr0: 0.001,
            optimizer,
            ..Hyper::default()
        };
        let schedule = Schedule::new(&hyper, 2, 2);
        Self {
            optimizer: Stepper::new(&schedule, parameters(&detector), device).unwrap(),
            ema: Ema::new(&detector, 0).unwrap(),
            criteria: Criteria::new(Gains::default(), NonZeroUsize::MIN),
            execution: Execution::on(device, precision, NonZeroUsize::MIN),
            weights: branch_weights(0, 10),
            schedule,
            detector,
        }
    }

    /// One iteration with the loss scaled by `scale`: its total, and whether the optimiser stepped.
    fn iterate(&mut self, scale: f64) -> (f64, bool) {
        let weights = self.weights.times(scale);
        let loss = train_batch(&self.detector, &self.criteria, &self.execution, &batch(), weights).unwrap();
        let report = self.optimizer.step_scaled(&self.schedule.at(0), scale).unwrap();
        self.ema.update(&self.detector).unwrap();
        (loss.total(), report.applied)
    }

    fn values(&self) -> Vec<(String, Vec<f32>)> {
        named(parameters(&self.detector))
    }
}

fn named(tensors: Vec<(String, Tensor)>) -> Vec<(String, Vec<f32>)> {
    tensors
        .into_iter()
        .map(|(name, tensor)| (name, torch::to_vec_f32(&tensor).unwrap()))
        .collect()
}

#[test]
fn overflow_backs_off_until_the_step_is_that_of_the_unscaled_loss() {
    let new = || Trainee::new(Device::Cpu, Precision::Fp32, OptimizerChoice::AdamW);
    let (mut plain, mut scaled) = (new(), new());
    let start = scaled.values();
    let (loss, applied) = plain.iterate(1.0);
    assert!(applied);

    let mut scaler: GradScaler =
        serde_json::from_str(&format!(r#"{{"scale":{:?},"good_steps":0}}"#, 2.0_f64.powi(126))).unwrap();
    let mut skipped = 0;
    loop {
        let (same, applied) = scaled.iterate(scaler.scale());
        assert_eq!(same, loss, "the loss that is logged is not scaled");
        assert!(scaler.update(applied));
        if applied {
            break;
        }
        assert_eq!(scaled.values(), start, "a skipped step changes no weight");
        skipped += 1;
    }
    assert!(skipped > 0, "2^126 overflows");
    assert_eq!(scaled.values(), plain.values(), "a power of two costs no bit");
}

/// Asks for a stop after some batches of the whole run.
struct StopAfter<'a>(u64, &'a RunOptions);

impl Observer for StopAfter<'_> {
    fn on(&mut self, event: Event<'_>) {
        if let Event::Batch { .. } = event {
            self.0 -= 1;
            self.1.control.stop.store(self.0 == 0, Ordering::Relaxed);
        }
    }
}

fn read(options: &RunOptions) -> Checkpoint {
    Checkpoint::read(&options.folder.join(CHECKPOINT))
        .unwrap()
        .unwrap()
}

/// Six epochs of four batches, a step every second batch: long enough for the scale to find its size.
fn run_in_fp16(folder: &Path, data: &Path) -> RunOptions {
    let mut options = options(folder, data.to_owned());
    options.hyper = Hyper {
        epochs: 6,
        batch: 1,
        nbs: 2,
        save_period: 20,
        warmup_epochs: 0.0,
        precision: Precision::Fp16,
        ..options.hyper
    };
    options
}

#[test]
fn a_run_in_fp16_goes_on_with_its_scale_and_its_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(folder.path(), SQUARE, &["square"]);
    let whole = run_in_fp16(&folder.path().join("whole"), &data);
    assert!(matches!(
        run(&whole, &mut StopAfter(100, &whole)).unwrap(),
        Outcome::Finished(_)
    ));
    let expected = read(&whole);

    let broken = run_in_fp16(&folder.path().join("broken"), &data);
    let outcome = run(&broken, &mut StopAfter(17, &broken)).unwrap();
    assert!(
        matches!(outcome, Outcome::Stopped { epoch: 5, batch: 1 }),
        "{outcome:?}"
    );
    let halfway = read(&broken);
    let scale = halfway.position.scaler.unwrap().scale();
    assert!(
        scale < 65_536.0,
        "steps of a fresh network overflow at first: {scale}"
    );
    assert!(halfway.position.optimizer_steps > 0, "{scale}");
    let largest = halfway
        .under("gradient/")
        .values()
        .flatten()
        .fold(0.0_f32, |max, value| max.max(value.abs()));
    assert!(
        largest > 0.0 && largest < 100.0,
        "{largest} is of the true size, not of {scale} times as much"
    );
    broken.control.stop.store(false, Ordering::Relaxed);
    assert!(matches!(
        run(&broken, &mut StopAfter(100, &broken)).unwrap(),
        Outcome::Finished(_)
    ));

    let found = read(&broken);
    assert_eq!(found.position.scaler, expected.position.scaler);
    for (name, array) in &expected.arrays {
        // A single cell has no variance, so in this tiny network some running ones are no number: hence bits.
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let same = bits(&found.arrays[name].values) == bits(&array.values);
        assert!(same, "{name} differs");
    }
    assert_eq!(
        fs::read(broken.folder.join(train::BEST)).unwrap(),
        fs::read(whole.folder.join(train::BEST)).unwrap()
    );
}

#[test]
fn a_device_that_is_not_there_ends_the_run_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    options.device = DeviceChoice::Cuda(99);
    let error = run(&options, &mut StopAfter(100, &options))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cuda:99"), "{error}");
    assert!(!options.folder.exists());
}

/// The GPU, or a printed reason why there is nothing to try.
fn gpu() -> Option<Device> {
    let device = DeviceChoice::Cuda(0).resolve();
    if let Err(reason) = &device {
        println!("skipped: {reason}");
    }
    device.ok()
}

/// Largest distance of two lists of values, as a share of the largest value.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().fold(f32::MIN_POSITIVE, |max, v| max.max(v.abs()));
    let pairs = a.iter().zip(b);
    pairs.fold(0.0_f32, |max, (x, y)| max.max((x - y).abs())) / largest
}

#[test]
fn five_steps_on_a_gpu_are_those_of_the_cpu() {
    let Some(device) = gpu() else { return };
    for optimizer in [OptimizerChoice::SGD, OptimizerChoice::MuSGD] {
        let mut here = Trainee::new(Device::Cpu, Precision::Fp32, optimizer);
        let mut there = Trainee::new(device, Precision::Fp32, optimizer);
        for step in 0..5 {
            let ((expected, _), (found, applied)) = (here.iterate(1.0), there.iterate(1.0));
            assert!(applied);
            assert!(
                (found / expected - 1.0).abs() < 0.02,
                "{step}: {found} {expected}"
            );
        }
        let averages = |trainee: &Trainee| named(parameters(&trainee.ema.detector));
        for (expected, found) in [
            (here.values(), there.values()),
            (averages(&here), averages(&there)),
        ] {
            for ((name, a), (_, b)) in expected.iter().zip(&found) {
                assert!(apart(a, b) < 0.02, "{optimizer:?} {name}: {}", apart(a, b));
            }
        }
    }
}

#[test]
fn a_run_on_a_gpu_learns_in_fp16_and_goes_on_on_the_cpu() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = run_in_fp16(folder.path(), &dataset(folder.path(), SQUARE, &["square"]));
    options.hyper.precision = Precision::Auto;
    options.device = DeviceChoice::Cuda(0);
    let outcome = run(&options, &mut StopAfter(6, &options)).unwrap();
    assert!(matches!(outcome, Outcome::Stopped { .. }));
    assert!(read(&options).position.scaler.is_some());
    options.device = DeviceChoice::Cpu;
    options.control.stop.store(false, Ordering::Relaxed);
    assert!(matches!(
        run(&options, &mut StopAfter(100, &options)).unwrap(),
        Outcome::Finished(_)
    ));
    assert!(read(&options).position.scaler.is_some(), "kept for the next GPU");
}
