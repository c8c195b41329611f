//! Backups against the real thing: a tree that the queue makes, a repository on disk, on an S3 server, behind rclone; and
//! restic itself beside ours.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

mod broken;
mod common;
mod drill;
mod remote;
mod replay;
mod whole;
