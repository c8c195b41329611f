//! Networks that the tests work on.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken set-up fails the test")]

use crate::common::{formula_weights, unit};
use detector::{Config, Detector, Scale};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tch::Tensor;
use torch::to_vec_f32;

/// Reproducible draws.
pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A network with drawn weights.
pub fn fresh(scale: Scale, nc: usize) -> Detector {
    torch::set_threads(1).unwrap();
    Detector::new(Config::new(scale, nc).unwrap(), &mut rng(7)).unwrap()
}

/// A nano network with weights that are far from fresh, so that selections and statistics mean something.
pub fn worn(nc: usize) -> Detector {
    let mut detector = fresh(Scale::N, nc);
    let weights = formula_weights(&detector);
    detector.load(&weights).unwrap();
    detector
}

/// Two images.
pub fn images() -> Tensor {
    unit("input", &[2, 3, 64, 96])
}

/// The values of a tensor of the state.
pub fn named(detector: &Detector, name: &str) -> Vec<f32> {
    to_vec_f32(
        detector
            .state()
            .get(name)
            .unwrap_or_else(|| panic!("no '{name}'")),
    )
    .unwrap()
}

/// Whether two networks have the same tensors.
pub fn all_equal(a: &Detector, b: &Detector) -> bool {
    let (a, b) = (a.state().entries(), b.state().entries());
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(x, y)| x.name() == y.name() && x.tensor().equal(y.tensor()))
}
