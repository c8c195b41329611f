//! What datasets remember: where images were, what they are, where they came from.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows #[test] functions, not what they call"
)]

#[expect(dead_code, reason = "each file of tests uses its part of it")]
mod form_tree;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use annotation::{Name, Role};
use bytes::Bytes;
use dataset::Split;
use dataset::form::{FormError, FormOptions, Formed, Memory, News, form, news};
use dataset::manifest::{FILE_NAME, Grouping, Manifest};
use form_tree::{Tree, picture};
use store::{Batch, Entry, Home, Media};

fn splits(formed: &Formed) -> BTreeMap<String, Split> {
    let items = formed.manifest.items.iter();
    items.map(|item| (item.name.clone(), item.split)).collect()
}

/// With so many pictures that differ, `picture-000` and on, from `from`.
fn add_pictures(tree: &Tree, from: u64, count: u64) {
    for index in from..from + count {
        let name = format!("picture-{index:03}");
        tree.annotation(&name, &picture(index, 90), "0 0.5 0.5 0.1 0.1\n");
    }
}

fn by_queue(tree: &Tree, act: impl FnOnce(&mut Batch<'_>)) {
    let mut store = store::Tree::open(&tree.path("")).unwrap();
    let mut batch = store.batch();
    act(&mut batch);
    batch.commit(100).unwrap();
}

fn create(batch: &mut Batch<'_>, offset: u64, role: Role, name: &str, image: Vec<u8>, media: &str) {
    let name = Name::new(name).unwrap();
    let Entry::Unknown(entry) = batch.entry(offset, Some(role), &name).unwrap() else {
        panic!("{name} is there already");
    };
    let label = "0 0.5 0.5 0.1 0.1\n".to_owned();
    entry
        .taken_from(Media::of(media))
        .create(Home::Data, Bytes::from(image), label);
}

#[test]
fn what_was_formed_stays_where_it_was_when_more_arrives() {
    let tree = Tree::empty();
    add_pictures(&tree, 0, 20);
    let mut before = splits(&form(&tree.options()).unwrap());
    for (from, count) in [(20, 13), (33, 1), (34, 46)] {
        add_pictures(&tree, from, count);
        let formed = form(&FormOptions {
            // Whatever the seed.
            seed: from,
            ..tree.options()
        })
        .unwrap();
        let after = splits(&formed);
        assert!(before.iter().all(|(name, split)| after[name] == *split));
        assert_eq!(formed.kept, before.len());
        assert_eq!(formed.decoded as u64, count, "the others were looked into before");
        before = after;
    }
    let of = |split| before.values().filter(|found| **found == split).count();
    assert_eq!([of(Split::Train), of(Split::Valid), of(Split::Test)], [56, 16, 8]);

    let anew = form(&FormOptions {
        seed: 8,
        memory: Memory::Forgotten,
        ..tree.options()
    })
    .unwrap();
    assert_ne!(splits(&anew), before);
    assert_eq!((anew.kept, anew.decoded), (0, 0));
    assert!(anew.manifest.earlier.is_empty());
    // From then on the newest counts.
    let again = form(&tree.options()).unwrap();
    assert_eq!(splits(&again), splits(&anew));
    assert_eq!(again.manifest.earlier[0], anew.manifest.name);
}

#[test]
fn near_duplicates_are_in_one_split_also_when_they_arrive_later() {
    let tree = Tree::empty();
    add_pictures(&tree, 0, 30);
    let before = splits(&form(&tree.options()).unwrap());
    for (name, split) in &before {
        let index = name.strip_prefix("picture-").unwrap().parse().unwrap();
        // The same picture, compressed harder: other bytes.
        tree.annotation(&format!("{split}-{name}-again"), &picture(index, 55), "");
    }
    // With another seed: with the same one the copies would draw what the pictures drew.
    let formed = form(&FormOptions {
        seed: 99,
        ..tree.options()
    })
    .unwrap();
    let after = splits(&formed);
    for (name, split) in &before {
        assert_eq!(after[&format!("{split}-{name}-again")], *split);
    }
    assert_eq!((formed.manifest.items.len(), formed.straddling), (60, 0));
}

#[test]
fn offset_role_and_time_are_those_of_the_message_that_the_label_came_with() {
    let tree = Tree::empty();
    by_queue(&tree, |batch| {
        create(batch, 3, Role::Operator, "edited", picture(1, 90), "slide-1");
        create(batch, 4, Role::Validator, "created", picture(2, 90), "");
        let name = Name::new("edited").unwrap();
        let Entry::Known(entry) = batch.entry(9, Some(Role::Admin), &name).unwrap() else {
            panic!("it was created");
        };
        entry.edit_and_validate("1 0.5 0.5 0.2 0.2\n".to_owned());
    });
    tree.annotation("by-hand", &picture(3, 90), "");
    fs::write(tree.path("data/labels/created.txt"), "2 0.5 0.5 0.1 0.1\n").unwrap();
    let manifest = form(&tree.options()).unwrap().manifest;

    let edited = manifest.item("edited").unwrap();
    assert_eq!((edited.offset, edited.role), (Some(9), Some(Role::Admin)));
    assert_eq!(edited.media, Media::of("slide-1"));
    let age = jiff::Timestamp::now().duration_since(edited.time.unwrap());
    assert!(age.abs() < jiff::SignedDuration::from_mins(5), "{age}");
    for unknown in ["by-hand", "created"] {
        let item = manifest.item(unknown).unwrap();
        assert_eq!(
            (item.offset, item.role, item.time),
            (None, None, None),
            "{unknown}"
        );
    }
    assert_eq!(manifest.offsets(), Some((9, 9)));

    // A new ledger does not know where images came from; what a dataset knew of the same image is true still.
    fs::remove_file(tree.path("ledger.log")).unwrap();
    let again = form(&tree.options()).unwrap().manifest;
    let edited = again.item("edited").unwrap();
    assert_eq!((edited.offset, edited.media), (None, Media::of("slide-1")));
}

#[test]
fn frames_of_one_film_are_in_one_split() {
    let tree = Tree::empty();
    by_queue(&tree, |batch| {
        for index in 0..60u64 {
            let film = format!("film-{}", index / 3);
            let name = format!("frame-{index:02}");
            create(batch, index, Role::Validator, &name, picture(index, 90), &film);
        }
    });
    let formed = form(&tree.options()).unwrap();
    let of = splits(&formed);
    let frames: Vec<Split> = of.values().copied().collect();
    assert!(
        frames
            .chunks(3)
            .all(|film| film[0] == film[1] && film[1] == film[2])
    );
    let counts = formed.manifest.counts;
    assert_eq!((counts.train, counts.valid, counts.test), (42, 12, 6));
    assert_eq!(formed.manifest.grouping, Grouping::Media);
}

#[test]
fn a_damaged_ledger_leaves_the_origins_unknown_and_forms_all_the_same() {
    let tree = Tree::with_annotations(3);
    tree.write("ledger.log", b"not a ledger");
    let formed = form(&tree.options()).unwrap();
    assert_eq!(formed.manifest.counts.train, 2);
    assert_eq!(formed.manifest.offsets(), None);
}

#[test]
fn a_file_that_was_changed_in_place_is_looked_into_again() {
    let tree = Tree::with_annotations(4);
    form(&tree.options()).unwrap();
    // With the same length: only its time tells.
    let image = tree.path("data/images/cell-001.jpg");
    let mut bytes = fs::read(&image).unwrap();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(b"xx");
    let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(2))
        .unwrap();
    drop(file);
    // And one that was replaced by a file of the same length and time.
    let label = tree.path("data/labels/cell-002.txt");
    let modified = fs::metadata(&label).unwrap().modified().unwrap();
    tree.write("aside", b"1 0.5 0.5 0.1 0.1\n");
    let aside = fs::OpenOptions::new()
        .write(true)
        .open(tree.path("aside"))
        .unwrap();
    aside.set_modified(modified).unwrap();
    fs::rename(tree.path("aside"), label).unwrap();

    let formed = form(&tree.options()).unwrap();
    let refused: Vec<&str> = formed
        .refused
        .iter()
        .map(|refused| refused.name.as_str())
        .collect();
    assert_eq!(refused, ["cell-001"]);
    assert_eq!(formed.decoded, 0, "the images of the others are what they were");
    let label = &formed.manifest.item("cell-002").unwrap().label_sha256;
    assert_ne!(*label, formed.manifest.item("cell-000").unwrap().label_sha256);
}

