//! What the operator's tool `azaion` is made of: one module a command, the way to its sister `azaion-train`, and what the
//! two share: import, console, and the drawn scenes of the demo. Nothing here needs libtorch.

pub mod args;
pub mod console;
pub mod import;
pub mod import_yolo;
pub mod program;
pub mod queue;
pub mod scenes;
pub mod trainer;
