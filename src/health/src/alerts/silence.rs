//! Times in which alerts are not told: an operator's silence, and the maintenance windows of the configuration.
//!
//! Alerts go on as ever while they are silent; what still stands at the end is told then. A silence always ends.

use jiff::{Timestamp, civil::Time, civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// Stands for every alert.
pub const ALL: &str = "all";

/// What is not told now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Silences {
    version: u32,
    /// Those of operators.
    pub silences: Vec<Silence>,
    /// The maintenance windows of the configuration.
    #[serde(skip)]
    windows: Vec<Window>,
}

/// One silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// The alert's code, or [`ALL`].
    pub code: String,
    /// About this alone; about anything where there is none.
    pub subject: Option<String>,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

impl Silences {
    /// Of the current version, with the maintenance windows.
    #[must_use]
    pub fn new(silences: Vec<Silence>, windows: Vec<Window>) -> Self {
        Self {
            version: super::VERSION,
            silences,
            windows,
        }
    }

    /// With these maintenance windows.
    #[must_use]
    pub fn with(mut self, windows: Vec<Window>) -> Self {
        self.windows = windows;
        self
    }

    /// Whether this alert is not told now.
    #[must_use]
    pub fn cover(&self, code: &str, subject: &str, now: Timestamp) -> bool {
        let is_meant = |silence: &Silence| {
            now < silence.until
                && (silence.code == ALL || silence.code == code)
                && silence.subject.as_deref().is_none_or(|only| only == subject)
        };
        self.silences.iter().any(is_meant) || self.is_maintenance(now)
    }

    /// Whether a maintenance window is open.
    #[must_use]
    pub fn is_maintenance(&self, now: Timestamp) -> bool {
        self.windows
            .iter()
            .any(|window| window.is_open(now, &TimeZone::system()))
    }
}

/// A maintenance window: hours of a day, on one day of the week or on every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    day: Option<Weekday>,
    from: Time,
    to: Time,
}

impl Window {
    /// Windows in the form of the configuration: `Sun 02:00-04:00, daily 23:30-00:30`.
    ///
    /// # Errors
    /// One is not in this form: which.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                Self::read(part).ok_or_else(|| {
                    format!("{part:?} is no window such as `Sun 02:00-04:00` or `daily 23:30-00:30`")
                })
            })
            .collect()
    }

    fn read(text: &str) -> Option<Self> {
        let (day, hours) = text.split_once(' ')?;
        let (from, to) = hours.trim().split_once('-')?;
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
        let day = match day {
            "daily" => None,
            day => Some(weekday(day)?),
        };
        let (from, to) = (time(from)?, time(to)?);
        (from != to).then_some(Self { day, from, to })
    }

    fn is_open(&self, now: Timestamp, zone: &TimeZone) -> bool {
        let here = now.to_zoned(zone.clone());
        let (day, time) = (here.weekday(), here.time());
        let is_on = |on: Weekday| self.day.is_none_or(|day| day == on);
        if self.from < self.to {
            is_on(day) && self.from <= time && time < self.to
        } else {
            // Over midnight: the day is the one it begins on.
            is_on(day) && self.from <= time || is_on(day.previous()) && time < self.to
        }
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "Mon" => Weekday::Monday,
        "Tue" => Weekday::Tuesday,
        "Wed" => Weekday::Wednesday,
        "Thu" => Weekday::Thursday,
        "Fri" => Weekday::Friday,
        "Sat" => Weekday::Saturday,
        "Sun" => Weekday::Sunday,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_in_its_hours_and_over_midnight_on_the_day_it_began() {
        let windows = Window::list("Sun 02:00-04:00, daily 23:30-00:30").unwrap();
        let open = |at: &str| {
            let now: Timestamp = at.parse().unwrap();
            windows
                .iter()
                .map(|window| window.is_open(now, &TimeZone::UTC))
                .collect::<Vec<_>>()
        };
        // 1 March 2026 is a Sunday.
        assert_eq!(open("2026-03-01T02:00:00Z"), [true, false]);
        assert_eq!(open("2026-03-01T04:00:00Z"), [false, false]);
        assert_eq!(open("2026-03-02T03:00:00Z"), [false, false]);
        assert_eq!(open("2026-03-02T23:45:00Z"), [false, true]);
        assert_eq!(open("2026-03-03T00:15:00Z"), [false, true]);
        let saturday = Window::list("Sat 22:00-02:00").unwrap()[0];
        assert!(saturday.is_open("2026-03-01T01:00:00Z".parse().unwrap(), &TimeZone::UTC));
        assert!(!saturday.is_open("2026-03-02T01:00:00Z".parse().unwrap(), &TimeZone::UTC));
    }

    #[test]
    fn what_is_no_window_is_named() {
        for bad in [
            "Sunday 02:00-04:00",
            "Sun 2-4",
            "Sun 02:00",
            "daily 02:00-02:00",
            "02:00-04:00",
        ] {
            assert!(Window::list(bad).unwrap_err().contains(bad), "{bad}");
        }
        assert_eq!(Window::list(" ").unwrap(), []);
    }

    #[test]
    fn a_silence_is_about_one_alert_or_all_of_them_and_ends() {
        let until: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let silence = |code: &str, subject: Option<&str>| {
            let silence = Silence {
                code: code.into(),
                subject: subject.map(str::to_owned),
                until,
                reason: "a new disk".into(),
            };
            Silences::new(vec![silence], Vec::new())
        };
        let before = until - jiff::SignedDuration::from_secs(1);
        assert!(silence("ALR-3", None).cover("ALR-3", "/azaion", before));
        assert!(!silence("ALR-3", None).cover("ALR-6", "/azaion", before));
        assert!(!silence("ALR-3", Some("/other")).cover("ALR-3", "/azaion", before));
        assert!(silence(ALL, None).cover("ALR-6", "x", before));
        assert!(!silence(ALL, None).cover("ALR-6", "x", until));
    }
}
