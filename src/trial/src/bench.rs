//! Messages a second into the tree, everything durable, beside a consumer in Python that syncs nothing.
//!
//! Both read the same stream of the same broker from its beginning into a new folder, in turns whose order reverses. Ours
//! is timed from the start of its process until the last offset is durable; the peer from its subscription, without the
//! start of Python, until its last write. Beside them stands what the disk takes in one file that is synced every 16 MiB, and
//! what our reader takes from the broker if nothing is done with it: no consumer is faster than that on the same machine.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annotation::{Origin, Role, Status, Timestamp, encode};
use anyhow::{Context as _, ensure};
use broker::{Broker, PASSWORD, StreamOptions, USER, Version};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use stream::rabbit::{Options, RabbitSource};
use stream::{Limits, Source as _};
use zeroize::Zeroizing;

use crate::daemon::Setup;

const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(300);

/// What to measure with.
#[derive(Debug, Clone)]
pub struct Place {
    /// `azaion-queue`.
    pub program: PathBuf,
    /// A Python that has rstream.
    pub python: PathBuf,
    /// The peer.
    pub peer: PathBuf,
    /// A folder on the disk that is measured.
    pub folder: PathBuf,
    /// Annotations that are in the tree before a run, one run for each number.
    pub grown: Vec<u64>,
}

/// Measures everything; one row for each figure, with a bound where one was set.
pub fn run(place: &Place) -> anyhow::Result<Vec<Value>> {
    let broker = Broker::start(Version::V4_0)?;
    measure(place, &broker).with_context(|| format!("the broker says:\n{}", broker.log()))
}

fn measure(place: &Place, broker: &Broker) -> anyhow::Result<Vec<Value>> {
    // Nothing is removed before the end: ext4 looks at each file number that was given back in the last minutes before it
    // makes a file, which costs ten times the file after a hundred thousand were removed.
    let kept = tempfile::tempdir_in(&place.folder)?;
    let place = &Place {
        folder: kept.path().to_owned(),
        ..place.clone()
    };
    let mut rows = Vec::new();
    rows.extend(rates(place, broker, "300 KB", 300_000, 1_000, 3.0)?);
    rows.extend(rates(place, broker, "4 KB", 4_096, 20_000, 8.0)?);
    rows.push(large_chunk(place, broker)?);
    rows.extend(start_and_idle(place, broker)?);
    rows.extend(grown(place, broker)?);
    Ok(rows)
}

/// A rate, measured.
type Turn<'a> = &'a dyn Fn() -> anyhow::Result<f64>;

