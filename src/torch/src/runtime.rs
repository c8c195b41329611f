//! Switches of the process: threads, deterministic kernels; and what the CPU can do.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use crate::Error;
use crate::ffi;
use std::ffi::c_int;

/// Sizes of libtorch's two thread pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Threads that share one operation.
    pub intra_op: usize,
    /// Threads that run operations beside each other.
    pub inter_op: usize,
}

/// Sets how many threads share one operation; the summation order of some kernels, and so their last bits, depend on it.
/// Takes effect for the calling thread and for those started later. 0 counts as 1.
///
/// # Errors
/// libtorch refused the number.
pub fn set_threads(threads: usize) -> Result<(), Error> {
    // SAFETY: a call without pointers.
    unsafe { ffi::check("set_threads", ffi::azt_set_threads(pool_size(threads))) }
}

/// Sets how many operations run beside each other. libtorch accepts it once, before its first parallel work.
///
/// # Errors
/// It came too late, or a second time.
pub fn set_interop_threads(threads: usize) -> Result<(), Error> {
    // SAFETY: a call without pointers.
    unsafe {
        ffi::check(
            "set_interop_threads",
            ffi::azt_set_interop_threads(pool_size(threads)),
        )
    }
}

/// From now on SIGABRT has every thread print its stack to stderr before the process ends: so a service manager's watchdog
/// leaves a trace of where a process hung.
pub fn print_stacks_on_abort() {
    // SAFETY: a call without pointers; it installs two signal handlers that touch no memory of ours.
    unsafe { ffi::azt_print_stacks_on_abort() }
}

fn pool_size(threads: usize) -> c_int {
    c_int::try_from(threads.max(1)).unwrap_or(c_int::MAX)
}

/// The sizes of the pools as they are.
///
/// # Errors
/// libtorch cannot tell.
pub fn threads() -> Result<Threads, Error> {
    let (mut intra, mut inter) = (0, 0);
    // SAFETY: both numbers are ours.
    unsafe { ffi::check("threads", ffi::azt_threads(&mut intra, &mut inter))? };
    Ok(Threads {
        intra_op: usize::try_from(intra).unwrap_or(1),
        inter_op: usize::try_from(inter).unwrap_or(1),
    })
}

/// Whether libtorch must take kernels that give the same bits each time (and refuse operations that have none). The
/// number of threads has to stay the same too.
///
/// # Errors
/// libtorch refused.
pub fn set_deterministic(on: bool) -> Result<(), Error> {
    // SAFETY: a call without pointers.
    unsafe { ffi::check("set_deterministic", ffi::azt_set_deterministic(c_int::from(on))) }
}

/// Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX): without it bfloat16 is slower than float32.
pub fn is_bf16_fast() -> bool {
    let mut out = 0;
    // SAFETY: the number is ours. A CPU that cannot be asked counts as one without.
    unsafe { ffi::check("cpu capabilities", ffi::azt_has_bf16(&mut out)) }.is_ok() && out != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::During;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn threads_are_what_was_set() {
        set_threads(1).unwrap();
        assert_eq!(threads().unwrap().intra_op, 1);
        set_threads(0).unwrap();
        assert_eq!(threads().unwrap().intra_op, 1);
    }

    #[test]
    fn interop_threads_can_be_set_once_at_most() {
        let (first, second) = (set_interop_threads(1), set_interop_threads(1));
        let refused = first.err().or(second.err()).map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.starts_with("set_interop_threads: ")));
    }

    #[test]
    fn bf16_is_fast_where_the_kernel_lists_it() {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if flags.contains("\nflags") {
            let listed = flags.contains("avx512_bf16") || flags.contains("amx_bf16");
            assert_eq!(is_bf16_fast(), listed);
        }
    }

    #[test]
    fn deterministic_refuses_what_has_no_deterministic_kernel() {
        let put = || {
            let (index, value) = (Tensor::from_slice(&[1i64, 1]), Tensor::from_slice(&[5.0f32, 6.0]));
            Tensor::zeros([4], (Kind::Float, Device::Cpu))
                .f_put(&index, &value, false)
                .during("put")
                .map(drop)
        };
        set_deterministic(true).unwrap();
        let refused = put();
        set_deterministic(false).unwrap();
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("does not have a deterministic implementation")
        );
        assert!(put().is_ok());
    }
}
