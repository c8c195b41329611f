//! A dataset and a run as small as they get.

use detector::Scale;
use std::{
    fs,
    path::{Path, PathBuf},
};
use train::{Hyper, RunOptions};

/// Six images with a bright square each, four to train on and two to validate on, of `names`.
pub fn dataset(folder: &Path, label: &str, names: &[&str]) -> PathBuf {
    for (split, count) in [("train", 4_u8), ("valid", 2)] {
        for sub in ["images", "labels"] {
            fs::create_dir_all(folder.join(split).join(sub)).unwrap();
        }
        for index in 0..count {
            let image = image::RgbImage::from_fn(64, 48, |x, y| {
                image::Rgb(if x.abs_diff(32) < 12 && y.abs_diff(24) < 12 {
                    [250, 200, index]
                } else {
                    [20, 30, 40]
                })
            });
            image
                .save(folder.join(split).join(format!("images/{index}.png")))
                .unwrap();
            fs::write(folder.join(split).join(format!("labels/{index}.txt")), label).unwrap();
        }
    }
    let yaml = folder.join("data.yaml");
    fs::write(
        &yaml,
        format!("train: train/images\nval: valid/images\nnames: {names:?}\n"),
    )
    .unwrap();
    yaml
}

/// The label of such an image.
pub const SQUARE: &str = "0 0.5 0.5 0.375 0.5\n";

/// A run of one epoch on one thread of the processor.
pub fn options(folder: &Path, data: PathBuf) -> RunOptions {
    let hyper = Hyper {
        epochs: 1,
        batch: 4,
        imgsz: 32,
        ..Hyper::default()
    };
    RunOptions {
        cache_bytes: 1 << 20,
        ..RunOptions::new(folder.join("run"), data, Scale::N, hyper)
    }
}
