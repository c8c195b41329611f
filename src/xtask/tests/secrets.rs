//! `cargo xtask secrets` over clones with something planted in them, and over this repository, which holds nothing. What is
//! planted is put together here, so that this file holds none.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where anything is not as it should be"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Clone {
    folder: tempfile::TempDir,
}

impl Clone {
    fn new() -> Self {
        let clone = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(clone.path("src/xtask")).unwrap();
        fs::create_dir(clone.path(".ci")).unwrap();
        clone.write("Cargo.lock", "");
        clone.git(&["init", "--quiet"]);
        clone.commit("one");
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git")
            .current_dir(self.folder.path())
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
    }

    fn search(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("secrets")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("CARGO_MANIFEST_DIR", self.path("src/xtask"))
            .output()
            .unwrap()
    }
}

fn planted() -> String {
    format!("{}{}", "ghp_", "q7Zk2WmXr9TbLc4VhNs8JdPf3GyEu6Ra5q7Z")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn nothing_is_in_this_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let shallow = Command::new("git")
        .current_dir(root)
        .args(["rev-parse", "--is-shallow-repository"])
        .output();
    if !shallow.is_ok_and(|output| text(&output.stdout).trim() == "false") {
        eprintln!("skipped: nothing_is_in_this_repository: these sources are no whole git clone");
        return;
    }
    let report = xtask::secrets::repository(root).unwrap();
    assert!(report.findings().is_empty(), "{report}");
}

#[test]
fn a_planted_secret_is_found_with_its_place_and_never_printed() {
    let clone = Clone::new();
    clone.write("notes.md", &format!("hello\ntoken {}\n", planted()));

    let output = clone.search(&["--sarif", "found.sarif"]);

    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("notes.md:2: github-token: 40 bytes, fingerprint "),
        "{said}"
    );
    let sarif = fs::read_to_string(clone.path("found.sarif")).unwrap();
    assert!(sarif.contains("\"notes.md\""), "{sarif}");
    for place in [said, text(&output.stderr), sarif] {
        assert!(!place.contains(&planted()[4..]), "{place}");
    }
}

#[test]
fn a_secret_that_was_taken_out_again_is_still_found_in_the_history() {
    let clone = Clone::new();
    clone.write("notes.md", &planted());
    clone.commit("two");
    clone.write("notes.md", "nothing");
    clone.commit("three");

    let output = clone.search(&[]);

    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("notes.md:1: github-token:") && said.contains(", in commit "),
        "{said}"
    );
    assert!(said.trim_end().ends_with(": 1 found"), "{said}");
}

#[test]
fn a_message_of_a_commit_is_searched_too() {
    let clone = Clone::new();
    clone.commit(&format!("with {}", planted()));
    let output = clone.search(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stdout).starts_with("(commit message):"),
        "{output:?}"
    );
}

#[test]
fn what_is_allowed_is_not_found_and_a_line_that_allows_nothing_is() {
    let clone = Clone::new();
    clone.write("notes.md", &planted());
    let said = text(&clone.search(&[]).stdout);
    let (_, mark) = said.split_once("fingerprint ").unwrap();
    let mark = &mark[..16];

    clone.write(".ci/secrets-allowed", &format!("{mark}  made up for a test\n"));
    let output = clone.search(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    clone.write("notes.md", "nothing");
    let output = clone.search(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stdout).starts_with(".ci/secrets-allowed:1: allowed-for-nothing:"),
        "{output:?}"
    );
}

#[test]
fn ignored_files_are_not_searched_and_named_ones_are() {
    let clone = Clone::new();
    clone.write(".gitignore", ".env\n");
    clone.write(".env", &format!("BROKER_PASSWORD={}\n", &planted()[4..]));
    assert_eq!(clone.search(&[]).status.code(), Some(0));
    let output = clone.search(&[".env"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stdout).starts_with(".env:1: assigned-secret:"),
        "{output:?}"
    );
}

#[test]
fn a_shallow_clone_is_an_error_for_its_history_is_not_there() {
    let clone = Clone::new();
    clone.commit("two");
    let head = Command::new("git")
        .current_dir(clone.folder.path())
        .args(["rev-parse", "HEAD"])
        .output()
        .unwrap();
    fs::write(clone.path(".git/shallow"), head.stdout).unwrap();
    let output = clone.search(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("git fetch --unshallow"),
        "{output:?}"
    );
}
