//! `azaion import yolo`: the command around [`import`].

use crate::{args::ImportYoloArgs, console::Task, import};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Runs the command.
pub fn run(args: &ImportYoloArgs) -> Result<ExitCode> {
    let task = Task::new("import", 0);
    let summary = import::yolo(&args.dir, &args.to, |done, all| {
        task.at_of(done as u64, all as u64)
    })?;
    task.done(&format!(
        "{} messages with {} detections; {} files skipped",
        summary.messages,
        summary.detections,
        summary.skipped.len()
    ));
    if args.json {
        let skipped: Vec<_> = summary
            .skipped
            .iter()
            .map(|(path, why)| json!({ "path": path, "reason": why.to_string() }))
            .collect();
        println!(
            "{}",
            json!({ "messages": summary.messages, "detections": summary.detections, "skipped": skipped, "to": args.to })
        );
    }
    Ok(ExitCode::SUCCESS)
}
