//! Processes as /proc shows them (proc(5)), and what this one may do.

use std::fs;

/// CAP_SYS_ADMIN's number in linux/capability.h.
const SYS_ADMIN: u32 = 21;

struct Process {
    pid: u32,
    parent: u32,
    /// Its numbers, from the outermost namespace that is seen here to its own.
    numbers: Vec<u32>,
}

impl Process {
    fn read(pid: &str) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self {
            pid: field(&status, "Pid")?.parse().ok()?,
            parent: field(&status, "PPid")?.parse().ok()?,
            numbers: field(&status, "NSpid")?
                .split_whitespace()
                .filter_map(|number| number.parse().ok())
                .collect(),
        })
    }

    fn all() -> Vec<Self> {
        let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
        folders
            .filter_map(|folder| Self::read(folder.file_name().to_str()?))
            .collect()
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    status.lines().find_map(value).map(str::trim)
}

/// Whether this process may mount and make namespaces.
pub(super) fn may_administer() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = field(&status, "CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    nix::unistd::geteuid().is_root() && effective.is_some_and(|mask| mask >> SYS_ADMIN & 1 == 1)
}

/// Whether a process has children.
pub(super) fn has_children(pid: u32) -> bool {
    Process::all().iter().any(|process| process.parent == pid)
}

/// The first process of the container below `supervisor`: number 1 two namespaces further in than it, one of which is the
/// supervisor's own.
pub(super) fn first_of_container(supervisor: u32) -> Option<u32> {
    let all = Process::all();
    let depth = all
        .iter()
        .find(|process| process.pid == supervisor)?
        .numbers
        .len()
        + 2;
    let mut below = vec![supervisor];
    let mut next = 0;
    while let Some(parent) = below.get(next).copied() {
        below.extend(
            all.iter()
                .filter(|process| process.parent == parent)
                .map(|process| process.pid),
        );
        next += 1;
    }
    all.iter()
        .find(|process| {
            below.contains(&process.pid)
                && process.numbers.len() == depth
                && process.numbers.last() == Some(&1)
        })
        .map(|process| process.pid)
}
