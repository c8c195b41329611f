//! The daemons on trial: killed again and again, against a real broker or on a disk that loses power, and timed beside a peer.
//! Never shipped.
//!
//! - [`soak`]: the daemon, the broker or the network between them fail at random moments; the tree must end as that of an
//!   in-memory model that was never interrupted (QUE-5 to QUE-8);
//! - [`bench`](mod@bench): messages a second with everything durable, beside a consumer in Python that syncs nothing;
//! - [`daemon`]: `azaion-queue` as a child process;
//! - [`training`]: `azaion-train` killed again and again, in the middle of a power cut too; its model must be that of a run that
//!   nobody touched, to the bit.

pub mod bench;
pub mod daemon;
mod messages;
pub mod soak;
pub mod training;

/// The messages and the model of the queue's own tests.
#[path = "../../queue/tests/common/mod.rs"]
mod common;
