//! Names of runs: `models/azaion-YYYY-MM-DD`, and `-2`, `-3`, ... where a day has several (FS-3).

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The folder of runs, relative to the root.
pub const RUNS: &str = "models";

/// Makes the folder of a new run; its path is relative to the root.
///
/// # Errors
/// The folder cannot be made.
pub fn create(root: &Path) -> Result<PathBuf> {
    let date = jiff::Zoned::now().date();
    let names = std::iter::once(format!("azaion-{date}")).chain((2..).map(|n| format!("azaion-{date}-{n}")));
    for name in names {
        let run = Path::new(RUNS).join(name);
        match std::fs::create_dir(root.join(&run)) {
            Ok(()) => return Ok(run),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", run.display())),
        }
    }
    bail!("every run name of {date} is taken")
}
