//! A restore for practice: what nobody has restored is not known to be a backup.
//!
//! Files drawn anew each time, the model in service and the last checkpoint of an open run come out of the latest snapshot
//! into a scratch folder. Each piece is held against its hash in the snapshot, each image and label against what the
//! ledger says was written, and each file that is still in the tree as it was against that one, byte by byte. Then the
//! restored model is loaded by the training program and asked about a restored image.

use crate::{
    error::{Error, Result, one_line},
    progress::{Step, Tell},
    restore::Opened,
    run::now,
    vault::{LATEST, Vault, name},
    view::layout,
};
use annotation::Name;
use rustic_core::repofile::{Node, NodeType};
use service::{Config, program};
use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    fs::{self, File},
    hash::BuildHasher as _,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};
use store::{Digest, Home, Paths, backups::Drilled, ledger};

/// The training program, which loads models.
const TRAINER: &str = "azaion-train";
/// How long it may take to load a model and to answer.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// What is read of a file at once.
const CHUNK: usize = 1 << 16;

/// Restores some files of the latest snapshot into `scratch`, an empty folder, and holds them against all that is known of
/// them. What is wrong is in the answer.
///
/// # Errors
/// The repository cannot be read, the scratch folder cannot be written, or `stop` was set.
pub fn drill(
    vault: &Vault,
    config: &Config,
    scratch: &Path,
    stop: &AtomicBool,
    tell: &Tell,
) -> Result<Drilled> {
    let paths = layout(config);
    let snapshot = vault.snapshot(LATEST)?;
    let opened = Opened::of(vault, &snapshot)?;
    let models = models(&opened.nodes);
    let chosen = chosen(&opened.nodes, &models, config.backup.drill_files as usize);
    let judge = Judge {
        recorded: recorded(&opened, &paths, scratch)?,
        paths: &paths,
    };
    let (mut same_in_tree, mut problems) = (0, Vec::new());
    for (done, (path, node)) in (1..).zip(&chosen) {
        if stop.load(Ordering::SeqCst) {
            return Err(Error::Interrupted);
        }
        let restored = place(scratch, path)?;
        match opened.write(node, &restored) {
            Ok(_) => match judge.judge(path, node, &restored)? {
                Verdict::SameInTree => same_in_tree += 1,
                Verdict::AsRecorded => {}
                Verdict::Differs(how) => problems.push(format!("{} {how}", path.display())),
            },
            Err(error @ Error::Repository { .. }) => problems.push(format!("{}: {error}", path.display())),
            Err(error) => return Err(error),
        }
        tell(Step::Restoring, done, chosen.len() as u64);
    }
    let asked = ask_model(&models, &chosen, scratch, stop);
    if let Answer::Failed(why) = &asked {
        problems.push(format!("the restored model does not work: {why}"));
    }
    Ok(Drilled {
        at: now(),
        snapshot: name(&snapshot),
        files: chosen.len() as u64,
        same_in_tree,
        model: asked.told(),
        problems,
    })
}

fn place(scratch: &Path, path: &Path) -> Result<PathBuf> {
    let place = scratch.join(path);
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    }
    Ok(place)
}

/// What is restored in any case: the model in service, and checkpoints.
#[derive(Debug, Default)]
struct Models {
    in_service: Option<PathBuf>,
    checkpoints: Vec<PathBuf>,
}

fn models(nodes: &[(PathBuf, Node)]) -> Models {
    let folder = Path::new(runs::RUNS);
    let link = folder.join(runs::IN_SERVICE);
    let mut models = Models::default();
    for (path, node) in nodes {
        match &node.node_type {
            NodeType::Symlink { .. } if *path == link => {
                models.in_service = Some(folder.join(node.node_type.to_link()));
            }
            NodeType::File if *path == link => models.in_service = Some(path.clone()),
            NodeType::File if path.file_name().is_some_and(|name| name == runs::CHECKPOINT) => {
                models.checkpoints.push(path.clone());
            }
            _ => {}
        }
    }
    let held = |path: &PathBuf| nodes.iter().any(|(other, node)| other == path && !node.is_dir());
    models.in_service = models.in_service.filter(held);
    models
}

