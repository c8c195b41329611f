//! `.ci/notify` and `.ci/revision` as a workflow calls them. `gh` and `curl` are scripts that write down what they were told.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where anything is not as it should be"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const RESULTS: &str = r#"{"revision": {"result": "success"}, "deploy": {"result": "failure"}}"#;

struct Runner {
    folder: tempfile::TempDir,
}

impl Runner {
    /// A machine with our own `gh` and `curl`; none where bash, git or jq are missing.
    fn new(test: &str) -> Option<Self> {
        for tool in ["bash", "git", "jq"] {
            let there = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
            if !there.is_ok_and(|status| status.success()) {
                eprintln!("skipped: {test}: {tool} is missing");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        Some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn run(&self, script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let path = std::env::var("PATH").unwrap();
        Command::new(root.join(".ci").join(script))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("SEEN", self.folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.folder.path())
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_team_is_told_what_became_of_a_deploy_and_the_webhooks_address_is_told_to_nobody() {
    let Some(runner) = Runner::new("the_team_is_told_what_became_of_a_deploy") else {
        return;
    };
    runner.program(
        "curl",
        r#"echo "$*" > "$SEEN/arguments"; cat > "$SEEN/config"
for last in "$@"; do case "$last" in @*) cat "${last#@}" > "$SEEN/body";; esac; done"#,
    );
    let address = "https://chat.example/hooks/abc";

    let output = runner.run(
        "notify",
        &["team"],
        &[
            ("RESULTS", RESULTS),
            ("WHAT", "deploy"),
            ("WHERE", "production"),
            ("REVISION", "0123abc"),
            ("RUN", "https://forge.example/runs/1"),
            ("WEBHOOK", address),
        ],
    );

    assert!(output.status.success(), "{output:?}");
    let body: serde_json::Value = serde_json::from_str(&runner.said("body")).unwrap();
    assert_eq!(
        body["text"],
        "azaion: deploy to production: FAILED\nrevision 0123abc\nrevision: success\ndeploy: failure\nhttps://forge.example/runs/1"
    );
    assert!(runner.said("config").contains(address));
    for place in [
        runner.said("arguments"),
        text(&output.stdout),
        text(&output.stderr),
    ] {
        assert!(!place.contains("chat.example"), "{place}");
    }
}

#[test]
fn without_a_webhook_the_result_is_in_the_log_and_says_that_nobody_was_told() {
    let Some(runner) = Runner::new("without_a_webhook_the_result_is_in_the_log") else {
        return;
    };
    runner.program("curl", "exit 1");
    let output = runner.run(
        "notify",
        &["team"],
        &[
            ("RESULTS", r#"{"rollback": {"result": "success"}}"#),
            ("WHAT", "rollback"),
            ("WHERE", "production"),
            ("RUN", "https://forge.example/runs/1"),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    assert!(
        said.starts_with("azaion: rollback to production: done\n"),
        "{said}"
    );
    assert!(said.contains("nobody was told"), "{said}");
}

#[test]
fn a_pull_request_gets_one_comment_with_the_jobs_and_the_log() {
    let Some(runner) = Runner::new("a_pull_request_gets_one_comment") else {
        return;
    };
    runner.program("gh", r#"echo "$*" > "$SEEN/arguments"; cat > "$SEEN/body""#);
    let output = runner.run(
        "notify",
        &["pull-request"],
        &[
            (
                "RESULTS",
                r#"{"lint": {"result": "failure"}, "tests": {"result": "skipped"}}"#,
            ),
            ("NUMBER", "7"),
            ("REVISION", "0123abc"),
            ("RUN", "https://forge.example/runs/1"),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        runner.said("arguments").trim(),
        "pr comment 7 --edit-last --create-if-none --body-file -"
    );
    let body = runner.said("body");
    for words in [
        "0123abc",
        "- lint: failure",
        "- tests: skipped",
        "https://forge.example/runs/1",
    ] {
        assert!(body.contains(words), "{words} is missing in {body}");
    }
}

/// A forge with one green run of each of three kinds, and the artifact in each. The filters are those that the script gives.
const FORGE: &str = r#"for last in "$@"; do :; done
case "$2" in
*/runs/*/artifacts*) echo '{"artifacts": [{"expired": '"${EXPIRED:-false}"'}]}' ;;
*) echo '{"workflow_runs": [
  {"id": 1, "event": "pull_request", "head_repository": {"full_name": "a/fork"}, "repository": {"full_name": "a/b"}},
  {"id": 2, "event": "push", "head_repository": {"full_name": "a/fork"}, "repository": {"full_name": "a/b"}},
  {"id": 3, "event": "push", "head_repository": {"full_name": "a/b"}, "repository": {"full_name": "a/b"}}]}' ;;
esac | jq -r "$last""#;

/// A clone in which main has a commit, and another branch one more.
fn clone(runner: &Runner) -> (String, String) {
    runner.git(&["init", "--quiet"]);
    runner.git(&["commit", "--quiet", "--allow-empty", "-m", "one"]);
    let reviewed = runner.git(&["rev-parse", "HEAD"]);
    runner.git(&["update-ref", "refs/remotes/origin/main", &reviewed]);
    runner.git(&["commit", "--quiet", "--allow-empty", "-m", "two"]);
    (reviewed, runner.git(&["rev-parse", "HEAD"]))
}

fn find(runner: &Runner, wanted: &str, expired: &str) -> Output {
    runner.program("gh", FORGE);
    let output = runner.path("output");
    let _ = fs::remove_file(&output);
    runner.run(
        "revision",
        &[],
        &[
            ("WANTED", wanted),
            ("GH_REPO", "a/b"),
            ("EXPIRED", expired),
            ("GITHUB_OUTPUT", output.to_str().unwrap()),
        ],
    )
}

#[test]
fn what_was_built_is_found_and_what_a_fork_built_is_not_taken() {
    let Some(runner) = Runner::new("what_was_built_is_found") else {
        return;
    };
    let (reviewed, _) = clone(&runner);
    let output = find(&runner, &reviewed, "false");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(runner.said("output"), format!("revision={reviewed}\nrun=3\n"));

    let output = find(&runner, &reviewed, "true");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        runner.said("output"),
        format!("revision={reviewed}\nrun=\n"),
        "no longer kept"
    );
}

#[test]
fn what_was_not_reviewed_is_not_deployed() {
    let Some(runner) = Runner::new("what_was_not_reviewed_is_not_deployed") else {
        return;
    };
    let (_, other) = clone(&runner);
    let output = find(&runner, &other, "false");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        text(&output.stderr).contains("no commit of dev or main"),
        "{output:?}"
    );
    for wanted in ["main", "", "$(touch here)", "0123abc"] {
        assert_eq!(find(&runner, wanted, "false").status.code(), Some(64), "{wanted}");
    }
    assert!(!runner.path("here").exists() && runner.said("output").is_empty());
}
