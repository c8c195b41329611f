//! Backups of a tree, and the way back.
//!
//! [`run::take`] looks at a tree in an order that makes what it sees replay-safe ([`view`]), and sends it into a repository of
//! restic's format ([`vault`]): encrypted, cut into pieces that are stored once, in a folder, on an S3 server, or behind
//! rclone ([`target`]). A backup is whole or absent ([`run`]). [`check`] and [`drill`] say whether it would restore,
//! [`restore`] does it, and [`round`] puts all of it into the order in which the timers and an operator ask for it.
//!
//! Reading and writing repositories is rustic_core's; restic itself reads and restores what is written here.

pub mod answer;
pub mod args;
mod bucket;
pub mod check;
pub mod drill;
mod error;
mod gate;
mod locks;
pub mod progress;
pub mod restore;
pub mod round;
pub mod run;
mod source;
pub mod target;
pub mod vault;
pub mod view;

pub use error::{Error, Result};
pub use vault::{Place, Vault};
