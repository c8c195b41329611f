//! From the tree on disk to batches in memory.
//!
//! Left to right: [`form`] turns `data/` into a dated, immutable dataset with a [`manifest`]; [`yaml`] opens such a
//! dataset (or a third party's) as a list of images with labels; the loader decodes, augments and batches them.
//! Every random choice on the way is a function of (seed, purpose, epoch, index), see [`rng`], so a run can be
//! resumed or repeated exactly.

pub mod augment;
pub mod batch;
pub mod catalog;
pub mod decode;
pub mod diff;
pub mod form;
mod groups;
pub mod letterbox;
pub mod likeness;
pub mod lint;
pub mod load;
pub mod manifest;
pub mod resize;
pub mod rng;
pub mod stats;
pub mod yaml;

pub use manifest::Split;
pub use yaml::{DataYaml, Dataset, Item};
