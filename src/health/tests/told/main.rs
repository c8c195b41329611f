//! Alerts from the program to those who are told: `azaion-health` on a tree of its own, a mail server and a web server on
//! loopback that take, refuse, hang or go away as each test says.

#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

mod gpu;
mod servers;

use health::alerts::Occasion;
use serde_json::Value;
use servers::{Mail, Web};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

/// A tree, a configuration, and the servers.
struct Site {
    folder: tempfile::TempDir,
    mail: Mail,
    web: Web,
    more: String,
    /// How mail is sent.
    security: String,
    /// Where libraries are looked for first.
    libraries: Option<PathBuf>,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            mail: Mail::start(),
            web: Web::start(),
            more: String::new(),
            security: "smtp_host: 127.0.0.1\n  smtp_security: none".into(),
            libraries: None,
        };
        fs::create_dir_all(site.root().join("status/alerts")).unwrap();
        site.secret(
            "webhook",
            &format!("http://127.0.0.1:{}/hook-secret", site.web.port()),
        );
        site.secret("ping", &format!("http://127.0.0.1:{}/ping", site.web.port()));
        site
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn secret(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let folder = self.folder.path().display();
        let config = self.folder.path().join("config.yaml");
        // A broker that is there: the web server takes connections, too.
        let text = format!(
            "root_dir: {folder}/tree\nrabbitmq: {{port: {}}}\nalerts:\n  {}\n  smtp_port: {}\n  \
             mail_from: azaion@example.org\n  mail_to: one@example.org, two@example.org\n  webhook_file: {folder}/webhook\n  \
             ping_file: {folder}/ping\n{}",
            self.web.port(),
            self.security,
            self.mail.port(),
            self.more
        );
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
        Command::new(env!("CARGO_BIN_EXE_azaion-health"))
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .env_remove("JOURNAL_STREAM")
            .env_remove("CREDENTIALS_DIRECTORY")
            .envs(self.libraries.iter().map(|folder| ("LD_LIBRARY_PATH", folder)))
            .output()
            .unwrap()
    }

    /// A pass; what it printed.
    fn pass(&self) -> Value {
        let done = self.command(&["--json"]);
        let code = done.status.code();
        assert!(code == Some(0) || code == Some(2), "{done:?}");
        let status: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(code == Some(2), status["verdict"]["grade"] != "ok", "{status:#}");
        status
    }

    /// A unit fails, as `azaion alert` writes it down.
    fn crash(&self, second: u32) {
        let now = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
        let record = serde_json::json!({
            "version": 1, "time": now, "unit": "azaion-queue.service",
            "state": {"active": "failed", "sub": "failed", "result": "signal", "exec_main_code": 2, "exec_main_status": 9, "restarts": 1},
            "journal": [{"priority": 3, "message": "the disk is gone"}], "missing": [],
        });
        let path = self.root().join(format!(
            "status/alerts/2026-01-01T0000{second:02}Z-azaion-queue.service.json"
        ));
        fs::write(path, record.to_string()).unwrap();
    }

    /// Moves all times of the alerts' state and of the spools back, as if so many minutes had passed.
    fn later(&self, minutes: i64) {
        for name in ["alerts.json", "spool/mail.json", "spool/webhook.json"] {
            let path = self.root().join("status").join(name);
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            let mut value: Value = serde_json::from_str(&text).unwrap();
            back(&mut value, jiff::SignedDuration::from_mins(minutes));
            fs::write(&path, value.to_string()).unwrap();
        }
    }
}