/// The files to restore: models, one image for the model, and as many others as wanted, each as likely as any other.
fn chosen<'n>(nodes: &'n [(PathBuf, Node)], models: &Models, wanted: usize) -> BTreeMap<&'n Path, &'n Node> {
    let files = nodes
        .iter()
        .filter(|(_, node)| node.node_type == NodeType::File)
        .map(|(path, node)| (path.as_path(), node));
    let is_model = |path: &Path| {
        models.in_service.as_deref() == Some(path) || models.checkpoints.iter().any(|other| other == path)
    };
    // The standard library's hash has new keys in each process: its order is a drawing of lots.
    let lots = RandomState::new();
    let mut drawn: Vec<_> = files
        .clone()
        .filter(|(path, _)| !is_model(path))
        .map(|(path, node)| (lots.hash_one(path), path, node))
        .collect();
    drawn.sort_by_key(|(lot, _, _)| *lot);
    let image = drawn.iter().find(|(_, path, _)| is_image(path)).copied();
    drawn.truncate(wanted);
    files
        .filter(|(path, _)| is_model(path))
        .chain(drawn.into_iter().chain(image).map(|(_, path, node)| (path, node)))
        .collect()
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jpg")
}

/// All digests that the ledger has of each annotation's files, as it is in the snapshot.
type Recorded = HashMap<Name, Vec<Digest>>;

fn recorded(opened: &Opened, paths: &Paths, scratch: &Path) -> Result<Recorded> {
    let mut recorded = Recorded::new();
    let Ok(ledger) = paths.ledger_file().strip_prefix(paths.root()).map(Path::to_owned) else {
        return Ok(recorded);
    };
    let Some((_, node)) = opened.nodes.iter().find(|(path, _)| *path == ledger) else {
        return Ok(recorded);
    };
    let copy = place(scratch, &ledger)?;
    opened.write(node, &copy)?;
    for entry in ledger::read(&copy)? {
        let entry = entry?;
        let digests = entry.image.into_iter().chain(entry.label);
        recorded.entry(entry.name).or_default().extend(digests);
    }
    Ok(recorded)
}

/// What a restored file is held against.
struct Judge<'t> {
    recorded: Recorded,
    paths: &'t Paths,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The tree has it, unchanged, with the same bytes.
    SameInTree,
    /// The tree has it no more, or changed; nothing speaks against it.
    AsRecorded,
    Differs(&'static str),
}

impl Judge<'_> {
    fn judge(&self, path: &Path, node: &Node, restored: &Path) -> Result<Verdict> {
        let live = self.paths.root().join(path);
        let time = node.meta.mtime.map(SystemTime::from);
        let unchanged = live.symlink_metadata().is_ok_and(|meta| {
            meta.is_file() && meta.len() == node.meta.size && meta.modified().ok() == time && time.is_some()
        });
        if unchanged {
            return match same_bytes(&live, restored) {
                Ok(true) => Ok(Verdict::SameInTree),
                Ok(false) => Ok(Verdict::Differs(
                    "differs from the tree's, which has the same size and time: one of the two is damaged",
                )),
                // It may have gone this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Verdict::AsRecorded),
                Err(error) => Err(Error::io("read", &live)(error)),
            };
        }
        match self.annotation(path) {
            Some(name) if !self.is_recorded(&name, restored)? => Ok(Verdict::Differs(
                "has other bytes than the ledger says were written",
            )),
            _ => Ok(Verdict::AsRecorded),
        }
    }

    /// Whose image or label a path is.
    fn annotation(&self, path: &Path) -> Option<Name> {
        let name = Name::new(path.file_stem()?.to_str()?).ok()?;
        let whole = self.paths.root().join(path);
        Home::ALL
            .into_iter()
            .any(|home| self.paths.image(home, &name) == whole || self.paths.label(home, &name) == whole)
            .then_some(name)
    }

    /// Whether a ledger says that these bytes were written for an annotation: the snapshot's, or the tree's, for a label may be
    /// newer than the ledger beside it. What no ledger has digests of is not judged.
    fn is_recorded(&self, name: &Name, restored: &Path) -> Result<bool> {
        let digest = Digest::of(&fs::read(restored).map_err(Error::io("read", restored))?);
        let Some(known) = self.recorded.get(name).filter(|known| !known.is_empty()) else {
            return Ok(true);
        };
        if known.contains(&digest) {
            return Ok(true);
        }
        let Ok(live) = ledger::read(&self.paths.ledger_file()) else {
            return Ok(false);
        };
        Ok(live
            .about(name)?
            .iter()
            .any(|entry| entry.image == Some(digest) || entry.label == Some(digest)))
    }
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let (read, expected) = (fill(&mut one, &mut a)?, fill(&mut other, &mut b)?);
        if a[..read] != b[..expected] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What became of asking the restored model.
