//! The operator's verbs, on real trees: what each says, what it changes, and what it leaves alone.
//!
//! The processes that are killed are this test binary, started again to run [`child`] alone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what only prepares a test may fail as a test does"
)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use annotation::Role::{Operator, Validator};
use annotation::{Limits, Name};
use clap::Parser;
use common::{EMAIL, Event, Image, assert_same, batches, drain, read_dir};
use queue::verbs::{self, Answer, Error, SecondTree, Selection, Verb};
use queue::{Options, Processor};
use serde_json::Value;
use store::{Media, Paths, Tree};
use stream::file::{FileSource, FileWriter};

/// The command line of a program that offers the verbs.
#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

fn flag() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

/// Runs `queue ARGUMENTS`.
fn ask(arguments: &str) -> Result<Answer, Error> {
    let words = ["queue"].into_iter().chain(arguments.split_whitespace());
    let program = Program::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    verbs::run(&program.verb, &flag(), |_, _| {})
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text).unwrap()
}

/// A folder that is one argument.
fn arg(dir: &tempfile::TempDir) -> String {
    dir.path().to_str().unwrap().to_owned()
}

/// A tree that has read `events`.
fn tree_of(events: &[Event]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    drain(Tree::open(root.path()).unwrap(), events, &[2]).unwrap();
    root
}

/// A tree to which every image was too large.
fn strict_tree_of(events: &[Event]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let limits = Limits {
        image_bytes: 8,
        ..Limits::default()
    };
    let mut processor = Processor::new(Tree::open(root.path()).unwrap(), limits);
    batches(events, 0, &[50])
        .iter()
        .for_each(|batch| processor.process(batch).unwrap());
    root
}

/// A mixed morning: two annotations, one of them validated, one edit in vain, and one message that is none.
fn morning() -> Vec<Event> {
    vec![
        Event::created("cell-a", Operator),
        Event::created("cell-b", Operator),
        Event::validated(&["cell-b"]),
        Event::edited("cell-c", Operator, 2),
        Event::Garbage(b"not AMQP".to_vec()),
    ]
}

/// Every file under the root, relative to it.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let relative = |path: PathBuf| path.strip_prefix(root).unwrap().to_owned();
    let files = read_dir(root).into_iter();
    files.map(|(path, bytes)| (relative(path), bytes)).collect()
}

/// The annotations alone.
fn annotations(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(root);
    files.retain(|path, _| {
        path.starts_with("data") || path.starts_with("data-seed") || path.starts_with("data_deleted")
    });
    files
}

#[test]
fn status_tells_everything_and_locks_and_makes_nothing() {
    let root = tree_of(&morning());
    std::fs::remove_file(root.path().join("azaion.lock")).unwrap();
    let before = files(root.path());
    let answer = ask(&format!("status --root {} --json", arg(&root))).unwrap();
    let told = json(&answer);
    assert_eq!(answer.code, 0);
    assert_eq!(told["offset"], 5);
    assert_eq!(
        told["annotations"],
        serde_json::json!({"data": 1, "seed": 1, "deleted": 0, "corrupted": 0})
    );
    assert_eq!(
        told["quarantined"],
        serde_json::json!({"amqp": 1, "unknown-name": 1})
    );
    assert_eq!(told["missed"], 1);
    assert_eq!(told["last_event"]["event"], "missed");
    assert_eq!(told["last_event"]["offset"], 3);
    assert_eq!(told["writer_pid"], Value::Null);
    assert!(told["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(files(root.path()), before);
    assert!(!root.path().join("azaion.lock").exists());

    let text = ask(&format!("status --root {}", arg(&root))).unwrap().text;
    assert!(
        text.contains("next offset  5\n") && text.contains("1 amqp, 1 unknown-name"),
        "{text}"
    );
    assert!(text.contains("writer       none"), "{text}");
}

#[test]
fn status_names_the_writer_while_one_runs() {
    let root = tree_of(&morning());
    let tree = Tree::open(root.path()).unwrap();
    let told = json(&ask(&format!("status --json --root {}", arg(&root))).unwrap());
    assert_eq!(told["writer_pid"], std::process::id());
    // It did not take the lock away either.
    assert!(Tree::open(root.path()).is_err());
    drop(tree);
    let told = json(&ask(&format!("status --json --root {}", arg(&root))).unwrap());
    assert_eq!(told["writer_pid"], Value::Null);
}

#[test]
fn the_tree_is_found_by_the_configuration_or_by_its_root_and_must_be_there() {
    let root = tree_of(&morning());
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, format!("root_dir: {}\n", root.path().display())).unwrap();
    let told = json(&ask(&format!("status --json --config {}", config.display())).unwrap());
    assert_eq!(told["offset"], 5);

    let error = ask("status --root /nowhere/azaion").unwrap_err().to_string();
    assert!(error.contains("/nowhere/azaion does not exist"), "{error}");
    let error = ask("status --config /nowhere/config.yaml")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nowhere/config.yaml") && error.contains("--root DIR"),
        "{error}"
    );
}

