//! Runs as text for a person.

use super::look::{Epoch, Look};
use serde::Serialize;
use std::fmt;

/// All runs, a line each, and below it what is wrong with one.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct List(pub Vec<Look>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no runs yet");
        }
        let heads = [
            "run", "state", "epochs", "mAP50-95", "duration", "size", "model", "dataset",
        ];
        let rows: Vec<[String; 8]> = self.0.iter().map(row).collect();
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| {
                let cells = rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(heads.get(column).map_or(0, |head| head.len()))
            })
            .collect();
        line(f, &widths, heads)?;
        for (look, row) in self.0.iter().zip(&rows) {
            line(f, &widths, row.each_ref().map(String::as_str))?;
            for problem in &look.problems {
                writeln!(f, "  ! {problem}")?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, widths: &[usize], cells: [&str; 8]) -> fmt::Result {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    writeln!(f, "{}", padded.join("  ").trim_end())
}

fn row(look: &Look) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    [
        look.name.clone(),
        look.state.word().to_owned(),
        epochs(look),
        or_dash(look.best.map(|best| format!("{:.3}", best.map50_95))),
        or_dash(look.seconds.map(span)),
        gigabytes(look.bytes),
        or_dash(look.model.clone()),
        or_dash(dataset(look)),
    ]
}

fn epochs(look: &Look) -> String {
    match look.epochs {
        Some(all) => format!("{}/{all}", look.epochs_done),
        None => look.epochs_done.to_string(),
    }
}

fn dataset(look: &Look) -> Option<String> {
    let folder = look.dataset.as_ref()?;
    Some(
        folder
            .file_name()
            .unwrap_or(folder.as_os_str())
            .to_string_lossy()
            .into_owned(),
    )
}

/// State, epochs, best and last of a run.
pub(super) fn headline(f: &mut fmt::Formatter<'_>, look: &Look) -> fmt::Result {
    writeln!(f, "state       {}", look.state.word())?;
    writeln!(f, "epochs      {}", epochs(look))?;
    for (name, epoch) in [("best", &look.best), ("last", &look.last)] {
        if let Some(epoch) = epoch {
            writeln!(f, "{name:<11} {epoch}")?;
        }
    }
    if let Some(seconds) = look.seconds {
        writeln!(f, "duration    {}", span(seconds))?;
    }
    look.problems
        .iter()
        .try_for_each(|problem| writeln!(f, "problem     {problem}"))
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "epoch {}: mAP50-95 {:.3}, mAP50 {:.3}, precision {:.3}, recall {:.3}, loss {:.3} (validation {:.3})",
            self.epoch,
            self.map50_95,
            self.map50,
            self.precision,
            self.recall,
            self.train_loss,
            self.val_loss
        )
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run         {}", self.name)?;
        headline(f, self)?;
        writeln!(
            f,
            "folder      {}, {}",
            self.folder.display(),
            gigabytes(self.bytes)
        )?;
        let begun = self.begun.map(|begun| begun.strftime("%FT%TZ").to_string());
        let dataset = self.dataset.as_ref().map(|dataset| {
            let hash = self.dataset_hash.as_deref().unwrap_or("no manifest");
            format!("{}, {hash}", dataset.display())
        });
        let saved = self.saved.as_ref().map(|saved| {
            format!(
                "{}, epoch {}, batch {}",
                saved.at.strftime("%FT%TZ"),
                saved.epoch,
                saved.batch
            )
        });
        for (name, value) in [
            ("begun", begun.as_ref()),
            ("checkpoint", saved.as_ref()),
            ("dataset", dataset.as_ref()),
            ("model", self.model.as_ref()),
            ("code", self.code.as_ref()),
            ("device", self.device.as_ref()),
        ] {
            if let Some(value) = value {
                writeln!(f, "{name:<11} {value}")?;
            }
        }
        if let Some(hyper) = self.hyper.as_object() {
            writeln!(f, "hyper-parameters")?;
            for (name, value) in hyper {
                writeln!(f, "  {name:<20} {value}")?;
            }
        }
        Ok(())
    }
}

/// `2 h 5 min`, `3 d 4 h`, `12 s`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, min, s) => format!("{min} min {s} s"),
        (0, h, min, _) => format!("{h} h {min} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

/// `1.2 GB`, `34 MB`, `5 kB`.
pub(crate) fn gigabytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= 1e12 => format!("{:.2} TB", b / 1e12),
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.0} kB", b / 1e3),
    }
}
