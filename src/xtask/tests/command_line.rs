//! The program as it is called: exit codes, messages, and what is passed on. `cargo` is a script that says what it was
//! asked for, libtorch an empty folder that LIBTORCH names; nothing is built and nothing is fetched.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where anything is not as it should be"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Clone {
    folder: tempfile::TempDir,
}

impl Clone {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clone = Self { folder };
        for name in [
            "src/xtask",
            ".github/workflows",
            "bin",
            "libtorch/lib",
            "libtorch/include/torch",
        ] {
            fs::create_dir_all(clone.path(name)).unwrap();
        }
        fs::write(clone.path("Cargo.lock"), "").unwrap();
        fs::write(clone.path("libtorch/lib/libtorch_cpu.so"), "x").unwrap();
        fs::write(clone.path("libtorch/build-version"), "2.13.0").unwrap();
        clone.program("c++", "exit 0");
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The program with nothing of this machine's environment.
    fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("CARGO", self.path("bin/cargo"))
            .env("CARGO_MANIFEST_DIR", self.path("src/xtask"))
            .env("AZAION_CACHE", self.path("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.bare(arguments)
            .env("LIBTORCH", self.path("libtorch"))
            .output()
            .unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    let clone = Clone::new();
    for arguments in [
        &["deploy"][..],
        &[],
        &["lint", "--fast"],
        &["setup", "--keep-wheels", "--wheels", "x"],
    ] {
        assert_eq!(clone.run(arguments).status.code(), Some(64), "{arguments:?}");
    }
    let help = clone.run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for verb in [
        "setup", "demo", "test", "bench", "parity", "lint", "audit", "secrets", "sbom", "coverage", "dist",
        "closure", "fmt",
    ] {
        assert!(text(&help.stdout).contains(verb), "{verb}");
    }
}

#[test]
fn the_demo_gets_its_arguments_and_gives_its_exit_code() {
    let clone = Clone::new();
    clone.program("cargo", "echo \"$PWD\" \"$@\"; exit 7");

    let output = clone.run(&["demo", "--root", "a b", "--json"]);

    assert_eq!(output.status.code(), Some(7));
    let said = text(&output.stdout);
    let arguments = "run --release --package trainer --bin azaion-train -- demo --root a b --json";
    assert_eq!(
        said.trim_end(),
        format!("{} {arguments}", clone.folder.path().display())
    );
}

#[test]
fn an_own_libtorch_is_used_with_a_note_and_one_of_another_version_is_refused() {
    let clone = Clone::new();
    let output = clone.run(&["setup"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("note: LIBTORCH="), "{output:?}");
    assert!(
        !clone.path(".libtorch").exists() && !clone.path("cache").exists(),
        "nothing of ours is made"
    );

    fs::write(clone.path("libtorch/build-version"), "2.9.0+cpu").unwrap();
    let output = clone.run(&["setup"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("its build-version is 2.9.0"),
        "{output:?}"
    );
}

#[test]
fn a_missing_compiler_is_named_with_its_package() {
    let clone = Clone::new();
    fs::remove_file(clone.path("bin/c++")).unwrap();
    let output = clone.run(&["setup"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("apt-get install g++"), "{output:?}");
}

#[test]
fn a_network_that_does_not_answer_is_75_and_the_error_lists_the_wheels_to_place() {
    let clone = Clone::new();
    clone.program(
        "python3",
        "[ \"$3\" = --version ] && exit 0; echo no route; exit 1",
    );

    let output = clone.bare(&["setup"]).output().unwrap();

    assert_eq!(output.status.code(), Some(75));
    let said = text(&output.stderr);
    let wheels = clone.path("cache/wheels");
    for words in [
        "no route",
        "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
        wheels.to_str().unwrap(),
    ] {
        assert!(said.contains(words), "{words} is missing in {said}");
    }
}

/// A cargo whose formatter finds something and whose tests are three, one of them skipping itself.
const CARGO: &str = r#"case "$1" in
fmt) exit 1 ;;
nextest)
  echo "$OMP_NUM_THREADS" "$@" >> "$SEEN_BY_CARGO"
  echo '        PASS [   0.004s] (1/3) store saves'
  echo '        PASS [   0.004s] (2/3) queue broker'
  echo '  stdout ───'
  echo '    skipped: rabbitmq-server is not installed'
  echo '        PASS [   0.004s] (3/3) store moves'
  echo '     Summary [   0.131s] 3 tests run: 3 passed, 1 skipped' ;;
esac"#;

fn check(clone: &Clone, arguments: &[&str]) -> (Output, String) {
    clone.program("cargo", CARGO);
    for program in ["cargo-nextest", "nixfmt", "deadnix", "actionlint"] {
        clone.program(program, "exit 0");
    }
    let seen = clone.path("seen");
    let output = clone
        .bare(arguments)
        .env("LIBTORCH", clone.path("libtorch"))
        .env("SEEN_BY_CARGO", &seen)
        .output()
        .unwrap();
    (output, fs::read_to_string(Path::new(&seen)).unwrap_or_default())
}

#[test]
fn every_step_is_named_the_ones_after_a_failure_run_and_the_last_line_counts_tests() {
    let clone = Clone::new();
    let (output, _) = check(&clone, &["test", "--quick"]);

    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert_eq!(
        said.lines().last(),
        Some("2 passed, 0 failed, 2 skipped"),
        "{said}"
    );
    for words in [
        "[1/10] rustfmt: FAILED (exit status: 1)",
        "[2/10] clippy: ok",
        "[3/10] nixfmt, deadnix: ok",
        "[4/10] actionlint: ok",
        "[5/10] brokers: RabbitMQ 3.10.8 and 4.0.5, rstream, TensorBoard: skipped (RabbitMQ 3.10.8: dpkg-deb is missing",
        "[6/10] systemd's tools and Nix: skipped (systemd-analyze is missing",
        "[7/10] tests: ok",
        "    skipped: queue broker: rabbitmq-server is not installed",
        "[8/10] doctests: skipped (--quick)",
        "[10/10] cargo-deny: advisories: skipped (--quick)",
    ] {
        assert!(said.contains(words), "{words} is missing in {said}");
    }
}

#[test]
fn filters_reach_the_runner_and_tests_have_one_openmp_thread() {
    let clone = Clone::new();
    let (output, seen) = check(&clone, &["test", "offset", "label"]);
    assert!(output.status.success(), "{output:?}");
    assert!(seen.starts_with("1 nextest run --workspace "), "{seen}");
    assert!(seen.trim_end().ends_with(" offset label"), "{seen}");
}

#[test]
fn lint_that_finds_something_is_2() {
    let clone = Clone::new();
    let (output, _) = check(&clone, &["lint"]);
    assert_eq!(output.status.code(), Some(2));
}
