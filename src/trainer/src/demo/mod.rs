//! `azaion demo`: the whole way from annotations to a model, by the same code that the services run.
//!
//! annotations -> stream file -> queue -> tree -> dataset -> training -> best model -> report. Every stage is
//! resumable by itself (the stream file is renamed into place, the queue has its offset, the dataset is complete or
//! absent, the run has its checkpoint); `demo.json` in the root says which stages are done and what the demo was started
//! with, and is replaced atomically after each.

mod state;
mod summary;
mod training;

use crate::args::DemoArgs;
use annotation::{
    ClassList, Origin, Role, Status, Timestamp,
    encode::{self, Property},
};
use anyhow::{Context, Result, bail};
use cli::{console::Task, import, scenes};
use dataset::form::{FormOptions, form_watched};
use rayon::prelude::*;
use service::shutdown::Shutdown;
use state::{Origins, State};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use store::Tree;
use stream::file::{FileSource, FileWriter};
use train::Start;

/// Exit code of a demo that was interrupted: run it again.
const TRY_AGAIN: u8 = 75;
/// The producer of the drawn scenes.
const PRODUCER: &str = "demo@example.invalid";
/// Scenes drawn at a time.
const DRAWN_TOGETHER: usize = 16;

/// What a stage came to.
enum Flow<T> {
    Done(T),
    Stopped,
}

