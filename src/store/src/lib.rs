//! The labelled image tree on disk, and what keeps it whole.
//!
//! [`Tree`] is the one writer of `data/`, `data-seed/` and `data_deleted/`. It takes a batch of actions ([`Batch`]), makes
//! all of them durable and only then moves `offset.yaml` on, so that a process that is killed, a machine that loses power
//! and a disk that fills up cost nothing but a replay, and every replay ends in the same bytes (QUE-5, QUE-6).
//! [`atomic`] is the one way a file of ours is replaced, whoever owns it.
//!
//! The layouts are documented on the types that own them: the tree on [`Paths`], the refused messages on
//! [`quarantine`], the remembered misses on [`unmatched`], what happened to every annotation on [`ledger`], the offset on
//! [`offset`].

pub mod alerts;
pub mod atomic;
pub mod backups;
mod batch;
mod commit;
mod digest;
mod disk;
mod error;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
pub mod ledger;
mod lock;
mod media;
mod nameless;
mod names;
pub mod offset;
mod paths;
pub mod quarantine;
mod spool;
mod tree;
pub mod unmatched;
pub mod usage;
mod verify;

pub use batch::{Batch, Entry, Known, Unknown};
pub use digest::Digest;
#[cfg(any(test, feature = "fault"))]
pub use disk::{Disk, Real};
pub use error::{Error, Result};
pub use lock::{Lock, locked_by, writer};
pub use media::Media;
pub use paths::{Home, Paths};
pub use spool::{Spool, Spooled};
pub use tree::{Counts, Tree, free_bytes};
pub use verify::{Depth, Problem, Rebuilt, Verification, rebuild_ledger, verify};