/// Ours, the peer, the broker and the disk in turns.
fn rates(
    place: &Place,
    broker: &Broker,
    name: &str,
    size: usize,
    count: u32,
    floor: f64,
) -> anyhow::Result<Vec<Value>> {
    let stream = format!("rate-{size}");
    fill(broker, &stream, size, count, "cell")?;
    let [mut ours, mut peers, mut brokers, mut disks] = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        let mut turns: [(&mut Vec<f64>, Turn<'_>); 4] = [
            (&mut ours, &|| {
                our_rate(place, broker, &stream, count, &fresh(place)?)
            }),
            (&mut peers, &|| peer_rate(place, broker, &stream, count)),
            (&mut brokers, &|| broker_rate(broker, &stream, count)),
            (&mut disks, &|| disk_rate(&place.folder)),
        ];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (rates, turn) in turns {
            let rate = turn()?;
            eprintln!("{name}, round {round}: {rate:.0}");
            // The first round warms up.
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    broker.delete_stream(&stream)?;
    let ratio =
        |rates: &[f64], others: &[f64]| median(rates.iter().zip(others).map(|(one, other)| one / other));
    let rate = |rates: &[f64]| median(rates.iter().copied());
    let mut rows = vec![
        json!({
            "item": format!("messages of {name} a second"),
            "ours": rate(&ours), "peer": rate(&peers), "ratio": ratio(&ours, &peers), "floor": floor,
        }),
        json!({
            "item": format!("messages of {name} a second, received and thrown away"),
            "ours": rate(&brokers), "peer": rate(&peers), "ratio": ratio(&brokers, &peers),
        }),
    ];
    if size > 100_000 {
        let megabytes = |rates: &[f64]| {
            rates
                .iter()
                .map(|rate| rate * size as f64 / 1e6)
                .collect::<Vec<_>>()
        };
        let (ours, brokers) = (megabytes(&ours), megabytes(&brokers));
        rows.push(json!({
            "item": format!("MB/s at {name}, beside synced sequential writes"),
            "ours": rate(&ours), "disk": rate(&disks), "ratio": ratio(&ours, &disks), "floor": 0.6,
        }));
        rows.push(json!({
            "item": format!("MB/s at {name}, received and thrown away"),
            "ours": rate(&brokers), "disk": rate(&disks), "ratio": ratio(&brokers, &disks),
        }));
    }
    Ok(rows)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Publishes `count` annotations with images of `size` bytes.
fn fill(broker: &Broker, stream: &str, size: usize, count: u32, prefix: &str) -> anyhow::Result<()> {
    broker.create_stream(stream, &StreamOptions::default())?;
    let mut publisher = broker.publisher(stream)?;
    let mut image = jpeg(size);
    // Frames of about a megabyte.
    let each = (1_000_000 / size).clamp(1, 200) as u32;
    let mut n = 0;
    while n < count {
        let until = (n + each).min(count);
        let messages: Vec<Vec<u8>> = (n..until).map(|n| message(prefix, n, &mut image)).collect();
        publisher.send(&messages)?;
        n = until;
    }
    Ok(publisher.confirm()?)
}

/// Bytes that no disk compresses, with the head of a JPEG.
fn jpeg(size: usize) -> Vec<u8> {
    let mut image = vec![0; size];
    ChaCha8Rng::seed_from_u64(size as u64).fill_bytes(&mut image);
    image[..4].copy_from_slice(b"\xff\xd8\xff\xe0");
    image
}

fn message(prefix: &str, n: u32, image: &mut [u8]) -> Vec<u8> {
    image[4..8].copy_from_slice(&n.to_le_bytes());
    let body = encode::annotation(&encode::Annotation {
        name: &format!("{prefix}-{n:08}"),
        status: Status::Created,
        created: Timestamp::from_secs(1_700_000_000),
        media_name: "slide",
        time_us: 0,
        image_extension: "jpg",
        detections: &encode::raw_detections(&[[1.0, 0.5, 0.25, 0.125, 0.1], [0.0, 0.25, 0.75, 0.2, 0.1]]),
        image: Some(image),
        role: Role::Operator,
        email: "someone@example.org",
        origin: Origin::Manual,
    });
    encode::message(&body, encode::Property::Number(Status::Created))
}

fn our_rate(place: &Place, broker: &Broker, stream: &str, count: u32, folder: &Path) -> anyhow::Result<f64> {
    let setup = Setup::new(&place.program, folder, broker.port(), stream, "")?;
    settle(&setup.root)?;
    let begun = Instant::now();
    let mut daemon = setup.start()?;
    daemon.wait_for(u64::from(count), PATIENCE)?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        daemon.terminate()?.success(),
        "the daemon failed:\n{}",
        setup.tail()
    );
    Ok(f64::from(count) / seconds)
}

/// Our reader alone, from its start until the last message is in memory; nothing is done with any.
fn broker_rate(broker: &Broker, stream: &str, count: u32) -> anyhow::Result<f64> {
    let mut options = Options::new(stream, USER, Arc::new(|| Ok(Zeroizing::new(PASSWORD.to_owned()))));
    options.port = broker.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let mut source = RabbitSource::start(options);
        let mut next = 0;
        while next < u64::from(count) {
            let batch = source.next(Limits::default()).await?;
            next = batch.context("the stream is too short")?.next_offset();
            source.durable(next);
        }
        let seconds = begun.elapsed().as_secs_f64();
        source.close().await;
        Ok(f64::from(count) / seconds)
    })
}

