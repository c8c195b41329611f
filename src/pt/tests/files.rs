//! `.pt` files: those of PyTorch are read, ours are read by PyTorch, damaged ones are refused.
//!
//! `fixtures/torch.pt` was written by torch 2.13.0 (`tests/reference/pt_files.py fixture`); `fixtures/ours.pt` is what
//! the writer makes of the tensors below, and that script's `check` verb has loaded such files. With REFERENCE_PYTHON
//! naming a Python that has ultralytics 8.4.190, both directions are run again on a whole network.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use pt::{Data, Dtype, Entry, Limits, PtError, PtFile, Source, Tensor, read, write};
use safetensors::SafeTensors;

const TORCH: &[u8] = include_bytes!("fixtures/torch.pt");
const OURS: &[u8] = include_bytes!("fixtures/ours.pt");

fn opened(bytes: &[u8]) -> PtFile<'_> {
    read(bytes, &Limits::default()).unwrap()
}

fn tensor<'a>(file: &'a PtFile<'_>, name: &str) -> &'a Tensor<'a> {
    file.tensors.iter().find(|t| t.name == name).unwrap()
}

/// 0, 1/8, 2/8, ...
fn eighths(indices: &[usize]) -> Vec<f32> {
    indices.iter().map(|&i| i as f32 / 8.0).collect()
}

#[test]
fn order_names_and_scalars_of_a_state_dictionary_are_read() {
    let file = opened(TORCH);
    assert_eq!(
        (file.source, file.epoch, file.extra_json),
        (Source::StateDict, Some(4), None)
    );
    let names: Vec<&str> = file.tensors.iter().map(|t| t.name.as_str()).collect();
    let expected = [
        "plain",
        "shared.transposed",
        "shared.slice",
        "shared.strided",
        "half",
        "bfloat",
        "double",
        "long",
        "int",
        "byte",
        "bool",
        "scalar",
        "empty",
        "parameter",
    ];
    assert_eq!(names, expected);
    assert!(tensor(&file, "scalar").shape.is_empty());
    assert_eq!(tensor(&file, "scalar").to_i64().unwrap(), [7]);
    assert_eq!(tensor(&file, "empty").shape, [0, 3]);
    assert!(tensor(&file, "empty").to_f32().unwrap().is_empty());
    assert_eq!(
        tensor(&file, "parameter").to_f32().unwrap(),
        eighths(&[0, 1, 2, 3])
    );
}

#[test]
fn views_of_a_shared_storage_are_brought_into_order() {
    let file = opened(TORCH);
    let (transposed, strided) = (
        tensor(&file, "shared.transposed"),
        tensor(&file, "shared.strided"),
    );
    assert_eq!(transposed.shape, [6, 4]);
    let columns: Vec<usize> = (0..6).flat_map(|x| (0..4).map(move |y| y * 6 + x)).collect();
    assert_eq!(transposed.to_f32().unwrap(), eighths(&columns));
    assert_eq!(
        tensor(&file, "shared.slice").to_f32().unwrap(),
        eighths(&[3, 4, 5, 6, 7, 8])
    );
    assert_eq!(strided.shape, [2, 2, 2]);
    assert_eq!(strided.to_f32().unwrap(), eighths(&[1, 2, 9, 10, 13, 14, 21, 22]));
}

#[test]
fn every_element_type_is_read() {
    let file = opened(TORCH);
    for (name, dtype) in [
        ("half", Dtype::F16),
        ("bfloat", Dtype::BF16),
        ("double", Dtype::F64),
        ("plain", Dtype::F32),
    ] {
        assert_eq!(tensor(&file, name).dtype, dtype);
        assert_eq!(
            tensor(&file, name).to_f32().unwrap()[..5],
            eighths(&[0, 1, 2, 3, 4])
        );
        assert_eq!(tensor(&file, name).to_i64(), None);
    }
    for (name, dtype, values) in [
        ("long", Dtype::I64, vec![0, 1, 2]),
        ("int", Dtype::I32, vec![-2, -1, 0, 1]),
        ("byte", Dtype::U8, vec![250, 251, 252, 253, 254, 255]),
        ("bool", Dtype::Bool, vec![1, 0, 1]),
    ] {
        assert_eq!(tensor(&file, name).dtype, dtype);
        assert_eq!(tensor(&file, name).to_i64().unwrap(), values);
        assert_eq!(tensor(&file, name).to_f32(), None);
    }
}

const WEIGHT: [f32; 6] = [0.0, -1.5, 2.25, f32::MIN_POSITIVE, 1e30, -0.0];
const EXTRA: &str = r#"{"format":1,"classes":["circle","square"]}"#;