#[test]
fn the_quarantine_is_listed_by_kind_and_shown_without_personal_data() {
    let mut events = morning();
    events.push(Event::Annotation {
        edited: false,
        name: "cell-d",
        role: Operator,
        row: Some(0),
        image: Image::Text,
    });
    let root = tree_of(&events);
    let all = json(&ask(&format!("quarantine list --json --root {}", arg(&root))).unwrap());
    let offsets: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["offset"].as_u64())
        .collect();
    assert_eq!(offsets, [Some(3), Some(4), Some(5)]);
    let some = ask(&format!("quarantine list --kind amqp --root {}", arg(&root)))
        .unwrap()
        .text;
    assert!(some.contains("\n1 message\n") && some.contains("amqp"), "{some}");

    let shown = ask(&format!("quarantine show 5 --root {}", arg(&root)))
        .unwrap()
        .text;
    for words in [
        "not-an-image",
        "status       Created",
        "name         cell-d",
        "image        15 bytes",
    ] {
        assert!(shown.contains(words), "{words} is not in:\n{shown}");
    }
    assert!(
        !shown.contains(EMAIL) && !shown.contains("no image at all"),
        "{shown}"
    );

    let error = ask(&format!("quarantine show 2 --root {}", arg(&root)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no message with offset 2 is in quarantine"),
        "{error}"
    );
}

#[test]
fn a_message_out_of_quarantine_is_written_as_it_came_for_its_owner_alone_and_over_nothing() {
    let root = tree_of(&morning());
    let file = root.path().join("message.bin");
    let show = format!("quarantine show 4 --root {} --raw {}", arg(&root), file.display());
    ask(&show).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"not AMQP");
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    let error = ask(&show).unwrap_err().to_string();
    assert!(error.contains("message.bin"), "{error}");
}

#[test]
fn what_can_be_used_now_leaves_the_quarantine_and_the_rest_stays_and_is_named() {
    // Every image was too large, so the edits and the validation were in vain.
    let events = [
        Event::created("cell-a", Operator),
        Event::edited("cell-a", Operator, 2),
        Event::Garbage(b"not AMQP".to_vec()),
        Event::created("cell-b", Operator),
        Event::edited("cell-c", Validator, 1),
    ];
    let root = strict_tree_of(&events);
    assert_eq!(annotations(root.path()).len(), 0);

    let answer = ask(&format!("quarantine replay --all --json --root {}", arg(&root))).unwrap();
    assert_eq!(answer.code, 2);
    let told = json(&answer);
    assert_eq!(
        told["used"],
        serde_json::json!([
            {"offset": 0, "did": "created cell-a"},
            {"offset": 1, "did": "edited cell-a"},
            {"offset": 3, "did": "created cell-b"},
        ])
    );
    let stayed: Vec<_> = told["stayed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["kind"].clone())
        .collect();
    assert_eq!(stayed, ["amqp", "unknown-name"]);

    // As if they had come in this order, with no image too large.
    let expected = tree_of(&events);
    assert_same(
        &annotations(root.path()),
        &annotations(expected.path()),
        "after the replay",
    );
    let left = json(&ask(&format!("quarantine list --json --root {}", arg(&root))).unwrap());
    assert_eq!(left.as_array().unwrap().len(), 2);
    let told = json(&ask(&format!("status --json --root {}", arg(&root))).unwrap());
    assert_eq!((&told["offset"], &told["missed"]), (&5.into(), &2.into()));
    assert_eq!(ask(&format!("verify --root {}", arg(&root))).unwrap().code, 0);

    let history = json(&ask(&format!("history cell-a --json --root {}", arg(&root))).unwrap());
    let lines: Vec<_> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["offset"].as_u64().unwrap(), line["event"].as_str().unwrap()))
        .collect();
    assert_eq!(lines, [(1, "missed"), (0, "created"), (1, "edited")]);
}

