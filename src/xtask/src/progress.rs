//! One line of progress for a job whose size in bytes is known: a bar on a terminal, and elsewhere (CI, a pipe) a line
//! when it starts and then one every ten seconds, so that a log shows that something is going on without being flooded.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// A running job's progress; dropping it removes the bar.
pub struct Progress {
    what: String,
    total: u64,
    done: u64,
    face: Face,
}

enum Face {
    Bar(ProgressBar),
    Lines { next: Instant },
}

impl Progress {
    /// Announces `what` ("fetching torch 2.13.0"), a job of `total` bytes.
    #[must_use]
    pub fn start(what: impl Into<String>, total: u64) -> Self {
        let what = what.into();
        let face = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:32}] {bytes}/{total_bytes} {eta}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what.clone());
            Face::Bar(bar)
        } else {
            eprintln!("{what} ({})", megabytes(total));
            Face::Lines {
                next: Instant::now() + PLAIN_EVERY,
            }
        };
        Self {
            what,
            total,
            done: 0,
            face,
        }
    }

    /// `bytes` more are done.
    pub fn advance(&mut self, bytes: u64) {
        self.set(self.done.saturating_add(bytes));
    }

    /// `bytes` are done in all.
    pub fn set(&mut self, bytes: u64) {
        self.done = bytes;
        match &mut self.face {
            Face::Bar(bar) => bar.set_position(bytes),
            Face::Lines { next } => {
                if Instant::now() >= *next {
                    *next = Instant::now() + PLAIN_EVERY;
                    let percent = bytes
                        .saturating_mul(100)
                        .checked_div(self.total)
                        .unwrap_or(100)
                        .min(100);
                    eprintln!("{}: {percent} % of {}", self.what, megabytes(self.total));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Face::Bar(bar) = &self.face {
            bar.finish_and_clear();
        }
    }
}

/// "527 MB"; below one megabyte "0.3 MB".
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    if tenths < 10 {
        format!("0.{tenths} MB")
    } else {
        format!("{} MB", (tenths + 5) / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::megabytes;

    #[test]
    fn sizes_read_naturally() {
        assert_eq!(megabytes(526_574_961), "527 MB");
        assert_eq!(megabytes(2_243_632), "2 MB");
        assert_eq!(megabytes(300_000), "0.3 MB");
        assert_eq!(megabytes(0), "0.0 MB");
    }
}
