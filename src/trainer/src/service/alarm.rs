//! Alerts of a run, kept where those of failed units are.

use serde::Serialize;
use std::path::Path;

const VERSION: u32 = 1;
/// The unit that a run is the work of.
const UNIT: &str = "azaion-train.service";

/// What is written down of an alert.
#[derive(Debug, Serialize)]
struct Record<'a> {
    version: u32,
    /// In UTC.
    time: &'a str,
    unit: &'a str,
    /// Which alert.
    alert: &'a str,
    message: &'a str,
}

/// Tells of an alert: a log line at ERROR and a record in the tree. That it cannot be kept stops nothing.
pub(super) fn raise(root: &Path, alert: &str, message: &str) {
    tracing::error!(alert, "{message}");
    let time = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
    let record = Record {
        version: VERSION,
        time: &time,
        unit: UNIT,
        alert,
        message,
    };
    let kept = serde_json::to_vec_pretty(&record)
        .map_err(|error| error.to_string())
        .and_then(|bytes| store::alerts::keep(root, &time, alert, &bytes).map_err(|error| error.to_string()));
    if let Err(error) = kept {
        tracing::warn!(error, alert, "the alert cannot be kept in the tree");
    }
}
