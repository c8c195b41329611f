//! Pickles in a sound archive: a checksum keeps mutated ones in a whole file from ever being run.
#![no_main]

#[path = "../../../src/pt/tests/archive/mod.rs"]
mod archive;

use archive::archive;
use libfuzzer_sys::fuzz_target;

const STORAGE: &[u8] = &[0x3c; 64];

fuzz_target!(|pickle: &[u8]| {
    let file = archive(&[
        ("a/data.pkl", pickle),
        ("a/data/0", STORAGE),
        ("a/data/1", STORAGE),
    ]);
    fuzz::within(fuzz::promised(pickle.len(), file.len()), || {
        if let Ok(read) = pt::read(&file, &pt::Limits::default()) {
            for tensor in &read.tensors {
                let elements: usize = tensor.shape.iter().product();
                assert_eq!(elements * tensor.dtype.size(), tensor.bytes.len());
            }
        }
    });
});
