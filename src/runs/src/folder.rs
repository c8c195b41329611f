//! Names in and beside a run's folder.

use crate::Error;
use std::path::{Path, PathBuf};

/// The folder of runs, relative to the root.
pub const RUNS: &str = "models";
/// The model in service, in the folder of runs: a link to a run's best model.
pub const IN_SERVICE: &str = "azaion.pt";
/// The lock that keeps a second trainer out, in the folder of runs.
pub const LOCK: &str = ".azaion-train.lock";
/// Is there while only a person's start goes on with the open run, in the folder of runs.
pub const HELD: &str = ".azaion-train.held";
/// What the next run is to be begun with, in the folder of runs.
pub const NEXT: &str = ".azaion-train.next.json";
/// What the run was begun with.
pub const RUN: &str = "run.json";
/// The latest checkpoint.
pub const CHECKPOINT: &str = "last.safetensors";
/// The best model so far.
pub const BEST: &str = "best.pt";
/// The page that shows the run.
pub const REPORT: &str = "report.html";
/// A line an epoch.
pub const RESULTS: &str = "results.csv";

/// Where the run stands, while it is trained.
pub const STATUS: &str = "status.json";

/// Makes the folder of a new run; its path is relative to the root.
pub(crate) fn create(root: &Path) -> Result<PathBuf, Error> {
    let date = jiff::Zoned::now().date();
    let names =
        std::iter::once(format!("azaion-{date}")).chain((2..=9999).map(|n| format!("azaion-{date}-{n}")));
    for name in names {
        let run = Path::new(RUNS).join(name);
        match std::fs::create_dir(root.join(&run)) {
            Ok(()) => return Ok(run),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(Error::Create {
                    path: root.join(run),
                    source,
                });
            }
        }
    }
    Err(Error::NoName { date })
}

/// Whether a file that only runs have is in there.
pub(crate) fn has_traces(folder: &Path) -> bool {
    [CHECKPOINT, RESULTS, STATUS, BEST]
        .iter()
        .any(|name| folder.join(name).is_file())
}
