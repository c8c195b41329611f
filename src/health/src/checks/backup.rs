//! The last backup, its last check and the last drill, by what `azaion-backup` leaves in `status/backup.json`.

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog};
use jiff::{SignedDuration, Timestamp};
use store::backups::Backups;

const CHECK: &str = "backup";
/// Backups are made daily; a machine that is off for a night is none to worry about.
const OLD: SignedDuration = SignedDuration::from_hours(36);
/// Drills are made weekly.
const OLD_DRILL: SignedDuration = SignedDuration::from_hours(10 * 24);

pub(super) fn look(context: &Context) -> Found {
    let Some(repository) = &context.config.backup.repository else {
        return found(vec![Reading::skipped(
            CHECK,
            "backup",
            "no repository is configured: nothing is backed up",
        )]);
    };
    match Backups::read(context.root()) {
        Ok(backups) => Found {
            readings: vec![judge(context, repository, backups.as_ref()).about(catalog::BACKUP)],
            facts: Facts {
                backups,
                ..Facts::default()
            },
        },
        Err(error) => found(vec![
            Reading::problem(CHECK, repository, error).about(catalog::BACKUP),
        ]),
    }
}

/// The first thing that is wrong with them.
fn judge(context: &Context, repository: &str, backups: Option<&Backups>) -> Reading {
    let age = |at: u64| {
        let at = Timestamp::from_second(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
        context.now.duration_since(at)
    };
    let ago = |at| super::disk::hours(age(at));
    let problem = |what: String| Reading::problem(CHECK, repository, what);
    let Some((backups, taken)) = backups.and_then(|all| Some((all, all.backup.as_ref()?))) else {
        return problem("no backup has been made yet".into());
    };
    if let Some(failed) = &backups.error {
        return problem(format!(
            "{} failed {} ago: {}",
            failed.what,
            ago(failed.at),
            failed.reason
        ));
    }
    if age(taken.at) > OLD {
        return problem(format!("the last backup is {} old", ago(taken.at)));
    }
    let checked = backups.check.iter().flat_map(|check| &check.problems);
    let drilled = backups.drill.iter().flat_map(|drill| &drill.problems);
    if let Some(first) = checked.chain(drilled).next() {
        return problem(format!("the last check or drill found: {first}"));
    }
    let what = format!("last backup {} ago, {} files", ago(taken.at), taken.files);
    match &backups.drill {
        Some(drill) if age(drill.at) > OLD_DRILL => Reading::warning(
            CHECK,
            repository,
            format!("{what}; the last drill was {} ago", ago(drill.at)),
        ),
        Some(drill) => Reading::ok(
            CHECK,
            repository,
            format!("{what}; drilled {} ago", ago(drill.at)),
        ),
        None => Reading::ok(CHECK, repository, format!("{what}; not drilled yet")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;
    use store::backups::{Checked, Drilled, Failed, Taken};

    #[test]
    fn an_old_a_failed_and_a_damaged_backup_are_told() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        assert_eq!(look(&context).readings[0].grade, Grade::Skipped);
        context.config.backup.repository = Some("/srv/backup".into());
        assert_eq!(look(&context).readings[0].grade, Grade::Problem);
        let hours_ago = |hours: i64| (context.now.as_second() - hours * 3600) as u64;
        let whole = |hours| {
            let mut backups = Backups::none("/srv/backup".into());
            backups.backup = Some(Taken {
                at: hours_ago(hours),
                snapshot: "abc".into(),
                offset: 7,
                files: 100,
                bytes: 1,
                added_bytes: 1,
                duration_s: 1.0,
            });
            backups
        };
        let drill = |hours, problems: Vec<String>| Drilled {
            at: hours_ago(hours),
            snapshot: "abc".into(),
            files: 5,
            same_in_tree: 5,
            model: "loaded".into(),
            problems,
        };
        let told = |hours, then: &dyn Fn(&mut Backups)| {
            let mut backups = whole(hours);
            then(&mut backups);
            let reading = judge(&context, "/srv/backup", Some(&backups));
            (reading.grade, reading.what)
        };
        let as_it_is = |_: &mut Backups| {};
        let well = "last backup 3 h ago, 100 files; not drilled yet";
        assert_eq!(told(3, &as_it_is), (Grade::Ok, well.into()));
        assert_eq!(told(37, &as_it_is).0, Grade::Problem);
        let failed = |backups: &mut Backups| {
            let (at, what, reason) = (hours_ago(1), "backup".into(), "the disk is full".into());
            backups.error = Some(Failed { at, what, reason });
        };
        assert_eq!(
            told(3, &failed),
            (Grade::Problem, "backup failed 1 h ago: the disk is full".into())
        );
        let damaged = |backups: &mut Backups| {
            let problems = vec!["a pack is damaged".into()];
            backups.check = Some(Checked {
                at: hours_ago(3),
                part: 0,
                parts: 30,
                problems,
            });
        };
        assert_eq!(told(3, &damaged).0, Grade::Problem);
        assert_eq!(
            told(3, &|backups| backups.drill = Some(drill(300, vec![]))).0,
            Grade::Warning
        );
        assert_eq!(
            told(3, &|backups| backups.drill = Some(drill(30, vec!["x".into()]))).0,
            Grade::Problem
        );
        assert_eq!(
            told(3, &|backups| backups.drill = Some(drill(30, vec![]))).0,
            Grade::Ok
        );
    }
}
