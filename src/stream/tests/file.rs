//! What a stream in a file promises: nothing lost, nothing invented, a torn tail told from damage.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what only prepares a test may panic too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use stream::{
    Batch, Error, Limits, Message, Source,
    file::{FileSource, FileWriter, MAX_MESSAGE_BYTES},
};
use tempfile::TempDir;
use tokio::time::timeout;

const HEADER: usize = 16;
const HEAD: usize = 12;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("annotations.stream");
    (folder, path)
}

fn write(path: &Path, payloads: &[impl AsRef<[u8]>]) -> FileWriter {
    let mut writer = FileWriter::create_or_append(path).unwrap();
    let first = writer.next_offset();
    for (payload, offset) in payloads.iter().zip(first..) {
        assert_eq!(writer.append(payload.as_ref()).unwrap(), offset);
    }
    writer.sync().unwrap();
    writer
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// Everything from the source's place on, and the error it ended with, if any. Offsets are checked on the way.
fn drain(source: &mut FileSource, from: u64, limits: Limits) -> (Vec<Vec<u8>>, Option<Error>) {
    let mut payloads = Vec::new();
    loop {
        match block_on(source.next(limits)) {
            Ok(Some(Batch { messages })) => {
                assert!(!messages.is_empty() && messages.len() <= limits.max_messages.max(1));
                let bytes: usize = messages.iter().map(|message| message.bytes.len()).sum();
                assert!(messages.len() == 1 || bytes <= limits.max_bytes);
                for Message { offset, bytes, .. } in messages {
                    assert_eq!(offset, from + payloads.len() as u64);
                    payloads.push(bytes.to_vec());
                }
            }
            Ok(None) => return (payloads, None),
            Err(error) => return (payloads, Some(error)),
        }
    }
}

fn read_all(path: &Path) -> (Vec<Vec<u8>>, Option<Error>) {
    drain(
        &mut FileSource::open(path, 0, false).unwrap(),
        0,
        Limits::default(),
    )
}

/// Where each record begins, and the end.
fn positions(payloads: &[&[u8]]) -> Vec<usize> {
    let sizes = payloads.iter().map(|payload| HEAD + payload.len());
    let ends = sizes.scan(HEADER, |at, size| {
        *at += size;
        Some(*at)
    });
    std::iter::once(HEADER).chain(ends).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_appended_is_read_from_any_offset_within_any_limits(
        payloads in vec(vec(any::<u8>(), 0..300), 0..20),
        sessions in 1..4_usize,
        from in any::<prop::sample::Index>(),
        max_messages in 0..8_usize,
        max_bytes in 0..1000_usize,
    ) {
        let (_folder, path) = folder();
        write(&path, &[] as &[&[u8]]);
        for session in payloads.chunks(payloads.len() / sessions + 1) {
            write(&path, session);
        }
        let from = from.index(payloads.len() + 1);
        let mut source = FileSource::open(&path, from as u64, false).unwrap();
        prop_assert_eq!(source.watch().borrow().last_offset, (payloads.len() as u64).checked_sub(1));
        let (read, error) = drain(&mut source, from as u64, Limits { max_messages, max_bytes });
        prop_assert!(error.is_none());
        prop_assert_eq!(&read[..], &payloads[from..]);
    }
}

#[test]
fn a_file_that_ends_anywhere_reads_to_its_last_whole_message_and_can_be_continued() {
    let payloads: [&[u8]; 4] = [b"cells", b"", b"shapes and fruit", b"x"];
    let (_folder, path) = folder();
    write(&path, &payloads);
    let whole = fs::read(&path).unwrap();
    let positions = positions(&payloads);
    assert_eq!(whole.len(), positions[4]);
    for length in HEADER..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let intact = positions.iter().filter(|&&position| position <= length).count() - 1;
        let (read, error) = read_all(&path);
        assert!(error.is_none(), "{length}: {error:?}");
        assert_eq!(read, payloads[..intact], "{length}");
        let mut writer = FileWriter::create_or_append(&path).unwrap();
        assert_eq!(writer.append(b"again").unwrap(), intact as u64, "{length}");
        let (read, error) = read_all(&path);
        assert!(error.is_none(), "{length}: {error:?}");
        assert_eq!(read[..intact], payloads[..intact], "{length}");
        assert_eq!(read[intact..], [b"again"], "{length}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_never_read_as_a_message() {
    let payloads: [&[u8]; 3] = [b"cells", b"shapes and fruit", b"cones"];
    let (_folder, path) = folder();
    write(&path, &payloads);
    let whole = fs::read(&path).unwrap();
    let positions = positions(&payloads);
    for changed in HEADER..whole.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[changed] ^= mask;
            fs::write(&path, &bytes).unwrap();
            let record = positions.iter().filter(|&&position| position <= changed).count() - 1;
            let in_last_payload = changed >= positions[2] + HEAD;
            let in_a_head = changed < positions[record] + HEAD;
            if in_a_head {
                // A damaged head hides what comes after it, so already opening says so.
                let error = FileSource::open(&path, 0, false).unwrap_err();
                assert_damaged(&error, positions[record], record);
                assert_damaged(
                    &FileWriter::create_or_append(&path).unwrap_err(),
                    positions[record],
                    record,
                );
                continue;
            }
            let (read, error) = read_all(&path);
            assert_eq!(read, payloads[..record], "byte {changed}");
            if in_last_payload {
                assert!(error.is_none(), "a torn tail is the end: {error:?}");
            } else {
                assert_damaged(&error.unwrap(), positions[record], record);
            }
        }
    }
}