#[test]
fn chosen_messages_are_done_again_and_one_that_is_not_there_stops_all() {
    let root = strict_tree_of(&[
        Event::created("cell-a", Operator),
        Event::created("cell-b", Operator),
    ]);
    let error = ask(&format!("quarantine replay 1 7 --root {}", arg(&root)))
        .unwrap_err()
        .to_string();
    assert!(error.contains("offset 7"), "{error}");
    assert_eq!(annotations(root.path()).len(), 0);

    let answer = ask(&format!("quarantine replay 1 --root {}", arg(&root))).unwrap();
    assert_eq!((answer.code, annotations(root.path()).len()), (0, 2));
    assert!(
        answer.text.contains("1  used    created cell-b"),
        "{}",
        answer.text
    );
    assert!(root.path().join("data-seed/images/cell-b.jpg").is_file());
    let left = json(&ask(&format!("quarantine list --json --root {}", arg(&root))).unwrap());
    assert_eq!(left[0]["offset"], 0);
}

#[test]
fn a_damaged_message_stays_and_holds_up_no_other() {
    let root = strict_tree_of(&[
        Event::created("cell-a", Operator),
        Event::created("cell-b", Operator),
    ]);
    std::fs::write(root.path().join("quarantine/00000000000000000000.msg"), "x").unwrap();
    let answer = ask(&format!("quarantine replay --all --json --root {}", arg(&root))).unwrap();
    assert_eq!(answer.code, 2);
    let told = json(&answer);
    assert_eq!(
        (&told["used"][0]["offset"], &told["stayed"][0]["kind"]),
        (&1.into(), &"damaged".into())
    );
}

#[test]
fn verbs_that_change_the_tree_are_refused_by_name_of_the_writer() {
    let root = strict_tree_of(&[Event::created("cell-a", Operator)]);
    let tree = Tree::open(root.path()).unwrap();
    let before = files(root.path());
    for verb in ["quarantine replay --all", "rebuild-ledger"] {
        let error = ask(&format!("{verb} --root {}", arg(&root)))
            .unwrap_err()
            .to_string();
        let holder = format!("in use by process {}; stop that process", std::process::id());
        assert!(error.contains(&holder), "{error}");
    }
    assert_eq!(files(root.path()), before);
    drop(tree);
}

const ROOT: &str = "AZAION_TEST_ROOT";

/// What a child process does: replays the whole quarantine.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let paths = Paths::under(Path::new(&root));
    verbs::replay_quarantined(&paths, &Selection::All, &Limits::default(), |_, _| {}).unwrap();
}

#[test]
fn a_replay_of_the_quarantine_killed_again_and_again_ends_as_one_that_was_not() {
    const NAMES: [&str; 4] = ["cell-a", "cell-b", "cell-c", "cell-d"];
    let mut events = Vec::new();
    for round in 0..40 {
        for name in NAMES {
            events.push(Event::created(name, Operator));
            events.push(Event::edited(
                name,
                if round == 9 { Validator } else { Operator },
                round % 3,
            ));
        }
        events.push(Event::Garbage(vec![round; 9]));
        if round == 20 {
            events.push(Event::deleted(&NAMES[2..]));
        }
    }
    let (killed, quiet) = (strict_tree_of(&events), strict_tree_of(&events));
    let replay = |root: &Path| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ROOT, root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut kills = 0;
    for wait in (5..).step_by(7) {
        let mut child = replay(killed.path());
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        assert!(kills < 60, "it never ends");
    }
    assert!(kills > 0, "the child was never killed");
    assert!(replay(quiet.path()).wait().unwrap().success());

    let what = format!("after {kills} kills");
    assert_same(&annotations(killed.path()), &annotations(quiet.path()), &what);
    let quarantine = |root: &Path| {
        let mut files = files(root);
        files.retain(|path, _| path.extension().is_some_and(|extension| extension == "json"));
        files
    };
    assert_same(&quarantine(killed.path()), &quarantine(quiet.path()), &what);
    assert_eq!(quarantine(killed.path()).len(), 40, "what is no message stays");
    for root in [&killed, &quiet] {
        assert_eq!(ask(&format!("verify --root {}", arg(root))).unwrap().code, 0);
    }
}

