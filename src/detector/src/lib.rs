//! YOLO26: the detector itself, on libtorch.
//!
//! From left to right: `net` turns images into raw head outputs, `decode` and `nms` turn those into boxes, `loss` and
//! `metrics` judge them, `weights` brings weights in and out. docs/CLEANROOM.md says what it was written from.

pub mod decode;
mod error;
pub mod loss;
pub mod metrics;
pub mod net;
pub mod nms;
pub mod weights;

pub use decode::Detection;
pub use error::{Error, Result};
pub use net::{Config, Detector, FusedDetector, Head, HeadOutput, Heads, Scale};
