//! `azaion dataset`, `azaion why` and `azaion blame` as an operator types them.

use crate::common::{azaion, last_line};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// A tree that was filled by the queue with drawn scenes, `s00` and on.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(scenes: u64) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.queue(3, scenes);
        tree
    }

    /// Takes scenes into the tree; another seed draws others, which need other names.
    fn queue(&self, seed: u64, scenes: u64) {
        let (set, stream) = (self.path("set"), self.path("annotations.stream"));
        let _ = fs::remove_dir_all(&set);
        cli::scenes::draw_into(&set, seed, scenes).unwrap();
        if seed != 3 {
            rename_scenes(&set, seed);
        }
        azaion(&["import", "yolo"])
            .arg(&set)
            .arg("--to")
            .arg(&stream)
            .assert()
            .success();
        let mut replay = azaion(&["queue", "replay", "--from", "0", "--json", "--to"]);
        replay
            .arg(self.root())
            .arg("--stream")
            .arg(stream)
            .assert()
            .success();
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    fn root(&self) -> PathBuf {
        self.path("tree")
    }

    fn at(&self, inside: &str) -> PathBuf {
        self.root().join(inside)
    }

    fn ask(&self, verb: &[&str]) -> assert_cmd::Command {
        let mut command = azaion(verb);
        command.arg("--root").arg(self.root());
        command
    }

    fn json(&self, verb: &[&str]) -> Value {
        let done = self.ask(verb).arg("--json").assert();
        last_line(&done.get_output().stdout)
    }

    /// Forms a dataset; its name.
    fn form(&self) -> String {
        let formed = self.json(&["dataset", "form"]);
        formed["dataset"].as_str().unwrap().to_owned()
    }
}

fn rename_scenes(set: &Path, seed: u64) {
    for folder in ["images", "labels"] {
        for file in fs::read_dir(set.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            fs::rename(&path, path.with_file_name(format!("t{seed}-{name}"))).unwrap();
        }
    }
}

fn splits(manifest: &Path) -> Vec<(String, String)> {
    let json: Value = serde_json::from_slice(&fs::read(manifest.join("manifest.json")).unwrap()).unwrap();
    let item = |item: &Value| {
        let text = |key: &str| item[key].as_str().unwrap().to_owned();
        (text("name"), text("split"))
    };
    json["items"].as_array().unwrap().iter().map(item).collect()
}

#[test]
fn a_dataset_is_formed_shown_and_counted_with_the_origin_of_its_labels() {
    let tree = Tree::new(10);
    let formed = tree.json(&["dataset", "form", "--seed", "5"]);
    let counts = &formed["counts"];
    assert_eq!(
        (&counts["train"], &counts["valid"], &counts["test"]),
        (&json!(7), &json!(2), &json!(1))
    );
    assert_eq!(formed["origin_unknown"], 0);

    let shown = tree.json(&["dataset", "show"]);
    assert_eq!(shown["labels"]["offsets"], json!([0, 9]));
    assert_eq!(shown["labels"]["roles"]["Validator"], 10);
    assert_eq!((&shown["seed"], &shown["media"]), (&json!(5), &json!([10, 10])));
    tree.ask(&["dataset", "show", "--item", "s03"])
        .assert()
        .success()
        .stdout(contains("offset 3, role Validator"));
    tree.ask(&["dataset", "show", "--item", "s99"])
        .assert()
        .code(1)
        .stderr(contains("s99 is not in azaion-"));

    let stats = tree.json(&["dataset", "stats"]);
    let of = |split: &str, what: &str| stats["splits"][split][what].as_u64().unwrap();
    assert_eq!((of("train", "images"), of("valid", "images")), (7, 2));
    let boxes: u64 = ["train", "valid", "test"]
        .iter()
        .map(|split| of(split, "boxes"))
        .sum();
    assert_eq!(counts["boxes"], boxes);
    tree.ask(&["dataset", "stats"])
        .assert()
        .success()
        .stdout(contains("Apple").or(contains("Class-0")));
}

