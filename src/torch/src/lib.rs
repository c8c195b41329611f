//! A thin layer over tch: what it lacks (memory formats, autocast on a CPU, backward from given gradients, views of
//! float storage, the ways to a GPU and back, operations on lists of tensors, a fused normalisation, thread and
//! determinism switches), behind safe functions that return errors instead of panicking.
//!
//! This is the one room with `unsafe` and foreign code. The C++ shim (`shim/shim.cpp`) works on the same
//! `torch::Tensor` objects that tch holds and lets no exception out; libtorch's own documentation is the source of what
//! its functions do. An error says the operation and libtorch's text, and whether memory ran out ([`ErrorClass`]).
//!
//! Packages that make binaries or tests: see the head of this package's `build.rs` for the rpath they must print.

mod autocast;
mod device;
mod error;
mod ffi;
pub mod foreach;
mod grad;
mod memory;
mod norm;
mod parallel;
mod runtime;
mod slice;

pub use autocast::{Precision, with_autocast};
pub use device::{DeviceChoice, DeviceError, host_buffer, to_device, to_host, upload};
pub use error::{During, Error, ErrorClass};
pub use grad::{backward, clear_gradient, gradient, no_grad};
pub use memory::MemoryFormat;
pub use norm::{Activation, BatchNorm};
pub use parallel::parallel;
pub use runtime::{
    Threads, is_bf16_fast, print_stacks_on_abort, set_deterministic, set_interop_threads, set_threads,
    threads,
};
pub use slice::{
    dense_f32, from_bytes, from_f32, slice_f32, slice_f32_mut, to_vec_f32, update_all_f32, update_f32,
};
