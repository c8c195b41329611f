//! What the operator's tool `azaion` is made of: one module a command, the way to its sisters `azaion-train` and
//! `azaion-backup`, and what the training program shares with it: import, console, and the drawn scenes of the demo. Nothing here
//! needs libtorch.

pub mod alert;
pub mod args;
pub mod behind;
pub mod check;
pub mod config;
pub mod console;
pub mod dataset;
pub mod deploy;
pub mod import;
pub mod import_yolo;
mod manager;
pub mod place;
pub mod program;
pub mod queue;
pub mod runs;
pub mod scenes;
pub mod top;
pub mod train;
pub mod tree;
