//! Hours of the day in which something may begin.

/// Two times of day, in minutes since midnight; the first may be the later one: then it goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayHours {
    from: u32,
    to: u32,
}

impl DayHours {
    /// From text as `22:00-06:00`; the end of the day is `24:00`.
    pub fn read(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from, to) = (minutes(from)?, minutes(to)?);
        (from < 24 * 60 && from != to).then_some(Self { from, to })
    }

    /// Whether this minute of the day is within them.
    pub fn hold(self, minute: u32) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two = |digits: &str| {
        (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse::<u32>().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= 24 * 60).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_may_go_over_midnight() {
        let day = DayHours::read("08:00-17:30").unwrap();
        assert_eq!(
            [479, 480, 1049, 1050].map(|at| day.hold(at)),
            [false, true, true, false]
        );
        let night = DayHours::read("22:00-06:00").unwrap();
        assert_eq!(
            [1319, 1320, 0, 359, 360].map(|at| night.hold(at)),
            [false, true, true, true, false]
        );
        let always = DayHours::read("00:00-24:00").unwrap();
        assert!((0..1440).all(|at| always.hold(at)));
    }

    #[test]
    fn what_is_no_two_times_is_refused() {
        for text in [
            "",
            "8-9",
            "08:00",
            "08:00-08:00",
            "24:00-08:00",
            "08:60-09:00",
            "25:00-26:00",
            "+8:00-09:00",
        ] {
            assert_eq!(DayHours::read(text), None, "{text}");
        }
    }
}