#[test]
fn a_manifest_that_cannot_be_used_is_no_reason_to_move_an_image() {
    let tree = Tree::empty();
    add_pictures(&tree, 0, 20);
    let first = form(&tree.options()).unwrap();
    let before = splits(&first);
    let whole = fs::read_to_string(first.folder.join(FILE_NAME)).unwrap();
    for (case, text) in [
        ("cut short", whole[..whole.len() / 2].to_owned()),
        (
            "changed by hand",
            whole.replace("\"split\":\"test\"", "\"split\":\"train\""),
        ),
        ("of the future", whole.replace("\"version\": 2", "\"version\": 3")),
        ("gone", String::new()),
    ] {
        fs::remove_file(first.folder.join(FILE_NAME)).unwrap();
        if !text.is_empty() {
            fs::write(first.folder.join(FILE_NAME), text).unwrap();
        }
        assert!(Manifest::read(&first.folder).is_err(), "{case}");
        let formed = form(&FormOptions {
            seed: 99,
            ..tree.options()
        })
        .unwrap();
        assert_eq!(splits(&formed), before, "{case}");
        assert_eq!(formed.decoded, 20, "{case}: nobody vouches for an image");
        fs::remove_dir_all(&formed.folder).unwrap();
    }
}

#[test]
fn datasets_of_the_first_version_are_kept_to() {
    let tree = Tree::empty();
    add_pictures(&tree, 0, 20);
    let first = form(&tree.options()).unwrap();
    let before = splits(&first);
    as_first_version(&first.folder);
    add_pictures(&tree, 20, 10);
    let formed = form(&FormOptions {
        seed: 99,
        ..tree.options()
    })
    .unwrap();
    let after = splits(&formed);
    assert!(before.iter().all(|(name, split)| after[name] == *split));
    assert_eq!(formed.decoded, 30, "the first version does not vouch");
}

