//! Loss scaling for float16 (specification 6.10): gradients are computed at a multiple of their size, so that small ones
//! do not vanish, and the multiple is found by trying.
//!
//! A pure state machine of two numbers, kept in the checkpoint. The multiple is a power of two as long as it is left to
//! itself, so scaling and unscaling lose no bits.

use serde::{Deserialize, Serialize};

const INITIAL: f64 = 65_536.0;
const GROWTH: f64 = 2.0;
const BACKOFF: f64 = 0.5;
/// Good steps after which a larger multiple is tried.
const INTERVAL: u32 = 2000;
/// The multiple stays a float32, as do the gradients.
const LARGEST: f64 = 1.701_411_834_604_692_3e38;
/// Below it the multiple is not what makes gradients overflow.
const SMALLEST: f64 = 1.0 / 65_536.0;

/// The multiple at which gradients are computed, and how long it has been good.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradScaler {
    scale: f64,
    good_steps: u32,
}

impl Default for GradScaler {
    fn default() -> Self {
        Self {
            scale: INITIAL,
            good_steps: 0,
        }
    }
}

impl GradScaler {
    /// What the loss is to be multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Takes note of a step: `applied`, or skipped because gradients were not finite. False if they overflow whatever
    /// the multiple, so that going on is of no use.
    #[must_use]
    pub fn update(&mut self, applied: bool) -> bool {
        if !applied {
            self.scale *= BACKOFF;
            self.good_steps = 0;
            return self.scale >= SMALLEST;
        }
        self.good_steps += 1;
        if self.good_steps >= INTERVAL {
            self.good_steps = 0;
            if self.scale * GROWTH <= LARGEST {
                self.scale *= GROWTH;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(scaler: &mut GradScaler, applied: bool, times: u32) -> f64 {
        for _ in 0..times {
            assert!(scaler.update(applied));
        }
        scaler.scale()
    }

    #[test]
    fn an_overflow_halves_and_two_thousand_good_steps_double() {
        let mut scaler = GradScaler::default();
        assert_eq!(scaler.scale(), 65_536.0);
        assert_eq!(after(&mut scaler, false, 3), 8192.0);
        assert_eq!(after(&mut scaler, true, 1999), 8192.0);
        assert_eq!(after(&mut scaler, true, 1), 16_384.0);
        assert_eq!(after(&mut scaler, true, 2000), 32_768.0);
    }

    #[test]
    fn an_overflow_starts_the_count_anew() {
        let mut scaler = GradScaler::default();
        after(&mut scaler, true, 1999);
        assert_eq!(after(&mut scaler, false, 1), 32_768.0);
        assert_eq!(after(&mut scaler, true, 1999), 32_768.0);
        assert_eq!(after(&mut scaler, true, 1), 65_536.0);
    }

    #[test]
    fn the_multiple_stays_a_finite_float32() {
        let mut scaler = GradScaler::default();
        let scale = after(&mut scaler, true, 200 * INTERVAL);
        assert!((scale as f32).is_finite() && scale as f32 > 1e38, "{scale}");
        assert_eq!(scale, 2.0_f64.powi(127));
    }

    #[test]
    fn overflow_whatever_the_multiple_is_said() {
        let mut scaler = GradScaler::default();
        assert_eq!(after(&mut scaler, false, 32), SMALLEST);
        assert!(!scaler.update(false));
    }

    #[test]
    fn it_comes_back_from_a_checkpoint_as_it_was() {
        let mut scaler = GradScaler::default();
        after(&mut scaler, false, 1);
        after(&mut scaler, true, 7);
        let text = serde_json::to_string(&scaler).unwrap();
        assert_eq!(text, r#"{"scale":32768.0,"good_steps":7}"#);
        assert_eq!(serde_json::from_str::<GradScaler>(&text).unwrap(), scaler);
    }
}
