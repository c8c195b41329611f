//! Declarations of the C++ shim, and the one way to call it.
#![expect(
    unsafe_code,
    reason = "declarations of foreign functions, and the release of their error texts"
)]

use crate::Error;
use std::ffi::{CStr, c_char, c_int, c_void};
use torch_sys::C_tensor;

/// `azt_autocast` of the shim.
#[repr(C)]
#[derive(Default)]
pub(crate) struct AutocastState {
    pub cuda: c_int,
    pub enabled: c_int,
    pub dtype: c_int,
}

unsafe extern "C" {
    fn azt_release(message: *mut c_char);
    pub(crate) fn azt_print_stacks_on_abort();
    pub(crate) fn azt_contiguous(
        source: *const C_tensor,
        channels_last: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn azt_is_contiguous(
        tensor: *const C_tensor,
        channels_last: c_int,
        out: *mut c_int,
    ) -> *mut c_char;
    pub(crate) fn azt_autocast_enter(cuda: c_int, bits16: c_int, previous: *mut AutocastState)
    -> *mut c_char;
    pub(crate) fn azt_autocast_leave(previous: *const AutocastState) -> *mut c_char;
    pub(crate) fn azt_backward(
        roots: *const *const C_tensor,
        gradients: *const *const C_tensor,
        count: usize,
    ) -> *mut c_char;
    pub(crate) fn azt_batch_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_variance: *const C_tensor,
        momentum: f64,
        eps: f64,
        silu: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn azt_gradient(tensor: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn azt_clear_gradient(tensor: *const C_tensor) -> *mut c_char;
    pub(crate) fn azt_f32_view(
        tensor: *const C_tensor,
        any_order: c_int,
        data: *mut *mut f32,
        count: *mut i64,
    ) -> *mut c_char;
    pub(crate) fn azt_is_sole_owner(tensor: *const C_tensor, out: *mut c_int) -> *mut c_char;
    pub(crate) fn azt_mark_written(tensor: *const C_tensor) -> *mut c_char;
    pub(crate) fn azt_cuda_devices(built: *mut c_int, devices: *mut c_int) -> *mut c_char;
    pub(crate) fn azt_cuda_synchronize(device: c_int) -> *mut c_char;
    pub(crate) fn azt_host_buffer(
        sizes: *const i64,
        dimensions: usize,
        pinned: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn azt_foreach_mul(tensors: *const *const C_tensor, count: usize, factor: f64) -> *mut c_char;
    pub(crate) fn azt_foreach_add(
        tensors: *const *const C_tensor,
        other: *const *const C_tensor,
        count: usize,
        alpha: f64,
    ) -> *mut c_char;
    pub(crate) fn azt_foreach_lerp(
        tensors: *const *const C_tensor,
        end: *const *const C_tensor,
        count: usize,
        weight: f64,
    ) -> *mut c_char;
    pub(crate) fn azt_foreach_addcmul(
        tensors: *const *const C_tensor,
        a: *const *const C_tensor,
        b: *const *const C_tensor,
        count: usize,
        value: f64,
    ) -> *mut c_char;
    pub(crate) fn azt_foreach_add_over_root(
        tensors: *const *const C_tensor,
        a: *const *const C_tensor,
        b: *const *const C_tensor,
        count: usize,
        root: f64,
        eps: f64,
        value: f64,
    ) -> *mut c_char;
    pub(crate) fn azt_foreach_norm(
        tensors: *const *const C_tensor,
        count: usize,
        out: *mut f64,
    ) -> *mut c_char;
    pub(crate) fn azt_set_threads(threads: c_int) -> *mut c_char;
    pub(crate) fn azt_set_interop_threads(threads: c_int) -> *mut c_char;
    pub(crate) fn azt_threads(intra: *mut c_int, inter: *mut c_int) -> *mut c_char;
    pub(crate) fn azt_parallel(
        count: i64,
        body: extern "C" fn(*mut c_void, i64),
        data: *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn azt_set_deterministic(on: c_int) -> *mut c_char;
    pub(crate) fn azt_has_bf16(out: *mut c_int) -> *mut c_char;
}

/// Turns the shim's answer into a result and releases its text.
///
/// # Safety
/// `message` must be what a function of the shim just returned: null, or a text that nobody else releases.
pub(crate) unsafe fn check(operation: &'static str, message: *mut c_char) -> Result<(), Error> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so by the shim's contract a terminated text from malloc that is ours to release, once.
    let error = unsafe {
        let error = Error::new(operation, &CStr::from_ptr(message).to_string_lossy());
        azt_release(message);
        error
    };
    Err(error)
}
