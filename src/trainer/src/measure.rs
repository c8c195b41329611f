//! `azaion model val`: how good a model is on a dataset.

use crate::args::{SplitArg, ValArgs};
use crate::detect::{read_model, threads};
use anyhow::{Result, bail};
use dataset::{
    Dataset, Split,
    load::{ValLoader, ValOptions},
};
use detector::{Head, metrics::Metrics};
use serde_json::json;
use std::{process::ExitCode, sync::Arc};
use train::{Execution, Network, Precision, ValidationOptions, validate};

/// Runs the command.
pub fn run(args: &ValArgs) -> Result<ExitCode> {
    let threads = threads(args.threads);
    torch::set_threads(threads.get())?;
    let device = args.device.resolve()?;
    let head: Head = args.head.into();
    let mut model = read_model(&args.model, head)?;
    let split = match args.split {
        SplitArg::Val => Split::Valid,
        SplitArg::Test => Split::Test,
    };
    let data = Arc::new(Dataset::open(&args.data, split)?);
    if data.nc != model.meta.nc {
        bail!(
            "{} has {} classes, the model {}; measure it on a dataset with its own classes",
            args.data.display(),
            data.nc,
            model.meta.nc
        );
    }
    let imgsz = args
        .imgsz
        .or(model.meta.imgsz.map(|s| s as usize))
        .unwrap_or(640)
        .next_multiple_of(32);
    let loader = ValLoader::new(
        Arc::clone(&data),
        ValOptions {
            imgsz,
            batch: args.batch,
            workers: threads.get(),
            ..ValOptions::default()
        },
    )?;
    model.detector.to_device(device)?;
    let options = ValidationOptions {
        head,
        classes: data.nc,
        execution: Execution::on(device, Precision::Fp32, threads),
    };
    let metrics = validate(&Network::Fused(&model.detector), &loader, options, &mut |_| {})?.metrics;
    if args.json {
        println!("{}", as_json(&metrics, &data.names));
    } else {
        print_table(&metrics, &data.names);
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(metrics: &Metrics, names: &[String]) -> serde_json::Value {
    let per_class: Vec<_> = metrics
        .per_class
        .iter()
        .map(|c| {
            json!({
                "class": c.class, "name": names.get(usize::from(c.class)), "images": c.images,
                "instances": c.instances, "precision": c.precision, "recall": c.recall,
                "mAP50": c.ap50, "mAP50_95": c.ap50_95,
            })
        })
        .collect();
    json!({
        "images": metrics.images, "instances": metrics.instances, "mAP50": metrics.map50,
        "mAP50_95": metrics.map50_95, "precision": metrics.precision, "recall": metrics.recall,
        "per_class": per_class,
    })
}

fn print_table(metrics: &Metrics, names: &[String]) {
    println!(
        "{:<22} {:>7} {:>9} {:>9} {:>7} {:>7} {:>9}",
        "class", "images", "instances", "precision", "recall", "mAP50", "mAP50-95"
    );
    let row = |name: &str, images, instances, p: f64, r: f64, ap50: f64, ap: f64| {
        println!("{name:<22} {images:>7} {instances:>9} {p:>9.3} {r:>7.3} {ap50:>7.3} {ap:>9.3}");
    };
    let m = metrics;
    row(
        "all",
        m.images,
        m.instances,
        m.precision,
        m.recall,
        m.map50,
        m.map50_95,
    );
    for c in &m.per_class {
        let name = names.get(usize::from(c.class)).map_or("?", String::as_str);
        row(
            name,
            c.images,
            c.instances,
            c.precision,
            c.recall,
            c.ap50,
            c.ap50_95,
        );
    }
}
