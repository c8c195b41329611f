//! Whether the queue gets on (HLT-5, ALR-7): its offset beside that of the last pass, and whether messages wait.
//!
//! The queue itself says how many wait; a full pass asks the broker, as a second consumer that subscribes where the queue is
//! and leaves again, for a queue that hangs says nothing true.

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog};
use jiff::SignedDuration;
use queue::standing::Standing;
use std::time::Duration;

const CHECK: &str = "queue";
const STREAM: &str = "stream";
const SUBJECT: &str = "queue";
/// What the queue said longer ago is not about now.
const FRESH_S: i64 = 60;
/// How long the broker may take in a full pass.
const LIMIT: Duration = Duration::from_secs(4);

pub(super) fn look(context: &Context) -> Found {
    let offset = match offset(context) {
        Ok(offset) => offset,
        Err(found) => return *found,
    };
    let (says, unread) = match Standing::read(context.root()) {
        Ok(standing) => (standing.filter(|one| is_fresh(context, one)), None),
        Err(error) => (None, Some(error)),
    };
    let mut readings: Vec<Reading> = unread
        .map(|error| Reading::warning(CHECK, queue::standing::FILE, error))
        .into_iter()
        .collect();
    if let Some(standing) = &says {
        readings.push(moving(context, offset, standing.lag, trouble(standing)));
    } else {
        readings.push(Reading::skipped(
            CHECK,
            SUBJECT,
            format!("offset {offset}; no queue is at work"),
        ));
    }
    Found {
        readings,
        facts: Facts {
            offset: Some(offset),
            lag: says.as_ref().and_then(|standing| standing.lag),
            queue: says,
            ..Facts::default()
        },
    }
}

/// What the queue itself finds wrong.
fn trouble(standing: &Standing) -> Option<String> {
    let blocked = standing
        .blocked
        .as_ref()
        .map(|why| format!("it writes nothing: {why}"));
    blocked.or_else(|| {
        standing
            .trouble
            .as_ref()
            .map(|why| format!("it waits for the broker: {why}"))
    })
}

fn is_fresh(context: &Context, standing: &Standing) -> bool {
    (context.now.as_second() - standing.at.min(i64::MAX as u64) as i64).abs() <= FRESH_S
        && context.proc.join(standing.pid.to_string()).exists()
}

fn offset(context: &Context) -> Result<u64, Box<Found>> {
    let file = context.paths.offset_file();
    store::offset::read(&file).map_err(|error| {
        let error = error.to_string().replace('\n', " ");
        let what = format!("{error}; the queue does not start like this");
        Box::new(found(vec![
            Reading::problem(CHECK, SUBJECT, what).about(catalog::OFFSET_STALE),
        ]))
    })
}

/// Whether the offset moves, or has nothing to move for.
fn moving(context: &Context, offset: u64, lag: Option<u64>, trouble: Option<String>) -> Reading {
    let before = context
        .past
        .ago(context.now, SignedDuration::ZERO)
        .and_then(|sample| sample.offset);
    let waiting = lag.map_or_else(
        || "how many wait is not known".to_owned(),
        |lag| format!("{lag} wait"),
    );
    let what = format!("offset {offset}, {waiting}");
    let what = trouble
        .as_ref()
        .map_or(what.clone(), |trouble| format!("{what}; {trouble}"));
    let stands = before == Some(offset) && lag != Some(0) && (lag.is_some() || trouble.is_some());
    let reading = if stands {
        Reading::warning(CHECK, SUBJECT, what)
    } else {
        Reading::ok(CHECK, SUBJECT, what)
    };
    reading.about(catalog::OFFSET_STALE)
}

