//! Archives as `zip` stores them, made by hand: what is in them need not be what a checkpoint holds.

/// The members, stored, in this order.
pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for &(name, data) in members {
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
    let count = (members.len() as u16).to_le_bytes();
    let end = [directory.len() as u32, bytes.len() as u32]
        .map(u32::to_le_bytes)
        .concat();
    [
        &bytes[..],
        &directory,
        b"PK\x05\x06\0\0\0\0",
        &count,
        &count,
        &end,
        b"\0\0",
    ]
    .concat()
}
