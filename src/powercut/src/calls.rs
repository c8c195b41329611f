//! System calls that the kernel answers with success and does not do.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use nix::libc;
use seccompiler::{SeccompAction, SeccompFilter, TargetArch};

/// A system call that syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// fsync(2): folders, and files with their attributes.
    Fsync,
    /// fdatasync(2): the bytes of files.
    Fdatasync,
    /// syncfs(2): everything on a file system.
    Syncfs,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fsync, Self::Fdatasync, Self::Syncfs];

    fn number(self) -> i64 {
        match self {
            Self::Fsync => libc::SYS_fsync,
            Self::Fdatasync => libc::SYS_fdatasync,
            Self::Syncfs => libc::SYS_syncfs,
        }
    }
}

/// Does `work` on a thread in which, and in the threads it starts, these calls do nothing and succeed.
pub fn without<T: Send>(calls: &[Call], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if calls.is_empty() {
        return work();
    }
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (call.number(), Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH).context("no filter for this processor")?;
    // An error number of zero is success.
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(0), arch)
        .and_then(seccompiler::BpfProgram::try_from)
        .context("cannot build the filter")?;
    let filtered = || {
        seccompiler::apply_filter(&filter).context("cannot filter system calls")?;
        work()
    };
    std::thread::scope(|scope| crate::proof::joined(scope.spawn(filtered)))
}
