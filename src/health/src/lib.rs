//! Looks after a machine that nobody watches: checks, alerts, metrics and the status.
//!
//! A pass reads what is, judges it, remembers it for the next pass, and tells whom it concerns. From left to right: [`checks`]
//! ask the machine and return readings; [`alerts`] turn readings over time into what is told; [`deliver`] tells it; [`status`]
//! shows all of it. Nothing here changes anything that it looks at, and nothing needs libtorch.

pub mod alerts;
pub mod catalog;
pub mod checks;
pub mod deliver;
mod forecast;
mod kept;
pub mod metrics;
mod page;
pub mod pass;
pub mod past;
mod reading;
pub mod status;
pub mod text;

pub use reading::{Grade, Reading};
