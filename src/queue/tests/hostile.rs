//! QUE-7: what strangers send, through the whole queue: source, decoder, rules, tree, quarantine, ledger, log.
//!
//! Each hostile message lies between two sound ones, which must both arrive. What it leaves is looked at on the disk.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

mod common;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use annotation::encode::{self, Property};
use annotation::{Limits, Origin, Role, Status, Timestamp};
use common::EMAIL;
use queue::verbs::{self, Selection};
use queue::{Counters, Options, run};
use store::ledger::Event;
use store::{Depth, Error, Paths, Tree, ledger, quarantine};
use stream::file::{FileSource, FileWriter};

/// In every image of these tests.
const PIXELS: &str = "SECRETPIXELS";
/// In the configuration.
const PASSWORD: &str = "correct-horse-battery";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0 SECRETPIXELS";

/// An annotation by its creator, of which a test changes one thing.
#[derive(Clone, Copy)]
struct Sent<'a> {
    name: &'a str,
    detections: &'a str,
    image: &'a [u8],
}

impl Sent<'_> {
    fn body(self) -> Vec<u8> {
        encode::annotation(&encode::Annotation {
            name: self.name,
            status: Status::Created,
            created: Timestamp::from_secs(1_700_000_000),
            media_name: "slide",
            time_us: 0,
            image_extension: "jpg",
            detections: self.detections,
            image: Some(self.image),
            role: Role::Operator,
            email: EMAIL,
            origin: Origin::Manual,
        })
    }

    fn raw(self) -> Vec<u8> {
        encode::message(&self.body(), Property::Number(Status::Created))
    }
}

const SOUND: Sent<'_> = Sent {
    name: "cell-x",
    detections: "[]",
    image: JPEG,
};

fn named(name: &str) -> Vec<u8> {
    Sent { name, ..SOUND }.raw()
}

fn detected(detections: &str) -> Vec<u8> {
    Sent { detections, ..SOUND }.raw()
}

fn pictured(image: &[u8]) -> Vec<u8> {
    Sent { image, ..SOUND }.raw()
}

fn bulk(names: &[&str]) -> Vec<u8> {
    let body = encode::bulk(&encode::Bulk {
        names,
        status: Status::Validated,
        email: EMAIL,
        created: Timestamp::from_secs(1_700_000_000),
    });
    encode::message(&body, Property::Absent)
}

/// The bytes with one run of them replaced.
fn with(raw: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let at = raw.windows(what.len()).position(|window| window == what).unwrap();
    [&raw[..at], by, &raw[at + what.len()..]].concat()
}

/// A tree that has read messages.
struct After {
    root: tempfile::TempDir,
    counters: Counters,
}

impl After {
    fn paths(&self) -> Paths {
        Paths::under(self.root.path())
    }

    /// The kinds of reasons in quarantine, with the offsets.
    fn quarantined(&self) -> Vec<(u64, String)> {
        let all = quarantine::list(&self.paths().quarantine()).unwrap();
        all.into_iter()
            .map(|refused| (refused.record.offset, refused.record.kind))
            .collect()
    }

    /// Offset and name of each line of the ledger.
    fn ledger(&self) -> Vec<(u64, Event, String)> {
        ledger::read(&self.paths().ledger_file())
            .unwrap()
            .map(|entry| entry.map(|entry| (entry.offset.unwrap(), entry.event, entry.name.to_string())))
            .collect::<Result<_, _>>()
            .unwrap()
    }
}

/// The tree after `messages`, which the queue reads from a stream file to its end. Whatever comes in, tree and ledger agree.
fn after(root: tempfile::TempDir, messages: &[Vec<u8>]) -> After {
    listen();
    let stream = tempfile::tempdir().unwrap();
    let path = stream.path().join("annotations.stream");
    let mut writer = FileWriter::create_or_append(&path).unwrap();
    for message in messages {
        writer.append(message).unwrap();
    }
    writer.sync().unwrap();
    let tree = Tree::open(root.path()).unwrap();
    let mut source = FileSource::open(&path, tree.offset(), false).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let never = Arc::new(AtomicBool::new(false));
    let summary = runtime
        .block_on(run(&mut source, tree, &Options::default(), &never, |_| {}))
        .unwrap();
    assert_eq!(
        summary.tree.offset(),
        messages.len() as u64,
        "every message is passed"
    );
    let counters = summary.progress.counters;
    assert_eq!(counters.processed + counters.failed, messages.len() as u64);
    drop(summary);
    let after = After { root, counters };
    let verified = store::verify(&after.paths(), Depth::Bytes, |_, _| {}).unwrap();
    assert!(verified.is_clean(), "{verified:?}");
    after
}

