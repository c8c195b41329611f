//! Training runs as folders of the tree, without libtorch: what a run was begun with, where it stands, what it left.
//!
//! A run is a folder of `models/`, named `azaion-YYYY-MM-DD`, and `-2`, `-3`, ... where a day has several (FS-3). Its
//! `run.json` is written before the first step and says everything that the run's outcome is a function of: dataset,
//! base model, hyper-parameters, code. It keeps them to its end, whatever the configuration says by then: only so does
//! it end as it would have, undisturbed.

mod code;
mod file;
mod folder;
mod hold;
mod next;
mod record;
mod status;

pub use code::Code;
pub use file::{Begin, Error, Found, Run, State};
pub use folder::{BEST, CHECKPOINT, IN_SERVICE, LOCK, REPORT, RESULTS, RUN, RUNS, STATUS};
pub use hold::{AfterBoot, after_boot, held, hold, release};
pub use next::Next;
pub use record::RecordError;
pub use status::{Phase, Saved, Status};
