//! Whole `.pt` files: the archive and what it leads to.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzz::within(fuzz::promised(bytes.len(), bytes.len()), || {
        // An error is as good as a network.
        let _ = pt::read(bytes, &pt::Limits::default());
    });
});