enum Answer {
    Boxes(usize),
    Skipped(String),
    Failed(String),
}

impl Answer {
    fn told(&self) -> String {
        match self {
            Self::Boxes(1) => "loaded, and found 1 object in an image".to_owned(),
            Self::Boxes(count) => format!("loaded, and found {count} objects in an image"),
            Self::Skipped(why) => format!("not asked: {why}"),
            Self::Failed(why) => format!("failed: {why}"),
        }
    }
}

fn ask_model(models: &Models, chosen: &BTreeMap<&Path, &Node>, scratch: &Path, stop: &AtomicBool) -> Answer {
    let Some(model) = &models.in_service else {
        return Answer::Skipped("there is no model in service in the backup".to_owned());
    };
    let Some(image) = chosen.keys().find(|path| is_image(path)) else {
        return Answer::Skipped("there is no image in the backup".to_owned());
    };
    let program = match program::find(TRAINER) {
        Ok(program) => program,
        Err(beside) => {
            return Answer::Skipped(format!(
                "{TRAINER} is neither in {} nor on PATH",
                beside.display()
            ));
        }
    };
    detect(
        &program,
        &scratch.join(model),
        &scratch.join(image),
        scratch,
        stop,
    )
    .unwrap_or_else(Answer::Failed)
}

/// Has the training program load a model and look at an image. Its output goes into files: a pipe that nobody reads holds it up.
fn detect(
    program: &Path,
    model: &Path,
    image: &Path,
    scratch: &Path,
    stop: &AtomicBool,
) -> Result<Answer, String> {
    let [out, err] = ["drill.out", "drill.err"].map(|name| scratch.join(name));
    let file = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut child = Command::new(program)
        .args(["detect", "--json", "--device", "cpu", "--threads", "1", "--model"])
        .arg(model)
        .arg(image)
        .stdin(Stdio::null())
        .stdout(file(&out)?)
        .stderr(file(&err)?)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        let stopped = stop.load(Ordering::SeqCst);
        if stopped || Instant::now() > until {
            // Best effort: it may have ended this moment.
            let _ = child.kill().and_then(|()| child.wait());
            return match stopped {
                true => Ok(Answer::Skipped("interrupted".to_owned())),
                false => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            };
        }
        thread::sleep(LOOK);
    };
    if !status.success() {
        let words = one_line(&fs::read_to_string(&err).unwrap_or_default());
        return Err(format!("{status}: {words}").trim_end_matches(": ").to_owned());
    }
    let answer = fs::read(&out).map_err(|error| error.to_string())?;
    let answer: serde_json::Value =
        serde_json::from_slice(&answer).map_err(|error| format!("its answer is no JSON: {error}"))?;
    match answer[0]["boxes"].as_array() {
        Some(boxes) => Ok(Answer::Boxes(boxes.len())),
        None => Err("its answer names no boxes".to_owned()),
    }
}
