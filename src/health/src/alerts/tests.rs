use super::{record::Event, silence::Silence, *};
use proptest::prelude::*;

const DISK: &str = "/azaion";

fn at(minutes: i64) -> Timestamp {
    let start: Timestamp = "2026-03-28T14:00:00Z".parse().unwrap();
    start + SignedDuration::from_mins(minutes)
}

fn full() -> Reading {
    Reading::problem("disk", DISK, "96 % used").about(catalog::DISK_FULL)
}

fn filling() -> Reading {
    Reading::warning("disk", DISK, "96 % used").about(catalog::DISK_FILLING)
}

fn well(alert: &str) -> Reading {
    Reading::ok("disk", DISK, "50 % used").about(alert)
}

fn crash(minute: i64) -> Event {
    Event {
        code: catalog::QUEUE_DOWN.into(),
        subject: "azaion-queue.service".into(),
        at: at(minute),
        what: "it was ended by signal 9".into(),
        journal: vec!["killed".into()],
    }
}

/// What is told in a pass.
fn told(book: &mut Book, readings: &[Reading], events: Vec<Event>, minute: i64) -> Vec<(Occasion, String)> {
    told_beside(book, readings, events, &Silences::default(), minute)
}

fn told_beside(
    book: &mut Book,
    readings: &[Reading],
    events: Vec<Event>,
    silences: &Silences,
    minute: i64,
) -> Vec<(Occasion, String)> {
    // As from one process to the next.
    let kept = serde_json::to_vec(book).unwrap();
    *book = serde_json::from_slice(&kept).unwrap();
    let notices = book.step(readings, events, silences, at(minute));
    notices
        .into_iter()
        .map(|notice| (notice.occasion, notice.code))
        .collect()
}

fn one(occasion: Occasion, code: &str) -> Vec<(Occasion, String)> {
    vec![(occasion, code.to_owned())]
}

#[test]
fn an_alert_is_told_when_it_begins_reminded_of_and_told_when_it_is_over() {
    let mut book = Book::default();
    assert_eq!(
        told(&mut book, &[full()], vec![], 0),
        one(Occasion::Firing, "ALR-3")
    );
    for minute in [5, 10, 15, 20, 25] {
        assert_eq!(told(&mut book, &[full()], vec![], minute), []);
    }
    assert_eq!(
        told(&mut book, &[full()], vec![], 30),
        one(Occasion::Reminder, "ALR-3")
    );
    assert_eq!(
        told(&mut book, &[well("ALR-3")], vec![], 35),
        [],
        "it may come back"
    );
    assert_eq!(
        told(&mut book, &[well("ALR-3")], vec![], 45),
        one(Occasion::Resolved, "ALR-3")
    );
    assert_eq!((book.standing.len(), book.past.len()), (0, 1));
    assert_eq!((book.past[0].since, book.past[0].until), (at(0), at(45)));
}

#[test]
fn one_that_comes_and_goes_is_told_once() {
    let mut book = Book::default();
    assert_eq!(
        told(&mut book, &[full()], vec![], 0),
        one(Occasion::Firing, "ALR-3")
    );
    for minute in (5..30).step_by(10) {
        assert_eq!(told(&mut book, &[well("ALR-3")], vec![], minute), []);
        assert_eq!(
            told(&mut book, &[full()], vec![], minute + 5),
            one_if(minute + 5 >= 30)
        );
    }
    fn one_if(due: bool) -> Vec<(Occasion, String)> {
        if due {
            one(Occasion::Reminder, "ALR-3")
        } else {
            vec![]
        }
    }
}

