//! Model files from one format to the other, and models that training starts from.
//!
//! With REFERENCE_PYTHON naming a Python that has ultralytics 8.4.190, its own files are converted and the results loaded
//! by it (`tests/reference/pt_files.py`); without, those tests say by name that they are skipped.

use crate::common::{azaion, contents, last_line, small_demo};
use detector::{
    Config, Detector, Head, Scale,
    weights::{FusedModel, Meta, Model, read_any, read_file},
};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const FRUIT: [&str; 3] = ["apple", "pear", "plum"];

fn model(scale: Scale) -> Model {
    let config = Config::new(scale, FRUIT.len()).unwrap();
    let mut rng = dataset::rng::stream(0, dataset::rng::Purpose::Init, 0, 0);
    Model {
        detector: Detector::new(config, &mut rng).unwrap(),
        meta: Meta::new(config, FRUIT.map(str::to_owned).to_vec(), Some(320)).unwrap(),
    }
}

fn convert(from: &Path, to: &Path) -> assert_cmd::Command {
    let mut command = azaion(&["model", "convert"]);
    command.arg(from).arg(to);
    command
}

/// The same names and bits, and the same description. (Safetensors files have an order of their own.)
fn assert_same(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(|path| read_any(&read_file(path).unwrap()).unwrap());
    assert_eq!(a.meta, b.meta);
    assert_eq!(a.weights.names().count(), b.weights.names().count());
    assert!(a.weights.names().count() > 100);
    for (name, tensor) in a.weights.iter() {
        assert!(
            b.weights.get(name).is_some_and(|other| other.equal(tensor)),
            "{name}"
        );
    }
}

#[test]
fn a_model_goes_there_and_back_without_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, third] = ["a.pt", "b.SafeTensors", "c.pt"].map(|name| folder.path().join(name));
    fs::write(&first, model(Scale::N).to_pt_bytes().unwrap()).unwrap();
    let told = convert(&first, &second)
        .assert()
        .success()
        .stdout(contains(
            "yolo26n, 3 classes, 708 tensors, 2.50 million parameters, float32, unfused",
        ))
        .stdout(contains("apple, pear, plum").and(contains("320 px")));
    drop(told);
    assert!(
        fs::read(&second).unwrap()[8] == b'{',
        "it is what its ending says"
    );
    let done = convert(&second, &third).arg("--json").assert().success();
    let json = last_line(&done.get_output().stdout);
    assert_eq!(
        (json["scale"].as_str(), json["classes"].as_u64()),
        (Some("n"), Some(3))
    );
    assert_eq!(json["names"], serde_json::json!(FRUIT));
    assert_eq!(
        (json["imgsz"].as_u64(), json["tensors"].as_u64()),
        (Some(320), Some(708))
    );
    assert_eq!(
        (json["parameters"].as_u64(), &json["fused"]),
        (Some(2_504_970), &serde_json::Value::Null)
    );
    assert_same(&first, &second);
    assert_eq!(fs::read(&first).unwrap(), fs::read(&third).unwrap());
}

#[test]
fn a_fused_model_is_converted_and_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["a.safetensors", "b.pt"].map(|name| folder.path().join(name));
    let whole = model(Scale::N);
    let fused = FusedModel {
        detector: whole.detector.fused(Head::One2One).unwrap(),
        meta: whole.meta,
    };
    fs::write(&first, fused.to_bytes().unwrap()).unwrap();
    convert(&first, &second)
        .assert()
        .success()
        .stdout(contains("fused, head one2one: it answers, but cannot be trained"));
    assert_same(&first, &second);
}

#[test]
fn no_file_is_replaced_unasked_and_the_input_never() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, linked] = ["a.pt", "b.pt", "c.pt"].map(|name| folder.path().join(name));
    fs::write(&first, model(Scale::N).to_pt_bytes().unwrap()).unwrap();
    fs::write(&second, "years of work").unwrap();
    std::os::unix::fs::symlink("a.pt", &linked).unwrap();
    fs::create_dir(folder.path().join("d.pt")).unwrap();
    let before = contents(folder.path());
    convert(&first, &second)
        .assert()
        .code(1)
        .stderr(contains("b.pt exists; give --force"));
    for same in [&first, &linked] {
        for flags in [&[][..], &["--force"]] {
            let refused = convert(&first, same).args(flags).assert().code(1);
            refused.stderr(contains("is the file to convert"));
        }
    }
    convert(&first, &folder.path().join("d.pt"))
        .arg("--force")
        .assert()
        .code(1)
        .stderr(contains("is a folder"));
    assert_eq!(contents(folder.path()), before);
    convert(&first, &second).arg("--force").assert().success();
    assert_same(&first, &second);
}