fn back(value: &mut Value, by: jiff::SignedDuration) {
    match value {
        Value::String(text) => {
            if let Ok(time) = text.parse::<jiff::Timestamp>() {
                *text = (time - by).to_string();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| back(value, by)),
        Value::Object(all) => all.values_mut().for_each(|value| back(value, by)),
        _ => {}
    }
}

/// The occasions that a webhook heard of.
fn occasions(posts: &[servers::Request]) -> Vec<(Occasion, String)> {
    let bodies = posts.iter().filter(|post| post.path == "/hook-secret");
    bodies
        .flat_map(|post| {
            let body: Value = serde_json::from_str(&post.body).unwrap();
            body["notices"].as_array().unwrap().clone()
        })
        .map(|notice| {
            let occasion = serde_json::from_value(notice["occasion"].clone()).unwrap();
            (occasion, notice["code"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn a_crash_is_told_reminded_of_and_told_to_be_over_by_mail_and_webhook() {
    let site = Site::new();
    assert_eq!(site.pass()["alerts"].as_array().unwrap().len(), 0);
    assert_eq!(site.mail.taken(), Vec::<String>::new());

    site.crash(1);
    let status = site.pass();
    assert_eq!(status["alerts"][0]["code"], "ALR-2");
    let mails = site.mail.taken();
    assert_eq!(mails.len(), 1, "{mails:?}");
    for line in [
        "Subject: [azaion ",
        "To: one@example.org, two@example.org",
        "ALR-2 queue process crashed (critical)",
        "azaion-queue.service: it was ended by signal 9 (signal)",
        "  the disk is gone",
    ] {
        assert!(mails[0].contains(line), "no {line:?} in\n{}", mails[0]);
    }
    assert_eq!(site.pass()["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(site.mail.taken().len(), 1, "it is told once");

    site.later(30);
    site.pass();
    // No systemd speaks of the unit here: a day later it is over.
    site.later(24 * 60 + 1);
    site.pass();
    let told = occasions(&site.web.taken());
    let queue = |occasion| (occasion, "ALR-2".to_owned());
    assert_eq!(
        told,
        [
            queue(Occasion::Firing),
            queue(Occasion::Reminder),
            queue(Occasion::Resolved)
        ]
    );
    assert_eq!(site.mail.taken().len(), 3);
    assert!(site.mail.taken()[2].contains("RESOLVED"));
    let pings = site
        .web
        .taken()
        .iter()
        .filter(|request| request.path == "/ping")
        .count();
    assert_eq!(pings, 5, "after each pass");
}

#[test]
fn what_nobody_takes_waits_and_is_told_when_they_do() {
    let site = Site::new();
    site.mail.answer("451 greylisted, try again later");
    site.web.answer(500);
    site.crash(1);
    site.pass();
    assert_eq!(site.mail.taken().len(), 0);
    for spool in ["mail", "webhook"] {
        let kept = fs::read_to_string(site.root().join(format!("status/spool/{spool}.json"))).unwrap();
        assert!(kept.contains("ALR-2") && !kept.contains("hook-secret"), "{kept}");
    }
    // It is not tried again at once, and then it is; a day of answers with 500 loses nothing.
    site.pass();
    let requests = site.web.taken();
    assert_eq!(
        requests.iter().filter(|request| request.path != "/ping").count(),
        1
    );
    for _ in 0..24 {
        site.later(60);
        site.pass();
    }
    let status = site.pass();
    let undelivered: Vec<_> = status["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|alert| alert["code"] == "ALR-26")
        .collect();
    assert_eq!(undelivered.len(), 2, "{status:#}");
    site.mail.answer("250 fine");
    site.web.answer(200);
    site.later(61);
    site.pass();
    let told = occasions(&site.web.taken());
    assert!(told.contains(&(Occasion::Firing, "ALR-2".to_owned())), "{told:?}");
    let mails = site.mail.taken();
    assert_eq!(mails.len(), 1, "one message with all that waited");
    assert!(mails[0].contains("ALR-2 queue process crashed"));
    let empty = fs::read_to_string(site.root().join("status/spool/mail.json")).unwrap();
    assert!(!empty.contains("ALR-2"), "{empty}");
}

#[test]
fn servers_that_hang_hold_a_pass_up_for_seconds_and_lose_nothing() {
    let site = Site::new();
    site.mail.hang();
    // The broker, too: its port is this server's.
    site.web.hang();
    site.crash(1);
    let begun = Instant::now();
    let done = site.command(&["--json", "--full"]);
    let took = begun.elapsed();
    assert_eq!(done.status.code(), Some(2));
    assert!(took < Duration::from_secs(15), "{took:?}");
    let status: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(status["alerts"][0]["code"], "ALR-2");
    let kept = fs::read_to_string(site.root().join("status/spool/mail.json")).unwrap();
    assert!(kept.contains("ALR-2"), "{kept}");
}

#[test]
fn a_healthy_machine_is_looked_at_within_a_fifth_of_a_second() {
    let site = Site::new();
    site.pass();
    // The best of some: this machine may be busy.
    let took = (0..5).map(|_| {
        let begun = Instant::now();
        site.pass();
        begun.elapsed()
    });
    let best = took.min().unwrap();
    assert!(best < Duration::from_millis(200), "{best:?}");
}

/// A disk of a few pages, over a folder; gone with the test.
struct Full(PathBuf);

impl Full {
    fn over(folder: &std::path::Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(folder);
        let mounted = mount.output().is_ok_and(|done| done.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_status_folder_without_room_stops_no_alert() {
    let site = Site::new();
    let folder = site.root().join("status");
    let Some(_full) = Full::over(&folder) else {
        eprintln!("skipped: a_status_folder_without_room_stops_no_alert: mounting a small disk needs root");
        return;
    };
    fs::create_dir(folder.join("alerts")).unwrap();
    site.crash(1);
    // What is left is taken.
    let mut rest = fs::File::create(folder.join("rest")).unwrap();
    while std::io::Write::write_all(&mut rest, &[0; 512]).is_ok() {}
    let status = site.pass();
    assert!(
        status["readings"].to_string().contains("cannot be written"),
        "{status:#}"
    );
    assert_eq!(site.mail.taken().len(), 1);
    assert_eq!(
        occasions(&site.web.taken()),
        [(Occasion::Firing, "ALR-2".to_owned())]
    );
}

#[test]
fn what_is_silenced_is_not_told_and_a_test_arrives() {
    let site = Site::new();
    let done = site.command(&[
        "alerts",
        "silence",
        "ALR-2",
        "--for",
        "2h",
        "--reason",
        "a new disk",
    ]);
    assert!(done.status.success(), "{done:?}");
    site.crash(1);
    let status = site.pass();
    assert_eq!(status["alerts"][0]["silenced"], true);
    assert_eq!(site.mail.taken().len(), 0);
    let listed = String::from_utf8(site.command(&["alerts", "list"]).stdout).unwrap();
    assert!(
        listed.contains("ALR-2 queue process crashed (critical, silenced)"),
        "{listed}"
    );
    assert!(
        listed.contains("silent: ALR-2 until ") && listed.contains("a new disk"),
        "{listed}"
    );

    assert!(
        site.command(&["alerts", "silence", "ALR-2", "--end"])
            .status
            .success()
    );
    site.pass();
    assert_eq!(site.mail.taken().len(), 1, "it still stands");

    let done = site.command(&["alerts", "test"]);
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "mail: took it\nwebhook: took it\n"
    );
    assert!(site.mail.taken()[1].contains("This is a test"));
    site.web.answer(403);
    let done = site.command(&["alerts", "test"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stdout).contains("webhook: it answered 403 Forbidden"));

    let refused = site.command(&["alerts", "silence", "ALR-99", "--for", "1h"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no alert ALR-99"));
}

#[test]
fn no_secret_is_in_what_is_printed_logged_or_kept() {
    let site = Site::new();
    site.web.answer(500);
    site.mail.answer("550 no");
    site.crash(1);
    let done = site.command(&["--full", "-vv"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("alerts could not be told"), "{said}");
    assert!(!said.contains("hook-secret"), "{said}");
    for entry in fs::read_dir(site.root().join("status")).unwrap() {
        if let Ok(text) = fs::read_to_string(entry.unwrap().path()) {
            assert!(!text.contains("hook-secret"));
        }
    }
}

#[test]
fn mail_goes_over_tls_with_a_certificate_that_is_known_or_not_at_all() {
    let mut site = Site::new();
    let test = |site: &Site| String::from_utf8(site.command(&["alerts", "test"]).stdout).unwrap();
    // A server that offers no TLS, where it is asked for.
    site.security = "smtp_host: localhost".into();
    assert!(!test(&site).contains("mail: took it"));
    // One with a certificate that nobody vouches for.
    let (mail, certificate) = Mail::with_tls();
    site.mail = mail;
    let said = test(&site);
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(site.mail.taken(), Vec::<String>::new());
    // And with one that the configuration names.
    let file = site.folder.path().join("ca.pem");
    fs::write(&file, certificate).unwrap();
    site.security = format!("smtp_host: localhost\n  smtp_ca_file: {}", file.display());
    let said = test(&site);
    assert!(said.contains("mail: took it"), "{said}");
    assert!(site.mail.taken()[0].contains("This is a test"));
}

#[test]
fn slack_and_ntfy_get_what_they_take() {
    for (format, is_right) in [
        (
            "slack",
            (|request: &servers::Request| request.body.starts_with("{\"text\":\"*[azaion"))
                as fn(&servers::Request) -> bool,
        ),
        ("ntfy", |request| {
            request.body.starts_with("ALR-2 queue process crashed")
                && request.headers.to_lowercase().contains("priority: urgent")
        }),
    ] {
        let mut site = Site::new();
        site.more = format!("  webhook_format: {format}\n");
        site.crash(1);
        site.pass();
        let posts = site.web.taken();
        let post = posts
            .iter()
            .find(|request| request.path == "/hook-secret")
            .unwrap();
        assert!(is_right(post), "{format}: {post:?}");
    }
}
