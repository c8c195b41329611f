//! When a disk will be full, by what was used in the last hours. Pure.

use jiff::{SignedDuration, Timestamp};

/// What is known of less time than this says nothing about the next days.
const LEAST_SPAN: SignedDuration = SignedDuration::from_hours(6);
/// Growth is measured over this.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// How long until `free` bytes are used up, by samples of what was used at which time; none where it does not grow, or too
/// little is known.
///
/// The rate is the median of what was used in each hour, so that a dataset that was formed or removed once does not pass for
/// growth.
#[must_use]
pub fn full_in(samples: &[(Timestamp, u64)], free: u64) -> Option<SignedDuration> {
    let (first, last) = (samples.first()?, samples.last()?);
    if last.0.duration_since(first.0) < LEAST_SPAN {
        return None;
    }
    let mut rates: Vec<f64> = Vec::with_capacity(samples.len());
    let mut begins = samples.iter().peekable();
    for (to, used) in samples {
        // The last sample that is an hour older.
        while begins
            .peek()
            .is_some_and(|(from, _)| to.duration_since(*from) > WINDOW)
        {
            begins.next();
        }
        if let Some((from, before)) = begins.peek()
            && to.duration_since(*from) >= WINDOW / 2
        {
            let seconds = to.duration_since(*from).as_secs_f64();
            rates.push((*used as f64 - *before as f64) / seconds);
        }
    }
    let middle = rates.len() / 2;
    let (_, rate, _) = (!rates.is_empty()).then(|| rates.select_nth_unstable_by(middle, f64::total_cmp))?;
    if *rate <= 0.0 {
        return None;
    }
    let seconds = free as f64 / *rate;
    // Beyond a year it is as good as never.
    (seconds < 365.0 * 86_400.0).then(|| SignedDuration::from_secs(seconds as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn samples(used: impl Fn(u64) -> u64, count: u64) -> Vec<(Timestamp, u64)> {
        let start: Timestamp = "2026-03-28T00:00:00Z".parse().unwrap();
        let at = |i: u64| start + SignedDuration::from_mins(5 * i as i64);
        (0..count).map(|i| (at(i), used(i))).collect()
    }

    #[test]
    fn steady_growth_is_carried_on() {
        // 1 GB in five minutes is 12 an hour.
        let found = full_in(&samples(|i| i * GB, 100), 372 * GB).unwrap();
        assert_eq!(found.as_hours(), 31);
    }

    #[test]
    fn one_large_file_is_no_growth_and_neither_is_a_clean_up() {
        assert_eq!(
            full_in(&samples(|i| if i > 30 { 500 * GB } else { GB }, 100), GB),
            None
        );
        assert_eq!(full_in(&samples(|i| (200 - i) * GB, 100), GB), None);
        // A dataset in the midst of steady growth does not hurry it.
        let found = full_in(
            &samples(|i| i * GB + if i > 50 { 400 * GB } else { 0 }, 100),
            372 * GB,
        );
        assert!((25..=31).contains(&found.unwrap().as_hours()), "{found:?}");
    }

    #[test]
    fn too_little_is_known_at_first_and_the_far_future_never() {
        assert_eq!(full_in(&[], GB), None);
        assert_eq!(full_in(&samples(|i| i * GB, 5), GB), None);
        assert_eq!(full_in(&samples(|i| i * GB, 60), GB), None);
        assert_eq!(full_in(&samples(|i| i, 100), 1000 * GB), None);
        let same = samples(|_| GB, 60)[0];
        assert_eq!(full_in(&vec![same; 60], GB), None);
    }
}
