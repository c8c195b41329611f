//! Training runs: from a dataset and hyper-parameters to the best model, its measurements and its report.
//!
//! A run is a folder. Whatever stops the program, running it again with the same folder goes on from the last
//! checkpoint and ends with the same weights, to the bit, as a run that nobody touched: every random choice is a
//! function of (seed, epoch, index), and all other state is in the checkpoint. The bits are promised on a CPU; a run on a
//! GPU goes on from the same checkpoints, with the GPU's rounding, and has not yet been tried on one. Optimisers, EMA and schedules follow the
//! detector's specification, section 6; what differs on purpose is listed in docs/ARCHITECTURE.md.

pub mod checkpoint;
mod cooling;
pub mod ema;
mod error;
mod events;
mod faults;
pub mod guard;
pub mod hyper;
mod memory;
mod model_file;
pub mod optim;
mod pages;
mod run;
mod run_report;
mod scaler;
pub mod schedule;
mod session;
mod shelf;
mod staging;
mod start;
pub mod step;
mod validate;
mod writer;

pub use cooling::{COOL, HOT, Thermometer};
pub use error::Error;
pub use faults::Faults;
pub use hyper::{Hyper, OptimizerChoice, Precision};
pub use memory::Memory;
pub use run::{
    BEST, CHECKPOINT, Control, Event, Observer, Outcome, REPORT, RESULTS, RunOptions, Stage, Summary, run,
};
pub use scaler::GradScaler;
pub use start::{Start, parameters};
pub use step::Execution;
pub use validate::{Network, Validation, ValidationOptions, validate};
