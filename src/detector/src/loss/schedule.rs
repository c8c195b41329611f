//! How much the two branches weigh in an epoch: the dense branch leads at first, the one-to-one branch takes over.

/// Weights of the two branches; they sum to 1, unless the loss is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BranchWeights {
    /// Of the branch that gives many anchors to an object.
    pub one2many: f64,
    /// Of the branch that gives one anchor to an object.
    pub one2one: f64,
}

impl BranchWeights {
    /// The weights of a loss that is `factor` times as large.
    pub fn times(self, factor: f64) -> Self {
        Self {
            one2many: self.one2many * factor,
            one2one: self.one2one * factor,
        }
    }
}

/// The weights of epoch `epoch` (from 0) of `epochs`: from 0.8 / 0.2 linearly to 0.1 / 0.9 in the last epoch.
pub fn branch_weights(epoch: usize, epochs: usize) -> BranchWeights {
    let last = epochs.saturating_sub(1).max(1) as f64;
    let one2many = (1.0 - epoch as f64 / last).max(0.0) * (0.8 - 0.1) + 0.1;
    BranchWeights {
        one2many,
        one2one: (1.0 - one2many).max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_epochs_fall_from_eight_tenths_to_one_tenth() {
        let found: Vec<f64> = (0..4).map(|e| branch_weights(e, 4).one2many).collect();
        for (found, expected) in found.iter().zip([0.8, 0.566_666_67, 0.333_333_33, 0.1]) {
            assert!((found - expected).abs() < 1e-8, "{found} {expected}");
        }
        assert!((branch_weights(0, 4).one2one - 0.2).abs() < 1e-15);
    }

    #[test]
    fn a_lone_epoch_and_epochs_past_the_end_have_weights_too() {
        assert!((branch_weights(0, 1).one2many - 0.8).abs() < 1e-15);
        assert!((branch_weights(9, 4).one2many - 0.1).abs() < 1e-15);
        assert!((branch_weights(0, 0).one2many - 0.8).abs() < 1e-15);
    }
}
