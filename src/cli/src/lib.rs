//! What the operator's tool `azaion` is made of: one module a command, and the drawn scenes of the demo.

pub mod args;
pub mod console;
pub mod convert;
pub mod demo;
pub mod detect;
pub mod import;
pub mod import_yolo;
pub mod measure;
pub mod queue;
pub mod scenes;