fn entries() -> [Entry<'static>; 4] {
    [
        Entry {
            name: "model.0.conv.weight",
            shape: &[2, 3],
            data: Data::F32(&WEIGHT),
        },
        Entry {
            name: "model.0.bn.num_batches_tracked",
            shape: &[],
            data: Data::I64(&[1 << 40]),
        },
        Entry {
            name: "model.0.empty",
            shape: &[0, 3],
            data: Data::F32(&[]),
        },
        Entry {
            name: "größe",
            shape: &[1],
            data: Data::F32(&[1.0]),
        },
    ]
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let bytes = write(&entries(), EXTRA).unwrap();
    let file = opened(&bytes);
    assert_eq!((file.source, file.extra_json), (Source::StateDict, Some(EXTRA)));
    assert_eq!(file.tensors.len(), 4);
    for (tensor, entry) in file.tensors.iter().zip(entries()) {
        assert_eq!(
            (tensor.name.as_str(), tensor.shape.as_slice()),
            (entry.name, entry.shape)
        );
        match entry.data {
            Data::F32(data) => {
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&tensor.to_f32().unwrap()), bits(data));
            }
            Data::I64(data) => assert_eq!(tensor.to_i64().unwrap(), data),
        }
        // Aligned in the file, so that it can be mapped; and not copied.
        let offset = tensor.bytes.as_ptr() as usize - bytes.as_ptr() as usize;
        assert!(
            tensor.bytes.is_empty() || (offset.is_multiple_of(64) && offset < bytes.len()),
            "{offset}"
        );
    }
}

#[test]
fn the_same_tensors_give_the_same_bytes_as_ever() {
    let bytes = write(&entries(), EXTRA).unwrap();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ours.pt"),
            &bytes,
        )
        .unwrap();
    }
    assert!(
        bytes == OURS,
        "PyTorch must load the new form before the fixture changes: see this file's head"
    );
}

#[test]
fn tensors_that_cannot_be_written_are_named() {
    let short = [Entry {
        name: "a",
        shape: &[7],
        data: Data::F32(&WEIGHT),
    }];
    let twice = [Entry {
        name: "a",
        shape: &[6],
        data: Data::F32(&WEIGHT),
    }; 2];
    for (entries, what) in [(&short[..], "shape"), (&twice[..], "twice")] {
        let message = write(entries, "{}").unwrap_err().to_string();
        assert!(message.contains("\"a\"") && message.contains(what), "{message}");
    }
}

#[test]
fn files_that_are_no_archives_say_so() {
    for bytes in [
        &b""[..],
        b"\x80\x02\x8a\x0a",
        &[0; 100],
        &TORCH[..TORCH.len() - 1],
        &TORCH[1..60],
    ] {
        assert_eq!(read(bytes, &Limits::default()), Err(PtError::NotAnArchive));
    }
}

#[test]
fn damage_within_a_storage_is_found() {
    let bytes = write(&entries(), EXTRA).unwrap();
    let at = opened(&bytes).tensors[0].bytes.as_ptr() as usize - bytes.as_ptr() as usize;
    let mut damaged = bytes.clone();
    damaged[at + 5] ^= 1;
    let error = read(&damaged, &Limits::default()).unwrap_err();
    assert!(
        matches!(&error, PtError::Archive { member, .. } if member == "archive/data/0"),
        "{error}"
    );
}

