//! What a file can make the reader allocate: the bound in the crate's head, on files built to break it.

mod archive;

use archive::archive;
use cap::Cap;
use pt::{Limits, PtError, read};
use std::alloc::System;

/// A second test in this file would be counted too.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const PER_BYTE: usize = 512;
const CONSTANT: usize = 64 << 10;
/// Long enough that constants do not matter, short enough for a test.
const COUNT: usize = 20_000;

/// A tensor of one float in the shortest form that eight axes allow (one tuple is shape and strides), remembered in slot 0,
/// its arguments in slot 1.
const TENSOR: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ\
K\0(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01tq\x03h\x03tq\x01Rq\x00";

/// A dictionary of tensors under as many names, all as long as a name may be: the long part comes from one module.
fn long_names() -> Vec<u8> {
    let mut pickle = b"\x80\x02".to_vec();
    pickle.extend(TENSOR);
    pickle.extend(b"0cnet\nNet\n)\x81}(X\x0b\0\0\0_parameters}X\x08\0\0\0_modules}X\xc8\0\0\0");
    pickle.extend([b'n'; 200]);
    pickle.extend(b"cnet\nNet\n)\x81}(X\x08\0\0\0_modules}X\x0b\0\0\0_parameters}(");
    for index in 0..16_000u16 {
        pickle.extend(
            [
                b"\x8c\x04".as_slice(),
                format!("{index:04x}").as_bytes(),
                b"h\x00",
            ]
            .concat(),
        );
    }
    pickle.extend(b"uubsub.");
    pickle
}

#[test]
fn no_pickle_takes_more_memory_than_promised() {
    let repeated = |prefix: &[u8], unit: &[u8], suffix: &[u8]| [prefix, &unit.repeat(COUNT), suffix].concat();
    let tensors = [b"\x80\x02".as_slice(), TENSOR].concat();
    let one_element_repeated = b"X\x01\0\0\0ah\x00u.";
    let files = [
        ("values", repeated(b"\x80\x02", b"N", b".")),
        ("marks", repeated(b"\x80\x02", b"(", b"N.")),
        ("marks and tuples", repeated(b"\x80\x02", b"(t0", b"N.")),
        ("nested lists", repeated(b"\x80\x02]", b"]a", b".")),
        ("nested tuples", repeated(b"\x80\x02N", b"\x85", b".")),
        // A list that holds the last one twice: written out it would have 2^20000 entries.
        (
            "lists of lists",
            repeated(b"\x80\x02]q\x00", b"](h\x00h\x00eq\x00", b"."),
        ),
        ("memory slots", repeated(b"\x80\x04N", b"\x94", b".")),
        ("one list for ever", repeated(b"\x80\x02]q\x00(", b"h\x00", b"e.")),
        ("empty dictionaries", repeated(b"\x80\x02", b"}", b".")),
        ("small dictionaries", repeated(b"\x80\x02", b"}NNs", b".")),
        (
            "calls",
            repeated(b"\x80\x02cos\nsystem\nq\x00)q\x01", b"h\x00h\x01R", b"."),
        ),
        ("tensors", repeated(&tensors, b"h\x02h\x01R", b".")),
        (
            "tensors in a dictionary",
            repeated(&tensors, b"", &[b"0}(".as_slice(), one_element_repeated].concat()),
        ),
        ("long integers", repeated(b"\x80\x02", b"\x8a\x01\x01", b".")),
        ("names", long_names()),
    ];
    for (name, pickle) in files {
        let bytes = archive(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16])]);
        let before = ALLOCATOR.allocated();
        // Beyond it an allocation fails, and the process ends.
        ALLOCATOR
            .set_limit(before + PER_BYTE * pickle.len() + bytes.len() + CONSTANT)
            .unwrap();
        let result = read(&bytes, &Limits::default()).map(|file| file.tensors.len());
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        // A root that is a dictionary is one of tensors.
        let expected = match name {
            "names" => Some(16_000),
            "tensors in a dictionary" => Some(1),
            "empty dictionaries" | "small dictionaries" => Some(0),
            _ => None,
        };
        match expected {
            Some(tensors) => assert_eq!(result, Ok(tensors), "{name}"),
            None => assert!(
                matches!(result, Err(PtError::Content { .. } | PtError::Pickle { .. })),
                "{name}: {result:?}"
            ),
        }
    }
}