/// Between two sound messages, each of these goes to quarantine whole, for this kind of reason, and leaves nothing else.
fn assert_refused(hostile: &[(&str, Vec<u8>)]) {
    let mut messages = vec![named("cell-before")];
    messages.extend(hostile.iter().map(|(_, raw)| raw.clone()));
    messages.push(named("cell-behind"));
    let last = messages.len() as u64 - 1;
    let after = after(tempfile::tempdir().unwrap(), &messages);

    let expected: Vec<_> = (1..)
        .zip(hostile.iter().map(|(kind, _)| (*kind).to_owned()))
        .collect();
    assert_eq!(after.quarantined(), expected);
    for (refused, (_, raw)) in quarantine::list(&after.paths().quarantine())
        .unwrap()
        .iter()
        .zip(hostile)
    {
        assert!(
            refused.read().unwrap() == *raw,
            "{} is not whole",
            refused.record.offset
        );
    }
    assert_eq!(
        after.counters,
        Counters {
            processed: 2,
            created: 2,
            failed: hostile.len() as u64,
            ..Counters::default()
        }
    );
    let created = |offset, name: &str| (offset, Event::Created, name.to_owned());
    assert_eq!(
        after.ledger(),
        [created(0, "cell-before"), created(last, "cell-behind")]
    );
    assert_eq!(
        names_in(&after.root.path().join("data-seed/images")),
        ["cell-before.jpg", "cell-behind.jpg"]
    );
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Names that must never become a path.
fn unsafe_names() -> Vec<String> {
    let long = "x".repeat(10_000);
    [
        "",
        ".",
        "..",
        "../cell",
        "/etc/passwd",
        "cells/cell",
        "cell\\cell",
        "cell\0",
        "cell.jpg\0.txt",
        "cell cell",
        "cell\n",
        "клетка",
        "细胞",
        "خلية",
        "cell\u{202e}gpj",
        "~",
        "$HOME",
        &long,
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn an_unsafe_name_never_becomes_a_path() {
    let hostile: Vec<_> = unsafe_names().iter().map(|name| ("name", named(name))).collect();
    assert_refused(&hostile);
}

#[test]
fn names_that_only_look_unsafe_are_names() {
    let odd = ["-rf", "...", ".hidden", "--", "CON", "cell.jpg", "a..b", "-"];
    let messages = odd.map(named);
    let after = after(tempfile::tempdir().unwrap(), &messages);
    assert_eq!((after.counters.created, after.quarantined().len()), (8, 0));
    for name in odd {
        assert!(
            after
                .root
                .path()
                .join(format!("data-seed/labels/{name}.txt"))
                .is_file(),
            "{name}"
        );
    }
}

#[test]
fn unsafe_names_in_a_list_do_not_hold_up_the_others() {
    let unsafe_names = unsafe_names();
    let mut list: Vec<&str> = unsafe_names.iter().map(String::as_str).collect();
    list.insert(3, "cell-a");
    let after = after(tempfile::tempdir().unwrap(), &[named("cell-a"), bulk(&list)]);
    assert_eq!((after.counters.validated, after.counters.failed), (1, 1));
    assert_eq!(after.quarantined(), [(1, "name".to_owned())]);
    assert!(after.root.path().join("data/labels/cell-a.txt").is_file());
}

/// The first bytes of a PNG of 60000 by 60000 pixels: 10.8 GB once decoded.
fn bomb() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend(60_000_u32.to_be_bytes());
    png.extend(60_000_u32.to_be_bytes());
    png.extend(b"\x08\x02\0\0\0");
    png.extend(PIXELS.as_bytes());
    png
}

#[test]
fn what_is_no_image_or_none_of_this_world_is_refused() {
    let html = b"<!DOCTYPE html><html><body>413 Request Entity Too Large SECRETPIXELS</body></html>";
    let large = [JPEG, &vec![b'x'; 100 << 20]].concat();
    assert_refused(&[
        ("not-an-image", pictured(html)),
        ("image-missing", pictured(b"")),
        ("not-an-image", pictured(b"\xff\xd8")),
        ("not-an-image", pictured(b"BM SECRETPIXELS and more of it")),
        ("too-large", pictured(&large)),
    ]);
}

#[test]
fn an_image_that_explodes_when_it_is_decoded_is_kept_and_not_decoded() {
    let begun = Instant::now();
    let after = after(tempfile::tempdir().unwrap(), &[pictured(&bomb())]);
    assert_eq!((after.counters.created, after.counters.failed), (1, 0));
    let kept = std::fs::read(after.root.path().join("data-seed/images/cell-x.jpg")).unwrap();
    assert_eq!(kept, bomb());
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// Detections that are no detections.
fn bad_detections() -> Vec<String> {
    let number = |x: &str| format!(r#"[{{"cls":0,"x":{x},"y":0.5,"w":0.1,"h":0.1}}]"#);
    let class = |cls: &str| format!(r#"[{{"cls":{cls},"x":0.5,"y":0.5,"w":0.1,"h":0.1}}]"#);
    let mut all = [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e308",
        "1e999",
        "-1",
        "1.0001",
        "null",
        "\"0.5\"",
        "[]",
    ]
    .map(number)
    .to_vec();
    all.extend(["-1", "80", "1e308", "0.5", "18446744073709551616"].map(class));
    all.extend(["", "no JSON", "[", "null", "{}", "[[]]", "[{}]", "[1]", "<html>"].map(str::to_owned));
    all.push("[".repeat(100_000));
    all
}

#[test]
fn detections_that_are_none_are_refused_whole() {
    let hostile: Vec<_> = bad_detections()
        .iter()
        .map(|text| ("detections", detected(text)))
        .collect();
    assert_refused(&hostile);
}

#[test]
fn ten_thousand_boxes_are_ten_thousand_lines() {
    let boxes = encode::raw_detections(&vec![[3.0, 0.5, 0.25, 0.125, 0.1]; 10_000]);
    let after = after(tempfile::tempdir().unwrap(), &[detected(&boxes)]);
    assert_eq!(after.counters.created, 1);
    let label = std::fs::read_to_string(after.root.path().join("data-seed/labels/cell-x.txt")).unwrap();
    assert_eq!(label, "3 0.5 0.25 0.125 0.1\n".repeat(10_000));
}

/// Messages whose outside is wrong, with the kinds of reasons.
fn bad_envelopes() -> Vec<(&'static str, Vec<u8>)> {
    let property = b"AnnotationStatus\x54\x0a";
    let zero = with(&SOUND.raw(), property, b"AnnotationStatus\x54\0");
    let body = SOUND.body();
    let mut zero_inside = body.clone();
    *zero_inside.last_mut().unwrap() = 0;
    // A twelfth field, and a list of names, that hold 10,000 lists in each other.
    let nested = [&[0x91; 10_000][..], b"\xc0"].concat();
    let deep = [b"\x9c", &body[1..], &nested].concat();
    let bomb = encode::gzip(&vec![0; (128 << 20) + 1]);
    vec![
        ("status-unknown", zero),
        ("field", encode::message(&zero_inside, Property::Absent)),
        ("messagepack", encode::message(&deep, Property::Absent)),
        ("field", encode::message(&nested, Property::Absent)),
        ("too-large", encode::message(&bomb, Property::Absent)),
        (
            "gzip",
            encode::message(&encode::gzip(&body)[..40], Property::Absent),
        ),
        ("amqp", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("amqp", Vec::new()),
        ("amqp", SOUND.raw()[..60].to_vec()),
    ]
}

#[test]
fn a_wrong_status_deep_nesting_and_a_gzip_bomb_are_refused() {
    assert_refused(&bad_envelopes());
}

#[test]
fn a_list_of_a_hundred_thousand_names_half_of_them_unknown_moves_the_others() {
    const NAMES: usize = 100_000;
    // In memory where there is such a file system: it is about the number, not the disk.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let root = root.unwrap();
    let paths = Tree::open(root.path()).unwrap().paths().clone();
    let names: Vec<String> = (0..NAMES).map(|n| format!("cell-{n}")).collect();
    for name in names.iter().step_by(2) {
        let path = |kind: &str, end: &str| root.path().join(format!("data-seed/{kind}/{name}.{end}"));
        std::fs::write(path("images", "jpg"), JPEG).unwrap();
        std::fs::write(path("labels", "txt"), "").unwrap();
    }
    store::rebuild_ledger(&paths, |_, _| {}).unwrap();

    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let after = after(root, &[bulk(&list), named("cell-behind")]);
    let took = begun.elapsed();
    eprintln!(
        "100,000 names in {:.1} s, the comparison with the ledger included",
        took.as_secs_f64()
    );
    assert!(took < Duration::from_secs(240), "{took:?}");

    let half = NAMES as u64 / 2;
    assert_eq!(
        after.counters,
        Counters {
            processed: 2,
            created: 1,
            validated: half,
            unmatched: half,
            ..Counters::default()
        }
    );
    assert_eq!(names_in(&after.root.path().join("data/images")).len(), NAMES / 2);
    assert_eq!(
        names_in(&after.root.path().join("data-seed/labels")),
        ["cell-behind.txt"]
    );
    assert_eq!(
        store::unmatched::read(&after.paths().unmatched_file())
            .unwrap()
            .len(),
        NAMES / 2
    );
    let events = ledger::read(&after.paths().ledger_file())
        .unwrap()
        .map(|entry| entry.unwrap().event);
    let count = |event| events.filter(|found| *found == event).count();
    assert_eq!(count(Event::Validated), NAMES / 2);
}

#[test]
fn one_name_too_many_is_refused_and_moves_none() {
    let list = vec!["cell-before"; 100_001];
    assert_refused(&[("field", bulk(&list))]);
}

#[test]
fn an_offset_with_text_in_it_stops_the_start_and_stays_as_it_is() {
    let after = after(tempfile::tempdir().unwrap(), &[named("cell-a")]);
    let file = after.root.path().join("offset.yaml");
    std::fs::write(&file, "version: 1\noffset: the next one\n").unwrap();
    let error = Tree::open(after.root.path()).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    let words = error.to_string();
    assert!(
        words.contains("offset.yaml is not usable") && words.contains("restore it"),
        "{words}"
    );
    assert_eq!(
        std::fs::read_to_string(file).unwrap(),
        "version: 1\noffset: the next one\n"
    );
    let told = verbs::standing(&after.paths()).unwrap_err().to_string();
    assert!(told.contains("offset.yaml"), "{told}");
}

#[test]
fn a_second_writer_is_told_who_the_first_is() {
    let root = tempfile::tempdir().unwrap();
    let first = Tree::open(root.path()).unwrap();
    let error = Tree::open(root.path()).unwrap_err().to_string();
    let holder = format!("in use by process {}", std::process::id());
    assert!(error.contains(&holder), "{error}");
    drop(first);
    assert!(Tree::open(root.path()).is_ok());
}

/// Everything that was logged in this process since the first test began, at every level and by every thread.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct ToLog;

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn listen() {
    static BEGIN: Once = Once::new();
    BEGIN.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| ToLog)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

#[test]
fn no_log_at_any_level_holds_an_email_a_password_or_a_byte_of_an_image() {
    let mut messages = vec![named("cell-a"), bulk(&["cell-a", "cell-b", "../cell"])];
    messages.extend(unsafe_names().iter().map(|name| named(name)));
    messages.extend(bad_detections().iter().map(|text| detected(text)));
    messages.extend(bad_envelopes().into_iter().map(|(_, raw)| raw));
    messages.push(pictured(b"<html> SECRETPIXELS </html>"));
    messages.push(pictured(&bomb()));
    // The same bytes as they would be in the middle of a message that was cut off anywhere.
    messages.extend((1..SOUND.raw().len()).map(|length| SOUND.raw()[..length].to_vec()));
    let after = after(tempfile::tempdir().unwrap(), &messages);

    let config = format!(
        "root_dir: {}\nrabbitmq: {{password: {PASSWORD}}}\napi: {{password: {PASSWORD}}}\n",
        after.root.path().display()
    );
    let config = service::Config::parse(&config, Path::new("config.yaml")).unwrap();
    tracing::trace!(?config, "configuration");
    let shown = verbs::show(&after.paths(), 2, &Limits::default()).unwrap();
    tracing::trace!(%shown, ?shown, "shown");
    let replayed = verbs::replay_quarantined(&after.paths(), &Selection::All, &Limits::default(), |_, _| {});
    tracing::trace!(?replayed, "replayed");
    assert!(!replayed.unwrap().stayed.is_empty());

    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    for expected in [
        "annotation saved",
        "message quarantined",
        "names could not be matched",
        "configuration",
    ] {
        assert!(log.contains(expected), "{expected} was not logged");
    }
    let pixels = PIXELS.as_bytes();
    let bytes = format!("{:?}", &pixels[..4]);
    let hexadecimal: String = pixels[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    // As text, as a list of numbers, as hexadecimal digits.
    let secrets = [
        PASSWORD,
        EMAIL,
        "someone",
        PIXELS,
        &bytes[1..bytes.len() - 1],
        &hexadecimal,
    ];
    for secret in secrets {
        let found = log.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} was logged");
    }
    for name in ["клетка", "细胞", "passwd", "xxxxxxxx"] {
        assert!(!log.contains(name), "foreign text was logged: {name}");
    }
}
