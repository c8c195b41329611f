//! What `azaion-train` is made of: one module a verb. Whatever of azaion needs libtorch is behind this program, so that the
//! operator's tool and the queue are built, shipped and rolled back without it.

pub mod args;
pub mod convert;
pub mod demo;
pub mod detect;
pub mod measure;
pub mod probe;
pub mod service;
