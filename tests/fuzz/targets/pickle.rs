//! Pickles in a sound archive: a checksum keeps mutated ones in a whole file from ever being run.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|pickle: &[u8]| {
    let file = archive(pickle);
    fuzz::within(fuzz::promised(pickle.len(), file.len()), || {
        if let Ok(read) = pt::read(&file, &pt::Limits::default()) {
            for tensor in &read.tensors {
                let elements: usize = tensor.shape.iter().product();
                assert_eq!(elements * tensor.dtype.size(), tensor.bytes.len());
            }
        }
    });
});

/// The pickle and two storages of 64 bytes, stored.
fn archive(pickle: &[u8]) -> Vec<u8> {
    const STORAGE: [u8; 64] = [0x3c; 64];
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in [
        ("a/data.pkl", pickle),
        ("a/data/0", &STORAGE),
        ("a/data/1", &STORAGE),
    ] {
        let (start, length) = (bytes.len() as u32, data.len() as u32);
        let mut common = [20u16, 0, 0, 0, 0x21].map(u16::to_le_bytes).concat();
        common.extend(
            [crc32fast::hash(data), length, length]
                .map(u32::to_le_bytes)
                .concat(),
        );
        common.extend([name.len() as u16, 0].map(u16::to_le_bytes).concat());
        bytes.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes(), data].concat());
        let fields = [
            b"PK\x01\x02\x14\x00",
            common.as_slice(),
            &[0; 10],
            &start.to_le_bytes(),
        ];
        directory.extend([&fields.concat(), name.as_bytes()].concat());
    }
    let end = [directory.len() as u32, bytes.len() as u32]
        .map(u32::to_le_bytes)
        .concat();
    [
        &bytes[..],
        &directory,
        b"PK\x05\x06\0\0\0\0\x03\0\x03\0",
        &end,
        b"\0\0",
    ]
    .concat()
}
