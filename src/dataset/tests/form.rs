//! Forming a dataset, as a promise an item: what goes in, what comes out, what is refused, what a crash leaves.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows #[test] functions, not what they call"
)]

#[expect(dead_code, reason = "each file of tests uses its part of it")]
mod form_tree;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use annotation::Name;
use dataset::form::{Fault, FixedSplit, FormError, Formed, SkipReason, form, form_watched};
use dataset::manifest::{Division, Manifest};
use dataset::{Dataset, Split};
use form_tree::{Tree, jpeg, png};

fn names_in(formed: &Formed, split: Split) -> BTreeSet<String> {
    let items = formed.manifest.items.iter().filter(|item| item.split == split);
    items.map(|item| item.name.clone()).collect()
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn names(list: &str) -> BTreeSet<Name> {
    list.split_whitespace()
        .map(|name| Name::new(name).unwrap())
        .collect()
}

#[test]
fn every_valid_input_is_in_exactly_one_split_70_20_10() {
    let tree = Tree::with_annotations(20);
    let formed = form(&tree.options()).unwrap();

    let counts = formed.manifest.counts;
    assert_eq!((counts.train, counts.valid, counts.test), (14, 4, 2));
    assert_eq!(formed.folder, tree.path("datasets/azaion-2026-03-28"));
    let mut all = BTreeSet::new();
    for split in Split::ALL {
        let folder = formed.folder.join(split.folder());
        let (images, labels) = (files(&folder.join("images")), files(&folder.join("labels")));
        let listed = names_in(&formed, split);
        assert_eq!(images, listed.iter().map(|name| format!("{name}.jpg")).collect());
        assert_eq!(labels, listed.iter().map(|name| format!("{name}.txt")).collect());
        all.extend(listed);
    }
    assert_eq!(all, (0..20).map(|i| format!("cell-{i:03}")).collect());
    assert_eq!(
        files(&formed.folder),
        ["data.yaml", "manifest.json", "test", "train", "valid"]
            .map(str::to_owned)
            .into()
    );
}

#[test]
fn the_seed_alone_decides_the_first_division_and_is_recorded() {
    let tree = Tree::with_annotations(20);
    let first = form(&tree.options()).unwrap();
    let again = form(&Tree::with_annotations(20).options()).unwrap();
    let other = form(&dataset::form::FormOptions {
        seed: 8,
        ..Tree::with_annotations(20).options()
    })
    .unwrap();

    assert_eq!(names_in(&first, Split::Train), names_in(&again, Split::Train));
    assert_eq!(first.manifest.hash, again.manifest.hash);
    assert_ne!(names_in(&first, Split::Train), names_in(&other, Split::Train));
    assert_ne!(first.manifest.hash, other.manifest.hash);
    assert_eq!((first.manifest.seed, other.manifest.seed), (7, 8));
    assert_eq!(first.manifest.division, Division::Seeded);
}

#[test]
fn a_second_run_on_a_day_gets_a_number_and_changes_nothing_that_is_there() {
    let tree = Tree::with_annotations(3);
    let first = form(&tree.options()).unwrap();
    let before = fs::read(first.folder.join("manifest.json")).unwrap();
    tree.annotation("late", &jpeg(8, 8), "");
    let second = form(&tree.options()).unwrap();
    let third = form(&tree.options()).unwrap();

    assert_eq!(second.folder, tree.path("datasets/azaion-2026-03-28-2"));
    assert_eq!(third.folder, tree.path("datasets/azaion-2026-03-28-3"));
    assert_eq!(fs::read(first.folder.join("manifest.json")).unwrap(), before);
    assert_eq!(second.manifest.items.len(), 4);
}

#[test]
fn files_are_hard_links_on_one_file_system() {
    let tree = Tree::with_annotations(4);
    let formed = form(&tree.options()).unwrap();
    assert_eq!((formed.hard_links, formed.copies), (8, 0));
    let item = &formed.manifest.items[0];
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let in_dataset = formed
        .folder
        .join(item.split.folder())
        .join(format!("labels/{}.txt", item.name));
    assert_eq!(
        inode(&in_dataset),
        inode(&tree.path(&format!("data/labels/{}.txt", item.name)))
    );
}

#[test]
fn files_are_copies_between_two_file_systems() {
    let shm = Path::new("/dev/shm");
    let tree = Tree::empty();
    let differs =
        |shm: &Path| Some(fs::metadata(shm).ok()?.dev() != fs::metadata(tree.path("data")).ok()?.dev());
    let elsewhere = tempfile::tempdir_in(shm)
        .ok()
        .filter(|_| differs(shm) == Some(true));
    let Some(elsewhere) = elsewhere else {
        println!("files_are_copies_between_two_file_systems: SKIPPED, no second file system at /dev/shm");
        return;
    };
    fs::remove_dir_all(tree.path("data")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), tree.path("data")).unwrap();
    fs::create_dir_all(tree.path("data/images")).unwrap();
    fs::create_dir_all(tree.path("data/labels")).unwrap();
    tree.annotation("good", &jpeg(8, 8), "0 0.5 0.5 0.1 0.1\n");
    tree.annotation("bad", &jpeg(8, 8), "x\n");

    let formed = form(&tree.options()).unwrap();
    assert_eq!((formed.hard_links, formed.copies), (0, 2));
    assert_eq!(
        files(&tree.path("data-corrupted/images")),
        ["bad.jpg".to_owned()].into()
    );
    assert_eq!(files(&tree.path("data/labels")), ["good.txt".to_owned()].into());
}