#[test]
fn what_arrives_later_moves_nothing_and_the_difference_is_told() {
    let tree = Tree::new(10);
    let first = tree.form();
    tree.queue(4, 5);
    fs::write(tree.at("data/labels/s01.txt"), "1 0.5 0.5 0.25 0.25\n").unwrap();
    for folder in ["images/s02.jpg", "labels/s02.txt"] {
        fs::remove_file(tree.at("data").join(folder)).unwrap();
    }
    let second = tree.form();
    assert_ne!(first, second);
    let before = splits(&tree.at("datasets").join(&first));
    let after = splits(&tree.at("datasets").join(&second));
    assert!(
        before
            .iter()
            .filter(|item| item.0 != "s02")
            .all(|item| after.contains(item))
    );

    let diff = tree.json(&["dataset", "diff", &first, &second]);
    assert_eq!(diff["added"].as_array().unwrap().len(), 5);
    assert_eq!(
        (&diff["removed"], &diff["relabelled"]),
        (&json!(["s02"]), &json!(["s01"]))
    );
    assert_eq!((&diff["moved"], &diff["same"]), (&json!([]), &json!(8)));
    tree.ask(&["dataset", "diff", &first, &second])
        .assert()
        .success()
        .stdout(contains("added").and(contains("relabelled        1  s01")));

    let anew = tree.json(&["dataset", "form", "--forget", "--seed", "9"]);
    let moved = tree.json(&["dataset", "diff", &second, anew["dataset"].as_str().unwrap()]);
    assert!(!moved["moved"].as_array().unwrap().is_empty());
}

#[test]
fn lint_finds_nothing_in_a_sound_tree_and_each_kind_of_harm_with_exit_code_2() {
    let tree = Tree::new(10);
    let dataset = tree.form();
    let kinds = |verb: &[&str]| -> Vec<String> {
        let linted = tree.json(verb);
        linted["counts"].as_object().unwrap().keys().cloned().collect()
    };
    // Ten scenes are too few for every class to be on every side.
    let sound = kinds(&["dataset", "lint", &dataset]);
    assert!(sound.iter().all(|kind| kind == "one-sided"), "{sound:?}");
    assert_eq!(kinds(&["dataset", "lint"]), [""; 0]);
    tree.ask(&["dataset", "lint"])
        .assert()
        .success()
        .stdout(contains("10 images").and(contains("nothing found")));

    let data = |file: &str| tree.at("data").join(file);
    fs::write(
        data("labels/s00.txt"),
        "0 0.5 0.5 0.001 0.5\n0 0.2 0.2 0.1 0.1\n0 0.2 0.2 0.1 0.1\n",
    )
    .unwrap();
    fs::write(data("labels/s01.txt"), "80 0.5 0.5 0.1 0.1\n").unwrap();
    let half = fs::read(data("images/s02.jpg")).unwrap();
    fs::remove_file(data("images/s02.jpg")).unwrap();
    fs::write(data("images/s02.jpg"), half.get(..half.len() / 2).unwrap()).unwrap();
    fs::copy(data("images/s04.jpg"), data("images/copy.jpg")).unwrap();
    fs::copy(data("labels/s04.txt"), data("labels/copy.txt")).unwrap();
    fs::remove_file(data("labels/s05.txt")).unwrap();
    assert_eq!(
        kinds(&["dataset", "lint"]),
        ["alone", "double-box", "duplicate", "image", "label", "tiny-box"]
    );
    tree.ask(&["dataset", "lint"]).assert().code(2).stdout(
        contains("INVALID  invalid label: 1")
            .and(contains("s01: line 1: class 80 is not"))
            .and(contains("smell    same image twice: 1"))
            .and(contains("s00: 1 pair of one class")),
    );
    assert!(data("images/s02.jpg").exists(), "nothing is moved");
}

