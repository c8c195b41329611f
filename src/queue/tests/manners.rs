//! How the daemon behaves as a service: readiness, watchdog, status, signals, logs, a disk that takes nothing.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use annotation::Role::Operator;
use broker::{Broker, PASSWORD, StreamOptions, Version};
use common::{EMAIL, Event, Model, assert_same, content, read_dir};
use powercut::forgetful::{ForgetfulFs, Options, State};
use powercut::namespace::{missing_for_fuse, privately};
use trial::daemon::{Daemon, Setup};

const PROGRAM: &str = env!("CARGO_BIN_EXE_azaion-queue");
const STREAM: &str = "cells";
const PATIENCE: Duration = Duration::from_secs(60);

fn publish(broker: &Broker, events: &[Event]) {
    let mut publisher = broker.publisher(STREAM).unwrap();
    let raw: Vec<Vec<u8>> = events.iter().map(Event::raw).collect();
    publisher.send(&raw).unwrap();
    publisher.confirm().unwrap();
}

fn with_stream(name: &str) -> Option<Broker> {
    let broker = Broker::for_test(name, Version::V4_0)?;
    broker.create_stream(STREAM, &StreamOptions::default()).unwrap();
    Some(broker)
}

fn setup(folder: &Path, broker: &Broker) -> Setup {
    Setup::new(
        Path::new(PROGRAM),
        folder,
        broker.port(),
        STREAM,
        "  heartbeat_s: 1\n",
    )
    .unwrap()
}

/// What systemd would hear.
struct Manager(UnixDatagram);

impl Manager {
    fn new(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self(socket)
    }

    /// Assignments that arrive until `enough` says so, or for so long.
    fn hear(&self, patience: Duration, enough: impl Fn(&str) -> bool) -> Vec<String> {
        let (begun, mut heard, mut message) = (Instant::now(), Vec::new(), [0; 8192]);
        while begun.elapsed() < patience {
            let Ok(length) = self.0.recv(&mut message) else {
                continue;
            };
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            for line in text.lines() {
                heard.push(line.to_owned());
                if enough(line) {
                    return heard;
                }
            }
        }
        heard
    }
}

fn stop(daemon: Daemon) {
    let begun = Instant::now();
    let status = daemon.terminate().unwrap();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn it_is_ready_when_it_is_subscribed_and_not_before() {
    let Some(broker) = Broker::for_test("it_is_ready_when_it_is_subscribed", Version::V4_0) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let setup = setup(folder.path(), &broker);
    let daemon = setup.start_under(&folder.path().join("notify")).unwrap();

    let heard = manager.hear(PATIENCE, |line| {
        line.starts_with("STATUS=waits for the broker") && line.contains("does not exist")
    });
    assert!(heard.last().unwrap().contains("does not exist"), "{heard:?}");
    assert!(!heard.iter().any(|line| line == "READY=1"), "{heard:?}");
    assert!(
        heard.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")),
        "{heard:?}"
    );

    broker.create_stream(STREAM, &StreamOptions::default()).unwrap();
    let heard = manager.hear(PATIENCE, |line| line == "READY=1");
    assert_eq!(heard.last().unwrap(), "READY=1");
    publish(
        &broker,
        &[Event::created("cell-a", Operator), Event::deleted(&["cell-a"])],
    );
    let heard = manager.hear(PATIENCE, |line| line.starts_with("STATUS=offset 2"));
    let status = heard.last().unwrap();
    assert!(
        status.contains("messages/s") && status.contains("lag 0"),
        "{status}"
    );
    stop(daemon);
    let heard = manager.hear(Duration::from_secs(1), |line| line == "STOPPING=1");
    assert_eq!(heard.last().unwrap(), "STOPPING=1");
}

#[test]
fn the_watchdog_hears_of_an_idle_brokers_heartbeats_and_of_nothing_else() {
    let Some(broker) = with_stream("the_watchdog_hears_of_an_idle_brokers_heartbeats") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let setup = setup(folder.path(), &broker);
    let daemon = setup
        .start_watched(&folder.path().join("notify"), Duration::from_secs(2))
        .unwrap();
    manager.hear(PATIENCE, |line| line == "READY=1");
    let pings = |time| {
        let heard = manager.hear(time, |_| false);
        heard.iter().filter(|line| *line == "WATCHDOG=1").count()
    };
    // A heartbeat a second of the broker's, though no message comes.
    let idle = pings(Duration::from_secs(5));
    assert!((3..=8).contains(&idle), "{idle}");

    // A process that hangs shows no progress: systemd would end it.
    let stopped = nix::unistd::Pid::from_raw(daemon.id() as i32);
    nix::sys::signal::kill(stopped, nix::sys::signal::Signal::SIGSTOP).unwrap();
    pings(Duration::from_millis(300));
    assert_eq!(pings(Duration::from_secs(3)), 0);
    nix::sys::signal::kill(stopped, nix::sys::signal::Signal::SIGCONT).unwrap();
    stop(daemon);
}

#[test]
fn its_log_is_json_lines_that_hold_nothing_personal_and_no_secret() {
    let Some(broker) = with_stream("its_log_is_json_lines") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path(), &broker);
    let events = [
        Event::created("cell-a", Operator),
        Event::edited("cell-b", Operator, 1),
        Event::Garbage(EMAIL.into()),
        Event::validated(&["../cell", "cell-a", "cell-z"]),
        Event::created("cell-a", Operator),
    ];
    publish(&broker, &events);
    let mut daemon = setup.start_with(&["-vv"]).unwrap();
    daemon.wait_for(5, PATIENCE).unwrap();
    stop(daemon);

    let log = std::fs::read_to_string(&setup.log).unwrap();
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for key in ["timestamp", "level", "service", "message", "context"] {
            assert!(!value[key].is_null(), "{line}");
        }
    }
    let saved = log
        .lines()
        .find(|line| line.contains("annotation saved"))
        .unwrap();
    let saved: serde_json::Value = serde_json::from_str(saved).unwrap();
    assert_eq!(
        saved["context"],
        serde_json::json!({"name": "cell-a", "status": "Created", "role": "Operator", "offset": 0})
    );
    for hidden in [EMAIL, "example.org", PASSWORD, "cell \u{1}\u{1}"] {
        assert!(!log.contains(hidden), "{hidden}");
    }
    assert!(
        log.contains("\"TRACE\"") || log.contains("\"DEBUG\""),
        "the log is not complete"
    );
}