/// Rewrites a manifest as the first version had it.
fn as_first_version(dataset: &std::path::Path) {
    let path = dataset.join(FILE_NAME);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["version"] = 1.into();
    let head = json.as_object_mut().unwrap();
    for later in ["seal", "grouping", "earlier"] {
        head.remove(later);
    }
    for item in json["items"].as_array_mut().unwrap() {
        let item = item.as_object_mut().unwrap();
        for later in [
            "likeness",
            "media",
            "image_file",
            "label_file",
            "offset",
            "time",
            "role",
        ] {
            item.remove(later);
        }
    }
    fs::write(&path, serde_json::to_vec_pretty(&json).unwrap()).unwrap();
    assert_eq!(Manifest::read(dataset).unwrap().version(), 1);
}

#[test]
fn of_two_that_form_at_once_one_is_told_to_wait() {
    let tree = Tree::with_annotations(2);
    let told = std::sync::Mutex::new(Vec::new());
    dataset::form::form_watched(&tree.options(), &|_, _| {
        let busy = matches!(form(&tree.options()), Err(FormError::Busy { .. }));
        told.lock().unwrap().push(busy);
    })
    .unwrap();
    assert_eq!(*told.lock().unwrap(), [true, true]);
}

#[test]
fn what_a_dataset_does_not_have_is_counted_and_a_restored_tree_has_nothing_new() {
    let tree = Tree::empty();
    let data = tree.path("data");
    add_pictures(&tree, 0, 12);
    let count = |manifest: Option<&Manifest>| news(&data, manifest).unwrap();
    let of = |added, relabelled| News { added, relabelled };
    assert_eq!(count(None), of(12, 0), "without a dataset all is new");
    let formed = form(&tree.options()).unwrap();
    let manifest = Some(&formed.manifest);
    assert_eq!(count(manifest), of(0, 0));

    add_pictures(&tree, 12, 3);
    tree.write("data/labels/picture-004.txt", b"0 0.5 0.5 0.2 0.2\n");
    tree.write("data/images/alone.jpg", &picture(99, 90));
    assert_eq!(
        count(manifest),
        of(3, 1),
        "an image without a label does not count"
    );

    // The same bytes under another time, as a restored tree has them.
    tree.write("data/labels/picture-004.txt", b"0 0.5 0.5 0.1 0.1\n");
    let later = SystemTime::now() + Duration::from_secs(60);
    let label = fs::File::options()
        .write(true)
        .open(data.join("labels/picture-004.txt"));
    label.unwrap().set_modified(later).unwrap();
    assert_eq!(count(manifest), of(3, 0));
}
