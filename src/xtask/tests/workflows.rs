//! The workflows of `.github`: which job waits for which, what starts them, what they may do, and that nothing from outside gets
//! into a shell. The files themselves are read; actionlint looks at the rest (`cargo xtask lint`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where anything is not as it should be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

const ALL: [&str; 4] = ["ci", "deploy", "gpu", "rollback"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

fn workflow(name: &str) -> Value {
    let path = root().join(format!(".github/workflows/{name}.yml"));
    let text = fs::read_to_string(&path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn jobs(workflow: &Value) -> BTreeMap<String, Value> {
    let jobs = workflow["jobs"].as_object().unwrap();
    jobs.iter()
        .map(|(name, job)| (name.clone(), job.clone()))
        .collect()
}

fn steps(job: &Value) -> Vec<Value> {
    job["steps"].as_array().cloned().unwrap_or_default()
}

/// The names of what a job waits for.
fn needs(job: &Value) -> BTreeSet<String> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    match &job["needs"] {
        Value::Array(names) => names.iter().filter_map(word).collect(),
        one => word(one).into_iter().collect(),
    }
}

/// Everything that has to be over, and well, before `job` begins.
fn all_before(jobs: &BTreeMap<String, Value>, job: &str) -> BTreeSet<String> {
    let mut before = BTreeSet::new();
    let mut open: Vec<String> = needs(&jobs[job]).into_iter().collect();
    while let Some(name) = open.pop() {
        open.extend(needs(&jobs[&name]));
        before.insert(name);
    }
    before
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn lint_and_security_begin_at_once_tests_wait_for_lint_and_builds_for_tests_and_security() {
    let jobs = jobs(&workflow("ci"));
    for (job, before) in [
        ("lint", set(&[])),
        ("security", set(&[])),
        ("tests", set(&["lint"])),
        ("coverage", set(&["lint"])),
        ("build", set(&["tests", "security"])),
        ("closure", set(&["tests", "security"])),
    ] {
        assert_eq!(needs(&jobs[job]), before, "{job}");
    }
    assert_eq!(all_before(&jobs, "build"), set(&["lint", "security", "tests"]));
    // A condition such as always() would run a job after failed ones.
    for job in ["lint", "security", "tests", "build"] {
        assert_eq!(
            jobs[job]["if"],
            Value::Null,
            "{job} always runs, and only after what it needs"
        );
        assert_eq!(jobs[job]["continue-on-error"], Value::Null, "{job}");
    }
    assert_eq!(jobs["closure"]["if"], "github.event_name != 'pull_request'");
}

#[test]
fn pushes_to_dev_and_main_and_pull_requests_to_dev_start_it_and_anybody_may_by_hand() {
    let on = &workflow("ci")["on"];
    assert_eq!(on["push"], json!({"branches": ["dev", "main"]}));
    assert_eq!(on["pull_request"], json!({"branches": ["dev"]}));
    assert!(on.as_object().unwrap().contains_key("workflow_dispatch"));
    assert!(!on.as_object().unwrap().contains_key("pull_request_target"));
}

#[test]
fn deploy_rollback_and_gpu_tests_are_started_by_hand_only() {
    for name in ["deploy", "rollback", "gpu"] {
        let on = workflow(name)["on"].as_object().unwrap().clone();
        assert_eq!(on.keys().collect::<Vec<_>>(), ["workflow_dispatch"], "{name}");
    }
}

#[test]
fn a_revision_is_deployed_as_it_was_built_or_after_all_checks_and_looked_at_before_and_after() {
    let jobs = jobs(&workflow("deploy"));
    assert_eq!(jobs["checks"]["uses"], "./.github/workflows/ci.yml");
    assert_eq!(jobs["checks"]["if"], "needs.revision.outputs.run == ''");
    assert_eq!(needs(&jobs["deploy"]), set(&["revision", "checks"]));
    let condition = jobs["deploy"]["if"].as_str().unwrap();
    for words in [
        "needs.revision.result == 'success'",
        "needs.revision.outputs.run != '' || needs.checks.result == 'success'",
    ] {
        assert!(condition.contains(words), "{condition}");
    }
    assert!(!condition.contains("always()"), "{condition}");
    let commands: Vec<String> = steps(&jobs["deploy"])
        .iter()
        .filter_map(|step| step["run"].as_str().map(str::to_owned))
        .collect();
    let at = |words: &str| commands.iter().position(|command| command.contains(words));
    assert!(at("azaion deploy preflight").unwrap() < at("azaion deploy switch").unwrap());
    assert!(
        commands.iter().any(|command| command.contains("--within 60s")),
        "{commands:?}"
    );
}

#[test]
fn what_goes_to_a_server_goes_there_one_at_a_time_and_is_never_broken_off() {
    let group = &workflow("deploy")["concurrency"];
    assert_eq!(group["cancel-in-progress"], false);
    assert_eq!(
        group,
        &workflow("rollback")["concurrency"],
        "both are in one group"
    );
    for (name, job) in [("deploy", "deploy"), ("rollback", "rollback")] {
        let job = &jobs(&workflow(name))[job];
        assert_eq!(job["runs-on"], json!(["self-hosted", "azaion-deploy"]));
        assert_eq!(
            job["environment"], "${{ inputs.environment }}",
            "its rules say who has to agree"
        );
    }
}

#[test]
fn nobody_may_do_more_than_the_job_needs() {
    for name in ALL {
        let workflow = workflow(name);
        assert_eq!(
            workflow["permissions"],
            json!({}),
            "{name}: nothing unless a job says so"
        );
        for (job, value) in jobs(&workflow) {
            let granted = value["permissions"]
                .as_object()
                .unwrap_or_else(|| panic!("{name}: {job} says nothing"));
            for (what, level) in granted {
                let may_write = matches!(
                    (job.as_str(), what.as_str()),
                    ("security" | "checks", "security-events") | ("report" | "checks", "pull-requests")
                );
                assert!(level == "read" || may_write, "{name}: {job}: {what}: {level}");
            }
        }
    }
}

#[test]
fn actions_are_pinned_by_commit_with_their_version_beside_it_and_keep_no_token() {
    for name in ALL {
        let text = fs::read_to_string(root().join(format!(".github/workflows/{name}.yml"))).unwrap();
        for line in text
            .lines()
            .filter(|line| line.contains("uses: ") && !line.contains("uses: ./"))
        {
            let (_, pin) = line.split_once('@').unwrap();
            let (commit, version) = pin.split_once(" # v").unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(
                commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{name}: {line}"
            );
            assert!(
                version.starts_with(|digit: char| digit.is_ascii_digit()),
                "{name}: {line}"
            );
        }
        for (job, value) in jobs(&workflow(name)) {
            for step in steps(&value) {
                if step["uses"]
                    .as_str()
                    .is_some_and(|uses| uses.starts_with("actions/checkout@"))
                {
                    assert_eq!(step["with"]["persist-credentials"], false, "{name}: {job}");
                }
            }
        }
    }
}

#[test]
fn no_expression_is_part_of_a_command() {
    for name in ALL {
        for (job, value) in jobs(&workflow(name)) {
            for step in steps(&value) {
                let command = step["run"].as_str().unwrap_or_default();
                assert!(!command.contains("${{"), "{name}: {job}: {command}");
            }
        }
    }
}

#[test]
fn every_job_ends_by_itself_and_every_command_is_one_that_runs_anywhere() {
    let ours = [
        "cargo xtask ",
        ".ci/",
        "azaion deploy ",
        "rustup ",
        "nix ",
        "rm -rf target/",
    ];
    for name in ALL {
        for (job, value) in jobs(&workflow(name)) {
            if value["uses"].is_string() {
                continue;
            }
            assert!(value["timeout-minutes"].is_u64(), "{name}: {job}");
            for step in steps(&value) {
                let command = step["run"].as_str().unwrap_or(ours[0]);
                assert!(
                    ours.iter().any(|part| command.contains(part)),
                    "{name}: {job}: {command}"
                );
            }
        }
    }
}

#[test]
fn caches_are_keyed_on_the_lock_file_and_the_compiler_is_the_workspaces() {
    let ci = workflow("ci");
    let mut caches = 0;
    for (job, value) in jobs(&ci) {
        for step in steps(&value) {
            if step["uses"]
                .as_str()
                .is_some_and(|uses| uses.starts_with("actions/cache@"))
            {
                let key = step["with"]["key"].as_str().unwrap();
                assert_eq!(key, format!("{job}-${{{{ hashFiles('Cargo.lock') }}}}"));
                caches += 1;
            }
        }
    }
    assert_eq!(caches, 5);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let compiler = ci["env"]["RUSTUP_TOOLCHAIN"].as_str().unwrap();
    let wanted = format!("rust-version = \"{}\"", compiler.strip_suffix(".0").unwrap());
    assert!(manifest.contains(&wanted), "{compiler}");
}

#[test]
fn findings_reach_the_security_tab_also_when_they_block() {
    let security = &jobs(&workflow("ci"))["security"];
    let mut uploaded = BTreeSet::new();
    for step in steps(security) {
        if step["uses"]
            .as_str()
            .is_some_and(|uses| uses.contains("/upload-sarif@"))
        {
            assert!(step["if"].as_str().unwrap().contains("!cancelled()"), "{step}");
            uploaded.insert(step["with"]["sarif_file"].as_str().unwrap().to_owned());
        }
        if let Some(command) = step["run"].as_str().filter(|command| command.contains("--sarif")) {
            assert!(
                command.ends_with("secrets.sarif") || command.ends_with("audit.sarif"),
                "{command}"
            );
            assert_eq!(step["continue-on-error"], Value::Null);
        }
    }
    assert_eq!(uploaded, set(&["audit.sarif", "secrets.sarif"]));
}
