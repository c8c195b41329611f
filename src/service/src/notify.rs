//! Readiness, status and watchdog towards systemd (sd_notify(3)).
//!
//! Everything here does nothing where no service manager listens, and a notification that cannot be sent never stops
//! the work: it is logged at DEBUG. The watchdog is tied to progress: call [`Watchdog::progress`] after each batch of
//! work, and a hang stops the pings, which makes systemd restart the service. Work whose pieces take longer or shorter from
//! some point on says so with [`Watchdog::set_limit`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service has started and does its work.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    // A line end would begin another assignment of the protocol.
    send(&[NotifyState::Status(&text.replace(['\n', '\r'], " "))]);
}

/// The service has begun to stop.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Asks for that much more time while starting or stopping.
pub fn extend_timeout(by: Duration) {
    send(&[NotifyState::ExtendTimeoutUsec(
        u32::try_from(by.as_micros()).unwrap_or(u32::MAX),
    )]);
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be notified");
    }
}

/// Pings systemd's watchdog as long as there is progress.
#[derive(Debug)]
pub struct Watchdog {
    /// None where nobody watches.
    ping: Option<Mutex<Ping>>,
}

#[derive(Debug, Clone, Copy)]
struct Ping {
    every: Duration,
    last: Option<Instant>,
}

impl Ping {
    /// systemd's advice is to ping at half the limit; a quarter leaves room for an uneven step.
    fn within(limit: Duration) -> Self {
        Self {
            every: limit / 4,
            last: None,
        }
    }
}

impl Watchdog {
    /// The watchdog that the unit asks for with `WatchdogSec=`; does nothing if it asks for none.
    pub fn from_systemd() -> Self {
        Self::with_limit(sd_notify::watchdog_enabled())
    }

    fn with_limit(limit: Option<Duration>) -> Self {
        Self {
            ping: limit.map(|limit| Mutex::new(Ping::within(limit))),
        }
    }

    fn ping(&self) -> Option<MutexGuard<'_, Ping>> {
        // A poisoned lock only means that another thread panicked between two assignments.
        let lock = |ping| Mutex::lock(ping).unwrap_or_else(PoisonError::into_inner);
        self.ping.as_ref().map(lock)
    }

    /// Longest silence that systemd tolerates, if it watches.
    pub fn limit(&self) -> Option<Duration> {
        self.ping().map(|ping| ping.every * 4)
    }

    /// From now on silence is tolerated for this long: `WatchdogSec=` switches the watchdog on, and how long work of a kind may
    /// take is what the work knows.
    pub fn set_limit(&self, limit: Duration) {
        let Some(mut ping) = self.ping() else { return };
        *ping = Ping {
            last: Some(Instant::now()),
            ..Ping::within(limit)
        };
        let usec = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
        send(&[NotifyState::WatchdogUsec(usec), NotifyState::Watchdog]);
    }

    /// Work went on. Cheap: it sends at most four pings in the limit's time, however often it is called.
    pub fn progress(&self) {
        if self.is_due(Instant::now()) {
            send(&[NotifyState::Watchdog]);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let Some(mut ping) = self.ping() else { return false };
        let due = ping
            .last
            .is_none_or(|last| now.duration_since(last) >= ping.every);
        if due {
            ping.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_everything_is_a_no_op() {
        ready();
        status("two\nlines");
        stopping();
        extend_timeout(Duration::from_secs(30));
        let watchdog = Watchdog::with_limit(None);
        watchdog.progress();
        assert_eq!(watchdog.limit(), None);
        assert!(!watchdog.is_due(Instant::now()));
    }

    #[test]
    fn pings_are_limited_to_four_in_the_limits_time() {
        let watchdog = Watchdog::with_limit(Some(Duration::from_secs(20)));
        let start = Instant::now();
        let pings = (0..20_000)
            .filter(|ms| watchdog.is_due(start + Duration::from_millis(*ms)))
            .count();
        assert_eq!(pings, 4);
        assert_eq!(watchdog.limit(), Some(Duration::from_secs(20)));
    }

    #[test]
    fn a_limit_that_changes_is_told_at_once_and_pings_follow_it() {
        let watchdog = Watchdog::with_limit(Some(Duration::from_secs(900)));
        watchdog.progress();
        watchdog.set_limit(Duration::from_secs(4));
        assert_eq!(watchdog.limit(), Some(Duration::from_secs(4)));
        let start = Instant::now();
        let pings = (0..4000).filter(|ms| watchdog.is_due(start + Duration::from_millis(*ms)));
        assert_eq!(pings.count(), 3, "the limit was told with a ping");

        let unwatched = Watchdog::with_limit(None);
        unwatched.set_limit(Duration::from_secs(4));
        assert_eq!(unwatched.limit(), None, "nobody asked for a watchdog");
    }
}