fn assert_damaged(error: &Error, expected_position: usize, expected_offset: usize) {
    match error {
        Error::Damaged { position, offset, .. } => {
            assert_eq!(
                (*position, *offset),
                (expected_position as u64, expected_offset as u64)
            );
        }
        other => panic!("damage at {expected_position} was told as {other}"),
    }
    let text = error.to_string();
    assert!(
        text.contains(&format!("byte {expected_position}, offset {expected_offset}")),
        "{text}"
    );
}

#[test]
fn zeros_after_a_power_cut_are_a_torn_tail_but_zeros_before_messages_are_damage() {
    let (_folder, path) = folder();
    write(&path, &["cells"]);
    let intact = fs::read(&path).unwrap();
    let zeros = [0; 100_000];
    fs::write(&path, [&intact[..], &zeros].concat()).unwrap();
    assert_eq!(read_all(&path).0, [b"cells"]);
    assert_eq!(FileWriter::create_or_append(&path).unwrap().next_offset(), 1);
    assert_eq!(fs::read(&path).unwrap(), intact);

    fs::write(&path, [&intact[..], &zeros, &intact[HEADER..]].concat()).unwrap();
    let error = FileSource::open(&path, 0, false).unwrap_err();
    assert_damaged(&error, intact.len(), 1);
    assert!(FileWriter::create_or_append(&path).is_err());
}

