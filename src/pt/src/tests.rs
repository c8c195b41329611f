//! Files that nobody's PyTorch has written: hostile pickles and odd archives.

use super::archive::tests_support::{archive_of, patched_directory};
use super::*;

const NETWORK: &[u8] = b"cnet\nNet\n)\x81";

/// A pickle of protocol 2 with this body.
fn pickle(body: &[&[u8]]) -> Vec<u8> {
    [b"\x80\x02", body.concat().as_slice(), b"."].concat()
}

fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        (text.len() as u32).to_le_bytes().as_slice(),
        text.as_bytes(),
    ]
    .concat()
}

fn int(value: i32) -> Vec<u8> {
    [b"J", value.to_le_bytes().as_slice()].concat()
}

/// An instance of a module with these attributes' instructions.
fn module(modules: &[u8]) -> Vec<u8> {
    [
        NETWORK,
        b"}(",
        &text("_parameters"),
        b"}",
        &text("_modules"),
        modules,
        b"ub",
    ]
    .concat()
}

/// A tensor of four single-precision elements in storage 0, with shape and strides as instructions.
fn tensor(shape: &[u8], strides: &[u8], offset: i32) -> Vec<u8> {
    let storage = [
        &text("storage")[..],
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &int(4),
    ]
    .concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &storage[..],
        b"tQ",
        &int(offset),
        shape,
        strides,
        b"\x89}tR",
    ]
    .concat()
}

fn tuple(sizes: &[i32]) -> Vec<u8> {
    [
        b"(",
        sizes.iter().flat_map(|&s| int(s)).collect::<Vec<_>>().as_slice(),
        b"t",
    ]
    .concat()
}

fn dictionary(key: &str, value: &[u8]) -> Vec<u8> {
    [b"}", text(key).as_slice(), value, b"s"].concat()
}

