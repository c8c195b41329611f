//! `azaion config` as an operator types it: from `.env` to a checked `config.yaml`, all or nothing.

use crate::common::{azaion, last_line, write};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

const API: &str = "AZAION_API_EMAIL=trainer@example.org\nAZAION_API_PASSWORD='s3cret of the API'\n";

/// The example with everything filled in.
fn filled() -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    fs::read_to_string(example)
        .unwrap()
        .replace("someone@example.com", "trainer@example.org")
        .replace("replace-me", "\"s3cret of the API\"")
        .replace("changeme", "'s3cret of the broker'")
}

fn render(folder: &Path, profile: &str) -> assert_cmd::Command {
    let mut command = azaion(&["config", "render", "--profile", profile, "--env-file"]);
    command.arg(folder.join(".env"));
    command.arg("--output").arg(folder.join("config.yaml"));
    command
}

fn check(config: &Path) -> assert_cmd::Command {
    let mut command = azaion(&["config", "check", "--config"]);
    command.arg(config);
    command
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_development_environment_becomes_one_file_that_others_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(".env"), API, 0o644);
    render(folder.path(), "development").assert().success();
    let config = folder.path().join("config.yaml");
    assert_eq!(mode(&config), 0o640);
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("password: \"s3cret of the API\""), "{text}");
    assert!(
        text.contains("# Port of the stream protocol.\n  port: 5552\n"),
        "{text}"
    );
    check(&config).assert().success().stdout(contains("no problems"));
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "nothing is left beside it"
    );
}

#[test]
fn everything_missing_and_unusable_is_told_at_once_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    write(
        &folder.path().join(".env"),
        "AZAION_API_PASSWORD=s3cret\nRABBITMQ_PORT=many\nTRAINING_EPOCH=3\n",
        0o600,
    );
    for before in [None, Some("root_dir: /srv/cells\n")] {
        if let Some(text) = before {
            write(&config, text, 0o640);
        }
        render(folder.path(), "development")
            .assert()
            .code(2)
            .stdout("")
            .stderr(
                contains("3 problems")
                    .and(contains("AZAION_API_EMAIL: is missing"))
                    .and(contains("RABBITMQ_PORT: is not a whole number"))
                    .and(contains("TRAINING_EPOCH: unknown variable"))
                    .and(contains("nothing was written"))
                    .and(contains("s3cret").not()),
            );
        assert_eq!(fs::read_to_string(&config).ok().as_deref(), before);
    }
    write(&folder.path().join(".env"), "A=b\nA=c\nB = d\n", 0o600);
    render(folder.path(), "development")
        .assert()
        .code(2)
        .stderr(contains("again in line 2").and(contains("line 3: has white space")));
    azaion(&["config", "render", "--env-file", "/nowhere/.env"])
        .assert()
        .code(1)
        .stderr(contains("/nowhere/.env"));
    azaion(&["config", "render", "--env-file", "x", "--profile", "staging"])
        .assert()
        .code(64)
        .stderr(contains("development or production"));
}

