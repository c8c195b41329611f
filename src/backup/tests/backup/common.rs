//! A place with a tree, a stream that fills it and a repository; and how two trees are compared.

use annotation::{Origin, Role, Status, Timestamp, encode};
use backup::{
    progress::quiet,
    restore::{self, Restored},
    round::{Ran, Round},
    vault::LATEST,
};
use queue::Options;
use service::{Config, Credentials};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use store::Tree;
use stream::{
    Limits,
    file::{FileSource, FileWriter},
};

pub const PASSWORD: &str = "a password of the tests";

/// A folder with all of it, and the configuration that names it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub config: Config,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("tree")).unwrap();
        secret(&path("password"), PASSWORD);
        let mut config = Config {
            root_dir: path("tree"),
            ..Config::default()
        };
        config.backup.repository = Some(path("repository").display().to_string());
        config.backup.password_file = Some(path("password"));
        config.backup.check_parts = 1;
        Self { folder, config }
    }

    /// One with the tree that these messages make.
    pub fn with(messages: &[Vec<u8>]) -> Self {
        let place = Self::new();
        place.send(messages);
        place.read(Duration::ZERO);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("tree")
    }

    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub fn send(&self, messages: &[Vec<u8>]) {
        let mut writer = FileWriter::create_or_append(&self.path("stream")).unwrap();
        for message in messages {
            writer.append(message).unwrap();
        }
        writer.sync().unwrap();
    }

    /// Has the queue read the stream to its end, with a pause after each batch.
    pub fn read(&self, pause: Duration) {
        read(&self.path("stream"), &self.root(), pause, &AtomicU64::new(0));
    }

    pub fn round(&self) -> Round<'_> {
        self.try_round().unwrap()
    }

    pub fn try_round(&self) -> backup::Result<Round<'_>> {
        Round::new(&self.config, &Credentials::default(), stop(), quiet())
    }

    pub fn run(&self) -> Ran {
        self.round().run().unwrap()
    }

    pub fn restore(&self, snapshot: &str, to: &Path) -> backup::Result<Restored> {
        let vault = self.round().vault()?;
        let snapshot = vault.snapshot(snapshot)?;
        restore::tree(&vault, &snapshot, to, &AtomicBool::new(false), &quiet())
    }

    pub fn restore_latest(&self, to: &Path) -> Restored {
        self.restore(LATEST, to).unwrap()
    }

    /// The configuration as a file, for programs.
    pub fn config_file(&self) -> PathBuf {
        let path = self.path("config.yaml");
        fs::write(
            &path,
            service::config::commented(&self.config, "of a test").as_bytes(),
        )
        .unwrap();
        path
    }
}

pub fn stop() -> Arc<AtomicBool> {
    Arc::default()
}

pub fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The queue, from where the tree stands to the end of the stream, in small batches; `at` hears the offset.
pub fn read(stream: &Path, root: &Path, pause: Duration, at: &AtomicU64) {
    let tree = Tree::open(root).unwrap();
    let mut source = FileSource::open(stream, tree.offset(), false).unwrap();
    let options = Options {
        batch: Limits {
            max_messages: 7,
            max_bytes: 1 << 20,
        },
        ..Options::default()
    };
    let heard = |progress: &queue::Progress| {
        at.store(progress.next_offset, Ordering::SeqCst);
        std::thread::sleep(pause);
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(queue::run(&mut source, tree, &options, &stop(), heard))
        .unwrap();
}

/// Messages of every kind about few names, so that they meet; a function of the seed.
pub fn messages(count: u64, names: u64, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut made = Vec::new();
    for number in 0..count {
        let name = format!("cell-{}", draw(names));
        let other = format!("cell-{}", draw(names));
        let role = [Role::Operator, Role::CompanionPC, Role::Validator][draw(3) as usize];
        made.push(match draw(12) {
            0..6 => annotation(
                &name,
                Status::Created,
                role,
                draw(80),
                Some(&image(number, draw(6000))),
            ),
            6..9 => annotation(&name, Status::Edited, role, draw(80), None),
            9 => bulk(&[&name, &other], Status::Validated),
            10 => bulk(&[&name], Status::Deleted),
            _ => number.to_le_bytes().to_vec(),
        });
    }
    made
}

/// A JPEG by its first bytes.
pub fn image(number: u64, length: u64) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0 cells ".to_vec();
    bytes.extend((0..length).flat_map(|at| {
        (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0x2545_f491)).to_le_bytes()
    }));
    bytes
}

pub fn annotation(name: &str, status: Status, role: Role, class: u64, image: Option<&[u8]>) -> Vec<u8> {
    let detections = encode::raw_detections(&[[class as f64, 0.5, 0.25, 0.125, 0.1]]);
    let body = encode::annotation(&encode::Annotation {
        name,
        status,
        created: Timestamp::from_secs(1_700_000_000),
        media_name: "slide",
        time_us: 0,
        image_extension: "jpg",
        detections: &detections,
        image,
        role,
        email: "someone@example.org",
        origin: Origin::Manual,
    });
    encode::message(&body, encode::Property::Number(status))
}

pub fn bulk(names: &[&str], status: Status) -> Vec<u8> {
    let body = encode::bulk(&encode::Bulk {
        names,
        status,
        email: "someone@example.org",
        created: Timestamp::from_secs(1_700_000_000),
    });
    encode::message(&body, encode::Property::Name(status))
}

/// All files under a folder by their relative paths, links by what they point at.
pub fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            if path.is_symlink() {
                files.insert(
                    relative,
                    fs::read_link(&path)
                        .unwrap()
                        .into_os_string()
                        .into_encoded_bytes(),
                );
            } else if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(relative, fs::read(path).unwrap());
            }
        }
    }
    files
}

/// What of a tree a backup brings back: not the locks, and what tells of a moment.
pub fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(root);
    files.retain(|path, _| {
        path != Path::new("azaion.lock") && path != Path::new("config.yaml") && !path.starts_with("status")
    });
    files
}

/// What two trees are compared by that were filled at different times: of the ledger neither times nor ends of batches count.
pub fn comparable(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = content(root);
    if let Some(ledger) = files.get_mut(Path::new("ledger.log")) {
        let text = String::from_utf8(std::mem::take(ledger)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with(['=', '+']));
        let without_time = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            [&fields[..1], fields.get(2..).unwrap_or_default()]
                .concat()
                .join(" ")
        };
        *ledger = lines
            .map(without_time)
            .collect::<Vec<_>>()
            .join("\n")
            .into_bytes();
    }
    files
}

/// The names that differ, for a message that can be read.
pub fn differences(one: &BTreeMap<PathBuf, Vec<u8>>, other: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| name.display().to_string())
        .collect()
}
