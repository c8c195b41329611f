//! Signals, seen from outside: the test starts itself as a child process and sends it real signals.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows #[test] functions, not what they call"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use service::Shutdown;

const ROLE: &str = "AZAION_TEST_SHUTDOWN_CHILD";

/// The child: says it is up, works until asked to stop, then either ends or hangs in its clean-up.
fn child(role: &str) -> ! {
    let shutdown = Shutdown::install().unwrap();
    say("up");
    while !shutdown.is_requested() {
        std::thread::sleep(Duration::from_millis(2));
    }
    say("stopping");
    if role == "hangs" {
        std::thread::sleep(Duration::from_secs(60));
    }
    std::process::exit(0);
}

fn say(word: &str) {
    println!("CHILD {word}");
    std::io::stdout().flush().unwrap();
}

fn start(test: &str, role: &str) -> (Child, impl FnMut(&str) + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let wait_for = move |word: &str| {
        let wanted = format!("CHILD {word}");
        assert!(
            lines.any(|line| line.unwrap().ends_with(&wanted)),
            "the child never said {word}"
        );
    };
    (child, wait_for)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn the_first_signal_lets_the_work_in_hand_finish() {
    if let Ok(role) = std::env::var(ROLE) {
        child(&role);
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut process, mut wait_for) = start("the_first_signal_lets_the_work_in_hand_finish", "stops");
        wait_for("up");
        send(&process, signal);
        wait_for("stopping");
        assert_eq!(process.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn the_second_signal_ends_at_once_with_130() {
    if let Ok(role) = std::env::var(ROLE) {
        child(&role);
    }
    let (mut process, mut wait_for) = start("the_second_signal_ends_at_once_with_130", "hangs");
    wait_for("up");
    send(&process, Signal::SIGTERM);
    wait_for("stopping");
    send(&process, Signal::SIGINT);
    let status = process.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
}