#[test]
fn verify_is_clean_or_names_every_difference_with_exit_code_2() {
    let root = tree_of(&morning());
    let mut heard = Vec::new();
    let verified = verbs::verify(&Paths::under(root.path()), store::Depth::Bytes, |done, total| {
        heard.push((done, total));
    });
    assert!(verified.unwrap().is_clean());
    assert_eq!(heard, [(1, 2), (2, 2)]);

    std::fs::write(root.path().join("data/labels/cell-b.txt"), "7 0.5 0.5 0.1 0.1\n").unwrap();
    std::fs::write(root.path().join("data/labels/notes.md"), "").unwrap();
    let answer = ask(&format!("verify --root {}", arg(&root))).unwrap();
    assert_eq!(answer.code, 2);
    assert!(
        answer
            .text
            .contains("cell-b has another label in data than was written")
            && answer.text.contains("notes.md is no annotation's")
            && answer.text.contains("2 differences"),
        "{}",
        answer.text
    );
    // The label is another one of the same name: only whoever reads it sees that.
    std::fs::remove_file(root.path().join("data/labels/notes.md")).unwrap();
    assert_eq!(
        ask(&format!("verify --names-only --root {}", arg(&root)))
            .unwrap()
            .code,
        0
    );

    let rebuilt = json(&ask(&format!("rebuild-ledger --json --root {}", arg(&root))).unwrap());
    assert_eq!(rebuilt["annotations"], 2);
    assert!(
        rebuilt["kept"].as_str().unwrap().ends_with("ledger.log.1"),
        "{rebuilt}"
    );
    assert_eq!(ask(&format!("verify --root {}", arg(&root))).unwrap().code, 0);
}

#[test]
fn history_tells_what_happened_to_one_annotation_and_nothing_of_others() {
    let root = tree_of(&morning());
    let text = ask(&format!("history cell-b --root {}", arg(&root)))
        .unwrap()
        .text;
    let words: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().skip(1).take(4).collect())
        .collect();
    assert_eq!(
        words,
        [
            ["1", "created", "Operator", "seed"],
            ["2", "validated", "-", "data"]
        ]
    );
    // The number of what it was taken from, and not its name.
    let media = Media::of("slide").unwrap();
    let told: Vec<bool> = text
        .lines()
        .map(|line| line.ends_with(&format!(" media {media}")))
        .collect();
    assert_eq!(told, [true, false], "{text}");
    let ledger = std::fs::read_to_string(root.path().join("ledger.log")).unwrap();
    assert!(
        ledger.contains(&media.to_string()) && !ledger.contains("slide"),
        "{ledger}"
    );
    let nothing = ask(&format!("history cell-z --root {}", arg(&root))).unwrap();
    assert_eq!(
        (nothing.code, nothing.text.as_str()),
        (0, "the ledger does not know cell-z\n")
    );
    assert!(Program::try_parse_from(["queue", "history", "../cell"]).is_err());
}

#[test]
fn a_name_is_found_in_a_long_ledger_without_reading_every_line() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ledger.log");
    let digest = "0123456789abcdef".repeat(4);
    let mut text = String::from("azaion-ledger 1\n");
    for batch in 0..400_u64 {
        let lines: String = (batch * 256..(batch + 1) * 256)
            .map(|offset| {
                format!("{offset} 1795724232 created Operator seed cell-{offset} {digest} {digest}\n")
            })
            .collect();
        let end = (batch + 1) * 256;
        let crc = crc32fast::hash(lines.as_bytes());
        text += &format!("{lines}= {end} 256 {} {crc:08x}\n", lines.len());
    }
    std::fs::write(&path, text).unwrap();
    let begun = Instant::now();
    let history = verbs::history(&Paths::under(root.path()), &Name::new("cell-77777").unwrap()).unwrap();
    assert_eq!(history.events.len(), 1);
    assert_eq!(history.events[0].offset, Some(77777));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