#[test]
fn what_has_to_last_is_told_when_it_has_and_forgotten_when_it_has_not() {
    let stale = || Reading::problem("offset", "queue", "offset 7, 100 wait").about(catalog::OFFSET_STALE);
    let moving = || Reading::ok("offset", "queue", "moving").about(catalog::OFFSET_STALE);
    let mut book = Book::default();
    assert_eq!(told(&mut book, &[stale()], vec![], 0), []);
    assert_eq!(told(&mut book, &[stale()], vec![], 55), []);
    assert!(!book.is_firing(catalog::OFFSET_STALE, "queue"));
    assert_eq!(told(&mut book, &[moving()], vec![], 56), []);
    assert_eq!(book.standing, []);
    assert_eq!(told(&mut book, &[stale()], vec![], 60), []);
    assert_eq!(
        told(&mut book, &[stale()], vec![], 120),
        one(Occasion::Firing, "ALR-7")
    );
    assert!(book.is_firing(catalog::OFFSET_STALE, "queue"));
    assert_eq!(
        told(&mut book, &[moving()], vec![], 121),
        one(Occasion::Resolved, "ALR-7")
    );
}

#[test]
fn a_check_that_is_silent_ends_nothing_until_a_day_has_passed() {
    let mut book = Book::default();
    told(&mut book, &[full()], vec![], 0);
    assert_eq!(told(&mut book, &[], vec![], 29), []);
    assert_eq!(told(&mut book, &[], vec![], 31), one(Occasion::Reminder, "ALR-3"));
    assert_eq!(
        told(&mut book, &[], vec![], 24 * 60),
        one(Occasion::Resolved, "ALR-3")
    );
}

#[test]
fn the_worse_alert_about_the_same_thing_says_it_all() {
    let mut book = Book::default();
    assert_eq!(
        told(&mut book, &[full(), filling()], vec![], 0),
        one(Occasion::Firing, "ALR-3")
    );
    // The worse one over, the other is told, for it still stands.
    assert_eq!(
        told(&mut book, &[well("ALR-3"), filling()], vec![], 5),
        one(Occasion::Firing, "ALR-6")
    );
    let elsewhere = Reading::warning("disk", "/other", "85 %").about(catalog::DISK_FILLING);
    let mut book = Book::default();
    let all = told(&mut book, &[full(), elsewhere], vec![], 0);
    assert_eq!(all.len(), 2, "another disk is another thing: {all:?}");
}

#[test]
fn a_crash_is_told_at_once_and_once_however_often_it_comes_back() {
    let mut book = Book::default();
    let queue = |grade| {
        Reading::graded(grade, "units", "azaion-queue.service", "its state").about(catalog::QUEUE_DOWN)
    };
    let (up, down) = (queue(crate::Grade::Ok), queue(crate::Grade::Problem));
    assert_eq!(
        told(&mut book, std::slice::from_ref(&up), vec![crash(0)], 0),
        one(Occasion::Firing, "ALR-2")
    );
    assert_eq!(
        told(
            &mut book,
            std::slice::from_ref(&down),
            vec![crash(1), crash(1)],
            1
        ),
        []
    );
    assert_eq!(book.standing[0].times, 3);
    assert_eq!(book.standing[0].what, "it was ended by signal 9");
    assert_eq!(book.standing[0].journal, ["killed"]);
    assert_eq!(told(&mut book, std::slice::from_ref(&up), vec![], 5), []);
    assert_eq!(
        told(&mut book, std::slice::from_ref(&up), vec![crash(9)], 9),
        [],
        "it is not over yet"
    );
    assert_eq!(told(&mut book, std::slice::from_ref(&up), vec![], 10), []);
    assert_eq!(
        told(&mut book, &[up], vec![], 20),
        one(Occasion::Resolved, "ALR-2")
    );
}

#[test]
fn what_only_events_speak_of_is_over_when_they_stop() {
    let mut book = Book::default();
    let event = || Event {
        code: catalog::DIVERGING.into(),
        subject: "azaion-train.service".into(),
        ..crash(0)
    };
    assert_eq!(
        told(&mut book, &[], vec![event()], 0),
        one(Occasion::Firing, "ALR-4")
    );
    assert_eq!(told(&mut book, &[], vec![event()], 60), []);
    assert_eq!(told(&mut book, &[], vec![], 65), []);
    assert_eq!(
        told(&mut book, &[], vec![], 130),
        one(Occasion::Resolved, "ALR-4")
    );
}

