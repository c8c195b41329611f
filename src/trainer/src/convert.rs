//! `azaion model convert`: a model file in the other of the two formats.
//!
//! What is written holds the network's tensors as they are (half precision widened to 32 bit, which loses nothing) in the
//! reference's order, and what the file says of them. The input is read whole and checked before anything is written, and
//! the output appears whole or not at all.

use crate::args::ConvertArgs;
use anyhow::{Context, Result, bail};
use detector::weights::{self, Network};
use serde_json::json;
use std::{os::unix::fs::MetadataExt, path::Path, process::ExitCode, str::FromStr};

/// Format of a model file, named by the ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A state dictionary that PyTorch loads.
    Pt,
    /// Safetensors.
    Safetensors,
}

/// The output: its path, and the format that the ending names.
#[derive(Clone, Debug)]
pub struct Target {
    path: std::path::PathBuf,
    format: Format,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let format = match ending.as_deref() {
            Some("pt") => Format::Pt,
            Some("safetensors") => Format::Safetensors,
            _ => return Err("its ending says what to write: give a .pt or a .safetensors file".to_owned()),
        };
        Ok(Self {
            path: path.to_owned(),
            format,
        })
    }
}

/// Runs the command.
pub fn run(args: &ConvertArgs) -> Result<ExitCode> {
    let (from, to) = (&args.from, &args.to.path);
    refuse_to_replace(from, to, args.force)?;
    let model = weights::read_file(from)
        .and_then(|bytes| Network::from_bytes(&bytes))
        .with_context(|| from.display().to_string())?;
    let bytes = match args.to.format {
        Format::Pt => model.to_pt_bytes()?,
        Format::Safetensors => model.to_bytes()?,
    };
    store::atomic::replace(to, &bytes)?;
    let told = Told::of(&model, bytes.len());
    if args.json {
        println!("{}", told.json(to));
    } else {
        println!("{}", told.text(to));
    }
    Ok(ExitCode::SUCCESS)
}

/// The input is never written to, under whatever name; another file only when asked.
fn refuse_to_replace(from: &Path, to: &Path, force: bool) -> Result<()> {
    let Ok(existing) = std::fs::metadata(to) else {
        return Ok(());
    };
    let input = std::fs::metadata(from).with_context(|| from.display().to_string())?;
    if (existing.dev(), existing.ino()) == (input.dev(), input.ino()) {
        bail!("{} is the file to convert; write to another one", to.display());
    }
    if existing.is_dir() {
        bail!("{} is a folder; name a file in it", to.display());
    }
    if !force {
        bail!(
            "{} exists; give --force to replace it, or another name",
            to.display()
        );
    }
    Ok(())
}

/// What is said of a written model.
struct Told<'a> {
    model: &'a Network,
    tensors: usize,
    parameters: usize,
    bytes: usize,
}

impl<'a> Told<'a> {
    fn of(model: &'a Network, bytes: usize) -> Self {
        Self {
            model,
            tensors: model.state().entries().len(),
            parameters: model.state().parameter_count(),
            bytes,
        }
    }

    /// The head of a folded network.
    fn fused(&self) -> Option<&'static str> {
        match self.model {
            Network::Trainable(_) => None,
            Network::Fused(model) => Some(match model.detector.head() {
                detector::Head::One2Many => "one2many",
                detector::Head::One2One => "one2one",
            }),
        }
    }

    fn json(&self, path: &Path) -> serde_json::Value {
        let meta = self.model.meta();
        json!({
            "path": path, "scale": meta.scale, "classes": meta.nc, "names": meta.names, "imgsz": meta.imgsz,
            "tensors": self.tensors, "parameters": self.parameters, "dtype": "float32", "fused": self.fused(),
            "bytes": self.bytes,
        })
    }

    fn text(&self, path: &Path) -> String {
        let meta = self.model.meta();
        let form = match self.fused() {
            None => "unfused, both heads".to_owned(),
            Some(head) => format!("fused, head {head}: it answers, but cannot be trained further"),
        };
        let size = meta
            .imgsz
            .map_or("unknown".to_owned(), |side| format!("{side} px"));
        format!(
            "{}: yolo26{}, {} classes, {} tensors, {:.2} million parameters, float32, {form}, {:.1} MB\n\
             classes: {}\nimage size: {size}",
            path.display(),
            meta.scale,
            meta.nc,
            self.tensors,
            self.parameters as f64 / 1e6,
            self.bytes as f64 / 1e6,
            listed(&meta.names),
        )
    }
}

/// The first names, and how many there are beyond.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len().saturating_sub(SHOWN);
    match more {
        0 => first.join(", "),
        _ => format!("{} and {more} more", first.join(", ")),
    }
}