fn peer_rate(place: &Place, broker: &Broker, stream: &str, count: u32) -> anyhow::Result<f64> {
    let folder = fresh(place)?;
    settle(&folder)?;
    let output = Command::new(&place.python)
        .arg(&place.peer)
        .args([
            &broker.port().to_string(),
            USER,
            PASSWORD,
            stream,
            &count.to_string(),
        ])
        .arg(&folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", place.python.display()))?;
    ensure!(output.status.success(), "the peer failed");
    let said: Value = serde_json::from_slice(&output.stdout).context("the peer said something else")?;
    let seconds = said["seconds"].as_f64().context("no seconds")?;
    Ok(f64::from(count) / seconds)
}

/// A new folder, which stays until the place's own goes.
fn fresh(place: &Place) -> anyhow::Result<PathBuf> {
    Ok(tempfile::tempdir_in(&place.folder)?.keep())
}

/// Megabytes a second of one file, synced every 16 MiB.
fn disk_rate(folder: &Path) -> anyhow::Result<f64> {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: usize = 512;
    let block = jpeg(BLOCK);
    settle(folder)?;
    let mut file = tempfile::tempfile_in(folder)?;
    let begun = Instant::now();
    for n in 1..=BLOCKS {
        file.write_all(&block)?;
        if n % 16 == 0 {
            file.sync_data()?;
        }
    }
    Ok((BLOCK * BLOCKS) as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

/// What others left to be written must not be paid by whoever comes next.
fn settle(folder: &Path) -> anyhow::Result<()> {
    Ok(nix::unistd::syncfs(File::open(folder)?)?)
}

/// Memory on a chunk of 300 MB.
fn large_chunk(place: &Place, broker: &Broker) -> anyhow::Result<Value> {
    const COUNT: u32 = 1_000;
    const STREAM: &str = "large";
    broker.create_stream(STREAM, &StreamOptions::default())?;
    let mut publisher = broker.publisher(STREAM)?;
    let mut image = jpeg(300_000);
    let messages: Vec<Vec<u8>> = (0..COUNT).map(|n| message("cell", n, &mut image)).collect();
    // One frame: the broker makes one chunk of it.
    publisher.send(&messages)?;
    publisher.confirm()?;
    drop(messages);
    let chunks = broker.client()?.read(STREAM, u64::from(COUNT))?;
    let largest = chunks
        .iter()
        .map(|chunk| chunk.data.len())
        .max()
        .unwrap_or_default();
    drop(chunks);

    let setup = Setup::new(&place.program, &fresh(place)?, broker.port(), STREAM, "")?;
    let mut daemon = setup.start()?;
    daemon.wait_for(u64::from(COUNT), PATIENCE)?;
    let peak = daemon.memory_kb("VmHWM")? as f64 / 1024.0;
    daemon.terminate()?;
    broker.delete_stream(STREAM)?;
    Ok(json!({
        "item": format!("peak memory in MiB on a chunk of {} MB", largest / 1_000_000),
        "ours": peak, "ceiling": 96.0,
    }))
}

/// From the start of the process to readiness, and what it holds when nothing comes.
fn start_and_idle(place: &Place, broker: &Broker) -> anyhow::Result<Vec<Value>> {
    const STREAM: &str = "empty";
    broker.create_stream(STREAM, &StreamOptions::default())?;
    let mut starts = Vec::new();
    let mut idle = 0.0;
    for round in 0..=10 {
        let folder = fresh(place)?;
        let setup = Setup::new(&place.program, &folder, broker.port(), STREAM, "")?;
        let manager = UnixDatagram::bind(folder.join("notify"))?;
        manager.set_read_timeout(Some(PATIENCE))?;
        let begun = Instant::now();
        let daemon = setup.start_under(&folder.join("notify"))?;
        let mut message = [0; 4096];
        loop {
            let length = manager.recv(&mut message)?;
            if message[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"READY=1")
            {
                break;
            }
        }
        if round > 0 {
            starts.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        if round == 10 {
            std::thread::sleep(Duration::from_secs(3));
            idle = daemon.memory_kb("VmRSS")? as f64 / 1024.0;
        }
        daemon.terminate()?;
    }
    Ok(vec![
        json!({"item": "milliseconds from start to ready", "ours": median(starts.into_iter()), "ceiling": 150.0}),
        json!({"item": "memory in MiB when idle", "ours": idle, "ceiling": 16.0}),
    ])
}

/// The rate at 4 KB into trees that hold many annotations already, in turns whose order reverses.
fn grown(place: &Place, broker: &Broker) -> anyhow::Result<Vec<Value>> {
    const COUNT: u32 = 20_000;
    const STREAM: &str = "grown";
    fill(broker, STREAM, 4_096, COUNT, "new")?;
    let mut trees = Vec::new();
    for annotations in &place.grown {
        let folder = fresh(place)?;
        grow(&folder.join("azaion"), *annotations)?;
        trees.push((*annotations, folder, Vec::new()));
    }
    for round in 0..=ROUNDS {
        for (annotations, folder, rates) in &mut trees {
            let rate = as_it_was(place, &folder.join("azaion"), || {
                our_rate(place, broker, STREAM, COUNT, folder)
            })?;
            eprintln!("{annotations} annotations in the tree, round {round}: {rate:.0}");
            if round > 0 {
                rates.push(rate);
            }
        }
        trees.reverse();
    }
    broker.delete_stream(STREAM)?;
    trees.sort_by_key(|(annotations, ..)| *annotations);
    let least = trees
        .first()
        .map(|(_, _, rates)| rates.clone())
        .unwrap_or_default();
    let row = |(annotations, _, rates): &(u64, PathBuf, Vec<f64>)| {
        json!({
            "item": format!("messages of 4 KB a second into a tree of {annotations} annotations"),
            "ours": median(rates.iter().copied()),
            "ratio": median(rates.iter().zip(&least).map(|(rate, least)| rate / least)),
        })
    };
    Ok(trees.iter().map(row).collect())
}

/// Runs a turn that adds annotations that are not validated, and takes them out again.
fn as_it_was<T>(place: &Place, root: &Path, turn: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let paths = store::Paths::under(root);
    let ledger = File::options().write(true).open(paths.ledger_file())?;
    let length = ledger.metadata()?.len();
    let done = turn()?;
    fs::rename(paths.home(store::Home::Seed), fresh(place)?.join("added"))?;
    fs::remove_file(paths.offset_file())?;
    ledger.set_len(length)?;
    Ok(done)
}

/// A tree with so many annotations, as the queue leaves it but with empty files, and its ledger.
fn grow(root: &Path, annotations: u64) -> anyhow::Result<()> {
    fs::create_dir_all(root)?;
    let tree = store::Tree::open(root)?;
    let paths = tree.paths().clone();
    drop(tree);
    let home = store::Home::Data;
    for n in 0..annotations {
        let name = format!("cell-{n:08}");
        File::create(paths.images(home).join(format!("{name}.jpg")))?;
        File::create(paths.labels(home).join(format!("{name}.txt")))?;
    }
    store::rebuild_ledger(&paths, |_, _| {})?;
    Ok(())
}
