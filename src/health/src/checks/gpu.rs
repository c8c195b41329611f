//! GPUs (HLT-3, ALR-1): by NVIDIA's management library.
//!
//! A machine that is to train on its processor has none to miss. A GPU that was there at the last pass and is gone, one that
//! the driver cannot read, and one that says what cannot be are problems; none of them ends the pass.
//! **Not yet run on a GPU.**

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog};
use gpu::{Gpu, NvmlError};

const CHECK: &str = "gpu";
/// Above this training pauses (ALR-1).
const HOT: u32 = 90;
/// Below this it goes on, and the alert is over.
const COOL: u32 = 80;
/// No chip lives to tell of more.
const ABSURD: u32 = 130;

pub(super) fn look(context: &Context) -> Found {
    let wanted = context.config.training.device.starts_with("cuda") || context.past.gpus > 0;
    let nvml = match gpu::open() {
        Ok(nvml) => nvml,
        Err(NvmlError::LibloadingError(_)) if !wanted => {
            return found(vec![Reading::skipped(
                CHECK,
                catalog::GPUS,
                "this machine has no NVIDIA driver",
            )]);
        }
        Err(error) => {
            let what = format!("the driver does not answer: {error}");
            return found(vec![
                Reading::problem(CHECK, catalog::GPUS, what).about(catalog::GPU_AWAY),
            ]);
        }
    };
    match gpu::all(&nvml) {
        Ok(gpus) => Found {
            readings: judge(context, &gpus, wanted),
            facts: Facts {
                gpus: Some(gpus),
                ..Facts::default()
            },
        },
        Err(error) => {
            let what = format!("the driver cannot say which GPUs there are: {error}");
            found(vec![
                Reading::problem(CHECK, catalog::GPUS, what).about(catalog::GPU_AWAY),
            ])
        }
    }
}

fn judge(context: &Context, gpus: &[Gpu], wanted: bool) -> Vec<Reading> {
    let mut bad: Vec<String> = Vec::new();
    if gpus.len() < context.past.gpus {
        bad.push(format!("{} of {} GPUs are there", gpus.len(), context.past.gpus));
    }
    let mut hottest: Option<(usize, u32)> = None;
    for (index, gpu) in gpus.iter().enumerate() {
        match (&gpu.error, gpu.celsius) {
            (Some(error), _) => bad.push(format!("GPU {index} cannot be read: {error}")),
            (None, Some(celsius)) if celsius > ABSURD => {
                bad.push(format!("GPU {index} says {celsius} °C, which cannot be"));
            }
            (None, Some(celsius)) if hottest.is_none_or(|(_, most)| celsius > most) => {
                hottest = Some((index, celsius));
            }
            _ => {}
        }
    }
    let there = match gpus {
        [] if wanted => Reading::problem(CHECK, catalog::GPUS, "the driver is there and no GPU"),
        [] => Reading::skipped(CHECK, catalog::GPUS, "the driver is there and no GPU"),
        _ if bad.is_empty() => Reading::ok(CHECK, catalog::GPUS, names(gpus)),
        _ => Reading::problem(CHECK, catalog::GPUS, bad.join("; ")),
    };
    let mut readings = vec![there.about(catalog::GPU_AWAY)];
    if let Some((index, celsius)) = hottest {
        let is_firing = context.book.is_firing(catalog::GPU_HOT, catalog::GPUS);
        let limit = if is_firing { COOL - 1 } else { HOT };
        let what = format!("GPU {index} is at {celsius} °C");
        let reading = if celsius > limit {
            Reading::problem(CHECK, catalog::GPUS, format!("{what}; the limit is {HOT} °C"))
        } else {
            Reading::ok(CHECK, catalog::GPUS, what)
        };
        readings.push(reading.about(catalog::GPU_HOT));
    }
    readings
}

fn names(gpus: &[Gpu]) -> String {
    gpus.iter()
        .map(|gpu| gpu.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::{Grade, alerts::silence::Silences};

    fn gpu(celsius: u32) -> Gpu {
        Gpu {
            name: "GPU of tests".into(),
            celsius: Some(celsius),
            ..Gpu::default()
        }
    }

    fn grades(readings: &[Reading]) -> Vec<(Option<&str>, Grade)> {
        readings
            .iter()
            .map(|reading| (reading.alert.as_deref(), reading.grade))
            .collect()
    }

    #[test]
    fn heat_is_a_problem_above_90_and_over_below_80() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        let mut at = |celsius| {
            let readings = judge(&context, &[gpu(40), gpu(celsius)], true);
            let grade = readings[1].grade;
            context
                .book
                .step(&readings, Vec::new(), &Silences::default(), context.now);
            grade
        };
        let told = [85, 90, 91, 85, 80, 79, 85].map(&mut at);
        assert_eq!(
            told,
            [
                Grade::Ok,
                Grade::Ok,
                Grade::Problem,
                Grade::Problem,
                Grade::Problem,
                Grade::Ok,
                Grade::Problem
            ]
        );
    }

    #[test]
    fn a_gpu_that_vanished_cannot_be_read_or_says_what_cannot_be_is_a_problem() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        let problem = (Some("ALR-11"), Grade::Problem);
        assert_eq!(grades(&judge(&context, &[gpu(255)], true)), [problem]);
        assert_eq!(grades(&judge(&context, &[], true)), [problem]);
        assert_eq!(
            grades(&judge(&context, &[], false)),
            [(Some("ALR-11"), Grade::Skipped)]
        );
        let lost = Gpu {
            error: Some("GPU is lost".into()),
            ..Gpu::default()
        };
        let readings = judge(&context, &[gpu(50), lost], true);
        assert_eq!(grades(&readings), [problem, (Some("ALR-1"), Grade::Ok)]);
        assert_eq!(readings[0].what, "GPU 1 cannot be read: GPU is lost");
        context.past.gpus = 2;
        assert_eq!(judge(&context, &[gpu(50)], true)[0].what, "1 of 2 GPUs are there");
    }
}
