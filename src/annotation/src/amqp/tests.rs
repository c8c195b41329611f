//! The message format, section by section and byte by byte.

use super::*;

/// The bytes of a message given as hexadecimal, with spaces for the reader.
fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A message with one application property, `AnnotationStatus`, whose value is `value`, and the body `ff`.
fn with_status(value: &str) -> Bytes {
    let value = hex(value);
    let key = [&[0xa1, 16][..], STATUS_KEY].concat();
    let mut raw = vec![0x00, 0x53, 0x74, 0xc1, (1 + key.len() + value.len()) as u8, 2];
    raw.extend(key);
    raw.extend(value);
    raw.extend(hex("00 53 75 a0 01 ff"));
    raw.into()
}

fn problem(raw: &Bytes) -> AmqpProblem {
    decode(raw).unwrap_err().problem
}

#[test]
fn every_section_is_walked() {
    let raw = hex(
        "00 53 70 c0 0a 05 41 50 04 40 42 52 03 43 40   00 53 71 c1 01 00   00 53 72 c1 07 02 a3 02 78 3a 54 05
         00 53 73 d0 00 00 00 08 00 00 00 01 a1 02 6d 31   00 53 74 c1 01 00   00 53 75 a0 02 aa bb   00 53 78 c1 01 00",
    );
    let envelope = decode(&raw).unwrap();
    assert_eq!((envelope.status, &envelope.body[..]), (None, &b"\xaa\xbb"[..]));
}

#[test]
fn sections_may_be_described_by_symbols_and_wide_numbers() {
    let mut raw = hex("00 80 0000000000000073 45").to_vec();
    for (symbol, value) in [
        ("amqp:application-properties:map", "c1 01 00"),
        ("amqp:data:binary", "b0 00000001 cc"),
    ] {
        raw.extend([0x00, 0xa3, symbol.len() as u8]);
        raw.extend(symbol.bytes());
        raw.extend(hex(value));
    }
    assert_eq!(decode(&raw.into()).unwrap().body, &b"\xcc"[..]);
}

#[test]
fn several_data_sections_are_one_body() {
    let raw = hex("00 53 75 a0 01 aa  00 53 75 a0 00  00 53 75 b0 00000002 bb cc");
    assert_eq!(decode(&raw).unwrap().body, &b"\xaa\xbb\xcc"[..]);
    let value = hex("00 53 77 a0 02 aa bb");
    assert_eq!(decode(&value).unwrap().body, &b"\xaa\xbb"[..]);
}

#[test]
fn a_body_in_one_part_is_not_copied() {
    let raw = hex("00 53 75 a0 02 aa bb");
    assert_eq!(decode(&raw).unwrap().body.as_ptr(), raw[5..].as_ptr());
}

#[test]
fn bodies_of_other_kinds_are_refused() {
    assert_eq!(
        problem(&hex("00 53 76 45")),
        AmqpProblem::Body {
            found: "an amqp-sequence"
        }
    );
    assert_eq!(
        problem(&hex("00 53 77 a1 01 61")),
        AmqpProblem::Body {
            found: "an amqp-value that is no binary"
        }
    );
    assert!(matches!(
        problem(&hex("00 53 75 a1 01 61")),
        AmqpProblem::Body { .. }
    ));
    assert!(matches!(
        problem(&hex("00 53 75 a0 00 00 53 77 a0 00")),
        AmqpProblem::Twice { .. }
    ));
    assert!(matches!(
        problem(&hex("00 53 77 a0 00 00 53 75 a0 00")),
        AmqpProblem::Twice { .. }
    ));
    for none in ["", "00 53 70 45"] {
        assert_eq!(problem(&hex(none)), AmqpProblem::NoBody);
    }
}

#[test]
fn the_status_is_an_integer_of_any_width_and_sign() {
    let ten = [
        "50 0a",
        "51 0a",
        "52 0a",
        "53 0a",
        "54 0a",
        "55 0a",
        "60 000a",
        "61 000a",
        "70 0000000a",
    ];
    for value in ten
        .into_iter()
        .chain(["71 0000000a", "80 000000000000000a", "81 000000000000000a"])
    {
        assert_eq!(
            decode(&with_status(value)).unwrap().status,
            Some(StatusProperty::Number(10)),
            "{value}"
        );
    }
    for value in [
        "51 fb",
        "54 fb",
        "55 fb",
        "61 fffb",
        "71 fffffffb",
        "81 fffffffffffffffb",
    ] {
        assert_eq!(
            decode(&with_status(value)).unwrap().status,
            Some(StatusProperty::Number(-5)),
            "{value}"
        );
    }
    for value in ["43", "44"] {
        assert_eq!(
            decode(&with_status(value)).unwrap().status,
            Some(StatusProperty::Number(0)),
            "{value}"
        );
    }
    let largest = with_status("80 ffffffffffffffff");
    assert_eq!(
        decode(&largest).unwrap().status,
        Some(StatusProperty::Number(u64::MAX.into()))
    );
}