#[test]
fn lint_of_a_dataset_tells_what_is_not_as_the_manifest_says_and_what_leaks() {
    let tree = Tree::new(10);
    let dataset = tree.form();
    let folder = tree.at("datasets").join(&dataset);
    let all = splits(&folder);
    let of = |split: &str| {
        all.iter()
            .filter(|item| item.1 == split)
            .map(|item| item.0.clone())
            .collect::<Vec<_>>()
    };
    let (train, test) = (of("train"), of("test"));
    let file = |split: &str, kind: &str, name: &str, end: &str| {
        folder.join(split).join(kind).join(format!("{name}.{end}"))
    };

    fs::remove_file(file("train", "images", &train[0], "jpg")).unwrap();
    fs::remove_file(file("train", "labels", &train[1], "txt")).unwrap();
    fs::write(file("train", "labels", &train[1], "txt"), "0 0.5 0.5 0.3 0.3\n").unwrap();
    // The test's image once more, among those that are learned from.
    fs::copy(
        file("test", "images", &test[0], "jpg"),
        file("train", "images", "leak", "jpg"),
    )
    .unwrap();
    fs::write(file("train", "labels", "leak", "txt"), "").unwrap();
    let linted = tree
        .ask(&["dataset", "lint", &dataset, "--json"])
        .assert()
        .code(2);
    let linted = last_line(&linted.get_output().stdout);
    let found = |kind: &str| -> Vec<String> {
        let findings = linted["findings"].as_array().unwrap().iter();
        let of_kind = findings.filter(|finding| finding["kind"] == kind);
        of_kind
            .map(|finding| {
                format!(
                    "{}: {}",
                    finding["place"].as_str().unwrap(),
                    finding["what"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert!(found("vanished")[0].starts_with(&train[0]), "{linted}");
    assert_eq!(
        found("changed"),
        [format!("{}: its label is not the one of the manifest", train[1])]
    );
    assert!(found("unlisted")[0].starts_with("leak: "), "{linted}");
    assert_eq!(
        found("leakage"),
        [format!("leak: near-duplicates: train: leak, test: {}", test[0])]
    );

    // A manifest that cannot be used is a finding, and the rest is looked at all the same.
    let manifest = folder.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"version\": 2", "\"version\": 3")).unwrap();
    tree.ask(&["dataset", "lint", &dataset])
        .assert()
        .code(2)
        .stdout(contains("version 3").and(contains("leakage")));
    for verb in ["show", "stats"] {
        tree.ask(&["dataset", verb, &dataset])
            .assert()
            .code(1)
            .stderr(contains("version 3"));
    }
}

#[test]
fn a_dataset_is_taken_by_its_name_or_by_its_folder_and_what_is_not_there_is_said() {
    let tree = Tree::new(4);
    let dataset = tree.form();
    let folder = tree.at("datasets").join(&dataset);
    azaion(&["dataset", "show"])
        .arg(&folder)
        .assert()
        .success()
        .stdout(contains(&dataset));
    tree.ask(&["dataset", "show", "azaion-1999-01-01"])
        .assert()
        .code(1)
        .stderr(contains("there is no dataset azaion-1999-01-01"));
    // A root may be relative.
    for verb in ["form", "lint", "stats"] {
        azaion(&["dataset", verb, "--root", "tree"])
            .current_dir(tree.path(""))
            .assert()
            .success();
    }
    azaion(&["dataset", "form", "--root", "/nowhere/azaion"])
        .assert()
        .code(1)
        .stderr(contains("/nowhere/azaion does not exist"));
    azaion(&["dataset", "form", "--root", "a", "--config", "b"])
        .assert()
        .code(64);
    azaion(&["dataset", "diff", "a"]).assert().code(64);
}

#[test]
fn without_a_ledger_a_dataset_is_formed_and_says_what_is_unknown() {
    let tree = Tree::new(5);
    fs::remove_file(tree.at("ledger.log")).unwrap();
    tree.ask(&["dataset", "form"])
        .assert()
        .success()
        .stdout(contains("the ledger tells nothing of 5 images"));
    tree.ask(&["dataset", "show"])
        .assert()
        .success()
        .stdout(contains("offsets unknown, 5 unknown"));
    tree.ask(&["blame", "s01"])
        .assert()
        .success()
        .stdout(contains("the tree has no ledger").and(contains("now       in data")));
}

/// A run on this dataset, with a model.
fn run_on(tree: &Tree, dataset: &str) -> runs::Run {
    fs::create_dir_all(tree.at("models")).unwrap();
    let folder = Path::new("datasets").join(dataset);
    let manifest = dataset::manifest::Manifest::read(&tree.root().join(&folder)).unwrap();
    let begin = runs::Begin {
        dataset: folder,
        dataset_hash: Some(manifest.hash),
        model: "yolo26n".into(),
        hyper: json!({"epochs": 3, "imgsz": 96}),
    };
    let run = runs::Run::begin(&tree.root(), begin).unwrap();
    fs::write(tree.root().join(&run.folder).join(runs::BEST), "weights").unwrap();
    run
}

#[test]
fn why_goes_from_the_model_in_service_to_the_offsets_of_its_labels() {
    let tree = Tree::new(10);
    let dataset = tree.form();
    let run = run_on(&tree, &dataset);
    symlink(format!("{}/best.pt", run.name()), tree.at("models/azaion.pt")).unwrap();
    let told = || {
        contains(format!("models/{}", run.name()))
            .and(contains("its model is in service"))
            .and(contains("code      0."))
            .and(contains("settings  epochs 3, imgsz 96"))
            .and(contains(format!("dataset   datasets/{dataset}")))
            .and(contains("7 train, 2 valid, 1 test"))
            .and(contains("offsets 0 to 9"))
    };
    tree.ask(&["why"]).assert().success().stdout(told());
    tree.ask(&["why", &run.name()]).assert().success().stdout(told());
    // By its path no configuration is needed.
    azaion(&["why"])
        .arg(tree.at("models/azaion.pt"))
        .assert()
        .success()
        .stdout(told());
    azaion(&["why"])
        .arg(tree.root().join(&run.folder))
        .assert()
        .success()
        .stdout(told());
    let json = tree.json(&["why"]);
    assert_eq!(
        (&json["data"]["trace"], &json["hyper"]["epochs"]),
        (&json!("whole"), &json!(3))
    );

    tree.ask(&["why", "nothing.pt"])
        .assert()
        .code(1)
        .stderr(contains("name a model's file or a run"));
    fs::write(tree.at("models/loose.pt"), "weights").unwrap();
    tree.ask(&["why", "loose.pt"])
        .assert()
        .code(1)
        .stderr(contains("run.json"));
}

#[test]
fn a_dataset_that_is_gone_or_changed_breaks_the_trace_with_exit_code_2() {
    let tree = Tree::new(10);
    let dataset = tree.form();
    let run = run_on(&tree, &dataset);
    let folder = tree.at("datasets").join(&dataset);
    // As if another dataset had its name.
    fs::rename(&folder, tree.path("kept")).unwrap();
    fs::remove_file(tree.at("data/labels/s00.txt")).unwrap();
    fs::rename(tree.at("datasets").join(tree.form()), &folder).unwrap();
    tree.ask(&["why", &run.name()])
        .assert()
        .code(2)
        .stdout(contains("PROBLEM   the dataset is not what"));
    fs::remove_dir_all(&folder).unwrap();
    tree.ask(&["why", &run.name()]).assert().code(2).stdout(
        contains("PROBLEM")
            .and(contains("cannot read the manifest"))
            .and(contains("yolo26n")),
    );
}

#[test]
fn blame_tells_what_happened_to_an_image_and_where_it_was_used() {
    let tree = Tree::new(10);
    let first = tree.form();
    let run = run_on(&tree, &first);
    fs::write(tree.at("data/labels/aside"), "1 0.5 0.5 0.25 0.25\n").unwrap();
    fs::rename(tree.at("data/labels/aside"), tree.at("data/labels/s04.txt")).unwrap();
    let second = tree.form();

    let blamed = tree.json(&["blame", "s04"]);
    assert_eq!(blamed["history"]["events"][0]["offset"], 4);
    assert_eq!(blamed["now"]["home"], "data");
    let [one, other] = [0, 1].map(|at| blamed["datasets"][at].clone());
    assert_eq!(
        (&one["dataset"], &one["same_label"], &one["runs"]),
        (&json!(first), &json!(false), &json!([run.name()]))
    );
    assert_eq!(
        (&other["dataset"], &other["same_label"], &other["runs"]),
        (&json!(second), &json!(true), &json!([]))
    );
    assert_eq!(one["split"], other["split"]);

    let image = tree.at("data/images/s04.jpg");
    tree.ask(&["blame"]).arg(image).assert().success().stdout(
        contains("created    Validator    data")
            .and(contains("now       in data"))
            .and(contains("with another label than now; runs:")),
    );
    tree.ask(&["blame", "unheard-of"]).assert().success().stdout(
        contains("does not know unheard-of")
            .and(contains("nowhere in the tree"))
            .and(contains("in none")),
    );
    tree.ask(&["blame", "../s04 x"])
        .assert()
        .code(1)
        .stderr(contains("no annotation's name"));
}
