//! What a test makes go wrong in a run, where nothing on a small machine would.

use std::{fmt, sync::Arc};

/// Called with the number of images before each forward pass; what it returns is taken for libtorch's answer.
type BeforeForward = dyn Fn(usize) -> Result<(), torch::Error> + Send + Sync;
/// Called with the number of images before each forward pass: whether the images are to be no numbers.
type Poison = dyn Fn(usize) -> bool + Send + Sync;

/// Faults of a rehearsal. By default there are none.
#[derive(Clone, Default)]
pub enum Faults {
    /// Nothing goes wrong.
    #[default]
    None,
    /// Forward passes fail.
    Forward(Arc<BeforeForward>),
    /// Images are no numbers.
    Poison(Arc<Poison>),
}

impl Faults {
    /// Forward passes that fail.
    pub fn before_forward(fault: impl Fn(usize) -> Result<(), torch::Error> + Send + Sync + 'static) -> Self {
        Self::Forward(Arc::new(fault))
    }

    /// Images that are no numbers.
    pub fn poisoning(fault: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        Self::Poison(Arc::new(fault))
    }

    pub(crate) fn forward(&self, images: usize) -> Result<(), torch::Error> {
        match self {
            Self::Forward(fault) => fault(images),
            Self::None | Self::Poison(_) => Ok(()),
        }
    }

    /// What pixels are multiplied by, if not by one.
    pub(crate) fn poison(&self, images: usize) -> Option<f64> {
        match self {
            Self::Poison(fault) if fault(images) => Some(f64::NAN),
            _ => None,
        }
    }

    pub(crate) fn are_expected(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Forward(_) => "Forward",
            Self::Poison(_) => "Poison",
        })
    }
}
