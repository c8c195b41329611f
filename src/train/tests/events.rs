//! What a run shows while it is trained: TensorBoard itself reads its events, and its page is kept current.
//!
//! The values to compare with are those of `results.csv`, which the run writes beside them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::{SQUARE, dataset, options};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};
use train::{CHECKPOINT, Event, Observer, Outcome, REPORT, RESULTS, run};
use xtask::workspace::process_env;

/// Tells in JSON what the reader of TensorBoard sees in a folder.
const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as Plugins
from tensorboard.util.tensor_util import make_ndarray
folder = sys.argv[1]
seen = EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0, "tensors": 0})
seen.Reload()
plugins = Plugins(folder)
plugins.Reload()
tags = seen.Tags()
curves = {}
for tag in plugins.PluginTagToContent("pr_curves"):
    event = plugins.Tensors(tag)[-1]
    curves[tag] = make_ndarray(event.tensor_proto).tolist()
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in seen.Scalars(tag)] for tag in tags["scalars"]},
    "images": {tag: [[e.step, e.width, e.height, e.encoded_image_string[:2].hex()] for e in seen.Images(tag)]
               for tag in tags["images"]},
    "curves": curves,
}))
"#;

/// Keeps the page that is there when an epoch begins, and asks the run to stop behind it.
struct Keeper {
    folder: PathBuf,
    page: String,
    warnings: Vec<String>,
    stop: Arc<AtomicBool>,
}

impl Observer for Keeper {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Batch { epoch: 2, .. } => {
                self.page = fs::read_to_string(self.folder.join(REPORT)).unwrap();
            }
            Event::Epoch { row, .. } if row.epoch == 2 => self.stop.store(true, Ordering::Relaxed),
            Event::Warning(text) => self.warnings.push(text.to_owned()),
            _ => {}
        }
    }
}

/// Three epochs; the second one is trained twice, as after a kill between its events and its checkpoint.
fn repeated(folder: &Path) -> (PathBuf, String) {
    let data = dataset(folder, SQUARE, &["square"]);
    let mut options = options(folder, data);
    options.hyper.epochs = 3;
    options.hyper.close_mosaic = 1;
    let mut keeper = Keeper {
        folder: options.folder.clone(),
        page: String::new(),
        warnings: Vec::new(),
        stop: Arc::clone(&options.control.stop),
    };
    assert!(matches!(
        run(&options, &mut keeper).unwrap(),
        Outcome::Stopped { epoch: 3, .. }
    ));
    let first = options.folder.join("epoch-0001.safetensors");
    fs::copy(first, options.folder.join(CHECKPOINT)).unwrap();
    options.control.stop = Arc::new(AtomicBool::new(false));
    assert!(matches!(
        run(&options, &mut keeper).unwrap(),
        Outcome::Finished(_)
    ));
    assert!(keeper.warnings.is_empty(), "{:?}", keeper.warnings);
    (options.folder, keeper.page)
}

#[test]
fn tensorboard_reads_every_epoch_once_and_the_page_is_there_while_it_is_trained() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, page) = repeated(scratch.path());
    for told in [
        "of 3 is done, about",
        "http-equiv=\"refresh\"",
        "Training images as augmented",
        "epoch 1, mosaic",
    ] {
        assert!(page.contains(told), "{told}");
    }
    let last = fs::read_to_string(folder.join(REPORT)).unwrap();
    assert!(last.contains("without mosaic") && !last.contains("http-equiv=\"refresh\""));

    let Some(python) = xtask::tensorboard::find(&process_env) else {
        eprintln!(
            "skipped: tensorboard_reads_every_epoch_once: TensorBoard is not here: cargo xtask setup --brokers brings it"
        );
        return;
    };
    let read = Command::new(python)
        .args(["-c", READER])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();

    let csv = fs::read_to_string(folder.join(RESULTS)).unwrap();
    let rows = report::parse_results(&csv).unwrap();
    for (tag, of) in [
        (
            "train/box_loss",
            (|row| row.train[0]) as fn(&report::EpochRow) -> f64,
        ),
        ("val/l1_loss", |row| row.val[2]),
        ("metrics/mAP50(B)", |row| row.map50),
        ("lr/pg0", |row| row.lr[0]),
    ] {
        let told: Vec<(u64, f64)> = serde_json::from_value(seen["scalars"][tag].clone()).unwrap();
        let steps: Vec<u64> = told.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [1, 2, 3], "{tag}");
        for ((_, value), row) in told.iter().zip(&rows) {
            assert!(
                (value - of(row)).abs() <= 1e-5 * of(row).abs() + 1e-7,
                "{tag}: {value} is not {}",
                of(row)
            );
        }
    }
    // Two validation images in a row of places of 324; four images of training, and as many again without mosaic.
    let images = &seen["images"];
    assert_eq!(
        images["sheets/validation"][0],
        serde_json::json!([1, 652, 328, "ffd8"])
    );
    let training = images["sheets/training"].as_array().unwrap();
    assert_eq!(training.last().unwrap()[2], 652, "{training:?}");

    let curve: Vec<Vec<f64>> = serde_json::from_value(seen["curves"]["pr/square"].clone()).unwrap();
    assert_eq!(curve.len(), 6);
    let [hits, invented, _, missed, precision, recall] = &curve[..] else {
        unreachable!("six rows")
    };
    assert_eq!(recall.len(), 101);
    for i in 0..recall.len() {
        assert!(
            (hits[i] + missed[i] - 2.0).abs() < 1e-5,
            "two squares are to be found"
        );
        assert!((hits[i] - 2.0 * recall[i]).abs() < 1e-5);
        let found = hits[i] + invented[i];
        assert!(precision[i] < 1e-6 || (found * precision[i] - hits[i]).abs() < 1e-3);
    }
    assert!(
        recall.windows(2).all(|pair| pair[0] >= pair[1]),
        "less is found at higher thresholds"
    );
}
