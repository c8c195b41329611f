//! The exponential moving average of the weights: what is validated, saved and shipped (specification 6.8). It lives
//! where the network does; on a GPU it is one operation on all tensors.

use crate::optim::lerp;
use detector::Detector;
use tch::{Device, Kind, Tensor};
use torch::foreach;

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
        let (mut averages, mut values) = (Vec::new(), Vec::new());
        let (ours, theirs) = (self.detector.state().entries(), model.state().entries());
        for (average, value) in ours.iter().zip(theirs) {
            if average.tensor().kind() == Kind::Float {
                averages.push(average.tensor());
                values.push(value.tensor());
            }
        }
        match averages.first() {
            Some(first) if first.device() != Device::Cpu => foreach::lerp_(&averages, &values, share.into()),
            _ => follow_on_host(&averages, &values, share),
        }
    }
}

fn follow_on_host(averages: &[&Tensor], values: &[&Tensor], share: f32) -> Result<(), torch::Error> {
    for (average, value) in averages.iter().zip(values) {
        let value = torch::dense_f32(value)?;
        torch::update_f32(average, |average| lerp(average, value, share))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_averages_as_the_host_does() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let value = torch::from_f32(&values, &[1000]).unwrap();
        for share in [0.999_5_f32, 0.6, 0.4, 1e-4] {
            let (host, device) = (&value * -0.3, &value * -0.3);
            for _ in 0..20 {
                follow_on_host(&[&host], &[&value], share).unwrap();
                foreach::lerp_(&[&device], &[&value], share.into()).unwrap();
            }
            let apart = (&host - &device).abs().max().double_value(&[]);
            assert!(apart < 1e-6, "{share}: {apart}");
        }
    }
}
