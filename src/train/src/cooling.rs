//! A GPU that gets too hot is given a rest between two batches (ALR-1).

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Training pauses above this many degrees Celsius.
pub const HOT: u32 = 90;
/// It goes on below this many.
pub const COOL: u32 = 80;
/// More than this is no temperature but a broken sensor.
const ABSURD: u32 = 130;
/// How often the temperature is read.
const EVERY: Duration = Duration::from_secs(5);

/// Something that knows how hot the GPU is.
pub trait Thermometer: fmt::Debug + Send + Sync {
    /// Degrees Celsius; none where that cannot be told.
    fn celsius(&self) -> Option<u32>;
}

/// Whether training may go on.
#[derive(Debug, Default)]
pub(crate) struct Cooling {
    read: Option<Instant>,
    paused: bool,
}

/// What follows from a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Train.
    Train,
    /// The first reading that is too hot.
    Pause(u32),
    /// Still not cool enough.
    Wait(u32),
    /// Cool again, or nobody knows any more.
    Resume(Option<u32>),
}

impl Cooling {
    /// Reads the thermometer if it is time to.
    pub(crate) fn look(&mut self, thermometer: &dyn Thermometer, now: Instant) -> Verdict {
        if !self.paused && self.read.is_some_and(|read| now.duration_since(read) < EVERY) {
            return Verdict::Train;
        }
        self.read = Some(now);
        self.verdict(thermometer.celsius().filter(|&celsius| celsius < ABSURD))
    }

    fn verdict(&mut self, celsius: Option<u32>) -> Verdict {
        match (self.paused, celsius) {
            (false, Some(celsius)) if celsius > HOT => {
                self.paused = true;
                Verdict::Pause(celsius)
            }
            (false, _) => Verdict::Train,
            (true, Some(celsius)) if celsius >= COOL => Verdict::Wait(celsius),
            (true, celsius) => {
                self.paused = false;
                Verdict::Resume(celsius)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pauses_above_ninety_and_goes_on_below_eighty() {
        let mut cooling = Cooling::default();
        let told = [85, 90, 91, 90, 80, 79, 85].map(|celsius| cooling.verdict(Some(celsius)));
        assert_eq!(
            told,
            [
                Verdict::Train,
                Verdict::Train,
                Verdict::Pause(91),
                Verdict::Wait(90),
                Verdict::Wait(80),
                Verdict::Resume(Some(79)),
                Verdict::Train
            ]
        );
    }

    #[test]
    fn a_thermometer_that_vanishes_does_not_hold_the_run_for_ever() {
        let mut cooling = Cooling::default();
        assert_eq!(cooling.verdict(None), Verdict::Train);
        assert_eq!(cooling.verdict(Some(95)), Verdict::Pause(95));
        assert_eq!(cooling.verdict(None), Verdict::Resume(None));
    }

    #[test]
    fn it_is_read_every_few_seconds_and_absurd_readings_count_as_none() {
        #[derive(Debug)]
        struct Fixed(u32);
        impl Thermometer for Fixed {
            fn celsius(&self) -> Option<u32> {
                Some(self.0)
            }
        }
        let (mut cooling, now) = (Cooling::default(), Instant::now());
        assert_eq!(cooling.look(&Fixed(255), now), Verdict::Train);
        assert_eq!(cooling.look(&Fixed(95), now + EVERY / 2), Verdict::Train);
        assert_eq!(cooling.look(&Fixed(95), now + EVERY), Verdict::Pause(95));
        assert_eq!(cooling.look(&Fixed(95), now + EVERY), Verdict::Wait(95));
    }
}