/// Runs the demo, or goes on with it.
pub fn run(args: &DemoArgs, shutdown: &Shutdown) -> Result<ExitCode> {
    // Before anything is written: a name that was mistyped leaves no demo behind that was begun with it.
    let start = training::start(&args.model)?;
    let origins = Origins::of(args, &start)?;
    let mut state = State::open(&args.root, origins)?;
    // The tree's lock is held to the end: a second demo in the same root is told who is at work.
    let tree = Tree::open(&args.root)?;
    if let Some(summary) = &state.finished {
        eprintln!("This demo is finished; here is what it came to. Use another --root for a new one.");
        summary.print(args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    match stages(args, start, shutdown, &mut state, tree)? {
        Flow::Done(()) => Ok(ExitCode::SUCCESS),
        Flow::Stopped => {
            eprintln!("Stopped. The same command goes on from here.");
            Ok(TRY_AGAIN.into())
        }
    }
}

fn stages(
    args: &DemoArgs,
    start: Start,
    shutdown: &Shutdown,
    state: &mut State,
    tree: Tree,
) -> Result<Flow<()>> {
    if let Flow::Stopped = annotate(args, shutdown, state)? {
        return Ok(Flow::Stopped);
    }
    let Flow::Done(tree) = ingest(args, shutdown, state, tree)? else {
        return Ok(Flow::Stopped);
    };
    form(args, state)?;
    let Flow::Done(trained) = training::train(args, start, shutdown, state)? else {
        return Ok(Flow::Stopped);
    };
    let summary = summary::Summary::new(state, &tree, &trained)?;
    summary.print(args.json)?;
    state.finished = Some(summary);
    state.save()?;
    Ok(Flow::Done(()))
}

/// Writes the stream: a dataset's annotations, or drawn scenes.
fn annotate(args: &DemoArgs, shutdown: &Shutdown, state: &mut State) -> Result<Flow<()>> {
    let stream = state.stream_file();
    if stream.exists() {
        return Ok(Flow::Done(()));
    }
    // Messages are numbered by their place, so a stream that broke off is begun again.
    let part = stream.with_extension("part");
    if part.exists() {
        std::fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    }
    let (text, seconds) = match &args.dataset {
        Some(folder) => {
            let task = Task::new("annotations", 0);
            state.keep_classes(folder)?;
            let imported = import::yolo(folder, &part, |done, all| task.at_of(done as u64, all as u64))?;
            state.skipped = imported.skipped.len();
            let text = format!(
                "{} messages from {}, {} files skipped",
                imported.messages,
                folder.display(),
                state.skipped
            );
            (text.clone(), task.done(&text))
        }
        None => {
            let task = Task::new("annotations", args.scenes as u64);
            store::atomic::replace(
                &state.root.join("classes.json"),
                scenes::classes()?.to_json().as_bytes(),
            )?;
            if !draw(args, shutdown, &part, &task)? {
                return Ok(Flow::Stopped);
            }
            let text = format!("{} scenes drawn", args.scenes);
            (text.clone(), task.done(&text))
        }
    };
    std::fs::rename(&part, &stream)
        .with_context(|| format!("cannot rename {} to {}", part.display(), stream.display()))?;
    state.note("annotations", seconds, text)?;
    Ok(Flow::Done(()))
}

/// Draws the scenes into a stream file; false when told to stop.
fn draw(args: &DemoArgs, shutdown: &Shutdown, file: &Path, task: &Task) -> Result<bool> {
    let mut writer = FileWriter::create_or_append(file)?;
    let indices: Vec<u64> = (0..args.scenes as u64).collect();
    for some in indices.chunks(DRAWN_TOGETHER) {
        if shutdown.is_requested() {
            return Ok(false);
        }
        let messages = some
            .par_iter()
            .map(|&i| scene_message(args.seed, i))
            .collect::<Result<Vec<_>>>()?;
        for message in messages {
            writer.append(&message)?;
        }
        task.at(writer.next_offset(), String::new);
    }
    writer.sync()?;
    Ok(true)
}

fn scene_message(seed: u64, index: u64) -> Result<Vec<u8>> {
    let scene = scenes::scene(seed, index);
    let jpeg = scene.jpeg()?;
    let name = format!("scene-{index:06}");
    let body = encode::annotation(&encode::Annotation {
        name: &name,
        status: Status::Created,
        created: Timestamp::from_secs(index as i64),
        // Each scene is a picture by itself: of one source media all would be on one side of the division.
        media_name: &name,
        time_us: index as i64 * 1_000_000,
        image_extension: "jpg",
        detections: &encode::detections(&scene.label, &[]),
        image: Some(&jpeg),
        role: Role::Validator,
        email: PRODUCER,
        origin: Origin::Manual,
    });
    Ok(encode::message(&body, Property::Number(Status::Created)))
}

/// Takes the stream into the tree.
fn ingest(args: &DemoArgs, shutdown: &Shutdown, state: &mut State, tree: Tree) -> Result<Flow<Tree>> {
    let mut source = FileSource::open(&state.stream_file(), tree.offset(), false)?;
    let task = Task::new(
        "queue",
        stream::Source::watch(&source)
            .borrow()
            .last_offset
            .map_or(0, |last| last + 1),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let summary = runtime.block_on(queue::run(
        &mut source,
        tree,
        &queue::Options::default(),
        &shutdown.flag(),
        |p| task.at(p.next_offset, || format!("{} quarantined", p.counters.failed)),
    ))?;
    let quarantined = store::quarantine::list(&summary.tree.paths().quarantine())?.len();
    let next = summary.progress.next_offset;
    let text = format!("{next} messages, {quarantined} quarantined");
    let seconds = task.done(&text);
    if summary.stopped {
        return Ok(Flow::Stopped);
    }
    if next == quarantined as u64 {
        bail!(
            "no message of {} could be used; see {}",
            args.root.display(),
            summary.tree.paths().quarantine().display()
        );
    }
    (state.messages, state.quarantined) = (next, quarantined);
    state.note("queue", seconds, text)?;
    Ok(Flow::Done(summary.tree))
}

/// Forms the dataset.
fn form(args: &DemoArgs, state: &mut State) -> Result<()> {
    if state.dataset.is_some() {
        return Ok(());
    }
    let task = Task::new("dataset", 0);
    let mut options = FormOptions::new(&state.root, args.seed);
    options.split = match &args.dataset {
        Some(folder) => import::splits(folder)?,
        None => None,
    };
    let formed = form_watched(&options, &|done, all| task.at_of(done as u64, all as u64))?;
    let counts = &formed.manifest.counts;
    let text = format!(
        "{} train, {} valid, {} test; {} refused, {} skipped",
        counts.train,
        counts.valid,
        counts.test,
        formed.refused.len(),
        formed.skipped.len() + formed.unlisted,
    );
    let seconds = task.done(&text);
    state.images = state::Images {
        train: counts.train,
        valid: counts.valid,
        test: counts.test,
    };
    state.refused = formed.refused.len();
    state.dataset = Some(PathBuf::from("datasets").join(&formed.manifest.name));
    state.note("dataset", seconds, text)
}

/// The class list of a dataset, checked.
fn read_classes(folder: &Path) -> Result<Option<ClassList>> {
    let path = folder.join("classes.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(
            ClassList::parse(&text).with_context(|| path.display().to_string())?,
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
