//! The suite as it ships: units, NixOS module and packages, held against systemd and Nix, and on a booted systemd. Never shipped.
//!
//! [`Unit`] reads a unit file, [`Stage`] puts units where systemd's tools look at them and at nothing else of this machine, and
//! [`nix::Copy`] evaluates a copy of the flake without network, with `tests/nix-standin` in nixpkgs' place. [`Machine`] boots a
//! systemd with the units and the built programs. What this machine lacks is told by [`missing`], so that a test can skip itself
//! by name.

mod machine;
mod stage;
mod unit;

pub mod nix;

use std::path::PathBuf;

pub use machine::{LIBTORCH, Machine};
pub use stage::Stage;
pub use unit::Unit;

/// The services of the suite, in `units/`.
pub const SERVICES: [&str; 10] = [
    "azaion-config.service",
    "azaion-queue.service",
    "azaion-train.service",
    "azaion-train-resume.service",
    "azaion-train-new.service",
    "azaion-alert@.service",
    "azaion-backup.service",
    "azaion-backup-drill.service",
    "azaion-health.service",
    "azaion-health-full.service",
];

/// The timers of the suite, in `units/`.
pub const TIMERS: [&str; 5] = [
    "azaion-train-new.timer",
    "azaion-backup.timer",
    "azaion-backup-drill.timer",
    "azaion-health.timer",
    "azaion-health-full.timer",
];

/// The repository that this crate lies in.
#[must_use]
pub fn repository() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(&own).to_path_buf()
}

/// What to install where one of `programs` is not here; `None` if all are.
#[must_use]
pub fn missing(programs: &[(&str, &str)]) -> Option<String> {
    programs
        .iter()
        .find(|(program, _)| {
            xtask::workspace::find_program(&[program], &xtask::workspace::process_env).is_none()
        })
        .map(|(program, package)| format!("{program} is not here: apt-get install {package}"))
}
