//! What the tests of the program share: running it, and small datasets to run it on.

use assert_cmd::Command;
use std::{
    fs,
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
    for sub in ["images", "labels"] {
        fs::create_dir_all(folder.join(sub)).unwrap();
    }
    for index in 0..count {
        let scene = cli::scenes::scene(3, index);
        fs::write(image(folder, index), scene.jpeg().unwrap()).unwrap();
        fs::write(label(folder, index), scene.label.to_string()).unwrap();
    }
}

/// Image file of scene `index`.
pub fn image(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("images/s{index:02}.jpg"))
}

/// Label file of scene `index`.
pub fn label(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("labels/s{index:02}.txt"))
}