#[test]
fn what_cannot_be_converted_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.pt");
    let whole = model(Scale::N).to_bytes().unwrap();
    let header = br#"{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let other = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    let inputs: [(&str, &[u8], &str); 5] = [
        ("empty.pt", b"", "not a weights file"),
        ("text.pt", b"not a model at all", "not a weights file"),
        (
            "cut.safetensors",
            &whole[..whole.len() / 2],
            "broken safetensors file",
        ),
        ("cut.pt", b"PK\x03\x04 cut short", "not a zip archive"),
        ("other.safetensors", &other, "not a YOLO26 detector"),
    ];
    for (name, bytes, says) in inputs {
        let input = folder.path().join(name);
        fs::write(&input, bytes).unwrap();
        let refused = convert(&input, &output).assert().code(1);
        refused.stderr(contains(name).and(contains(says)));
        fs::remove_file(input).unwrap();
    }
    for (input, says) in [
        ("absent.pt", "No such file"),
        (".", "not a file"),
        ("/dev/zero", "not a file"),
    ] {
        let input = folder.path().join(input);
        convert(&input, &output).assert().code(1).stderr(contains(says));
    }
    assert_eq!(contents(folder.path()), []);
}

#[test]
fn an_output_that_names_no_format_is_bad_usage() {
    for arguments in [
        &["a.pt", "b.onnx"][..],
        &["a.pt", "b"],
        &["a.pt"],
        &["a.pt", ".pt"],
    ] {
        azaion(&["model", "convert"]).args(arguments).assert().code(64);
    }
}

#[test]
fn training_starts_from_a_model_file_and_says_what_is_drawn_afresh() {
    let folder = tempfile::tempdir().unwrap();
    let (base, root) = (folder.path().join("base.safetensors"), folder.path().join("demo"));
    fs::write(&base, model(Scale::N).to_bytes().unwrap()).unwrap();
    let demo = || {
        let mut demo = small_demo(&root);
        demo.arg("--model").arg(&base);
        demo
    };
    let said = demo().assert().success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(
        said.contains("base.safetensors has 3 classes, the dataset 80: "),
        "{said}"
    );
    assert!(said.contains("but for the classes that both have: "), "{said}");
    demo().assert().success();
    small_demo(&root)
        .assert()
        .code(1)
        .stderr(contains("base.safetensors"));
}

#[test]
fn a_model_that_is_not_there_leaves_no_demo_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    small_demo(&root)
        .args(["--model", "yolo26m.pt"])
        .assert()
        .code(1)
        .stderr(contains("yolo26m.pt is not there").and(contains("yolo26n")));
    assert!(!root.exists());
}

/// Runs a verb of `tests/reference/pt_files.py`; false, and a word of it, without an interpreter.
fn reference(test: &str, arguments: &[&std::ffi::OsStr]) -> bool {
    let Some(python) = std::env::var_os("REFERENCE_PYTHON") else {
        println!("skipped {test}: REFERENCE_PYTHON names no Python with ultralytics");
        return false;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/pt_files.py");
    let status = Command::new(python)
        .arg(script)
        .args(arguments)
        .env("YOLO_OFFLINE", "true")
        .env("OMP_NUM_THREADS", "1")
        .status();
    assert!(status.unwrap().success(), "{arguments:?}");
    true
}

/// From the reference's file to safetensors and back, and into the reference's network again.
fn assert_returns(folder: &Path, name: &str) -> serde_json::Value {
    let path = |ending: &str| folder.join(format!("{name}{ending}"));
    let [original, safe, back]: [PathBuf; 3] = [".pt", ".ours.safetensors", ".ours.pt"].map(path);
    let done = convert(&original, &safe).arg("--json").assert().success();
    convert(&safe, &back).assert().success();
    let expected = path(".safetensors");
    reference("", &["check".as_ref(), back.as_os_str(), expected.as_os_str()]);
    last_line(&done.get_output().stdout)
}

#[test]
fn checkpoints_of_the_reference_return_to_it_strictly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let test = "checkpoints_of_the_reference_return_to_it_strictly";
    if !reference(test, &["make".as_ref(), folder.as_os_str()])
        || !reference(test, &["models".as_ref(), folder.as_os_str()])
    {
        return;
    }
    for name in ["saved", "running", "plain"] {
        let json = assert_returns(folder, name);
        assert_eq!(
            (json["scale"].as_str(), json["classes"].as_u64()),
            (Some("n"), Some(80)),
            "{name}"
        );
    }
    let json = assert_returns(folder, "three");
    assert_eq!(json["names"], serde_json::json!(["lemon", "kiwi", "plum"]));
    assert_eq!(json["imgsz"], 320);

    convert(&folder.join("fused.pt"), &folder.join("fused.safetensors"))
        .assert()
        .success()
        .stdout(contains("fused, head"));
    convert(&folder.join("other.pt"), &folder.join("other.safetensors"))
        .assert()
        .code(1)
        .stderr(contains("not a YOLO26 detector").and(contains("yolo11n.yaml")));
    convert(&folder.join("legacy.pt"), &folder.join("legacy.safetensors"))
        .assert()
        .code(1)
        .stderr(contains("not a weights file"));

    let root = folder.join("demo");
    let said = small_demo(&root)
        .arg("--model")
        .arg(folder.join("three.pt"))
        .assert()
        .success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(
        said.contains("three.pt has 3 classes, the dataset 80: 696 of 708 tensors are taken over"),
        "{said}"
    );
}
