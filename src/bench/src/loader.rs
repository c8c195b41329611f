//! The training loader on one thread: mosaic, affine, HSV, flips, a batch in one piece.
//!
//! Seconds are those of the processor, not of the clock: one thread of a busy machine has only a share of a core.

use crate::{Measure, Sample};
use anyhow::{Context, Result, bail};
use dataset::{
    Dataset, Split,
    load::{Loader, LoaderOptions},
};
use serde_json::{Value, json};
use std::{hint::black_box, path::Path, sync::Arc};

/// The dataset and a loader whose cache is full.
pub struct OneThread {
    dataset: Arc<Dataset>,
    options: LoaderOptions,
    warm: Loader,
    epoch: u64,
}

impl OneThread {
    pub fn new(folder: &Path) -> Result<Self> {
        let data = folder.join("data.yaml");
        let dataset = Dataset::open(&data, Split::Train).with_context(|| data.display().to_string())?;
        let dataset = Arc::new(dataset);
        let options = LoaderOptions {
            imgsz: 640,
            batch: 8,
            workers: 0,
            ..LoaderOptions::default()
        };
        let warm = Loader::new(Arc::clone(&dataset), options)?;
        epoch(&warm, 0)?;
        Ok(Self {
            dataset,
            options,
            warm,
            epoch: 0,
        })
    }
}

fn epoch(loader: &Loader, number: u64) -> Result<()> {
    for batch in loader.epoch(number, 0, true)? {
        black_box(batch?);
    }
    Ok(())
}

/// Runs `body` on this thread and takes the processor time that Linux counted for it.
fn processor(body: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let counted = || -> Result<f64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
        let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
        Ok(nanoseconds / 1e9)
    };
    let before = counted()?;
    body()?;
    Ok(Sample {
        seconds: counted()? - before,
        ..Sample::default()
    })
}

impl Measure for OneThread {
    fn facts(&self) -> Value {
        json!({ "threads": 1, "dataset": self.dataset.items.len() })
    }

    fn images(&self, _case: &str) -> Result<usize> {
        Ok(self.dataset.items.len())
    }

    fn once(&mut self, case: &str) -> Result<Sample> {
        self.epoch += 1;
        match case {
            "first" => {
                let cold = Loader::new(Arc::clone(&self.dataset), self.options)?;
                processor(|| epoch(&cold, self.epoch))
            }
            "warm" => processor(|| epoch(&self.warm, self.epoch)),
            _ => bail!("no case {case}; there are first and warm"),
        }
    }
}
