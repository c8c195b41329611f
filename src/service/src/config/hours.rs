//! Hours of the day, local time, in which something may begin.

use jiff::civil::Time;

/// From one time of the day up to another one, which may lie behind midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: Time,
    to: Time,
}

/// Why a text is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {0:?}, must be two different times as 22:00-06:00, or empty")]
pub struct NoHours(String);

impl Hours {
    /// Reads `22:00-06:00`; none for an empty text, which means the whole day.
    pub fn parse(text: &str) -> Result<Option<Self>, NoHours> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let read = || {
            let (from, to) = text.split_once('-')?;
            let (from, to) = (time(from)?, time(to)?);
            (from != to).then_some(Self { from, to })
        };
        read().map(Some).ok_or_else(|| NoHours(text.to_owned()))
    }

    /// Whether `time` is among them; the end is not.
    #[must_use]
    pub fn contain(&self, time: Time) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        }
    }
}

/// `6:05` or `06:05`.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |part: &str, least: usize| {
        let is_number = (least..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    };
    Time::new(digits(hour, 1)?, digits(minute, 2)?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        time(text).unwrap()
    }

    #[test]
    fn hours_may_go_over_midnight_and_end_before_their_end() {
        for (hours, inside, outside) in [
            (
                "22:00-06:00",
                &["22:00", "23:59", "0:00", "5:59"][..],
                &["6:00", "12:00", "21:59"][..],
            ),
            ("09:30 - 17:00", &["9:30", "16:59"], &["9:29", "17:00", "0:00"]),
        ] {
            let hours = Hours::parse(hours).unwrap().unwrap();
            assert!(inside.iter().all(|time| hours.contain(at(time))), "{hours:?}");
            assert!(!outside.iter().any(|time| hours.contain(at(time))), "{hours:?}");
        }
        assert_eq!(Hours::parse(" "), Ok(None));
    }

    #[test]
    fn what_is_no_two_times_is_refused_with_an_example() {
        for text in [
            "22-6",
            "22:00",
            "22:00-24:00",
            "22:00-06:60",
            "22:00-22:00",
            "night",
            "-",
            "22:0-6:00",
            "+2:00-6:00",
            "22:00-06:00-07:00",
        ] {
            let error = Hours::parse(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("22:00-06:00"), "{error}");
        }
    }
}
