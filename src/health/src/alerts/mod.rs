//! Alerts over time: from what each pass found to what is told, once when it begins, now and then while it lasts, once when
//! it is over.
//!
//! [`Book`] is the whole state, one JSON file in the tree (`status/alerts.json`), so that a restart or a reboot forgets and
//! repeats nothing. [`Book::step`] is pure: readings, events and the time in, notices out. An alert is known by its code
//! and what it is about. What no reading speaks of stays as it is, for a check that broke has not seen that anything is well
//! again. A clock that was set back makes nothing wait for ever: no time counts from the future.

pub mod record;
pub mod silence;

use crate::{
    catalog::{self, Kind, Severity},
    reading::Reading,
};
use jiff::{SignedDuration, Timestamp};
use record::Event;
use serde::{Deserialize, Serialize};
use silence::Silences;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Version of the file.
pub(crate) const VERSION: u32 = 1;
/// How many that are over are remembered.
const REMEMBERED: usize = 200;
/// An alert that nothing speaks of any more is over after this: the unit is gone, the GPU was taken out.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);

/// All alerts: those that stand, and the last of those that are over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Book {
    version: u32,
    /// Those that stand, or may soon.
    pub standing: Vec<Standing>,
    /// Those that are over, the latest first.
    pub past: VecDeque<Past>,
    /// Records of events that were taken in.
    pub(crate) taken: BTreeSet<String>,
}

/// An alert that stands, or may soon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its code.
    pub code: String,
    /// What it is about.
    pub subject: String,
    /// Since when it has been so.
    pub since: Timestamp,
    /// When it was told first; none while it has not lasted long enough.
    pub fired: Option<Timestamp>,
    /// When it was told last.
    pub told: Option<Timestamp>,
    /// Since when it looks as if it were over.
    pub clear: Option<Timestamp>,
    /// When something spoke of it last.
    pub seen: Timestamp,
    /// How often it happened, where it is an event.
    pub times: u32,
    /// What is wrong, in words.
    pub what: String,
    /// Lines of the journal, from when it began or happened last.
    pub journal: Vec<String>,
}

/// An alert that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its code.
    pub code: String,
    /// What it was about.
    pub subject: String,
    /// When it began.
    pub since: Timestamp,
    /// When it was over.
    pub until: Timestamp,
    /// What was wrong.
    pub what: String,
}

/// Why something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// It begins.
    Firing,
    /// It still stands.
    Reminder,
    /// It is over.
    Resolved,
    /// Somebody wants to see whether messages arrive.
    Test,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Why.
    pub occasion: Occasion,
    /// The alert's code.
    pub code: String,
    /// How urgent it is.
    pub severity: Severity,
    /// What it is, in a few words.
    pub title: String,
    /// What it is about.
    pub subject: String,
    /// That in words, with numbers.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
    /// When this was told.
    pub at: Timestamp,
    /// What is likely behind it.
    pub cause: String,
    /// What was done by itself.
    pub done: String,
    /// The next command.
    pub next: String,
    /// Its place in the runbook.
    pub anchor: String,
    /// The last lines of the journal about it.
    pub journal: Vec<String>,
}

impl Notice {
    /// One that shows whether messages arrive.
    #[must_use]
    pub fn test(now: Timestamp) -> Self {
        Self {
            occasion: Occasion::Test,
            code: "TEST".to_owned(),
            severity: Severity::Low,
            title: "alerts arrive".to_owned(),
            subject: "azaion".to_owned(),
            what: "a test".to_owned(),
            since: now,
            at: now,
            cause: String::new(),
            done: String::new(),
            next: String::new(),
            anchor: String::new(),
            journal: Vec::new(),
        }
    }
}

impl Default for Book {
    fn default() -> Self {
        Self {
            version: VERSION,
            standing: Vec::new(),
            past: VecDeque::new(),
            taken: BTreeSet::new(),
        }
    }
}

impl Book {
    /// Whether this alert was told and is not over: what a threshold with two edges asks.
    #[must_use]
    pub fn is_firing(&self, code: &str, subject: &str) -> bool {
        self.find(code, subject).is_some_and(|one| one.fired.is_some())
    }