fn storage() -> Vec<u8> {
    [1f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect()
}

fn file(pickle: &[u8]) -> Vec<u8> {
    archive_of(&[("data.pkl", pickle), ("data/0", &storage())])
}

fn failure(pickle: &[u8]) -> PtError {
    read(&file(pickle), &Limits::default()).unwrap_err()
}

#[test]
fn a_call_of_anything_unknown_does_nothing_and_is_named_where_a_value_is_needed() {
    let call = [b"cos\nsystem\n(".as_slice(), &text("touch /tmp/x"), b"tR"].concat();
    let root = failure(&pickle(&[&call]));
    assert!(root.to_string().contains("os.system"), "{root}");
    let entry = failure(&pickle(&[&dictionary("a.weight", &call)]));
    assert_eq!(
        entry.to_string(),
        "a.weight: expected a tensor, found an object of class os.system"
    );
    // Where nothing is needed of it, it is no obstacle.
    let beside = [b"}(", &text("optimizer")[..], &call, &text("state_dict"), b"}u"].concat();
    assert_eq!(
        read(&file(&pickle(&[&beside])), &Limits::default())
            .unwrap()
            .tensors,
        []
    );
}

#[test]
fn modules_within_themselves_end_at_the_limit() {
    // The dictionary of children is remembered in slot 0 while it is empty, and gets the module as its child.
    let cyclic = [
        NETWORK,
        b"q\x01}(",
        &text("_parameters"),
        b"}",
        &text("_modules"),
        b"}q\x00",
        &text("a"),
        b"h\x01s",
        b"ub",
    ]
    .concat();
    assert_eq!(
        failure(&pickle(&[&cyclic])),
        PtError::Limit {
            what: "modules within modules",
            limit: 64
        }
    );
}

#[test]
fn a_small_file_cannot_be_a_huge_tree() {
    // Each module has the previous one as two children: 2^60 leaves.
    let mut body = [module(b"}").as_slice(), b"q\x00"].concat();
    for _ in 0..60 {
        let children = [b"}(", &text("a")[..], b"h\x00", &text("b"), b"h\x00u"].concat();
        body.extend_from_slice(&[module(&children).as_slice(), b"q\x00"].concat());
    }
    assert!(matches!(
        failure(&pickle(&[&body])),
        PtError::Limit {
            what: "entries of modules",
            ..
        }
    ));
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let huge = i32::MAX;
    for (shape, strides, offset) in [
        (tuple(&[5]), tuple(&[1]), 0),
        (tuple(&[4]), tuple(&[1]), 1),
        (tuple(&[2, 2]), tuple(&[3, 1]), 0),
        (tuple(&[1]), tuple(&[1]), 4),
        // A single element repeated by strides of 0 would fill the memory.
        (tuple(&[huge, huge]), tuple(&[0, 0]), 0),
        (tuple(&[huge; 8]), tuple(&[0; 8]), 0),
        (tuple(&[huge; 8]), tuple(&[huge; 8]), 0),
    ] {
        let error = failure(&pickle(&[&dictionary("a", &tensor(&shape, &strides, offset))]));
        assert!(
            matches!(&error, PtError::Content { place, .. } if place == "a"),
            "{error}"
        );
    }
    for (shape, strides) in [
        (tuple(&[-1]), tuple(&[1])),
        (tuple(&[1]), tuple(&[])),
        (tuple(&[1; 9]), tuple(&[1; 9])),
    ] {
        let error = failure(&pickle(&[&dictionary("a", &tensor(&shape, &strides, 0))]));
        assert!(matches!(error, PtError::Pickle { .. }), "{error}");
    }
}

#[test]
fn sides_of_one_and_zero_may_have_any_stride() {
    let one = tensor(&tuple(&[1, 2]), &tuple(&[i32::MAX, 2]), 1);
    let bytes = file(&pickle(&[&dictionary("a", &one)]));
    assert_eq!(
        read(&bytes, &Limits::default()).unwrap().tensors[0]
            .to_f32()
            .unwrap(),
        [2.0, 4.0]
    );
    let none = tensor(&tuple(&[0, 2]), &tuple(&[i32::MAX, i32::MAX]), i32::MAX);
    let bytes = file(&pickle(&[&dictionary("a", &none)]));
    assert!(
        read(&bytes, &Limits::default()).unwrap().tensors[0]
            .bytes
            .is_empty()
    );
}

#[test]
fn tensors_of_a_shared_storage_are_together_no_larger_than_the_file() {
    let views = |view: &[u8], count: usize| -> Vec<u8> {
        let entry = |i: usize| [text(&format!("{i:x}")).as_slice(), b"h\x00"].concat();
        let entries: Vec<u8> = (0..count).flat_map(entry).collect();
        pickle(&[view, b"q\x000}(", &entries, b"u"])
    };
    // One that is copied for its strides, and one that lies in the storage as it is.
    let copied = tensor(&tuple(&[16, 4]), &tuple(&[0, 1]), 0);
    let plain = tensor(&tuple(&[4]), &tuple(&[1]), 0);
    for (view, some, many) in [(&copied, 1, 100), (&plain, 10, 1000)] {
        assert!(read(&file(&views(view, some)), &Limits::default()).is_ok());
        let error = failure(&views(view, many));
        assert!(
            matches!(
                error,
                PtError::Content {
                    expected: "tensors no larger than the file",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn big_endian_storages_are_turned() {
    let big: Vec<u8> = [1f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let pickle = pickle(&[&dictionary("a", &tensor(&tuple(&[4]), &tuple(&[1]), 0))]);
    let bytes = archive_of(&[("data.pkl", &pickle), ("byteorder", b"big"), ("data/0", &big)]);
    assert_eq!(
        read(&bytes, &Limits::default()).unwrap().tensors[0]
            .to_f32()
            .unwrap(),
        [1.0, 2.0, 3.0, 4.0]
    );
}

#[test]
fn names_are_short_unique_and_text() {
    let value = tensor(&tuple(&[4]), &tuple(&[1]), 0);
    let long = failure(&pickle(&[&dictionary(&"n".repeat(2000), &value)]));
    assert!(matches!(long, PtError::Limit { limit: 256, .. }), "{long}");
    let twice = failure(&pickle(&[b"}(", &text("a"), &value, &text("a"), &value, b"u"]));
    assert!(
        matches!(
            twice,
            PtError::Content {
                expected: "one tensor of this name",
                ..
            }
        ),
        "{twice}"
    );
    let number = failure(&pickle(&[b"}", &int(1), &value, b"s"]));
    assert!(matches!(number, PtError::Content { .. }), "{number}");
}

#[test]
fn broken_instructions_say_where() {
    for (body, problem) in [
        (&b"t"[..], "mark"),
        (b"(0", "empty stack"),
        (b"R", "empty stack"),
        (b"h\x05", "slot 5"),
        (b"X\xff\xff\xff\xff", "ends within"),
        (b"cno line", "ends within"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "ends within"),
        (b"Q", "empty stack"),
        (b"NQ", "not a storage"),
        (b"P", "0x50"),
    ] {
        match failure(&pickle(&[body])) {
            PtError::Pickle { at, problem: found } => assert!(at > 2 && found.contains(problem), "{found}"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn archives_that_pytorch_does_not_write_are_refused() {
    let good = pickle(&[b"}"]);
    let bytes = file(&good);
    let refusal = |bytes: &[u8]| match read(bytes, &Limits::default()).unwrap_err() {
        PtError::Archive { problem, .. } => problem,
        other => panic!("{other}"),
    };
    // Fields of a directory entry: flags at 8, method at 10, sizes at 20 and 24, header at 42.
    assert!(refusal(&patched_directory(&bytes, 1, 8, 1)).contains("encrypted"));
    assert!(refusal(&patched_directory(&bytes, 1, 10, 8)).contains("compressed"));
    assert!(refusal(&patched_directory(&bytes, 1, 20, 9)).contains("sizes differ"));
    assert!(refusal(&patched_directory(&bytes, 1, 42, 0)).contains("overlaps"));
    assert!(refusal(&patched_directory(&bytes, 1, 42, 7)).contains("truncated"));
    assert!(refusal(&archive_of(&[("data.pkl", &good), ("data.pkl", &good)])).contains("twice"));
    assert!(refusal(&archive_of(&[("other", &good)])).contains("missing"));
}

#[test]
fn lengths_that_lie_are_not_allocated() {
    for (length, opcode) in [
        (4, b'X'),
        (4, b'B'),
        (4, b'T'),
        (4, 0x8b),
        (8, 0x8d),
        (8, 0x8e),
        (1, 0x8a),
        (1, b'C'),
    ] {
        let mut pickle = vec![0x80, 4, opcode];
        pickle.extend(std::iter::repeat_n(0x7f, length));
        pickle.extend(b"short.");
        let error = failure(&pickle);
        assert!(
            matches!(&error, PtError::Pickle { problem, .. } if problem.contains("ends within")),
            "0x{opcode:02x}: {error}"
        );
    }
}

#[test]
fn classes_of_a_hostile_name_are_quoted_short_and_plain() {
    let call = [b"c\x1b[2J".as_slice(), &b"m".repeat(5000), b"\nf\n)R"].concat();
    let text = failure(&pickle(&[&call])).to_string();
    assert!(text.len() < 250 && text.contains("\\u{1b}[2Jmmm"), "{text}");
}

#[test]
fn depth_costs_no_stack() {
    let nested =
        |open: &[u8], close: &[u8]| [open.repeat(10_000), b"N".to_vec(), close.repeat(10_000)].concat();
    for body in [
        nested(b"(", b"t"),
        nested(b"]", b"a"),
        nested(b"}X\x01\0\0\0a", b"s"),
        nested(b"cn\nN\n)\x81", b"b"),
    ] {
        let outcome = read(&file(&pickle(&[&body])), &Limits::default()).map(|file| file.tensors.len());
        assert!(matches!(outcome, Err(PtError::Content { .. })), "{outcome:?}");
    }
}

#[test]
fn a_dictionary_within_itself_is_no_network() {
    let itself = [b"}q\x00", text("model").as_slice(), b"h\x00s"].concat();
    let error = failure(&pickle(&[&itself]));
    assert_eq!(error.to_string(), "model: expected a tensor, found a dictionary");
}

#[test]
fn the_size_of_the_training_images_is_read_from_either_place() {
    let arguments = dictionary("imgsz", &int(320));
    let network = [
        NETWORK,
        b"}(",
        &text("_parameters"),
        b"}",
        &text("_modules"),
        b"}",
        &text("args"),
        &arguments,
        b"ub",
    ]
    .concat();
    let beside = [
        b"}(",
        text("train_args").as_slice(),
        &arguments,
        &text("model"),
        &module(b"}"),
        b"u",
    ]
    .concat();
    for body in [network, beside] {
        assert_eq!(
            read(&file(&pickle(&[&body])), &Limits::default()).unwrap().imgsz,
            Some(320)
        );
    }
}