/// A full pass: what the broker says.
pub(super) fn ask(context: &Context) -> Found {
    let Ok(offset) = offset(context) else {
        // Told by the other check.
        return Found::default();
    };
    let broker = &context.config.rabbitmq;
    match queue::ask(&context.config, &context.credentials, offset, LIMIT) {
        Ok(link) => {
            // Brokers before 3.11 say where a stream ends only with its messages: then nothing waits, or it is not known.
            let next = link.last_offset.map(|last| last.saturating_add(1));
            let lag = next.map(|next| next.saturating_sub(offset));
            let answers = Reading::ok(STREAM, &broker.queue_name, "can be read").about(catalog::BROKER_AWAY);
            let mut readings = vec![answers];
            readings.extend(lag.map(|lag| moving(context, offset, Some(lag), None)));
            readings.extend(next.map(|next| ahead(offset, next)));
            Found {
                readings,
                facts: Facts {
                    lag,
                    ..Facts::default()
                },
            }
        }
        Err(why) => found(vec![
            Reading::problem(STREAM, &broker.queue_name, why).about(catalog::BROKER_AWAY),
        ]),
    }
}

/// Whether the next message to read is one that the stream may have.
fn ahead(offset: u64, next: u64) -> Reading {
    let reading = if offset > next {
        let what = format!("offset.yaml says {offset}, and the stream's next message is {next}");
        Reading::problem(STREAM, SUBJECT, what)
    } else {
        Reading::ok(STREAM, SUBJECT, format!("the stream's next message is {next}"))
    };
    reading.about(catalog::OFFSET_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::{Grade, past::Sample};
    use std::{fs, path::Path};

    fn before(context: &mut Context, offset: u64) {
        context.past.samples = [Sample {
            at: context.now - SignedDuration::from_mins(5),
            offset: Some(offset),
            lag: None,
            quarantined: None,
            used: None,
        }]
        .into();
    }

    #[test]
    fn an_offset_that_stands_while_messages_wait_is_told_and_one_that_has_nothing_to_do_is_not() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        before(&mut context, 7);
        let grade = |offset, lag, trouble: Option<&str>| {
            moving(&context, offset, lag, trouble.map(str::to_owned)).grade
        };
        assert_eq!(grade(7, Some(3), None), Grade::Warning);
        assert_eq!(grade(8, Some(3), None), Grade::Ok);
        assert_eq!(grade(7, Some(0), None), Grade::Ok);
        assert_eq!(grade(7, None, None), Grade::Ok);
        assert_eq!(grade(7, None, Some("it waits for the broker")), Grade::Warning);
    }

    fn standing(root: &Path, pid: u32, at: i64) {
        fs::create_dir_all(root.join("status")).unwrap();
        let counters = serde_json::to_value(queue::Counters::default()).unwrap();
        let text = serde_json::json!({
            "version": 1, "at": at, "pid": pid, "offset": 7, "lag": 5, "rate": 0.0, "counters": counters,
            "subscribed": true, "trouble": null, "blocked": "the disk is full",
        });
        fs::write(root.join(queue::standing::FILE), text.to_string()).unwrap();
    }

    #[test]
    fn a_queue_that_is_gone_or_silent_says_nothing_about_now() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        fs::write(context.paths.offset_file(), "version: 1\noffset: 7\n").unwrap();
        before(&mut context, 7);
        let now = context.now.as_second();
        assert_eq!(look(&context).readings[0].grade, Grade::Skipped);
        standing(root.path(), std::process::id(), now);
        let found = look(&context);
        assert_eq!(found.readings[0].grade, Grade::Warning);
        assert!(
            found.readings[0]
                .what
                .ends_with("it writes nothing: the disk is full"),
            "{found:?}"
        );
        assert_eq!(found.facts.lag, Some(5));
        standing(root.path(), std::process::id(), now - 61);
        assert_eq!(look(&context).facts.lag, None);
        standing(root.path(), u32::MAX, now);
        assert_eq!(look(&context).facts.lag, None);
    }

    #[test]
    fn an_offset_that_cannot_be_read_or_is_ahead_of_the_stream_is_a_problem() {
        let root = tempfile::tempdir().unwrap();
        let context = context(root.path());
        fs::write(context.paths.offset_file(), "offset: seven\n").unwrap();
        assert_eq!(look(&context).readings[0].grade, Grade::Problem);
        assert!(ask(&context).readings.is_empty());
        assert_eq!(ahead(7, 7).grade, Grade::Ok);
        assert_eq!(ahead(8, 7).grade, Grade::Problem);
    }
}
