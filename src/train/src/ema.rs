//! The exponential moving average of the weights: what is validated, saved and shipped (specification 6.8).

use crate::optim::lerp;
use detector::Detector;
use tch::Kind;

/// A slowly following copy of a network.
pub struct Ema {
    /// The averaged network, in evaluation mode.
    pub detector: Detector,
    updates: u64,
}

impl Ema {
    /// A deep copy of `detector`, as after `updates` updates.
    pub fn new(detector: &Detector, updates: u64) -> Result<Self, detector::Error> {
        Ok(Self {
            detector: detector.duplicate()?,
            updates,
        })
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Moves every floating value towards `model` by 1 - 0.9999 (1 - exp(-n / 2000)). Counters stay.
    pub fn update(&mut self, model: &Detector) -> Result<(), torch::Error> {
        self.updates += 1;
        let decay = 0.9999 * (1.0 - (-(self.updates as f64) / 2000.0).exp());
        let share = (1.0 - decay) as f32;
        let pairs = self
            .detector
            .state()
            .entries()
            .iter()
            .zip(model.state().entries());
        for (average, value) in pairs.filter(|(entry, _)| entry.tensor().kind() == Kind::Float) {
            let value = torch::dense_f32(value.tensor())?;
            torch::update_f32(average.tensor(), |average| lerp(average, value, share))?;
        }
        Ok(())
    }
}
