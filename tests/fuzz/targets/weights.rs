//! Weights files of both kinds through the detector's own entry, libtorch's tensors included.
//!
//! libtorch's allocations are not the allocator's of this crate: libFuzzer's limit on the process bounds them.
#![no_main]

use detector::weights::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // An error is as good as a network.
    let _ = Model::from_bytes(bytes);
});
