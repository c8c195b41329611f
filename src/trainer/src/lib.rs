//! What `azaion-train` is made of: one module a verb. Whatever of azaion needs libtorch is behind this program, so that the
//! operator's tool and the queue are built, shipped and rolled back without it.

pub mod args;
mod bar;
pub mod convert;
pub mod demo;
pub mod detect;
pub mod measure;
mod pace;
pub mod probe;
pub mod service;
mod watched;
