//! Which parameter decays, which warms up from its own rate, which learns faster (specification 6.2).

use crate::schedule::{OptimizerKind, Schedule, Settings};
use tch::Tensor;

/// Learning-rate factor of the class branches under MuSGD.
const BOOST: f64 = 3.0;

/// What a group's parameters have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// Kernels and matrices: weight decay.
    Weight,
    /// Scales of normalisation layers: no decay.
    Norm,
    /// Biases, those of normalisation layers too: no decay, own warm-up.
    Bias,
    /// Kernels and matrices with an orthogonalised update (MuSGD): weight decay.
    Muon,
}

/// Parameters that share learning rate and decay.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What they have in common.
    pub kind: GroupKind,
    /// Learning rate before schedule and warm-up.
    pub initial_lr: f64,
    /// Weight decay; 0 for scales and biases.
    pub weight_decay: f64,
}

impl Group {
    /// Whether its parameters have a second buffer under `optimizer`: Adam's second moment, or the momentum of the
    /// orthogonalised part.
    pub(super) fn has_second(&self, optimizer: OptimizerKind) -> bool {
        match optimizer {
            OptimizerKind::AdamW => true,
            OptimizerKind::MuSGD => self.kind == GroupKind::Muon,
            OptimizerKind::SGD => false,
        }
    }

    /// Learning rate under `settings`.
    pub fn lr(&self, settings: &Settings) -> f64 {
        settings.lr(self.initial_lr, self.kind == GroupKind::Bias)
    }
}

/// The groups of `schedule`'s optimiser in reporting order, and each parameter's group.
pub(super) fn assign(schedule: &Schedule, parameters: &[(String, Tensor)]) -> (Vec<Group>, Vec<usize>) {
    let muon = schedule.optimizer == OptimizerKind::MuSGD;
    let order = [
        GroupKind::Weight,
        GroupKind::Norm,
        GroupKind::Bias,
        GroupKind::Muon,
    ];
    let kinds = if muon { &order[..] } else { &order[..3] };
    let boosts: &[f64] = if muon { &[BOOST, 1.0] } else { &[1.0] };
    let groups = kinds
        .iter()
        .flat_map(|&kind| {
            boosts.iter().map(move |boost| Group {
                kind,
                initial_lr: schedule.lr0 * boost,
                weight_decay: match kind {
                    GroupKind::Weight | GroupKind::Muon => schedule.weight_decay,
                    GroupKind::Norm | GroupKind::Bias => 0.0,
                },
            })
        })
        .collect();
    let of = parameters
        .iter()
        .map(|(name, tensor)| {
            let kind = kind_of(name, tensor.dim(), muon);
            let base = kinds.iter().position(|&k| k == kind).unwrap_or_default();
            if muon {
                2 * base + usize::from(!is_class_branch(name))
            } else {
                base
            }
        })
        .collect();
    (groups, of)
}

fn kind_of(name: &str, dimensions: usize, muon: bool) -> GroupKind {
    if muon && matches!(dimensions, 2 | 4) {
        GroupKind::Muon
    } else if name.contains("bias") {
        GroupKind::Bias
    } else if name.ends_with("bn.weight") {
        GroupKind::Norm
    } else {
        GroupKind::Weight
    }
}

fn is_class_branch(name: &str) -> bool {
    name.starts_with("model.23.cv3.") || name.starts_with("model.23.one2one_cv3.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_biases_are_biases_and_kernels_decay() {
        assert_eq!(kind_of("model.0.bn.bias", 1, false), GroupKind::Bias);
        assert_eq!(kind_of("model.0.bn.weight", 1, false), GroupKind::Norm);
        assert_eq!(kind_of("model.0.conv.weight", 4, false), GroupKind::Weight);
        assert_eq!(kind_of("model.0.conv.weight", 4, true), GroupKind::Muon);
        assert_eq!(kind_of("model.23.cv2.0.2.bias", 1, true), GroupKind::Bias);
    }

    #[test]
    fn only_class_branches_are_boosted() {
        assert!(is_class_branch("model.23.one2one_cv3.0.0.0.bn.weight"));
        assert!(!is_class_branch("model.23.cv2.0.0.bn.weight"));
        assert!(!is_class_branch("model.2.m.0.cv3.bn.weight"));
    }
}
