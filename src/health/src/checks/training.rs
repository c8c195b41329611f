//! Training: does the run that is trained get on, and is it saved?
//!
//! By what the run's process writes into its `status.json`. A run that nobody trains is no problem, unless its process went
//! away without a word: then the run waits to be gone on with.

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog};
use jiff::SignedDuration;
use runs::{Phase, Run, State, Status};

const CHECK: &str = "training";
const UNIT: &str = "azaion-train.service";
/// A run writes its status every second. A step at 1280 px on a processor may take minutes.
const SILENT: SignedDuration = SignedDuration::from_mins(15);
/// A checkpoint is due every `save_minutes` or every `save_period` epochs; so much later it is late.
const LATE: SignedDuration = SignedDuration::from_mins(30);

/// A run and where it stands.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it was begun with.
    pub run: Run,
    /// What its process said last.
    pub status: Option<Status>,
    /// Whether that process is there.
    pub lives: bool,
}

pub(super) fn look(context: &Context) -> Found {
    let latest = match Run::every(context.root()) {
        Ok(all) => all
            .into_iter()
            .filter_map(|(_, run)| run.ok().flatten())
            .max_by_key(|run| (run.state == State::Open, run.begun)),
        Err(_) if !context.paths.models().exists() => None,
        Err(error) => {
            return found(vec![
                Reading::problem(CHECK, UNIT, error).about(catalog::CHECK_BROKEN),
            ]);
        }
    };
    let Some(run) = latest else {
        return found(vec![Reading::skipped(CHECK, UNIT, "no run yet")]);
    };
    let status = match Status::read(&context.root().join(&run.folder)) {
        Ok(status) => status,
        Err(error) => return found(vec![Reading::warning(CHECK, UNIT, error)]),
    };
    let seen = Seen {
        lives: status.as_ref().is_some_and(Status::lives),
        run,
        status,
    };
    Found {
        readings: judge(context, &seen),
        facts: Facts {
            run: Some(seen),
            ..Facts::default()
        },
    }
}

fn judge(context: &Context, seen: &Seen) -> Vec<Reading> {
    let name = seen.run.name();
    let rests = |what: String| vec![Reading::ok(CHECK, UNIT, what).about(catalog::TRAINING_STALLED)];
    let Some(status) = &seen.status else {
        return rests(format!("{name} has not begun to train"));
    };
    let Status { epoch, epochs, .. } = status;
    match (&status.phase, seen.lives) {
        (Phase::Training, true) => {
            let silent = context.now.duration_since(status.updated);
            let what = format!("{name}, epoch {epoch} of {epochs}");
            let gets_on = if silent > SILENT {
                Reading::problem(
                    CHECK,
                    UNIT,
                    format!("{what}, no step for {}", super::disk::hours(silent)),
                )
            } else {
                Reading::ok(CHECK, UNIT, what)
            };
            vec![gets_on.about(catalog::TRAINING_STALLED), saved(context, status)]
        }
        (Phase::Training, false) if seen.run.state == State::Open => {
            let what = format!(
                "{name} was interrupted in epoch {epoch} of {epochs} and nobody goes on with it: azaion train start"
            );
            vec![Reading::problem(CHECK, UNIT, what).about(catalog::TRAINING_STALLED)]
        }
        (Phase::Failed(why), _) => {
            // What ended it was told as an alert of its own.
            vec![Reading::warning(
                CHECK,
                UNIT,
                format!("{name} ended in epoch {epoch} of {epochs}: {why}"),
            )]
        }
        (Phase::Stopped, _) => rests(format!("{name} is stopped in epoch {epoch} of {epochs}")),
        _ => rests(format!("{name} is finished")),
    }
}

/// Whether the last checkpoint is as young as it should be.
fn saved(context: &Context, status: &Status) -> Reading {
    let minutes = i64::from(context.config.training.save_minutes);
    let due = LATE + SignedDuration::from_mins(2 * minutes);
    let last = status.saved.as_ref().map_or(status.since, |saved| saved.at);
    let age = context.now.duration_since(last);
    let what = match status.saved {
        Some(_) => format!("last checkpoint {} ago", super::disk::hours(age)),
        None => format!("no checkpoint since it began {} ago", super::disk::hours(age)),
    };
    let reading = if age > due && minutes > 0 {
        Reading::problem(CHECK, UNIT, what)
    } else {
        Reading::ok(CHECK, UNIT, what)
    };
    reading.about(catalog::NOT_SAVED)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;
    use runs::{Begin, Saved};

    #[test]
    fn a_run_that_gets_on_is_well_and_one_that_stands_or_is_not_saved_is_told() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        assert_eq!(look(&context).readings[0].grade, Grade::Skipped);
        std::fs::create_dir_all(root.path().join("models")).unwrap();
        let begin = Begin {
            dataset: "datasets/x".into(),
            dataset_hash: None,
            model: "yolo26n".into(),
            hyper: serde_json::Value::Null,
        };
        let mut run = Run::begin(root.path(), begin).unwrap();
        context.now = jiff::Timestamp::now();
        let ago = |minutes| context.now - SignedDuration::from_mins(minutes);
        let status = |silent: i64, unsaved: i64, phase: Phase, pid: u32| {
            let mut status = Status::beginning(run.name(), ago(600));
            (status.epoch, status.epochs) = (3, 10);
            status.updated = ago(silent);
            status.saved = Some(Saved {
                at: ago(unsaved),
                epoch: 2,
                batch: 0,
            });
            (status.phase, status.pid) = (phase, pid);
            status.write(&root.path().join(&run.folder)).unwrap();
            let readings = look(&context).readings;
            readings.iter().map(|reading| reading.grade).collect::<Vec<_>>()
        };
        let me = std::process::id();
        assert_eq!(status(0, 5, Phase::Training, me), [Grade::Ok, Grade::Ok]);
        assert_eq!(status(16, 5, Phase::Training, me), [Grade::Problem, Grade::Ok]);
        assert_eq!(status(0, 41, Phase::Training, me), [Grade::Ok, Grade::Problem]);
        assert_eq!(status(0, 5, Phase::Training, u32::MAX), [Grade::Problem]);
        assert_eq!(status(0, 500, Phase::Stopped, u32::MAX), [Grade::Ok]);
        assert_eq!(
            status(0, 500, Phase::Failed("no".into()), u32::MAX),
            [Grade::Warning]
        );
        let told = look(&context).readings[0].what.clone();
        assert!(told.ends_with("ended in epoch 3 of 10: no"), "{told}");
        run.end(root.path(), State::Finished).unwrap();
    }
}
