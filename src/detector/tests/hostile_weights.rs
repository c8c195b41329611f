//! Model files that are none of ours, or built to harm: refused by name, at the cost of a small multiple of their bytes.
#![expect(clippy::unwrap_used, reason = "a broken set-up fails the test")]

use detector::weights::{self, LARGEST, Meta, Model, WeightMap, read_file};
use detector::{Config, Detector, Scale};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::{collections::HashMap, fs::File};
use tch::{Device, Kind, Tensor};

fn nano(nc: usize) -> Detector {
    torch::set_threads(1).unwrap();
    Detector::new(
        Config::new(Scale::N, nc).unwrap(),
        &mut ChaCha8Rng::seed_from_u64(7),
    )
    .unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    match Model::from_bytes(bytes) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A safetensors file with this header and this much data.
fn container(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

/// A nano network's file after a change of its tensors.
fn changed(change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> Vec<u8> {
    let all = WeightMap::of(nano(3).state()).unwrap();
    let mut tensors: Vec<_> = all
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.copy()))
        .collect();
    change(&mut tensors);
    let mut map = WeightMap::default();
    for (name, tensor) in tensors {
        map.insert(name, tensor).unwrap();
    }
    weights::write(&map, None, &HashMap::new()).unwrap()
}

fn zeros(sizes: &[i64]) -> Tensor {
    Tensor::zeros(sizes, (Kind::Float, Device::Cpu))
}

#[test]
fn tensors_that_do_not_fit_are_named_with_what_was_expected() {
    assert_eq!(refusal(&changed(|_| {})), "nothing");
    let wrong = changed(|tensors| tensors[0].1 = zeros(&[16, 3, 5, 5]));
    let text = refusal(&wrong);
    assert!(
        text.contains("'model.0.conv.weight' has sizes [16, 3, 5, 5], expected [16, 3, 3, 3]"),
        "{text}"
    );
    let text = refusal(&changed(|tensors| drop(tensors.remove(7))));
    assert!(
        text.contains("is missing") && text.contains("707 tensors"),
        "{text}"
    );
    let text = refusal(&changed(|tensors| {
        tensors.push(("model.24.weight".to_owned(), zeros(&[1])))
    }));
    assert!(text.contains("'model.24.weight' is not part of it"), "{text}");
    // No text of a file reaches the terminal as it is.
    let text = refusal(&changed(|tensors| {
        tensors.push((format!("\x1b[2J{}", "x".repeat(5000)), zeros(&[1])))
    }));
    assert!(text.len() < 500 && !text.contains('\x1b'), "{text}");
}

#[test]
fn networks_of_another_family_are_told_from_a_damaged_one_of_ours() {
    let text = refusal(&changed(|tensors| {
        tensors.retain(|(name, _)| name.starts_with("model.1."))
    }));
    assert!(
        text.starts_with(
            "not a YOLO26 detector of scale n, s, m, l or x: expected a tensor 'model.0.conv.weight'"
        ),
        "{text}"
    );
    assert!(text.contains("6 tensors, the first 'model.1."), "{text}");
    let text = refusal(&changed(|tensors| tensors[0].1 = zeros(&[24, 3, 3, 3])));
    assert!(text.contains("24 channels"), "{text}");
}

/// The width of the class branches is read from a tensor of one row; the network would have its square, six times over.
#[test]
fn a_width_that_the_file_does_not_pay_for_makes_no_network() {
    let bytes = changed(|tensors| {
        for (name, tensor) in tensors {
            if name.contains("cv3.") && name.ends_with(".2.weight") && name.starts_with("model.23.") {
                *tensor = zeros(&[1, 65_536, 1, 1]);
            }
        }
    });
    let text = refusal(&bytes);
    assert!(
        text.contains("'model.23.cv3.0.1.1.conv.weight' of sizes [65536, 65536, 1, 1]"),
        "{text}"
    );
}

#[test]
fn headers_that_lie_are_refused() {
    let tensor = |dtype: &str, shape: &str, end: u64| {
        format!(r#"{{"model.0.conv.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let max = u64::MAX;
    for (header, data, says) in [
        (tensor("F32", "[2]", 16), 16, "broken"),
        (tensor("F32", "[4]", 16), 8, "broken"),
        (tensor("F32", "[4294967296,4294967296]", 0), 0, "broken"),
        (tensor("F32", &format!("[{max},{max}]"), 16), 16, "broken"),
        (tensor("F32", "[4]", max), 16, "broken"),
        (tensor("U8", "[4]", 4), 4, "'model.0.conv.weight' holds U8"),
        (tensor("Q4", "[4]", 4), 4, "broken"),
        (tensor("F32", "[-1]", 4), 4, "broken"),
        ("{".repeat(10_000), 0, "broken"),
        (format!("{{\"a\":{}", "[".repeat(10_000)), 0, "broken"),
        ("{}".to_owned(), 0, "no tensors"),
        (tensor("F32", "[16,0,3,3]", 0), 0, "model.23.cv3.0.2.weight"),
    ] {
        let text = refusal(&container(&header, data));
        assert!(text.contains(says), "{header:.200}: {text}");
    }
    // Nine bytes that promise a header of 128 TB, and a true one that is longer than any network's.
    assert!(refusal(&[0, 0, 0, 0, 0, 0x7f, 0, 0, b'{']).contains("broken"));
    let long = format!("{{\"a\":\"{}\"}}", " ".repeat(9 << 20));
    assert!(
        refusal(&container(&long, 0)).contains("header too large"),
        "{}",
        refusal(&container(&long, 0))
    );
}

#[test]
fn tensors_that_overlap_are_refused() {
    let entry = |(name, range)| format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":{range}}}"#);
    let file = |second| {
        let entries = [("a", "[0,8]"), ("b", second)].map(entry).join(",");
        container(&format!("{{{entries}}}"), 16)
    };
    assert!(refusal(&file("[8,16]")).contains("2 tensors"));
    for second in ["[0,8]", "[4,12]"] {
        assert!(refusal(&file(second)).contains("broken"), "{second}");
    }
}

#[test]
fn a_file_larger_than_any_model_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.pt");
    File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
    let text = read_file(&path).unwrap_err().to_string();
    assert!(text.contains("4294967297 bytes"), "{text}");
}

#[test]
fn what_a_description_says_must_be_true() {
    let detector = nano(2);
    let meta = Meta::new(detector.config(), vec!["a".to_owned(), "b".to_owned()], None).unwrap();
    let bytes = weights::write(
        &WeightMap::of(nano(3).state()).unwrap(),
        Some(&meta),
        &HashMap::new(),
    )
    .unwrap();
    let text = refusal(&bytes);
    assert!(
        text.contains("yolo26n with 2 classes, the tensors are yolo26n with 3"),
        "{text}"
    );
}