#[test]
fn a_second_daemon_says_who_holds_the_tree() {
    let Some(broker) = with_stream("a_second_daemon_says_who_holds_the_tree") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path(), &broker);
    let mut first = setup.start().unwrap();
    first.wait_for_log(&["queue is ready"], PATIENCE).unwrap();
    let second = setup.start().unwrap().wait().unwrap();
    assert_eq!(second.code(), Some(1));
    let log = std::fs::read_to_string(&setup.log).unwrap();
    assert!(
        log.contains(&format!("is in use by process {}", first.id())),
        "{log}"
    );
    stop(first);
}

#[test]
fn an_offset_file_with_text_in_it_stops_it_and_is_left_alone() {
    let Some(broker) = with_stream("an_offset_file_with_text_in_it") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path(), &broker);
    let file = setup.root.join("offset.yaml");
    std::fs::write(&file, "the day before yesterday\n").unwrap();
    let status = setup.start().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(
        setup.tail().contains("offset.yaml is not usable"),
        "{}",
        setup.tail()
    );
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "the day before yesterday\n"
    );
}

/// How a disk can refuse to take anything.
#[derive(Debug, Clone, Copy)]
enum Closed {
    Full,
    ReadOnly,
}

#[test]
fn a_full_and_a_read_only_disk_are_waited_out_with_nothing_lost() {
    if let Some(why) = missing_for_fuse() {
        eprintln!("skipped: a_full_and_a_read_only_disk: {why}");
        return;
    }
    let Some(broker) = with_stream("a_full_and_a_read_only_disk") else {
        return;
    };
    let names: Vec<&'static str> = (0..200).map(|n| &*format!("cell-{n}").leak()).collect();
    let events: Vec<Event> = names.iter().map(|name| Event::created(name, Operator)).collect();
    publish(&broker, &events);
    for closed in [Closed::Full, Closed::ReadOnly] {
        privately(|| {
            let mounted = ForgetfulFs::mount(State::default(), Options::default())?;
            let folder = tempfile::tempdir()?;
            let root = mounted.path().join("azaion");
            let (port, more) = (broker.port(), "  heartbeat_s: 1\n");
            let setup = Setup::on(Path::new(PROGRAM), folder.path(), &root, port, STREAM, more)?;
            // The folders are made, then there is no room for what comes.
            drop(store::Tree::open(&root)?);
            let close = |on: bool| match closed {
                Closed::Full => mounted.set_room(on.then(|| mounted.used() + 1_000)),
                Closed::ReadOnly => mounted.set_read_only(on),
            };
            let manager = Manager::new(folder.path());
            let mut daemon = setup.start_under(&folder.path().join("notify"))?;
            match closed {
                Closed::Full => close(true),
                Closed::ReadOnly => {
                    daemon.wait_for_log(&["queue is ready"], PATIENCE)?;
                    close(true);
                    publish(&broker, &[Event::deleted(&["cell-0"])]);
                }
            }
            daemon.wait_for_log(&["disk takes nothing", "retry_ms"], PATIENCE)?;
            let heard = manager.hear(PATIENCE, |line| line.starts_with("STATUS=writes nothing"));
            assert!(
                heard
                    .last()
                    .is_some_and(|line| line.starts_with("STATUS=writes nothing")),
                "{heard:?}"
            );
            close(false);
            let all = match closed {
                Closed::Full => events.clone(),
                Closed::ReadOnly => [events.clone(), vec![Event::deleted(&["cell-0"])]].concat(),
            };
            daemon.wait_for(all.len() as u64, PATIENCE)?;
            stop(daemon);
            let found = content(&read_dir(&root), &root);
            assert_same(&found, &Model::after(&all).files(), &format!("{closed:?}"));
            Ok(())
        })
        .unwrap();
    }
}