#[test]
fn files_of_another_kind_are_refused_and_left_alone() {
    let (_folder, path) = folder();
    write(&path, &["cells"]);
    let whole = fs::read(&path).unwrap();
    let mut other_magic = whole.clone();
    other_magic[0] = b'x';
    let mut damaged_header = whole.clone();
    damaged_header[13] ^= 1;
    for bytes in [&b""[..], b"azstream", &other_magic, &damaged_header] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(
            FileSource::open(&path, 0, false),
            Err(Error::NotAStream { .. })
        ));
        assert!(matches!(
            FileWriter::create_or_append(&path),
            Err(Error::NotAStream { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let mut version_2 = whole;
    version_2[8] = 2;
    let crc = crc32fast::hash(&version_2[..12]);
    version_2[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &version_2).unwrap();
    let error = FileSource::open(&path, 0, false).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Version {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    let missing = FileSource::open(&path.with_extension("none"), 0, false).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open"), "{missing}");
}

#[test]
fn an_offset_after_the_end_is_an_error() {
    let (_folder, path) = folder();
    write(&path, &["a", "b"]);
    assert!(FileSource::open(&path, 2, false).is_ok());
    let error = FileSource::open(&path, 3, true).unwrap_err();
    assert!(
        matches!(
            error,
            Error::PastEnd {
                from: 3,
                messages: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_stream_has_one_writer() {
    let (_folder, path) = folder();
    let first = write(&path, &["a"]);
    assert!(matches!(
        FileWriter::create_or_append(&path),
        Err(Error::Locked { .. })
    ));
    assert_eq!(read_all(&path).0, [b"a"]);
    drop(first);
    assert!(FileWriter::create_or_append(&path).is_ok());
}

#[test]
fn writers_that_start_together_leave_one_stream_and_nothing_beside_it() {
    let (folder, path) = folder();
    let created: usize = std::thread::scope(|scope| {
        let open =
            || usize::from(FileWriter::create_or_append(&path).is_ok_and(|mut w| w.append(b"a").is_ok()));
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(created >= 1);
    assert_eq!(read_all(&path).0.len(), created);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_message_that_is_too_large_is_refused_and_the_stream_goes_on() {
    let (_folder, path) = folder();
    let mut writer = write(&path, &["a"]);
    let large = vec![0; MAX_MESSAGE_BYTES + 1];
    assert!(matches!(writer.append(&large), Err(Error::TooLarge { .. })));
    assert_eq!(writer.append(b"b").unwrap(), 1);
}

#[test]
fn one_message_larger_than_the_limit_comes_alone() {
    let (_folder, path) = folder();
    let large = vec![7; 100_000];
    write(&path, &[b"a", &large[..], b"b"]);
    let limits = Limits {
        max_messages: 10,
        max_bytes: 1000,
    };
    let mut source = FileSource::open(&path, 0, false).unwrap();
    let sizes =
        std::iter::from_fn(|| block_on(source.next(limits)).unwrap()).map(|batch| batch.messages.len());
    assert_eq!(sizes.collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_follower_reads_what_is_written_while_it_waits() {
    const COUNT: u64 = 500;
    let (_folder, path) = folder();
    drop(FileWriter::create_or_append(&path).unwrap());
    let mut source = FileSource::open(&path, 0, true).unwrap();
    let payload = |offset: u64| offset.to_le_bytes().repeat(1 + offset as usize % 700);
    let writing = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let mut writer = FileWriter::create_or_append(&path).unwrap();
            (0..COUNT).for_each(|offset| assert_eq!(writer.append(&payload(offset)).unwrap(), offset));
        }
    });
    let mut next = 0;
    while next < COUNT {
        let batch = timeout(Duration::from_secs(20), source.next(Limits::default()))
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        for message in batch.messages {
            assert_eq!((message.offset, &message.bytes[..]), (next, &payload(next)[..]));
            next += 1;
        }
    }
    writing.await.unwrap();
    assert_eq!(source.watch().borrow().last_offset, Some(COUNT - 1));
}

#[tokio::test]
async fn a_follower_waits_at_a_torn_tail_and_goes_on_when_the_writer_is_back() {
    let (_folder, path) = folder();
    write(&path, &["a", "torn"]);
    let whole = fs::read(&path).unwrap();
    let mut bad_last = whole.clone();
    *bad_last.last_mut().unwrap() ^= 1;
    // A record cut short, and one of full length whose payload did not reach the disk.
    for torn in [&whole[..whole.len() - 1], &bad_last] {
        fs::write(&path, torn).unwrap();
        let mut source = FileSource::open(&path, 1, true).unwrap();
        assert_eq!(source.watch().borrow().last_offset, Some(0));
        let waited = timeout(Duration::from_millis(60), source.next(Limits::default())).await;
        assert!(waited.is_err(), "{waited:?}");
        // The new message has the torn one's very size.
        write(&path, &["good"]);
        let batch = timeout(Duration::from_secs(5), source.next(Limits::default()))
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(batch.messages, [Message::new(1, "good".into())]);
    }
}

#[tokio::test]
async fn a_follower_says_when_its_file_is_taken_away() {
    let (_folder, path) = folder();
    write(&path, &["a", "b"]);
    for take_away in [
        |path: &Path| fs::remove_file(path).unwrap(),
        |path: &Path| fs::write(path, b"").unwrap(),
    ] {
        drop(FileWriter::create_or_append(&path));
        let count = FileWriter::create_or_append(&path).unwrap().next_offset();
        let mut source = FileSource::open(&path, count, true).unwrap();
        write(&path, &["c"]);
        assert!(source.next(Limits::default()).await.unwrap().is_some());
        take_away(&path);
        let error = timeout(Duration::from_secs(5), source.next(Limits::default()))
            .await
            .unwrap()
            .unwrap_err();
        assert!(matches!(error, Error::Replaced { .. }), "{error}");
    }
}

#[test]
fn a_dropped_read_has_consumed_nothing() {
    let (_folder, path) = folder();
    write(&path, &["a", "b", "c"]);
    // The one thread for file work is kept busy, so that no read can be ready at its first poll.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut source = FileSource::open(&path, 0, false).unwrap();
        let limits = Limits {
            max_messages: 1,
            max_bytes: 100,
        };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv().is_err());
        for _ in 0..5 {
            let dropped = timeout(Duration::ZERO, source.next(limits)).await;
            assert!(dropped.is_err(), "{dropped:?}");
        }
        drop(release);
        assert!(busy.await.unwrap());
        let batch = source.next(limits).await.unwrap().unwrap();
        assert_eq!(batch.messages, [Message::new(0, "a".into())]);
    });
}

#[test]
fn no_message_is_shown_by_debug() {
    let message = Message::new(3, "someone@example.org".into());
    assert_eq!(format!("{message:?}"), "Message { offset: 3, bytes: [19 bytes] }");
}
