//! Progress for a person: bars on a terminal, plain lines elsewhere. Everything goes to stderr; stdout is for results.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal, Write, stderr},
    sync::LazyLock,
    time::{Duration, Instant},
};

static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));

/// Prints a line above any bar. A terminal that has gone away, as at the end of a session, ends nothing.
pub fn print(line: &str) {
    BARS.suspend(|| {
        let _ = writeln!(stderr().lock(), "{}", line.trim_end());
    });
}

/// One piece of work with an end in sight.
pub struct Task {
    bar: Option<ProgressBar>,
    label: &'static str,
    started: Instant,
}

impl Task {
    /// Begins a piece of work of `len` steps (0: not known yet).
    pub fn new(label: &'static str, len: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::new(len));
            let style = ProgressStyle::with_template(
                "{prefix:<12} {bar:28.cyan/dim} {pos:>6}/{len:<6} {elapsed:>4} {wide_msg}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(label);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            bar,
            label,
            started: Instant::now(),
        }
    }

    /// Says how far the work is.
    pub fn at(&self, position: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(message());
        }
    }

    /// Says how far the work is, and how much there is.
    pub fn at_of(&self, position: u64, len: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(len);
            bar.set_position(position);
        }
    }

    /// Begins again with another length.
    pub fn restart(&self, len: u64) {
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(len);
        }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        print(&format!("{:<12} {text}", self.label));
    }

    /// Ends the work with a line that stays; returns its seconds.
    pub fn done(self, text: &str) -> f64 {
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        print(&format!("{:<12} {text} ({seconds:.1} s)", self.label));
        seconds
    }
}
