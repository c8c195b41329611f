//! The queue's daemon on trial against a real broker: killed again and again, and timed beside a peer. Never shipped.
//!
//! - [`soak`]: the daemon, the broker or the network between them fail at random moments; the tree must end as that of an
//!   in-memory model that was never interrupted (QUE-5 to QUE-8);
//! - [`bench`](mod@bench): messages a second with everything durable, beside a consumer in Python that syncs nothing;
//! - [`daemon`]: `azaion-queue` as a child process.

pub mod bench;
pub mod daemon;
mod messages;
pub mod soak;

/// The messages and the model of the queue's own tests.
#[path = "../../queue/tests/common/mod.rs"]
mod common;
