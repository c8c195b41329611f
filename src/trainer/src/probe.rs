//! `azaion-train probe`: a few training steps on drawn images, to see that training works on this machine.
//!
//! It is a whole run of the smallest network for one epoch: loading, forward and backward pass, optimiser, checkpoint and
//! validation, on the device that training would use. Everything is written into a folder of its own, which goes with it.

use crate::{args::ProbeArgs, detect::threads};
use anyhow::{Context, Result, bail};
use cli::scenes;
use serde_json::json;
use service::shutdown::Shutdown;
use std::{fs, path::Path, process::ExitCode};
use train::{Control, Event, Hyper, Observer, Outcome, RunOptions, Start};

/// Exit code of a probe that was interrupted.
const TRY_AGAIN: u8 = 75;
/// Images a step.
const BATCH: usize = 2;
/// Side of the network's input in pixels.
const SIDE: usize = 64;
/// Memory for decoded images.
const CACHE_BYTES: usize = 64 << 20;

/// Runs the command: what was seen goes to stdout.
pub fn run(args: &ProbeArgs, shutdown: &Shutdown) -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot make a folder for the probe")?;
    draw(folder.path(), args.steps as usize * BATCH)?;
    let Start { scale, base } = Start::named("yolo26n", Path::new(""))?;
    let threads = threads(args.threads);
    let hyper = Hyper {
        epochs: 1,
        batch: BATCH,
        imgsz: SIDE,
        ..Hyper::default()
    };
    let options = RunOptions {
        base,
        device: args.device,
        threads,
        workers: 1,
        cache_bytes: CACHE_BYTES,
        control: Control {
            stop: shutdown.flag(),
            ..Control::default()
        },
        ..RunOptions::new(
            folder.path().join("run"),
            folder.path().join("data.yaml"),
            scale,
            hyper,
        )
    };
    fs::create_dir(&options.folder)?;
    let mut seen = Seen::default();
    let Outcome::Finished(summary) = train::run(&options, &mut seen)? else {
        return Ok(TRY_AGAIN.into());
    };
    let Seen {
        steps,
        loss,
        execution,
    } = seen;
    if steps != u64::from(args.steps) || !loss.is_finite() {
        bail!(
            "{steps} steps of {} were taken, with a loss of {loss}",
            args.steps
        );
    }
    let seconds = summary.seconds;
    if args.json {
        println!(
            "{}",
            json!({ "steps": steps, "loss": loss, "execution": execution, "seconds": seconds })
        );
    } else {
        println!("{steps} steps in {seconds:.1} s, loss {loss:.3}, {execution}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a dataset of drawn scenes.
fn draw(folder: &Path, count: usize) -> Result<()> {
    scenes::draw_into(folder, 0, count as u64)
        .with_context(|| format!("cannot draw into {}", folder.display()))?;
    let names: Vec<String> = scenes::classes()?
        .iter()
        .map(|class| class.name.to_string())
        .collect();
    let yaml = format!(
        "path: {}\ntrain: images\nval: images\nnames: [{}]\n",
        folder.display(),
        names.join(", ")
    );
    Ok(fs::write(folder.join("data.yaml"), yaml)?)
}

/// What is seen of the run.
#[derive(Default)]
struct Seen {
    steps: u64,
    /// Of the last step.
    loss: f64,
    execution: String,
}

impl Observer for Seen {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Started { execution, .. } => self.execution = execution.to_string(),
            Event::Batch { loss, .. } => {
                self.steps += 1;
                self.loss = loss.iter().sum();
            }
            _ => {}
        }
    }
}
