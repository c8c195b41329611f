//! Runs that must not begin, or must not go on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::{SQUARE, dataset, options};
use detector::weights::Meta;
use detector::{
    Config, Detector, Scale,
    weights::{self, Model},
};
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use train::{Event, Observer, Outcome, RunOptions, Start, run};

#[derive(Default)]
struct Told(Vec<String>);

impl Observer for Told {
    fn on(&mut self, event: Event<'_>) {
        if let Event::Warning(text) = event {
            self.0.push(text.to_owned());
        }
    }
}

/// Asks the run to stop once it has trained on a batch.
struct Impatient(Arc<AtomicBool>);

impl Observer for Impatient {
    fn on(&mut self, event: Event<'_>) {
        if let Event::Batch { .. } = event {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Begins a run of two epochs and stops it in between; `options` then go on with it.
fn interrupt(options: &mut RunOptions) {
    options.hyper.epochs = 2;
    let mut observer = Impatient(Arc::clone(&options.control.stop));
    assert!(matches!(
        run(options, &mut observer).unwrap(),
        Outcome::Stopped { epoch: 2, .. }
    ));
    options.control.stop.store(false, Ordering::Relaxed);
}

fn refused(options: &RunOptions) -> String {
    run(options, &mut Told::default()).unwrap_err().to_string()
}

fn model(path: &Path, scale: Scale, names: &[&str]) {
    let config = Config::new(scale, names.len()).unwrap();
    let mut rng = dataset::rng::stream(0, dataset::rng::Purpose::Init, 0, 0);
    let meta = Meta::new(config, names.iter().map(|n| (*n).to_owned()).collect(), Some(32)).unwrap();
    let model = Model {
        detector: Detector::new(config, &mut rng).unwrap(),
        meta,
    };
    fs::write(path, model.to_pt_bytes().unwrap()).unwrap();
}

#[test]
fn base_weights_of_another_scale_are_refused_with_both_scales() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.pt");
    model(&base, Scale::S, &["square"]);
    let mut options = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    options.base = Some(base);
    let error = refused(&options);
    assert!(error.contains("yolo26s") && error.contains("yolo26n"), "{error}");
}

#[test]
fn base_weights_of_other_classes_keep_what_fits_and_say_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.pt");
    model(&base, Scale::N, &["circle", "star"]);
    let mut options = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    options.base = Some(base);
    let mut told = Told::default();
    assert!(matches!(run(&options, &mut told).unwrap(), Outcome::Finished(_)));
    assert_eq!(told.0.len(), 1, "{:?}", told.0);
    assert!(
        told.0[0].contains("has 2 classes, the dataset 1: 696 of 708 tensors are taken over; drawn afresh: ")
            && told.0[0].contains("model.23.cv3.0.2.weight")
            && !told.0[0].contains("both have"),
        "{:?}",
        told.0
    );
}

#[test]
fn classes_that_the_base_knows_keep_their_rows_and_its_branches_their_width() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.pt");
    // With a hundred classes the branches of scale n are wider than with one.
    let names: Vec<String> = (0..100).map(|i| format!("shape {i}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names[70] = " Square";
    model(&base, Scale::N, &names);
    let mut options = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    options.base = Some(base);
    let mut told = Told::default();
    assert!(matches!(run(&options, &mut told).unwrap(), Outcome::Finished(_)));
    assert!(
        told.0[0].ends_with("but for the classes that both have: square"),
        "{:?}",
        told.0
    );
    let best = weights::read_file(&options.folder.join(train::BEST)).unwrap();
    let best = Model::from_bytes(&best).unwrap().detector.config();
    assert_eq!((best.nc(), best.class_hidden()), (1, 100));
}

#[test]
fn a_start_is_a_scale_or_a_file_of_either_format() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| Start::named(name, folder.path());
    for (name, scale) in [("yolo26m", Scale::M), ("yolo26n", Scale::N), ("x", Scale::X)] {
        assert_eq!(named(name).unwrap(), Start { scale, base: None });
    }
    let base = folder.path().join("yolo26s.pt");
    model(&base, Scale::S, &["square"]);
    let safe = folder.path().join("yolo26n.safetensors");
    // The tensors say which scale it is, whatever the name.
    let bytes = Model::from_bytes(&fs::read(&base).unwrap())
        .unwrap()
        .to_bytes()
        .unwrap();
    fs::write(&safe, bytes).unwrap();
    for path in [base, safe] {
        let name = path.file_name().unwrap().to_str().unwrap();
        let start = Start {
            scale: Scale::S,
            base: Some(path.clone()),
        };
        assert_eq!(named(name).unwrap(), start);
        assert_eq!(named(path.to_str().unwrap()).unwrap(), start);
    }
    for (name, says) in [
        ("yolo26m.pt", "random weights"),
        ("yolo11n", "yolo26n"),
        (".", "not a file"),
    ] {
        let text = named(name).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_dataset_of_background_only_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&options(folder.path(), dataset(folder.path(), "", &["square"])));
    assert!(error.contains("no training images with boxes"), "{error}");
}

#[test]
fn a_folder_of_another_run_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let first = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    assert!(matches!(
        run(&first, &mut Told::default()).unwrap(),
        Outcome::Finished(_)
    ));
    let checkpoint = first.folder.join(train::CHECKPOINT);
    let before = fs::read(&checkpoint).unwrap();

    let mut other = first.clone();
    other.hyper.lr0 = 0.5;
    assert!(refused(&other).contains("another set of hyper-parameters"));
    let other = RunOptions {
        data: dataset(folder.path(), "0 0.5 0.5 0.2 0.2\n", &["square"]),
        ..first.clone()
    };
    assert!(refused(&other).contains("another dataset"));
    assert_eq!(fs::read(&checkpoint).unwrap(), before);
}

#[test]
fn a_damaged_checkpoint_is_named_and_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    assert!(matches!(
        run(&options, &mut Told::default()).unwrap(),
        Outcome::Finished(_)
    ));
    let checkpoint = options.folder.join(train::CHECKPOINT);
    let whole = fs::read(&checkpoint).unwrap();
    // Those of the epochs' ends too: there is nothing to fall back to.
    for entry in fs::read_dir(&options.folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        }
    }
    let error = refused(&options);
    assert!(
        error.contains("no checkpoint in") && error.contains("last.safetensors") && error.contains("damaged"),
        "{error}"
    );
    assert_eq!(fs::read(&checkpoint).unwrap().len(), whole.len() / 2);
}

#[test]
fn an_interrupted_run_goes_on_when_its_base_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.pt");
    model(&base, Scale::N, &["circle", "star"]);
    let mut options = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    options.base = Some(base.clone());
    interrupt(&mut options);
    fs::remove_file(base).unwrap();
    let mut told = Told::default();
    assert!(matches!(run(&options, &mut told).unwrap(), Outcome::Finished(_)));
    assert!(told.0.is_empty(), "nothing is drawn afresh: {:?}", told.0);
}

#[test]
fn an_interrupted_run_does_not_go_on_with_another_number_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), dataset(folder.path(), SQUARE, &["square"]));
    interrupt(&mut options);
    let data = fs::read_to_string(&options.data).unwrap();
    fs::write(&options.data, data.replace("square", "square\", \"star")).unwrap();
    let error = refused(&options);
    assert!(
        error.contains("number of classes") && error.contains("1, now 2"),
        "{error}"
    );
}
