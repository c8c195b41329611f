//! What linting finds in classes and in groups, where many annotations are looked at together.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows #[test] functions, not what they call"
)]

#[expect(dead_code, reason = "each file of tests uses its part of it")]
mod form_tree;

use dataset::Split;
use dataset::form::form;
use dataset::lint::{self, Grade, Kind, Linted};
use form_tree::{Tree, picture};

fn found(linted: &Linted, kind: Kind) -> Vec<String> {
    let of_kind = linted.findings.iter().filter(|finding| finding.kind == kind);
    of_kind
        .map(|finding| format!("{}: {}", finding.place, finding.what))
        .collect()
}

#[test]
fn a_class_that_is_rare_or_on_one_side_is_told() {
    let tree = Tree::empty();
    let ten = "0 0.5 0.5 0.3 0.3\n1 0.2 0.2 0.3 0.3\n".to_owned()
        + &(0..8)
            .map(|at| format!("0 0.{at}5 0.8 0.1 0.1\n"))
            .collect::<String>();
    for index in 0..20 {
        tree.annotation(&format!("cell-{index:02}"), &picture(index, 90), &ten);
    }
    let formed = form(&tree.options()).unwrap();
    let one_of = |split| {
        formed
            .manifest
            .items
            .iter()
            .find(|item| item.split == split)
            .unwrap()
            .name
            .clone()
    };
    let (learned, judged) = (one_of(Split::Train), one_of(Split::Test));
    tree.write(&format!("data/labels/{learned}.txt"), b"2 0.5 0.5 0.3 0.3\n");
    tree.write(&format!("data/labels/{judged}.txt"), b"3 0.5 0.5 0.3 0.3\n");
    let formed = form(&tree.options()).unwrap();

    let linted = lint::dataset(&formed.folder, &|_, _| {}).unwrap();
    assert_eq!(
        found(&linted, Kind::OneSided),
        [
            "class 2: 1 box to learn from, none to be judged by",
            "class 3: 1 box to be judged by, none to learn from"
        ]
    );
    assert_eq!(
        found(&linted, Kind::Imbalance),
        [
            "class 2: 1 box beside 162 of the most frequent class",
            "class 3: 1 box beside 162 of the most frequent class"
        ]
    );
    assert!(
        linted
            .findings
            .iter()
            .all(|finding| finding.kind.grade() == Grade::Smell)
    );
    assert_eq!((linted.images, linted.boxes), (20, 182));
}

#[test]
fn a_folder_without_a_manifest_is_looked_at_as_it_is() {
    let tree = Tree::with_annotations(10);
    let formed = form(&tree.options()).unwrap();
    std::fs::remove_file(formed.folder.join("manifest.json")).unwrap();
    let linted = lint::dataset(&formed.folder, &|_, _| {}).unwrap();
    assert_eq!(
        linted.counts.into_iter().collect::<Vec<_>>(),
        [(Kind::Manifest, 1), (Kind::TinyBox, 10)]
    );
    assert_eq!(linted.images, 10);

    std::fs::remove_dir_all(formed.folder.join("train")).unwrap();
    let linted = lint::dataset(&formed.folder, &|_, _| {}).unwrap();
    assert_eq!(linted.images, 3);
}
