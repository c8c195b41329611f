//! Errors of the network and its weights.

use torch::ErrorClass;

/// Why the network could not be built, loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libtorch refused an operation.
    #[error(transparent)]
    Torch(#[from] torch::Error),
    /// An operation got something of another shape, kind or range.
    #[error("{operation}: expected {expected}, got {got}")]
    Mismatch {
        /// What was asked for.
        operation: &'static str,
        /// What it takes.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// Weights that do not make up the network.
    #[error(
        "the weights do not fit yolo26{scale} with {nc} classes: {problems}; load them into the scale and class count they were made for"
    )]
    Weights {
        /// Letter of the network's scale.
        scale: &'static str,
        /// Its class count.
        nc: usize,
        /// The tensors that do not fit, with what was expected.
        problems: String,
    },
    /// Folded weights where trainable ones are needed.
    #[error(
        "{operation}: the weights are fused (batch normalisation folded in): they can only answer, not be trained; take the unfused file"
    )]
    Fused {
        /// What was asked for.
        operation: &'static str,
    },
}

impl Error {
    pub(crate) fn mismatch(
        operation: &'static str,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Mismatch {
            operation,
            expected: expected.into(),
            got: got.into(),
        }
    }

    /// Whether memory ran out (ALR-5) or something else is wrong.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Torch(error) => error.class(),
            _ => ErrorClass::Other,
        }
    }
}

/// The result of a network's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