#[test]
fn what_is_silenced_is_told_afterwards_if_it_still_stands() {
    let silences = Silences::new(
        vec![Silence {
            code: "ALR-3".into(),
            subject: None,
            until: at(60),
            reason: "a new disk".into(),
        }],
        Vec::new(),
    );
    let mut book = Book::default();
    for minute in [0, 30, 59] {
        assert_eq!(told_beside(&mut book, &[full()], vec![], &silences, minute), []);
    }
    assert!(book.is_firing("ALR-3", DISK));
    assert_eq!(
        told_beside(&mut book, &[full()], vec![], &silences, 60),
        one(Occasion::Firing, "ALR-3")
    );
    // What was told before it is told to be over afterwards.
    let mut book = Book::default();
    told(&mut book, &[full()], vec![], 0);
    assert_eq!(
        told_beside(&mut book, &[well("ALR-3")], vec![], &silences, 30),
        []
    );
    assert_eq!(
        told_beside(&mut book, &[well("ALR-3")], vec![], &silences, 50),
        []
    );
    assert!(book.firing(at(50)).is_empty());
    assert_eq!(
        told_beside(&mut book, &[well("ALR-3")], vec![], &silences, 61),
        one(Occasion::Resolved, "ALR-3")
    );
    // What began and ended in silence leaves a note and is not told at all.
    let mut book = Book::default();
    told_beside(&mut book, &[full()], vec![], &silences, 0);
    told_beside(&mut book, &[well("ALR-3")], vec![], &silences, 50);
    assert_eq!(
        told_beside(&mut book, &[well("ALR-3")], vec![], &silences, 61),
        []
    );
    assert_eq!(book.past.len(), 1);
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait() {
    let mut book = Book::default();
    told(&mut book, &[full()], vec![], 10_000);
    assert_eq!(told(&mut book, &[full()], vec![], 0), []);
    assert_eq!(
        told(&mut book, &[full()], vec![], 30),
        one(Occasion::Reminder, "ALR-3")
    );
    told(&mut book, &[well("ALR-3")], vec![], 31);
    assert_eq!(
        told(&mut book, &[well("ALR-3")], vec![], 41),
        one(Occasion::Resolved, "ALR-3")
    );
}

#[test]
fn severity_decides_how_often_it_is_told() {
    for kind in catalog::KINDS {
        let mut book = Book::default();
        let reading = || Reading::problem("x", "y", "z").about(kind.code);
        let end = 2 * 72 * 60;
        let reminders = (0..=end)
            .step_by(5)
            .flat_map(|minute| told(&mut book, &[reading()], vec![], minute))
            .filter(|(occasion, _)| *occasion == Occasion::Reminder)
            .count();
        let every = match kind.severity {
            Severity::Critical => 30,
            Severity::High => 120,
            Severity::Medium => 720,
            Severity::Low => 4320,
        };
        let expected = (end / every) as usize;
        assert!(
            (expected - 1..=expected).contains(&reminders),
            "{}: {reminders}",
            kind.code
        );
    }
}

proptest! {
    /// Whatever is found in whatever order: it begins before it is reminded of or over, and it begins once.
    #[test]
    fn notices_of_an_alert_alternate(passes in proptest::collection::vec((0..4_u8, 0..40_i64), 1..200)) {
        let (mut book, mut minute, mut stands) = (Book::default(), 0, false);
        for (what, later) in passes {
            minute += later;
            let (readings, events) = match what {
                0 => (vec![], vec![]),
                1 => (vec![full()], vec![]),
                2 => (vec![well("ALR-3")], vec![]),
                _ => (vec![], vec![Event { code: "ALR-3".into(), subject: DISK.into(), ..crash(minute) }]),
            };
            for (occasion, _) in told(&mut book, &readings, events, minute) {
                prop_assert_eq!(stands, occasion != Occasion::Firing);
                stands = occasion != Occasion::Resolved;
            }
            prop_assert_eq!(book.is_firing("ALR-3", DISK), stands);
        }
    }
}
