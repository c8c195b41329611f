//! What units, module and backups are tested with: systemd's offline tools, its containers, Nix, restic and rclone. All of it is in
//! Debian; on NixOS and elsewhere it is there already or named.

use crate::apt::{self, Missing};
use crate::workspace::Env;

/// A program, and the package of Debian that brings it.
const PROGRAMS: [(&str, &str); 7] = [
    ("systemd-analyze", "systemd"),
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("nix", "nix-bin"),
    ("restic", "restic"),
    ("rclone", "rclone"),
];

/// Brings all of them; gives an error for each that cannot be had.
#[must_use]
pub fn bring(env: Env<'_>) -> Vec<Missing> {
    PROGRAMS
        .iter()
        .filter_map(|(program, package)| apt::program(program, package, env).err())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_that_is_missing_is_named() {
        let missing = bring(&|_| None);
        let said: String = missing.iter().map(|error| format!("{error}\n")).collect();
        for package in ["systemd-container", "nix-bin"] {
            assert!(said.contains(package), "{said}");
        }
    }
}
