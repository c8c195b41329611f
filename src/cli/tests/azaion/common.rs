//! What the tests of the program share: running it, and small datasets to run it on.

use assert_cmd::Command;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The program, on one thread.
pub fn azaion(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("azaion").unwrap();
    command.env("OMP_NUM_THREADS", "1").args(arguments);
    command
}

/// The JSON object on the last line of stdout.
pub fn last_line(stdout: &[u8]) -> serde_json::Value {
    let text = String::from_utf8(stdout.to_vec()).unwrap();
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|e| panic!("{e} in:\n{text}"))
}

/// A folder with `count` drawn scenes as images/ and labels/.
pub fn yolo_folder(folder: &Path, count: u64) {
    cli::scenes::draw_into(folder, 3, count).unwrap();
}

/// Image file of scene `index`.
pub fn image(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("images/s{index:02}.jpg"))
}

/// Label file of scene `index`.
pub fn label(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("labels/s{index:02}.txt"))
}

/// A folder with the program in it, and beside it a training program that is this shell script.
pub fn beside(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("azaion");
    fs::copy(azaion(&[]).get_program(), &own).unwrap();
    program(&folder.path().join("azaion-train"), script);
    (folder, own)
}

/// A program that is a shell script.
pub fn program(path: &Path, script: &str) {
    write(path, &format!("#!/bin/sh\n{script}\n"), 0o755);
}

/// A file with this mode.
pub fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
