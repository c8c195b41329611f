//! Learning rate, momentum and accumulation of every iteration, as pure functions of its number.
//!
//! Nothing here holds state: a resumed run asks for iteration `n` and gets what an uninterrupted one got. Facts: the
//! detector's specification, 6.1, 6.3, 6.5, 6.6; rounding is half to even, as there.

use crate::hyper::{Hyper, OptimizerChoice};
use serde::{Deserialize, Serialize};

/// The optimiser a run really uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizerKind {
    /// SGD with Nesterov momentum, plus orthogonalised updates of matrices and kernels.
    MuSGD,
    /// Adam with decoupled weight decay.
    AdamW,
    /// SGD with Nesterov momentum.
    SGD,
}

/// What follows from the hyper-parameters for a dataset of a given size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// Learning rate that groups start from (before boosts).
    pub lr0: f64,
    /// Momentum that groups start from.
    pub momentum0: f64,
    /// Weight decay after scaling to the nominal batch size.
    pub weight_decay: f64,
    /// Batches an epoch.
    pub batches_per_epoch: u64,
    /// Epochs in all.
    pub epochs: u32,
    accumulate: f64,
    warmup_iterations: u64,
    warmup_momentum: f64,
    warmup_bias_lr: f64,
    momentum: f64,
    lrf: f64,
    cosine: bool,
}

/// What one iteration runs with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Batches to accumulate before an optimiser step.
    pub accumulate: u64,
    /// Factor on a group's own initial learning rate, for all groups but biases.
    pub lr_factor: f64,
    /// Learning rate of bias groups is `bias_base * (1 - bias_blend) + initial * lr_of_epoch * bias_blend`.
    pub bias_base: f64,
    /// See `bias_base`.
    pub bias_blend: f64,
    /// Factor of the epoch without warm-up.
    pub epoch_factor: f64,
    /// Momentum of SGD-like optimisers.
    pub momentum: f64,
}

impl Settings {
    /// The same with every learning rate multiplied by `factor`.
    pub fn slowed(self, factor: f64) -> Self {
        Self {
            lr_factor: self.lr_factor * factor,
            bias_base: self.bias_base * factor,
            epoch_factor: self.epoch_factor * factor,
            ..self
        }
    }

    /// Learning rate of a group that starts from `initial`.
    pub fn lr(&self, initial: f64, is_bias: bool) -> f64 {
        if is_bias {
            let target = initial * self.epoch_factor;
            self.bias_base + (target - self.bias_base) * self.bias_blend
        } else {
            initial * self.lr_factor
        }
    }
}

impl Schedule {
    /// Resolves `hyper` for `images` training images of `classes` classes that occur in them.
    pub fn new(hyper: &Hyper, images: usize, classes: usize) -> Self {
        let batch = hyper.batch.min(images.max(1));
        let batches_per_epoch = images.div_ceil(batch).max(1) as u64;
        let nominal = images.div_ceil(batch.max(hyper.nbs)) as u64 * u64::from(hyper.epochs);
        let (optimizer, lr0, momentum0, warmup_bias_lr) = match hyper.optimizer {
            OptimizerChoice::Auto if nominal > 10_000 => (OptimizerKind::MuSGD, 0.01, 0.9, 0.0),
            OptimizerChoice::Auto => {
                let fitted = (0.002 * 5.0 / (4.0 + classes as f64) * 1e6).round_ties_even() / 1e6;
                (OptimizerKind::AdamW, fitted, 0.9, 0.0)
            }
            OptimizerChoice::MuSGD => (
                OptimizerKind::MuSGD,
                hyper.lr0,
                hyper.momentum,
                hyper.warmup_bias_lr,
            ),
            OptimizerChoice::AdamW => (
                OptimizerKind::AdamW,
                hyper.lr0,
                hyper.momentum,
                hyper.warmup_bias_lr,
            ),
            OptimizerChoice::SGD => (
                OptimizerKind::SGD,
                hyper.lr0,
                hyper.momentum,
                hyper.warmup_bias_lr,
            ),
        };
        let accumulate = (hyper.nbs as f64 / batch as f64).round_ties_even().max(1.0);
        let warmup_epochs = hyper.warmup_epochs.min(f64::from(hyper.epochs - 1));
        Self {
            optimizer,
            lr0,
            momentum0,
            weight_decay: hyper.weight_decay * batch as f64 * accumulate / hyper.nbs as f64,
            batches_per_epoch,
            epochs: hyper.epochs,
            accumulate: accumulate.min((batches_per_epoch * u64::from(hyper.epochs)) as f64),
            warmup_iterations: (warmup_epochs * batches_per_epoch as f64).round_ties_even() as u64,
            warmup_momentum: hyper.warmup_momentum,
            warmup_bias_lr,
            momentum: hyper.momentum,
            lrf: hyper.lrf,
            cosine: hyper.cos_lr,
        }
    }

    /// Factor on the initial learning rate in `epoch` (from 0), without warm-up.
    pub fn epoch_factor(&self, epoch: u32) -> f64 {
        let (e, all) = (f64::from(epoch), f64::from(self.epochs));
        if self.cosine {
            ((1.0 - (e * std::f64::consts::PI / all).cos()) / 2.0).max(0.0) * (self.lrf - 1.0) + 1.0
        } else {
            (1.0 - e / all).max(0.0) * (1.0 - self.lrf) + self.lrf
        }
    }

