//! File systems that lose power, for the proof that no annotation is lost with it (QUE-5, QUE-6). Never shipped.
//!
//! - [`forgetful`]: a file system that forgets every byte and every name that was not synced by itself;
//! - [`lossy`]: a disk under a real file system, which loses what was not flushed;
//! - [`proof`]: the queue on either of them, cut off everywhere, resumed and compared with a model.
//!
//! Both are mounted for real, so that the store's own calls and the kernel are what is tested. Mounting needs root;
//! [`namespace::privately`] keeps the mounts from everybody else and lets none of them outlive its thread.

pub mod calls;
pub mod forgetful;
pub mod lossy;
pub mod namespace;
pub mod proof;
mod workload;

/// The messages and the model of the queue's own tests.
#[path = "../../queue/tests/common/mod.rs"]
mod common;