fn stream_file(dir: &Path, events: &[Event]) -> PathBuf {
    let path = dir.join("annotations.stream");
    let mut writer = FileWriter::create_or_append(&path).unwrap();
    events
        .iter()
        .for_each(|event| assert!(writer.append(&event.raw()).is_ok()));
    writer.sync().unwrap();
    path
}

#[test]
fn a_second_tree_from_any_offset_is_the_tree_of_whoever_began_there() {
    let dir = tempfile::tempdir().unwrap();
    let events = morning();
    let stream = stream_file(dir.path(), &events);
    for from in 0..=5_u64 {
        let to = dir.path().join(format!("second-{from}"));
        let replay = format!(
            "replay --from {from} --to {} --stream {} --json",
            to.display(),
            stream.display()
        );
        let answer = ask(&replay).unwrap();
        assert_eq!(answer.code, 0);
        assert_eq!(json(&answer)["next_offset"], 5);

        let expected = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(expected.path()).unwrap();
        tree.begin_at(from).unwrap();
        drain(tree, &events, &[2]).unwrap();
        let mut found = files(&to);
        let mark = found.remove(Path::new("replay.yaml")).unwrap();
        assert_eq!(mark, format!("from: {from}\n").as_bytes());
        assert_same(&found, &files(expected.path()), &format!("from {from}"));

        // Again: there is nothing left to do.
        assert_eq!(json(&ask(&replay).unwrap())["counters"]["processed"], 0);
    }
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    let past = format!(
        "replay --from 6 --to {}/new --stream {}",
        dir.path().display(),
        stream.display()
    );
    assert!(ask(&past).unwrap_err().to_string().contains("no offset 6"));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        before,
        "a folder was made"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replay_that_was_stopped_goes_on_and_ends_with_the_last_message_that_is_wanted() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let events: Vec<_> = (0..9).flat_map(|_| morning()).collect();
    let stream = stream_file(dir.path(), &events);
    let options = Options {
        batch: stream::Limits {
            max_messages: 4,
            max_bytes: 1 << 20,
        },
        ..Options::default()
    };
    let stop = flag();
    let second = SecondTree::open(to.path(), 2).unwrap();
    assert_eq!(second.offset(), 2);
    let source = FileSource::open(&stream, 2, true).unwrap();
    let asked = Arc::clone(&stop);
    let sown = second
        .fill(source, Some(44), &options, &stop, |done, total| {
            assert_eq!(total, 43);
            asked.store(done >= 8, std::sync::atomic::Ordering::Relaxed);
        })
        .await
        .unwrap();
    assert_eq!((sown.stopped, sown.next_offset), (true, 10));

    // The source is followed and others still write: it ends all the same, and takes none of theirs.
    let second = SecondTree::open(to.path(), 2).unwrap();
    let source = FileSource::open(&stream, second.offset(), true).unwrap();
    stream_file(dir.path(), &morning());
    let on = flag();
    let filled = second.fill(source, Some(44), &options, &on, |_, _| {});
    let sown = tokio::time::timeout(Duration::from_secs(20), filled)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((sown.stopped, sown.next_offset), (false, 45));

    // Nobody says which is the last: it ends when nothing more comes.
    let second = SecondTree::open(to.path(), 2).unwrap();
    let source = FileSource::open(&stream, second.offset(), true).unwrap();
    let filled = second.fill(source, None, &options, &on, |_, _| {});
    let sown = tokio::time::timeout(Duration::from_secs(20), filled)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((sown.stopped, sown.next_offset), (false, 50));
}

#[test]
fn a_replay_goes_into_no_tree_of_anybodys_own_and_into_none_begun_elsewhere() {
    let own = tree_of(&morning());
    let before = files(own.path());
    let error = SecondTree::open(own.path(), 0).unwrap_err();
    assert!(matches!(error, Error::NotAReplay { .. }), "{error}");
    assert_eq!(files(own.path()), before);

    let to = tempfile::tempdir().unwrap();
    drop(SecondTree::open(to.path(), 3).unwrap());
    let error = SecondTree::open(to.path(), 4).unwrap_err().to_string();
    assert!(error.contains("was begun at offset 3, not 4"), "{error}");
    assert_eq!(SecondTree::open(to.path(), 3).unwrap().offset(), 3);
}