#[test]
fn the_status_is_a_string_or_symbol_and_null_is_none() {
    for value in ["a1 02 4869", "a3 02 4869", "b1 00000002 4869", "b3 00000002 4869"] {
        assert_eq!(
            decode(&with_status(value)).unwrap().status,
            Some(StatusProperty::Name(b"Hi")),
            "{value}"
        );
    }
    assert_eq!(decode(&with_status("40")).unwrap().status, None);
    for value in [
        "41",
        "82 0000000000000000",
        "a0 01 0a",
        "c1 01 00",
        "00 53 01 54 0a",
    ] {
        assert_eq!(
            decode(&with_status(value)).unwrap().status,
            Some(StatusProperty::Other),
            "{value}"
        );
    }
}

#[test]
fn properties_with_a_wrong_size_or_count_are_refused() {
    let odd = hex("00 53 74 c1 02 01 40  00 53 75 a0 00");
    let too_few = hex("00 53 74 c1 05 02 40 40 40 40  00 53 75 a0 00");
    let odd_to_the_end = hex("00 53 74 c1 03 03 40 40  00 53 75 a0 00");
    let list = hex("00 53 74 45  00 53 75 a0 00");
    for raw in [odd, odd_to_the_end, too_few, list] {
        assert_eq!(problem(&raw), AmqpProblem::Properties);
    }
    let too_many = hex("00 53 74 c1 03 04 40 40  00 53 75 a0 00");
    assert_eq!(problem(&too_many), AmqpProblem::Truncated { wanted: 1, left: 0 });
    let no_count = hex("00 53 74 c1 00");
    assert_eq!(problem(&no_count), AmqpProblem::Truncated { wanted: 1, left: 0 });
    let twice = hex("00 53 74 c1 01 00  00 53 74 c1 01 00  00 53 75 a0 00");
    assert_eq!(
        problem(&twice),
        AmqpProblem::Twice {
            what: "application-properties section"
        }
    );
}

#[test]
fn a_status_given_twice_is_refused() {
    let key = [&[0xa3, 16][..], STATUS_KEY, &[0x54, 10]].concat();
    let mut raw = vec![0x00, 0x53, 0x74, 0xc1, 1 + 2 * key.len() as u8, 4];
    raw.extend_from_slice(&key);
    raw.extend_from_slice(&key);
    raw.extend(hex("00 53 75 a0 00"));
    assert_eq!(
        problem(&raw.into()),
        AmqpProblem::Twice {
            what: "AnnotationStatus property"
        }
    );
}

#[test]
fn what_is_not_amqp_is_refused_with_its_position() {
    assert_eq!(
        decode(&hex("00 53 75 a0 00 93 01")).unwrap_err(),
        AmqpError {
            at: 5,
            problem: AmqpProblem::NotASection { byte: 0x93 }
        }
    );
    assert_eq!(problem(&hex("00 53 79 40")), AmqpProblem::UnknownSection);
    assert_eq!(
        problem(&hex("00 53 75 1f")),
        AmqpProblem::UnknownType { code: 0x1f }
    );
    let overlong = decode(&hex("00 53 75 b0 ffffffff aa")).unwrap_err();
    assert_eq!(
        overlong,
        AmqpError {
            at: 8,
            problem: AmqpProblem::Truncated {
                wanted: 0xffff_ffff,
                left: 1
            }
        }
    );
}

#[test]
fn every_truncation_of_a_message_is_an_error() {
    let whole = with_status("71 0000000a");
    for length in 0..whole.len() {
        assert!(decode(&whole.slice(..length)).is_err(), "{length}");
    }
}

#[test]
fn descriptors_within_descriptors_end_at_a_limit() {
    let bomb: Bytes = vec![0; 1_000_000].into();
    assert_eq!(problem(&bomb), AmqpProblem::TooDeep);
    // Descriptors one after another instead of one within the other are only long, not deep.
    let chain: Bytes = [
        &b"\x00\x53\x70"[..],
        &b"\x00\x44".repeat(100_000),
        b"\x40\x00\x53\x75\xa0\x00",
    ]
    .concat()
    .into();
    assert!(decode(&chain).is_ok());
}