    /// Those that began and are not over, the worst first and then the oldest.
    #[must_use]
    pub fn firing(&self, now: Timestamp) -> Vec<&Standing> {
        let stands = |one: &&Standing| one.fired.is_some() && !one.is_over(now);
        let mut firing: Vec<_> = self.standing.iter().filter(stands).collect();
        firing.sort_by_key(|one| (std::cmp::Reverse(one.severity()), one.since));
        firing
    }

    /// Takes in what a pass found and what happened since the last one; returns what is to be told.
    pub fn step(
        &mut self,
        readings: &[Reading],
        events: Vec<Event>,
        silences: &Silences,
        now: Timestamp,
    ) -> Vec<Notice> {
        for one in &mut self.standing {
            one.no_later_than(now);
        }
        let mut spoken = BTreeMap::<(&str, &str), &Reading>::new();
        for reading in readings {
            if let Some(code) = &reading.alert {
                // Of two that speak of the same alert the worse one decides.
                let worst = spoken.entry((code, &reading.subject)).or_insert(reading);
                if reading.grade > worst.grade {
                    *worst = reading;
                }
            }
        }
        for ((code, subject), reading) in &spoken {
            self.take_reading(code, subject, reading, now);
        }
        let mut happened = BTreeSet::new();
        for event in events {
            happened.insert((event.code.clone(), event.subject.clone()));
            self.take_event(event, now);
        }
        // What a run tells of is over when it stops telling.
        for one in &mut self.standing {
            let key = (one.code.clone(), one.subject.clone());
            let is_silent = !spoken.contains_key(&(one.code.as_str(), one.subject.as_str()));
            let by_runs = one.kind().is_some_and(Kind::is_told_by_runs);
            if by_runs && is_silent && !happened.contains(&key) {
                one.clear.get_or_insert(now);
            }
        }
        self.tell(silences, now)
    }

    /// Keeps lines of the journal with an alert that stands.
    pub(crate) fn explain(&mut self, code: &str, subject: &str, journal: &[String]) {
        if let Some(one) = self.find_mut(code, subject) {
            one.journal = journal.to_vec();
        }
    }

    fn find(&self, code: &str, subject: &str) -> Option<&Standing> {
        self.standing
            .iter()
            .find(|one| one.code == code && one.subject == subject)
    }

    fn find_mut(&mut self, code: &str, subject: &str) -> Option<&mut Standing> {
        self.standing
            .iter_mut()
            .find(|one| one.code == code && one.subject == subject)
    }

    fn take_reading(&mut self, code: &str, subject: &str, reading: &Reading, now: Timestamp) {
        let stands = reading.grade.is_found();
        match self.find_mut(code, subject) {
            Some(one) if stands => {
                one.clear = None;
                one.seen = now;
                // An event's own words say more than that it is still so.
                if one.times == 0 {
                    one.what.clone_from(&reading.what);
                }
            }
            Some(one) => {
                one.clear.get_or_insert(now);
                one.seen = now;
            }
            None if stands => self.standing.push(Standing {
                what: reading.what.clone(),
                ..Standing::beginning(code, subject, now)
            }),
            None => {}
        }
    }

    fn take_event(&mut self, event: Event, now: Timestamp) {
        if self.find(&event.code, &event.subject).is_none() {
            let begun = Standing::beginning(&event.code, &event.subject, event.at.min(now));
            self.standing.push(begun);
        }
        if let Some(one) = self.find_mut(&event.code, &event.subject) {
            one.clear = None;
            one.seen = now;
            one.times += 1;
            one.what = event.what;
            one.journal = event.journal;
        }
    }