#[test]
fn in_production_the_variables_belong_to_root_and_are_nobody_elses_to_read() {
    let test = "in_production_the_variables_belong_to_root_and_are_nobody_elses_to_read";
    if !is_root() {
        eprintln!("skipped: {test}: files of root need root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let env = folder.path().join(".env");
    for mode in [0o644, 0o660, 0o650, 0o604] {
        write(&env, &filled(), mode);
        render(folder.path(), "production")
            .assert()
            .code(2)
            .stderr(contains(format!("mode {mode:04o}")).and(contains("chmod 640")));
    }
    write(&env, &filled(), 0o640);
    chown(&env, Some(65534), None).unwrap();
    render(folder.path(), "production")
        .assert()
        .code(2)
        .stderr(contains("belongs to user 65534").and(contains("chown root:deploy")));
    assert!(!folder.path().join("config.yaml").exists());
    chown(&env, Some(0), None).unwrap();
    for mode in [0o640, 0o600, 0o400] {
        write(&env, &filled(), mode);
        render(folder.path(), "production").assert().success();
    }
}

#[test]
fn in_production_the_passwords_lie_apart_named_as_the_credentials() {
    let test = "in_production_the_passwords_lie_apart_named_as_the_credentials";
    if !is_root() {
        eprintln!("skipped: {test}: files of root need root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(".env"), &filled(), 0o640);
    render(folder.path(), "production").assert().success();
    let text = fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    let secrets = folder.path().join("secrets");
    assert_eq!(mode(&secrets), 0o700);
    for (name, expected) in [
        ("rabbitmq-password", "s3cret of the broker\n"),
        ("api-password", "s3cret of the API\n"),
    ] {
        let file = secrets.join(name);
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
        assert_eq!(mode(&file), 0o600);
        assert!(
            text.contains(&format!("password_file: {}", file.display())),
            "{text}"
        );
    }
    check(&folder.path().join("config.yaml")).assert().success();
}

#[test]
fn a_configuration_that_is_replaced_stays_whose_it_was() {
    let test = "a_configuration_that_is_replaced_stays_whose_it_was";
    if !is_root() {
        eprintln!("skipped: {test}: other owners need root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    write(&folder.path().join(".env"), API, 0o600);
    write(&config, "", 0o644);
    chown(&config, Some(0), Some(4242)).unwrap();
    render(folder.path(), "development").assert().success();
    let meta = fs::metadata(&config).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (0, 4242, 0o640));
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(".env"), API, 0o600);
    fs::create_dir(folder.path().join("config.yaml")).unwrap();
    render(folder.path(), "development")
        .assert()
        .code(1)
        .stderr(contains("cannot write").and(contains("config.yaml")));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn the_example_passes_its_own_check() {
    let folder = tempfile::tempdir().unwrap();
    let shown = azaion(&["config", "example"]).assert().success();
    let config = folder.path().join("config.yaml");
    fs::write(&config, &shown.get_output().stdout).unwrap();
    check(&config).assert().success();
}

#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = std::process::Command::new(azaion(&[]).get_program())
        .args(["config", "example"])
        .stdout(writer)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_check_names_every_problem_as_text_and_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, "training: {epochs: 0, imgsz: 100}\nroot_dir: here\n").unwrap();
    check(&config).assert().code(2).stderr(contains("3 problems"));
    let done = check(&config).arg("--json").assert().code(2);
    let told = last_line(&done.get_output().stdout);
    let keys: Vec<_> = told["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["key"])
        .collect();
    assert_eq!(keys, ["root_dir", "training.epochs", "training.imgsz"]);
    for text in ["training: [", "trainig: {}"] {
        fs::write(&config, text).unwrap();
        check(&config).assert().code(2);
    }
    check(&folder.path().join("absent.yaml")).assert().code(2);
    azaion(&["config", "check", "--confg"]).assert().code(64);
}

#[test]
fn a_secret_that_others_can_read_is_a_problem_and_one_that_is_not_here_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (config, secret) = (folder.path().join("config.yaml"), folder.path().join("secret"));
    fs::write(
        &config,
        format!("rabbitmq: {{password_file: {}}}\n", secret.display()),
    )
    .unwrap();
    // Where a configuration is built, its secrets are not.
    check(&config).assert().success();
    write(&secret, "s3cret", 0o644);
    check(&config).assert().code(2).stderr(
        contains("rabbitmq.password_file")
            .and(contains("chmod o-rwx"))
            .and(contains("s3cret").not()),
    );
    write(&secret, "s3cret", 0o640);
    check(&config).assert().success();
    fs::write(&config, "api: {password_file: /nix/store/aaaa-secret}\n").unwrap();
    check(&config).assert().code(2).stderr(contains("Nix store"));
}
