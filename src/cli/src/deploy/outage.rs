//! How long a unit was not active, by the service manager's own clock: it is looked at again and again, and each look says
//! when it was active from and until when before.

use super::facts::{State, Unit};
use std::{collections::BTreeMap, time::Duration};

/// What was seen since the first look. Times are microseconds since the boot.
#[derive(Debug)]
pub(super) struct Outage {
    begun: u64,
    up: bool,
    /// When it became active (true) or ceased to be.
    turns: BTreeMap<u64, bool>,
}

impl Outage {
    pub fn new(unit: &Unit, now: u64) -> Self {
        Self {
            begun: now,
            up: unit.active == State::Active,
            turns: BTreeMap::new(),
        }
    }

    pub fn see(&mut self, unit: &Unit) {
        for (at, up) in [(unit.entered, true), (unit.exited, false)] {
            if at > self.begun {
                self.turns.insert(at, up);
            }
        }
    }

    /// All of the time in which it was not active.
    pub fn total(&self, now: u64) -> Duration {
        let mut down_since = (!self.up).then_some(self.begun);
        let mut total = 0;
        for (&at, &up) in &self.turns {
            match (down_since, up) {
                (Some(since), true) => {
                    total += at - since;
                    down_since = None;
                }
                (None, false) => down_since = Some(at),
                _ => {}
            }
        }
        total += down_since.map_or(0, |since| now.saturating_sub(since));
        Duration::from_micros(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(active: &str, entered: u64, exited: u64) -> Unit {
        Unit::read(&format!(
            "ActiveState={active}\nActiveEnterTimestampMonotonic={entered}\nActiveExitTimestampMonotonic={exited}"
        ))
    }

    #[test]
    fn every_gap_counts_and_an_open_one_until_now() {
        let mut outage = Outage::new(&unit("active", 10, 5), 100);
        let micros = |outage: &Outage, now| outage.total(now).as_micros();
        outage.see(&unit("active", 10, 5));
        assert_eq!(
            micros(&outage, 150),
            0,
            "what was before the first look does not count"
        );
        outage.see(&unit("activating", 10, 200));
        assert_eq!(micros(&outage, 230), 30);
        outage.see(&unit("active", 250, 200));
        outage.see(&unit("active", 250, 200));
        assert_eq!(micros(&outage, 900), 50);
        outage.see(&unit("failed", 250, 300));
        outage.see(&unit("active", 340, 300));
        assert_eq!(micros(&outage, 900), 90);
    }

    #[test]
    fn a_unit_that_was_down_before_is_down_from_the_first_look_on() {
        let mut outage = Outage::new(&unit("failed", 10, 50), 100);
        assert_eq!(outage.total(130).as_micros(), 30);
        outage.see(&unit("active", 140, 50));
        assert_eq!(outage.total(500).as_micros(), 40);
    }
}
