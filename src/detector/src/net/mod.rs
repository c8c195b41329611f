//! The network: backbone, neck and the two heads, as named tensors and a forward pass over them.
//!
//! Tensors carry the reference's state-dictionary names, so that weights travel both ways without a table. With equal
//! weights, one thread and contiguous float32 tensors the outputs equal the reference's to the bit on the same CPU
//! (tests/reference_forward.rs). Facts: the architecture, initialisation and folding of the public model, restated
//! independently (docs/CLEANROOM.md).

mod block;
mod body;
mod builder;
mod detector;
mod fused;
mod head;
mod images;
mod layer;
mod scale;
mod state;
mod transfer;

pub use detector::Detector;
pub use fused::FusedDetector;
pub use head::{Head, HeadOutput, Heads};
pub use images::from_rgb;
pub use scale::{Config, Scale};
pub use state::{Entry, Role, State};
pub use transfer::Transfer;

/// How batch normalisation behaves and whether backward will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Statistics of the batch, which also move the running ones; operations are recorded.
    Train,
    /// Running statistics; nothing is recorded, so activations may be overwritten in place.
    Eval,
}
