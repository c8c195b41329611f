//! What goes in comes out: all of the tree that matters, byte for byte, by ours and by restic.

use crate::common::{PASSWORD, Place, content, differences, files, messages};
use backup::vault::name;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use store::backups::Backups;

/// A tree with annotations in every home, quarantine, runs, a model in service and a dataset.
pub fn furnished() -> Place {
    let place = Place::with(&messages(400, 90, 3));
    let root = place.root();
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("classes.json", b"[]");
    put("models/azaion-2026-03-01/run.json", &run("finished"));
    put("models/azaion-2026-03-01/results.csv", b"epoch\n1\n");
    put("models/azaion-2026-03-01/best.pt", &[1; 30_000]);
    put("models/azaion-2026-03-01/last.safetensors", &[2; 30_000]);
    symlink("azaion-2026-03-01/best.pt", root.join("models/azaion.pt")).unwrap();
    put("models/azaion-2026-03-02/run.json", &run("open"));
    put("models/azaion-2026-03-02/best.pt", &[3; 30_000]);
    put("models/azaion-2026-03-02/last.safetensors", &[4; 30_000]);
    put("models/azaion-2026-03-02/epoch-0001.safetensors", &[5; 30_000]);
    put("models/.azaion-memory.json", b"{}");
    put("datasets/azaion-2026-03-01/manifest.json", b"{}");
    put("datasets/azaion-2026-03-01/data.yaml", b"nc: 80\n");
    put("datasets/azaion-2026-03-01/train/images/cell-1.jpg", b"pixels");
    put("data/images/somebody-elses.png", b"pixels");
    put("data/labels/.azaion-tmp-1-0", b"being written");
    place
}

fn run(state: &str) -> Vec<u8> {
    let text = format!(
        r#"{{"version":1,"dataset":"datasets/azaion-2026-03-01","dataset_hash":null,"model":"yolo26n",
        "hyper":{{}},"code":{{"version":"0.1.0","revision":null}},"begun":"2026-03-01T00:00:00Z","changed":"2026-03-01T00:00:00Z","state":"{state}"}}"#
    );
    text.into_bytes()
}

/// Left out: what can be had again.
const LEFT_OUT: [&str; 4] = [
    "models/azaion-2026-03-01/last.safetensors",
    "models/azaion-2026-03-02/epoch-0001.safetensors",
    "datasets/azaion-2026-03-01/train/images/cell-1.jpg",
    "data/labels/.azaion-tmp-1-0",
];

pub fn expected(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut expected = content(&place.root());
    for path in LEFT_OUT {
        assert!(expected.remove(Path::new(path)).is_some(), "{path}");
    }
    expected
}

#[test]
fn a_restored_tree_has_every_byte_of_what_matters_and_the_second_backup_sends_nothing_twice() {
    let place = furnished();
    let first = place.run();
    let expected = expected(&place);
    let restored = place.path("restored");
    let told = place.restore_latest(&restored);
    assert_eq!(differences(&content(&restored), &expected), [""; 0]);
    assert_eq!(told.offset, 400);
    assert!(!restored.join("restore.yaml").exists());
    let time = |root: &Path| {
        fs::metadata(root.join("classes.json"))
            .unwrap()
            .modified()
            .unwrap()
    };
    assert_eq!(time(&restored), time(&place.root()));

    let second = place.run();
    assert_eq!(second.backup.files, first.backup.files);
    assert!(
        second.backup.added_bytes < first.backup.added_bytes / 20,
        "{second:?}"
    );
}

#[test]
fn the_configuration_comes_along_without_its_passwords() {
    let mut place = Place::with(&messages(20, 5, 1));
    place.config.rabbitmq.password = Some(service::Secret::new("br0ker s3cret".into()));
    place.config.api.password = Some(service::Secret::new("api s3cret".into()));
    place.run();
    let restored = place.path("restored");
    place.restore_latest(&restored);
    let text = fs::read_to_string(restored.join("config.yaml")).unwrap();
    assert!(
        text.contains("root_dir: ") && text.contains("repository: "),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn whole_datasets_come_along_where_that_is_configured() {
    let mut place = furnished();
    place.config.backup.datasets = true;
    place.run();
    let restored = place.path("restored");
    place.restore_latest(&restored);
    let image = restored.join("datasets/azaion-2026-03-01/train/images/cell-1.jpg");
    assert_eq!(fs::read(image).unwrap(), b"pixels");
}

#[test]
fn the_result_file_tells_how_the_backups_stand_and_never_the_password() {
    let place = furnished();
    let ran = place.run();
    let drilled = place.round().drill().unwrap();
    let text = fs::read_to_string(place.root().join("status/backup.json")).unwrap();
    assert!(!text.contains(PASSWORD));
    let told = Backups::read(&place.root()).unwrap().unwrap();
    assert_eq!(told.repository, place.repository().display().to_string());
    assert_eq!(told.backup.as_ref(), Some(&ran.backup));
    assert_eq!(told.check.as_ref(), Some(&ran.check));
    assert_eq!(told.drill.as_ref(), Some(&drilled));
    assert_eq!(told.error, None);
}

#[test]
fn of_each_day_the_last_backup_is_kept_and_the_first_of_all_until_there_are_enough() {
    let place = Place::with(&messages(20, 5, 1));
    let taken: Vec<_> = (0..4).map(|_| place.run().backup.snapshot).collect();
    let vault = place.round().vault().unwrap();
    let kept: Vec<_> = vault.snapshots().unwrap().iter().map(name).collect();
    assert_eq!(kept, [taken[0].clone(), taken[3].clone()]);
}

/// A program that a person who lost everything may have: nothing of azaion's is needed to come back.
#[test]
fn restic_itself_restores_what_we_wrote_and_finds_nothing_wrong_with_it() {
    let place = furnished();
    place.run();
    let Some(restic) = Restic::of(&place) else { return };
    restic.run(&["check", "--read-data"]);
    let restored = place.path("restored-by-restic");
    restic.run(&["restore", "latest", "--target", restored.to_str().unwrap()]);
    assert_eq!(differences(&content(&restored), &expected(&place)), [""; 0]);
    assert!(files(&restored).contains_key(Path::new("config.yaml")));
}

/// restic beside ours, on the same repository.
pub struct Restic<'p>(&'p Place);

impl<'p> Restic<'p> {
    pub fn of(place: &'p Place) -> Option<Self> {
        if Command::new("restic").arg("version").output().is_err() {
            eprintln!("skipped: restic: it is not installed (Debian: apt-get install restic)");
            return None;
        }
        Some(Self(place))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command
            .args(["--no-cache", "--repo"])
            .arg(self.0.repository())
            .arg("--password-file")
            .arg(self.0.path("password"))
            .args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(output.status.success(), "restic {arguments:?}: {told}");
        told
    }
}
