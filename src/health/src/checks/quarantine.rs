//! Messages in quarantine (QUE-7): how many, and whether they become more.

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog};
use jiff::SignedDuration;
use std::{fs, io};

const CHECK: &str = "quarantine";
/// So many more within an hour are told.
const MANY: u64 = 10;

pub(super) fn look(context: &Context) -> Found {
    let folder = context.paths.quarantine();
    let place = folder.display();
    let count = match fs::read_dir(&folder) {
        Ok(entries) => entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "json"))
            .count() as u64,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => {
            let what = format!("cannot be counted: {error}");
            return found(vec![
                Reading::problem(CHECK, place, what).about(catalog::CHECK_BROKEN),
            ]);
        }
    };
    let before = context
        .past
        .ago(context.now, SignedDuration::from_hours(1))
        .and_then(|sample| sample.quarantined);
    let more = before.map_or(0, |before| count.saturating_sub(before));
    let what = match more {
        0 => format!("{count} messages"),
        more => format!("{count} messages, {more} of them within the last hour"),
    };
    let is_firing = context.book.is_firing(catalog::QUARANTINE, &place.to_string());
    let reading = if more >= if is_firing { 1 } else { MANY } {
        Reading::warning(CHECK, place, what)
    } else {
        Reading::ok(CHECK, place, what)
    };
    Found {
        readings: vec![reading.about(catalog::QUARANTINE)],
        facts: Facts {
            quarantined: Some(count),
            ..Facts::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::{Grade, past::Sample};

    #[test]
    fn ten_more_within_an_hour_are_told_and_old_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        assert_eq!(look(&context).facts.quarantined, Some(0));
        fs::create_dir(context.paths.quarantine()).unwrap();
        for number in 0..12 {
            fs::write(context.paths.quarantine().join(format!("{number}.json")), "").unwrap();
            fs::write(context.paths.quarantine().join(format!("{number}.msg")), "").unwrap();
        }
        assert_eq!(
            look(&context).readings[0].grade,
            Grade::Ok,
            "nothing is known of an hour ago"
        );
        let mut before = |count, minutes| {
            context.past.samples = [Sample {
                at: context.now - SignedDuration::from_mins(minutes),
                offset: None,
                lag: None,
                quarantined: Some(count),
                used: None,
            }]
            .into();
            look(&context).readings[0].clone()
        };
        assert_eq!(before(12, 60).grade, Grade::Ok);
        assert_eq!(before(3, 60).grade, Grade::Ok);
        let told = before(2, 60);
        assert_eq!(
            (told.grade, told.what.as_str()),
            (Grade::Warning, "12 messages, 10 of them within the last hour")
        );
    }
}