    /// What is due, and what is over.
    fn tell(&mut self, silences: &Silences, now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        let firing: BTreeSet<(String, String)> = self
            .standing
            .iter()
            .filter(|one| one.has_lasted(now) && one.clear.is_none())
            .map(|one| (one.code.clone(), one.subject.clone()))
            .collect();
        let mut standing = std::mem::take(&mut self.standing);
        standing.retain_mut(|one| {
            if one.is_over(now) {
                // Whoever was told that it began is told that it is over: in a silence, when that ends.
                let waits = one.told.is_some() && silences.cover(&one.code, &one.subject, now);
                if waits {
                    return true;
                }
                if one.told.is_some() {
                    notices.push(one.notice(Occasion::Resolved, now));
                }
                if one.fired.is_some() {
                    self.past.push_front(one.past(now));
                }
                return false;
            }
            if !one.has_lasted(now) {
                return true;
            }
            one.fired.get_or_insert(now);
            let is_covered = one
                .kind()
                .and_then(|kind| kind.covered_by)
                .is_some_and(|cover| firing.contains(&(cover.to_owned(), one.subject.clone())));
            // What looks over is not told again, and what is not wanted now is told when it is wanted again.
            if one.clear.is_none() && !is_covered && !silences.cover(&one.code, &one.subject, now) {
                match one.told {
                    None => notices.push(one.notice(Occasion::Firing, now)),
                    Some(told) if now.duration_since(told) >= one.severity().remind_after() => {
                        notices.push(one.notice(Occasion::Reminder, now));
                    }
                    Some(_) => return true,
                }
                one.told = Some(now);
            }
            true
        });
        self.standing = standing;
        self.past.truncate(REMEMBERED);
        notices
    }
}

impl Standing {
    fn beginning(code: &str, subject: &str, now: Timestamp) -> Self {
        Self {
            code: code.to_owned(),
            subject: subject.to_owned(),
            since: now,
            fired: None,
            told: None,
            clear: None,
            seen: now,
            times: 0,
            what: String::new(),
            journal: Vec::new(),
        }
    }

    /// What kind it is; none where an older or newer version wrote it.
    #[must_use]
    pub fn kind(&self) -> Option<&'static Kind> {
        catalog::kind(&self.code)
    }

    /// How urgent it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.kind().map_or(Severity::Medium, |kind| kind.severity)
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn title(&self) -> &str {
        self.kind().map_or("unknown alert", |kind| kind.title)
    }

    /// The command to type next.
    #[must_use]
    pub fn next(&self) -> String {
        self.kind()
            .map_or_else(String::new, |kind| kind.next.replace("{subject}", &self.subject))
    }

    fn no_later_than(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.seen = self.seen.min(now);
        for time in [&mut self.fired, &mut self.told, &mut self.clear] {
            *time = time.map(|time| time.min(now));
        }
    }

    fn has_lasted(&self, now: Timestamp) -> bool {
        let pending = self.kind().map_or(SignedDuration::ZERO, |kind| kind.pending);
        self.fired.is_some() || now.duration_since(self.since) >= pending
    }

    fn is_over(&self, now: Timestamp) -> bool {
        let hold = self.kind().map_or(SignedDuration::ZERO, |kind| kind.hold);
        match self.clear {
            // What was never told is over as soon as it looks so.
            Some(clear) => self.fired.is_none() || now.duration_since(clear) >= hold,
            None => now.duration_since(self.seen) >= FORGOTTEN,
        }
    }

    fn notice(&self, occasion: Occasion, now: Timestamp) -> Notice {
        let text =
            |of: fn(&Kind) -> &'static str| self.kind().map_or(String::new(), |kind| of(kind).to_owned());
        Notice {
            occasion,
            code: self.code.clone(),
            severity: self.severity(),
            title: self.title().to_owned(),
            subject: self.subject.clone(),
            what: match self.times {
                0 | 1 => self.what.clone(),
                times => format!("{} ({times} times)", self.what),
            },
            since: self.since,
            at: now,
            cause: text(|kind| kind.cause),
            done: text(|kind| kind.done),
            next: self.next(),
            anchor: self.kind().map_or_else(String::new, Kind::anchor),
            journal: self.journal.clone(),
        }
    }

    fn past(&self, now: Timestamp) -> Past {
        Past {
            code: self.code.clone(),
            subject: self.subject.clone(),
            since: self.since,
            until: now,
            what: self.what.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
