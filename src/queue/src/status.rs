//! The one line about the queue that `systemctl status` shows, and when there was progress.

use std::time::{Duration, Instant};

use crate::run::Progress;

/// How long the rate looks back.
const WINDOW: Duration = Duration::from_secs(10);

/// Follows a run.
#[derive(Debug)]
pub struct Status {
    /// Where the queue was at moments of the last seconds, oldest first.
    seen: Vec<(Instant, u64)>,
    last: Option<Signs>,
}

/// What changes when there is progress: messages are read, a write is tried, the broker is heard.
type Signs = (u64, u64, u64);

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

impl Status {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            seen: Vec::new(),
            last: None,
        }
    }

    /// Takes in where the queue is; true if there was progress since the last time. A queue that only says again where it is
    /// shows none, however often it says so.
    pub fn advance(&mut self, progress: &Progress, now: Instant) -> bool {
        let recent = |&(at, _): &(Instant, u64)| now.duration_since(at) > WINDOW;
        let old = self.seen.iter().take_while(|seen| recent(seen)).count();
        // The last one outside the window is where the window begins.
        self.seen.drain(..old.saturating_sub(1));
        self.seen.push((now, progress.next_offset));
        let signs = (progress.next_offset, progress.attempts, progress.link.signs);
        self.last.replace(signs) != Some(signs)
    }

    /// Messages a second over the last seconds.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let (Some((from, first)), Some((to, last))) = (self.seen.first(), self.seen.last()) else {
            return 0.0;
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        if seconds > 0.0 {
            last.saturating_sub(*first) as f64 / seconds
        } else {
            0.0
        }
    }

    /// The line: what is wrong if something is, then offset, rate and lag.
    #[must_use]
    pub fn line(&self, progress: &Progress) -> String {
        let trouble = match (&progress.blocked, &progress.link.trouble) {
            (Some(blocked), _) => format!("writes nothing: {blocked}; "),
            (None, Some(trouble)) => format!("waits for the broker: {trouble}; "),
            (None, None) if !progress.link.subscribed => "connects to the broker; ".to_owned(),
            (None, None) => String::new(),
        };
        let lag = progress
            .lag()
            .map_or_else(|| "unknown".to_owned(), |lag| lag.to_string());
        format!(
            "{trouble}offset {}, {:.1} messages/s, lag {lag}, {} in quarantine since the start",
            progress.next_offset,
            self.rate(),
            progress.counters.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use stream::Link;

    use super::*;
    use crate::Counters;

    fn at(next_offset: u64) -> Progress {
        Progress {
            counters: Counters::default(),
            next_offset,
            link: Link {
                subscribed: true,
                signs: 1,
                trouble: None,
                last_offset: Some(99),
            },
            attempts: 0,
            blocked: None,
        }
    }

    #[test]
    fn the_line_holds_offset_rate_and_lag() {
        let (mut status, start) = (Status::new(), Instant::now());
        for second in 0..=4 {
            status.advance(&at(10 * second), start + Duration::from_secs(second));
        }
        assert_eq!(
            status.line(&at(40)),
            "offset 40, 10.0 messages/s, lag 60, 0 in quarantine since the start"
        );
    }

    #[test]
    fn the_rate_forgets_what_was_long_ago() {
        let (mut status, start) = (Status::new(), Instant::now());
        status.advance(&at(0), start);
        status.advance(&at(1000), start + Duration::from_secs(1));
        for second in 2..40 {
            status.advance(&at(1000), start + Duration::from_secs(second));
        }
        assert!(status.rate() < f64::EPSILON, "{}", status.rate());
        assert!(status.seen.len() < 14, "{}", status.seen.len());
    }

    #[test]
    fn what_is_wrong_comes_first() {
        let status = Status::new();
        let mut lost = at(3);
        lost.link = Link {
            trouble: Some("connection refused".into()),
            ..Link::default()
        };
        let line = status.line(&lost);
        assert!(
            line.starts_with("waits for the broker: connection refused; offset 3")
                && line.contains("lag unknown"),
            "{line}"
        );
        lost.blocked = Some("the disk is full".into());
        assert!(
            status
                .line(&lost)
                .starts_with("writes nothing: the disk is full; ")
        );
        lost.blocked = None;
        lost.link = Link::default();
        assert!(status.line(&lost).starts_with("connects to the broker; "));
    }

    #[test]
    fn only_messages_writes_and_signs_of_the_broker_are_progress() {
        let (mut status, now) = (Status::new(), Instant::now());
        assert!(status.advance(&at(0), now));
        assert!(!status.advance(&at(0), now + Duration::from_secs(1)));
        assert!(status.advance(&at(1), now));
        let mut heard = at(1);
        heard.link.signs += 1;
        assert!(status.advance(&heard, now));
        heard.attempts += 1;
        assert!(status.advance(&heard, now));
        heard.link.last_offset = None;
        assert!(!status.advance(&heard, now));
    }
}
