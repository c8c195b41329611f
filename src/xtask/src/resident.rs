//! How much memory a process holds, as the kernel counts it.

use anyhow::Context as _;

/// Resident memory of a process in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// At this moment.
    pub now: u64,
    /// The most there ever was.
    pub peak: u64,
}

impl Resident {
    /// Of a process that is running.
    ///
    /// # Errors
    /// There is no such process, or the kernel doesn't say.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let file = format!("/proc/{pid}/status");
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        Self::parse(&text).with_context(|| format!("{file} names no VmRSS and VmHWM"))
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = value.strip_suffix("kB")?.trim().parse().ok()?;
            Some(kilobytes * 1024)
        };
        Some(Self {
            now: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_kilobytes_are_read() {
        let status = "Name:\tbench\nVmHWM:\t  900 kB\nVmRSS:\t  800 kB\n";
        let expected = Resident {
            now: 800 * 1024,
            peak: 900 * 1024,
        };
        assert_eq!(Resident::parse(status), Some(expected));
        assert_eq!(Resident::parse("Name:\tzombie\n"), None);
    }

    #[test]
    fn this_process_holds_something_and_never_more_than_its_peak() {
        let Resident { now, peak } = Resident::of(std::process::id()).unwrap();
        assert!(0 < now && now <= peak);
    }
}
