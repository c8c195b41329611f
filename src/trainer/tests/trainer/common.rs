//! What the tests of the program share: running it, and small datasets to run it on.

use assert_cmd::Command;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The program, on one thread.
pub fn azaion(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("azaion-train").unwrap();
    command.env("OMP_NUM_THREADS", "1").args(arguments);
    command
}

/// A demo of drawn scenes that takes seconds.
pub fn small_demo(root: &Path) -> Command {
    let mut command = azaion(&[
        "demo",
        "--scenes",
        "20",
        "--epochs",
        "3",
        "--imgsz",
        "64",
        "--batch",
        "4",
        "--threads",
        "1",
    ]);
    command
        .args(["--device", "cpu", "--precision", "fp32", "--json", "--root"])
        .arg(root);
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

/// Every file below `folder` with its bytes.
pub fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push((path.clone(), fs::read(path).unwrap()))
            }
        }
    }
    files.sort();
    files
}
