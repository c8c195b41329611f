//! Rotating the broker's password (SEC-3): change the secret, restart the daemon, and nothing else.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker::{Broker, PASSWORD, Publisher, StreamOptions, USER, Version};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(60);

/// How the daemon gets its password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// By a file that the configuration names.
    File,
    /// By a credential of the service manager.
    Credential,
}

/// A daemon's folder: configuration, tree, secret, log.
struct Place {
    folder: tempfile::TempDir,
    from: From,
}

impl Place {
    fn new(from: From, port: u16) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            from,
        };
        fs::create_dir(place.path("tree")).unwrap();
        let mut config = format!(
            "root_dir: {}\nrabbitmq:\n  port: {port}\n  user: {USER}\n  queue_name: cells\n",
            place.path("tree").display()
        );
        if from == From::File {
            config += &format!("  password_file: {}\n", place.path("rabbitmq-password").display());
        }
        fs::write(place.path("config.yaml"), config).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn set_password(&self, password: &str) {
        let secret = self.path("rabbitmq-password");
        fs::write(&secret, format!("{password}\n")).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    }

    fn start(&self) -> Daemon {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_azaion-queue"));
        command.arg("--config").arg(self.path("config.yaml"));
        if self.from == From::Credential {
            command.env("CREDENTIALS_DIRECTORY", self.folder.path());
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Daemon(child.spawn().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn offset(&self) -> u64 {
        store::offset::read(&self.path("tree").join("offset.yaml")).unwrap()
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "{what} never came:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

struct Daemon(Child);

impl Daemon {
    fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was stopped is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(publisher: &mut Publisher) {
    // What it is does not matter here: it is read, and goes to quarantine.
    publisher.send(&[b"a message".to_vec()]).unwrap();
    publisher.confirm().unwrap();
}

#[test]
fn a_changed_password_needs_a_restart_and_nothing_else() {
    let Some(broker) = Broker::for_test("a_changed_password_needs_a_restart", Version::V4_0) else {
        return;
    };
    broker.create_stream("cells", &StreamOptions::default()).unwrap();
    // It stays connected: its own log-in is from before.
    let mut publisher = broker.publisher("cells").unwrap();
    let mut password = PASSWORD.to_owned();
    for (from, next) in [
        (From::File, "rotated once"),
        (From::Credential, "rotated \"twice\" $"),
    ] {
        let place = Place::new(from, broker.port());
        place.set_password(&password);
        let daemon = place.start();
        send(&mut publisher);
        place.wait("the message", || place.offset() > 0);

        broker.ctl(&["change_password", USER, next]).unwrap();
        daemon.stop();
        // Only now is it done with what was there already.
        let before = place.offset();
        let outdated = place.start();
        place.wait("the refusal", || place.log().contains("refused"));
        outdated.stop();

        place.set_password(next);
        let daemon = place.start();
        send(&mut publisher);
        place.wait("the next message", || place.offset() > before);
        daemon.stop();
        assert_silent(&place.folder.path().join("log"), &[&password, next]);
        password = next.to_owned();
    }
}

fn assert_silent(log: &Path, secrets: &[&str]) {
    let text = fs::read_to_string(log).unwrap();
    for secret in secrets.iter().filter(|secret| **secret != USER) {
        assert!(!text.contains(secret), "the log holds a password:\n{text}");
    }
}
