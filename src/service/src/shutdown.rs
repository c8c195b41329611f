//! SIGINT, SIGTERM and SIGPWR (the power will be gone soon) as a flag that long work looks at between two steps (QUE-8).
//!
//! The first signal sets the flag and the work in hand is finished; a second one means that somebody does not want to
//! wait: the process ends at once with exit code 130. What is on disk must bear that at any moment anyway.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

/// signal(7); what a guardian of the power supply sends.
const SIGPWR: i32 = 30;

/// Exit code of a process that a second signal ended.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Whether this process was asked to stop. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    requested: Arc<AtomicBool>,
}

impl Shutdown {
    /// Takes over SIGINT, SIGTERM and SIGPWR of this process.
    pub fn install() -> io::Result<Self> {
        let shutdown = Self::default();
        for signal in [SIGINT, SIGTERM, SIGPWR] {
            // The order matters: handlers run in order of registration, so the first signal finds the flag unset,
            // and only a later one exits.
            signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, shutdown.flag())?;
            signal_hook::flag::register(signal, shutdown.flag())?;
        }
        Ok(shutdown)
    }

    /// Two further wishes that a process may be sent: SIGUSR1 and SIGUSR2, each a flag that stays set until it is taken back.
    pub fn wishes() -> io::Result<[Arc<AtomicBool>; 2]> {
        let flags = [Arc::default(), Arc::default()];
        for (signal, flag) in [SIGUSR1, SIGUSR2].into_iter().zip(&flags) {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        Ok(flags)
    }

    /// Lets this process live on when its terminal goes away: work that must not stop half-way outlives a broken connection.
    pub fn outlive_terminal() -> io::Result<()> {
        signal_hook::flag::register(SIGHUP, Arc::default())?;
        Ok(())
    }

    /// Asks for it from within.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// The flag itself, for libraries that know nothing of this type.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.requested)
    }
}