#[test]
fn an_image_that_does_not_decode_to_its_end_is_moved_with_its_label() {
    let whole = jpeg(64, 48);
    let half = whole[..whole.len() / 2].to_vec();
    let without_end = whole[..whole.len() - 2].to_vec();
    let almost = whole[..whole.len() - 20].to_vec();
    let mut zero_filled = half.clone();
    zero_filled.resize(whole.len(), 0);
    let png = png(64, 48);
    let bad: [(&str, Vec<u8>); 8] = [
        ("half", half),
        ("without-end", without_end),
        ("almost", almost),
        ("zero-filled", zero_filled),
        ("half-png", png[..png.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("text", b"not an image".to_vec()),
        ("bomb", form_tree::png_header(60_000, 60_000)),
    ];
    let tree = Tree::with_annotations(2);
    for (name, bytes) in &bad {
        tree.annotation(name, bytes, "0 0.5 0.5 0.1 0.1\n");
    }
    tree.annotation("png-inside", &png, "");

    let formed = form(&tree.options()).unwrap();
    let refused: BTreeSet<&str> = formed
        .refused
        .iter()
        .map(|refused| refused.name.as_str())
        .collect();
    assert_eq!(refused, bad.iter().map(|(name, _)| *name).collect());
    assert!(
        formed
            .refused
            .iter()
            .all(|refused| matches!(refused.faults[..], [Fault::Image(_)]))
    );
    assert_eq!(
        formed.manifest.items.len(),
        3,
        "whole images stay, also a PNG under the name of a JPEG"
    );
    for (name, bytes) in &bad {
        assert_eq!(
            &fs::read(tree.path(&format!("data-corrupted/images/{name}.jpg"))).unwrap(),
            bytes
        );
        assert!(tree.path(&format!("data-corrupted/labels/{name}.txt")).exists());
        assert!(!tree.path(&format!("data/images/{name}.jpg")).exists());
        assert!(!tree.path(&format!("data/labels/{name}.txt")).exists());
    }
}

#[test]
fn an_image_with_an_invalid_label_is_moved_with_it() {
    let bad = [
        ("four-fields", "0 0.5 0.5 0.1\n"),
        ("six-fields", "0 0.5 0.5 0.1 0.1 0.9\n"),
        ("not-finite", "0 nan 0.5 0.1 0.1\n"),
        ("outside", "0 1.5 0.5 0.1 0.1\n"),
        ("no-width", "0 0.5 0.5 0 0.1\n"),
        ("class-80", "80 0.5 0.5 0.1 0.1\n"),
        ("words", "a b c d e\n"),
        ("second-line", "0 0.5 0.5 0.1 0.1\n0 0.5\n"),
    ];
    let tree = Tree::empty();
    tree.annotation("good", &jpeg(8, 8), "0 0.5 0.5 0.1 0.1");
    tree.annotation("background", &jpeg(8, 8), "");
    for (name, label) in bad {
        tree.annotation(name, &jpeg(8, 8), label);
    }
    tree.annotation("both", b"no image", "no label");

    let formed = form(&tree.options()).unwrap();
    assert_eq!(formed.manifest.items.len(), 2);
    assert_eq!(formed.manifest.counts.background, 1);
    assert_eq!(formed.refused.len(), bad.len() + 1);
    let both = formed
        .refused
        .iter()
        .find(|refused| refused.name.as_str() == "both")
        .unwrap();
    assert!(matches!(both.faults[..], [Fault::Image(_), Fault::Label(_)]));
    let second = formed
        .refused
        .iter()
        .find(|refused| refused.name.as_str() == "second-line")
        .unwrap();
    assert!(
        second.faults[0].to_string().contains("line 2"),
        "{:?}",
        second.faults
    );
    for (name, label) in bad {
        assert_eq!(
            fs::read_to_string(tree.path(&format!("data-corrupted/labels/{name}.txt"))).unwrap(),
            label
        );
        assert!(tree.path(&format!("data-corrupted/images/{name}.jpg")).exists());
    }
}

#[test]
fn what_has_no_partner_is_skipped_and_not_moved() {
    let tree = Tree::with_annotations(2);
    tree.write("data/images/lonely.jpg", &jpeg(8, 8));
    tree.write("data/labels/orphan.txt", b"0 0.5 0.5 0.1 0.1\n");
    tree.write("data/images/other.png", &jpeg(8, 8));
    tree.write("data/images/un safe.jpg", &jpeg(8, 8));
    tree.write("data/labels/notes.md", b"hello");
    tree.write("data/images/.azaion-tmp-1-2", b"a writer at work");

    let formed = form(&tree.options()).unwrap();
    let skipped: BTreeSet<(String, String)> = formed
        .skipped
        .iter()
        .map(|skip| {
            (
                skip.path.file_name().unwrap().to_string_lossy().into(),
                format!("{:?}", skip.reason),
            )
        })
        .collect();
    let expected = [
        ("lonely.jpg", SkipReason::NoLabel),
        ("orphan.txt", SkipReason::NoImage),
        ("other.png", SkipReason::ForeignFile),
        ("un safe.jpg", SkipReason::ForeignFile),
        ("notes.md", SkipReason::ForeignFile),
    ];
    assert_eq!(
        skipped,
        expected
            .map(|(file, reason)| (file.to_owned(), format!("{reason:?}")))
            .into()
    );
    assert_eq!(formed.manifest.items.len(), 2);
    for file in [
        "data/images/lonely.jpg",
        "data/labels/orphan.txt",
        "data/images/un safe.jpg",
    ] {
        assert!(tree.path(file).exists(), "{file} was moved");
    }
    assert!(!tree.path("data-corrupted").exists(), "nothing was refused");
}

#[test]
fn a_very_wide_image_is_no_bomb() {
    let tree = Tree::empty();
    tree.annotation("wide", &png(20_000, 10), "0 0.5 0.5 0.1 0.1\n");
    let formed = form(&tree.options()).unwrap();
    let item = &formed.manifest.items[0];
    assert_eq!((item.width, item.height, item.boxes), (20_000, 10, 1));
}

#[test]
fn an_annotation_refused_before_under_the_same_name_is_kept() {
    let tree = Tree::with_annotations(1);
    tree.annotation("x", &jpeg(8, 8), "first\n");
    form(&tree.options()).unwrap();
    tree.annotation("x", &jpeg(8, 8), "second\n");
    form(&tree.options()).unwrap();
    let read = |file: &str| fs::read_to_string(tree.path(file)).unwrap();
    assert_eq!(read("data-corrupted/labels/x.txt"), "first\n");
    assert_eq!(read("data-corrupted/labels/x.2.txt"), "second\n");
    assert!(tree.path("data-corrupted/images/x.2.jpg").exists());
}

#[test]
fn a_move_to_data_corrupted_that_was_cut_short_is_finished() {
    let tree = Tree::with_annotations(1);
    for name in ["a", "b.2"] {
        tree.write(&format!("data-corrupted/images/{name}.jpg"), &jpeg(8, 8));
    }
    fs::create_dir_all(tree.path("data-corrupted/labels")).unwrap();
    tree.write("data/labels/a.txt", b"bad");
    tree.write("data/labels/b.txt", b"bad");

    let formed = form(&tree.options()).unwrap();
    assert!(formed.skipped.is_empty(), "{:?}", formed.skipped);
    assert_eq!(
        files(&tree.path("data-corrupted/labels")),
        ["a.txt", "b.2.txt"].map(str::to_owned).into()
    );
}

#[test]
fn a_fixed_division_without_a_test_list_sends_the_rest_to_test() {
    let tree = Tree::with_annotations(5);
    let split = FixedSplit::new(names("cell-000 cell-001 cell-999"), names("cell-002"), None).unwrap();
    let formed = form(&dataset::form::FormOptions {
        split: Some(split),
        ..tree.options()
    })
    .unwrap();
    assert_eq!(
        names_in(&formed, Split::Train),
        ["cell-000", "cell-001"].map(str::to_owned).into()
    );
    assert_eq!(
        names_in(&formed, Split::Valid),
        ["cell-002"].map(str::to_owned).into()
    );
    assert_eq!(
        names_in(&formed, Split::Test),
        ["cell-003", "cell-004"].map(str::to_owned).into()
    );
    assert_eq!((formed.unlisted, formed.absent), (0, 1));
    assert_eq!(formed.manifest.division, Division::Fixed);
}

#[test]
fn a_fixed_division_with_all_three_lists_leaves_out_what_none_names() {
    let tree = Tree::with_annotations(5);
    let split = FixedSplit::new(names("cell-000"), names("cell-002"), Some(names("cell-004"))).unwrap();
    let formed = form(&dataset::form::FormOptions {
        split: Some(split),
        ..tree.options()
    })
    .unwrap();
    assert_eq!(
        names_in(&formed, Split::Test),
        ["cell-004"].map(str::to_owned).into()
    );
    assert_eq!(
        (formed.manifest.items.len(), formed.unlisted, formed.absent),
        (3, 2, 0)
    );
    assert!(tree.path("data/images/cell-001.jpg").exists());

    let wrong = FixedSplit::new(names("other"), names("cell-002"), None).unwrap();
    let error = form(&dataset::form::FormOptions {
        split: Some(wrong),
        ..tree.options()
    })
    .unwrap_err();
    assert!(error.to_string().contains("list for train"), "{error}");
}

#[test]
fn without_usable_annotations_there_is_a_clear_error_and_no_dataset() {
    let tree = Tree::empty();
    let error = form(&tree.options()).unwrap_err();
    assert!(
        matches!(
            error,
            FormError::Empty {
                refused: 0,
                skipped: 0,
                ..
            }
        ),
        "{error}"
    );

    tree.annotation("bad", b"x", "x");
    tree.write("data/images/lonely.jpg", &jpeg(8, 8));
    let error = form(&tree.options()).unwrap_err();
    assert!(
        matches!(
            error,
            FormError::Empty {
                refused: 1,
                skipped: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(files(&tree.path("datasets")), [".lock".to_owned()].into());

    fs::remove_dir_all(tree.path("data")).unwrap();
    assert!(matches!(form(&tree.options()), Err(FormError::NoData { .. })));
}

#[test]
fn what_a_killed_run_left_is_removed_and_a_running_one_is_left_alone() {
    let tree = Tree::with_annotations(2);
    tree.write("datasets/.building-1/train/images/x.jpg", b"left by a kill");
    form(&tree.options()).unwrap();
    assert_eq!(
        files(&tree.path("datasets")),
        [".lock", "azaion-2026-03-28"].map(str::to_owned).into()
    );

    // While one run is at work (seen through its progress), a second one is turned away.
    let turned_away = std::sync::Mutex::new(Vec::new());
    form_watched(&tree.options(), &|_, _| {
        turned_away.lock().unwrap().push(form(&tree.options()).is_err())
    })
    .unwrap();
    assert_eq!(*turned_away.lock().unwrap(), [true, true]);
}

/// Forms on one thread, so that annotations are checked in the order of their names, and does `meanwhile` after the
/// first check.
fn form_in_order(tree: &Tree, meanwhile: impl Fn() + Sync) -> Formed {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let after_the_first = |done, _| {
        if done == 1 {
            meanwhile();
        }
    };
    pool.install(|| form_watched(&tree.options(), &after_the_first))
        .unwrap()
}

#[test]
fn an_annotation_that_is_mended_meanwhile_is_not_moved_away() {
    let tree = Tree::with_annotations(3);
    tree.annotation("a-mended", &jpeg(8, 8), "broken");
    let formed = form_in_order(&tree, || {
        // As the queue does it: a new file is renamed over the old one.
        tree.write("aside", b"0 0.5 0.5 0.1 0.1\n");
        fs::rename(tree.path("aside"), tree.path("data/labels/a-mended.txt")).unwrap();
    });
    assert_eq!(formed.refused.len(), 1);
    assert_eq!(formed.manifest.items.len(), 3);
    assert!(tree.path("data/images/a-mended.jpg").exists());
    assert!(files(&tree.path("data-corrupted/images")).is_empty());
}

#[test]
fn an_annotation_that_is_deleted_meanwhile_is_skipped_and_a_checked_one_stays_whole() {
    let tree = Tree::with_annotations(3);
    let formed = form_in_order(&tree, || {
        for name in ["cell-000", "cell-002"] {
            fs::remove_file(tree.path(&format!("data/images/{name}.jpg"))).unwrap();
            fs::remove_file(tree.path(&format!("data/labels/{name}.txt"))).unwrap();
        }
    });
    let skipped: Vec<SkipReason> = formed.skipped.iter().map(|skip| skip.reason).collect();
    assert_eq!(skipped, [SkipReason::Vanished]);
    let names: Vec<&str> = formed
        .manifest
        .items
        .iter()
        .map(|item| item.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["cell-000", "cell-001"],
        "the first one was taken before it was deleted"
    );
}

#[test]
fn the_manifest_traces_every_item_and_opens_again() {
    let tree = Tree::empty();
    tree.annotation("a", &jpeg(40, 30), "3 0.5 0.5 0.1 0.1\n4 0.5 0.5 1 1\n");
    tree.annotation("b", &jpeg(30, 40), "");
    let formed = form(&tree.options()).unwrap();
    let read = Manifest::read(&formed.folder).unwrap();
    assert_eq!(read, formed.manifest);
    assert_eq!(read.created, tree.options().created);
    assert_eq!(
        (read.items[0].width, read.items[0].height, read.items[0].boxes),
        (40, 30, 2)
    );
    assert_eq!(read.counts.boxes, 2);
    // printf '' | sha256sum
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(read.items[1].label_sha256, empty);
}

#[test]
fn the_dataset_opens_with_the_names_of_classes_json_and_survives_a_move() {
    let tree = Tree::empty();
    for i in 0..10 {
        tree.annotation(&format!("c{i}"), &jpeg(40, 30), "0 0.5 0.5 0.1 0.25\n");
    }
    let classes = r##"[{"Id": 0, "Name": "Yes", "ShortName": "Y", "Color": "#d62728"}]"##;
    tree.write("classes.json", classes.as_bytes());
    let formed = form(&tree.options()).unwrap();

    let train = Dataset::open(&formed.data_yaml(), Split::Train).unwrap();
    assert_eq!((train.items.len(), train.nc, train.names.len()), (7, 80, 80));
    assert_eq!(train.names[0], "Yes");
    assert_eq!(train.names[79], "Class-79");
    assert_eq!(train.items[0].size, (40, 30));
    assert_eq!(train.items[0].label.rows.len(), 1);
    assert!(
        train
            .items
            .is_sorted_by(|a, b| a.image.as_os_str() < b.image.as_os_str())
    );
    assert_eq!(
        Dataset::open(&formed.data_yaml(), Split::Test)
            .unwrap()
            .items
            .len(),
        1
    );

    let moved = tree.path("elsewhere");
    fs::rename(&formed.folder, &moved).unwrap();
    let again = Dataset::open(&moved.join("data.yaml"), Split::Train).unwrap();
    assert!(
        again.items[0].image.starts_with(&moved),
        "{:?}",
        again.items[0].image
    );

    tree.write("classes.json", b"[{}]");
    assert!(matches!(form(&tree.options()), Err(FormError::Classes { .. })));
}

#[test]
fn real_images_of_blood_cells_form_a_dataset_without_the_known_bad_labels() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bccd");
    if !source.exists() {
        println!(
            "real_images_of_blood_cells...: SKIPPED, {} is absent",
            source.display()
        );
        return;
    }
    let tree = Tree::empty();
    for folder in ["images", "labels"] {
        for file in files(&source.join(folder)) {
            fs::copy(
                source.join(folder).join(&file),
                tree.path("data").join(folder).join(&file),
            )
            .unwrap();
        }
    }
    let formed = form(&tree.options()).unwrap();
    let refused: BTreeSet<&str> = formed
        .refused
        .iter()
        .map(|refused| refused.name.as_str())
        .collect();
    assert!(
        formed
            .refused
            .iter()
            .all(|refused| matches!(refused.faults[..], [Fault::Label(_)]))
    );
    assert_eq!(refused.len(), 2, "{refused:?}");
    let counts = formed.manifest.counts;
    assert_eq!(counts.train + counts.valid + counts.test, 362);
    assert_eq!((counts.train, counts.valid), (253, 73));
}