    /// Settings of iteration `ni`, counted over the whole run from 0.
    pub fn at(&self, ni: u64) -> Settings {
        let epoch = (ni / self.batches_per_epoch) as u32;
        let epoch_factor = self.epoch_factor(epoch);
        if self.warmup_iterations == 0 || ni > self.warmup_iterations {
            return Settings {
                accumulate: self.accumulate as u64,
                lr_factor: epoch_factor,
                bias_base: 0.0,
                bias_blend: 1.0,
                epoch_factor,
                momentum: if self.warmup_iterations == 0 {
                    self.momentum0
                } else {
                    self.momentum
                },
            };
        }
        let f = ni as f64 / self.warmup_iterations as f64;
        Settings {
            accumulate: (1.0 + f * (self.accumulate - 1.0)).round_ties_even().max(1.0) as u64,
            lr_factor: f * epoch_factor,
            bias_base: self.warmup_bias_lr,
            bias_blend: f,
            epoch_factor,
            momentum: self.warmup_momentum + f * (self.momentum - self.warmup_momentum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hyper(epochs: u32, batch: usize, optimizer: OptimizerChoice) -> Hyper {
        Hyper {
            epochs,
            batch,
            optimizer,
            ..Hyper::default()
        }
    }

    /// Replays rule 6.7 (5): step when `ni - last_step >= accumulate`, the first batch always.
    fn steps(schedule: &Schedule) -> Vec<u64> {
        let mut last = -1_i64;
        let mut at = Vec::new();
        for ni in 0..schedule.batches_per_epoch * u64::from(schedule.epochs) {
            if ni as i64 - last >= schedule.at(ni).accumulate as i64 {
                last = ni as i64;
                at.push(ni);
            }
        }
        at
    }

    #[test]
    fn optimizer_steps_fall_where_the_reference_was_seen_to_take_them() {
        let schedule = Schedule::new(&hyper(4, 8, OptimizerChoice::MuSGD), 64, 3);
        assert_eq!(steps(&schedule), [0, 1, 3, 5, 8, 12, 18, 26]);
    }

    #[test]
    fn auto_takes_adamw_for_short_runs_and_musgd_for_long_ones() {
        let short = Schedule::new(&hyper(40, 16, OptimizerChoice::Auto), 205, 3);
        assert_eq!((short.optimizer, short.lr0), (OptimizerKind::AdamW, 0.001429));
        let long = Schedule::new(&hyper(120, 11, OptimizerChoice::Auto), 100_000, 80);
        assert_eq!(
            (long.optimizer, long.lr0, long.momentum0),
            (OptimizerKind::MuSGD, 0.01, 0.9)
        );
    }

    #[test]
    fn weight_decay_scales_with_batch_and_accumulation() {
        let of = |batch| Schedule::new(&hyper(100, batch, OptimizerChoice::SGD), 1000, 3).weight_decay;
        assert_eq!(of(8), 0.0005);
        assert!((of(11) - 0.000515625).abs() < 1e-12);
        assert_eq!(of(16), 0.0005);
    }

    #[test]
    fn linear_factor_matches_the_four_epoch_example() {
        let schedule = Schedule::new(&hyper(4, 8, OptimizerChoice::SGD), 64, 3);
        let factors: Vec<f64> = (0..4).map(|e| schedule.epoch_factor(e)).collect();
        for (got, want) in factors.iter().zip([1.0, 0.7525, 0.505, 0.2575]) {
            assert!((got - want).abs() < 1e-12, "{factors:?}");
        }
    }

    #[test]
    fn warm_up_starts_from_nothing_and_biases_from_their_own_rate() {
        let schedule = Schedule::new(&hyper(10, 8, OptimizerChoice::SGD), 64, 3);
        let first = schedule.at(0);
        assert_eq!(first.lr(0.01, false), 0.0);
        assert_eq!(first.lr(0.01, true), 0.1);
        assert_eq!(first.momentum, 0.8);
        let last = schedule.at(24);
        assert_eq!(last.lr(0.01, false), 0.01 * schedule.epoch_factor(3));
        assert!((last.momentum - 0.937).abs() < 1e-12);
        assert_eq!(schedule.at(25).momentum, 0.937);
    }

    #[test]
    fn slowing_takes_every_learning_rate_by_the_factor_and_one_changes_no_bit() {
        let schedule = Schedule::new(&hyper(10, 8, OptimizerChoice::SGD), 64, 3);
        for ni in [0, 5, 24, 79] {
            let settings = schedule.at(ni);
            assert_eq!(settings.slowed(1.0), settings);
            for bias in [false, true] {
                let (slow, full) = (settings.slowed(0.25).lr(0.01, bias), settings.lr(0.01, bias));
                assert!((slow - full / 4.0).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn a_single_epoch_has_no_warm_up() {
        let schedule = Schedule::new(&hyper(1, 8, OptimizerChoice::SGD), 64, 3);
        assert_eq!(schedule.at(0).lr(0.01, false), 0.01);
    }
}