#[test]
fn limits_are_kept() {
    let tight: [(Limits, &str); 3] = [
        (
            Limits {
                pickle_bytes: 100,
                ..Limits::default()
            },
            "bytes of pickle",
        ),
        (
            Limits {
                values: 20,
                ..Limits::default()
            },
            "values",
        ),
        (
            Limits {
                tensors: 3,
                ..Limits::default()
            },
            "tensors",
        ),
    ];
    for (limits, exceeded) in tight {
        let error = read(TORCH, &limits).unwrap_err();
        assert!(
            matches!(error, PtError::Limit { what, .. } if what == exceeded),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The checksums would reject most damage at once: they are made right again, so that the pickle machine sees it.
    #[test]
    fn damaged_files_never_panic_and_never_grow(
        ours: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        truncate in prop::bool::weighted(0.2),
    ) {
        let mut bytes = if ours { OURS } else { TORCH }.to_vec();
        let pickle = pickle_range(&bytes);
        for (index, value) in flips {
            let at = if value % 4 == 0 { index.index(bytes.len()) } else { pickle.start + index.index(pickle.len()) };
            bytes[at] = value;
        }
        repair_checksum(&mut bytes, pickle);
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(file) = read(&bytes, &Limits::default()) {
            let copied: usize = file.tensors.iter().map(|t| match &t.bytes {
                std::borrow::Cow::Owned(owned) => owned.len(),
                std::borrow::Cow::Borrowed(_) => 0,
            }).sum();
            prop_assert!(copied <= bytes.len());
        }
    }
}

/// Where data.pkl lies: it is the first member of both fixtures.
fn pickle_range(bytes: &[u8]) -> std::ops::Range<usize> {
    let start = bytes.windows(2).position(|w| w == [0x80, 2]).unwrap();
    let end = start
        + bytes[start..]
            .windows(4)
            .position(|w| matches!(w, b"PK\x03\x04" | b"PK\x07\x08"))
            .unwrap();
    start..end
}

/// Writes the checksum of data.pkl, as it is now, into its entry of the directory.
fn repair_checksum(bytes: &mut [u8], pickle: std::ops::Range<usize>) {
    let Some(entry) = bytes.windows(4).position(|w| w == b"PK\x01\x02") else {
        return;
    };
    let Some(size) = bytes.get(entry + 20..entry + 24) else {
        return;
    };
    let size = u32::from_le_bytes(size.try_into().unwrap()) as usize;
    if let Some(data) = bytes.get(pickle.start..pickle.start + size) {
        let crc32 = crc32fast::hash(data);
        bytes[entry + 16..entry + 20].copy_from_slice(&crc32.to_le_bytes());
    }
}

#[test]
fn whole_networks_pass_in_both_directions() {
    let Some(python) = std::env::var_os("REFERENCE_PYTHON") else {
        println!(
            "skipped whole_networks_pass_in_both_directions: REFERENCE_PYTHON names no Python with ultralytics"
        );
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/pt_files.py");
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&std::ffi::OsStr]| {
        let status = Command::new(&python)
            .arg(&script)
            .args(arguments)
            .env("YOLO_OFFLINE", "true")
            .status();
        assert!(status.unwrap().success(), "{arguments:?}");
    };
    run(&["make".as_ref(), folder.path().as_os_str()]);

    for (name, source) in [
        ("saved", Source::Model),
        ("running", Source::Ema),
        ("plain", Source::StateDict),
    ] {
        let bytes = std::fs::read(folder.path().join(name).with_extension("pt")).unwrap();
        let file = opened(&bytes);
        assert_eq!(file.source, source);
        let expected_bytes = std::fs::read(folder.path().join(name).with_extension("safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&expected_bytes).unwrap();
        assert_eq!(file.tensors.len(), 708);
        assert_eq!(file.tensors.len(), expected.len());
        for tensor in &file.tensors {
            let expected = expected.tensor(&tensor.name).unwrap();
            assert_eq!(tensor.shape, expected.shape());
            assert!(tensor.bytes == expected.data(), "{name}: {}", tensor.name);
        }
        if source != Source::StateDict {
            assert_eq!(file.scale.as_deref(), Some("n"));
            assert_eq!(file.classes, Some(80));
        }
        if source == Source::Ema {
            assert_eq!(file.epoch, Some(3));
            let names: Vec<(u32, String)> = file.names.clone().unwrap().into_iter().collect();
            assert_eq!(names, [(0, "circle".to_owned()), (1, "square".to_owned())]);
        }
        let ours = folder.path().join("ours.pt");
        std::fs::write(&ours, rewritten(&file)).unwrap();
        let reference = folder.path().join(name).with_extension("safetensors");
        run(&["check".as_ref(), ours.as_os_str(), reference.as_os_str()]);
    }
    let legacy = std::fs::read(folder.path().join("legacy.pt")).unwrap();
    assert_eq!(read(&legacy, &Limits::default()), Err(PtError::NotAnArchive));
}

fn rewritten(file: &PtFile<'_>) -> Vec<u8> {
    enum Owned {
        Floats(Vec<f32>),
        Integers(Vec<i64>),
    }
    let owned: Vec<Owned> = file
        .tensors
        .iter()
        .map(|t| {
            t.to_f32()
                .map(Owned::Floats)
                .unwrap_or_else(|| Owned::Integers(t.to_i64().unwrap()))
        })
        .collect();
    let entries: Vec<Entry<'_>> = file
        .tensors
        .iter()
        .zip(&owned)
        .map(|(tensor, data)| Entry {
            name: &tensor.name,
            shape: &tensor.shape,
            data: match data {
                Owned::Floats(data) => Data::F32(data),
                Owned::Integers(data) => Data::I64(data),
            },
        })
        .collect();
    write(&entries, "{}").unwrap()
}
