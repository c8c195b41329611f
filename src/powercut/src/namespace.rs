//! Mounts that nobody else sees.
//!
//! A thread with a mount namespace of its own, and the threads that it starts, are the only ones that see what it mounts. When
//! they end, however they end, the kernel unmounts all of it: nothing is left behind for another test to hang on.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::MsFlags;
use nix::sched::CloneFlags;

/// Does `work` on a thread with a mount namespace of its own. A panic in it goes on here.
pub fn privately<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let alone = || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("no right to make a mount namespace")?;
        nix::mount::mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .context("cannot make the mounts private")?;
        work()
    };
    std::thread::scope(|scope| crate::proof::joined(scope.spawn(alone)))
}

/// Why nothing can be mounted here; `None` where it can.
#[must_use]
pub fn missing_for_fuse() -> Option<String> {
    if !Path::new("/dev/fuse").exists() {
        return Some("there is no /dev/fuse here".to_owned());
    }
    privately(|| Ok(())).err().map(|error| format!("{error:#}"))
}
