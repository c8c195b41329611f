//! Decoders of foreign bytes under libFuzzer: whatever comes in, they must neither panic nor take more memory than
//! they promise.
//!
//! `cargo xtask fuzz NAME [--minutes N]` runs a target; it needs cargo-fuzz (`cargo install --locked cargo-fuzz`), and no
//! nightly compiler: safe code has nothing for a sanitizer to find, so that the run does without, and the bound on
//! memory is kept by an allocator of this crate. `seeds/` is what `python3 tests/fuzz/seeds.py` makes; the corpus that
//! grows from it, and findings (`artifacts/`), stay out of the repository. A finding becomes a test of its decoder.

use cap::Cap;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `decode`, in which an allocation fails, and so ends the process, once it holds more than `limit` bytes.
pub fn within<T>(limit: usize, decode: impl FnOnce() -> T) -> T {
    let bound = |limit| {
        ALLOCATOR
            .set_limit(limit)
            .expect("more than what is allocated now");
    };
    bound(ALLOCATOR.allocated().saturating_add(limit));
    let value = decode();
    bound(usize::MAX);
    value
}

/// What `pt::read` may take for a pickle and a file of these lengths (the head of the crate).
pub fn promised(pickle: usize, file: usize) -> usize {
    512 * pickle + file + (64 << 10)
}
