//! `cargo xtask dist` and `closure` without a build: `cargo build` and `nix` are scripts, the rest of cargo is the real one.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where anything is not as it should be"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        for name in ["bin", "libtorch/lib", "libtorch/include/torch"] {
            fs::create_dir_all(machine.path(name)).unwrap();
        }
        fs::write(machine.path("libtorch/lib/libtorch_cpu.so"), "x").unwrap();
        fs::write(machine.path("libtorch/build-version"), "2.13.0").unwrap();
        machine.program("c++", "exit 0");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, verb: &str) -> Output {
        let path = std::env::var("PATH").unwrap();
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args([verb, "--to"])
            .arg(self.path("made"))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("CARGO", self.path("bin/cargo"))
            .env("REAL_CARGO", env!("CARGO"))
            .env("FOLDER", self.folder.path())
            .env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"))
            .env("LIBTORCH", self.path("libtorch"))
            .output()
            .unwrap()
    }
}

#[test]
fn what_is_handed_on_is_complete_and_its_checksums_are_right() {
    let machine = Machine::new();
    machine.program(
        "cargo",
        r#"case "$1" in
build) for package; do :; done
  echo "$4" > "$FOLDER/$4"; printf '{"executable": "%s"}\n' "$FOLDER/$4" ;;
*) exec "$REAL_CARGO" "$@" ;;
esac"#,
    );

    let output = machine.run("dist");

    assert!(output.status.success(), "{output:?}");
    let made = machine.path("made");
    for (program, package) in [
        ("azaion", "cli"),
        ("azaion-queue", "queue"),
        ("azaion-train", "trainer"),
    ] {
        let text = fs::read_to_string(made.join("bin").join(program)).unwrap();
        assert_eq!(text.trim(), package);
    }
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../units");
    for entry in fs::read_dir(units).unwrap() {
        assert!(made.join("units").join(entry.unwrap().file_name()).exists());
    }
    let bom: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(made.join("sbom.cdx.json")).unwrap()).unwrap();
    assert_eq!(bom["bomFormat"], "CycloneDX");
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(&made)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let sums = fs::read_to_string(made.join("SHA256SUMS")).unwrap();
    assert!(
        sums.contains("  bin/azaion-queue\n") && sums.contains("  sbom.cdx.json\n"),
        "{sums}"
    );

    let again = machine.run("dist");
    assert_eq!(again.status.code(), Some(1), "what is there is not mixed with");
}

#[test]
fn the_closure_is_a_binary_cache_with_the_suites_path_in_it() {
    let machine = Machine::new();
    machine.program(
        "nix",
        r#"echo "$*" >> "$FOLDER/asked"
case "$*" in *" build "*) echo /nix/store/0-azaion-suite ;; esac"#,
    );

    let output = machine.run("closure");

    assert!(output.status.success(), "{output:?}");
    let path = fs::read_to_string(machine.path("made/path")).unwrap();
    assert_eq!(path, "/nix/store/0-azaion-suite\n");
    let asked = fs::read_to_string(machine.path("asked")).unwrap();
    let copied = format!(
        "copy --to file://{}?compression=zstd /nix/store/0-azaion-suite",
        machine.path("made").display()
    );
    assert!(
        asked.contains("build --no-link --print-out-paths .#azaion-suite") && asked.contains(&copied),
        "{asked}"
    );
}

#[test]
fn a_build_that_fails_leaves_no_checksums_and_no_path() {
    let machine = Machine::new();
    machine.program("cargo", "exit 101");
    machine.program("nix", "exit 1");
    for (verb, last) in [("dist", "SHA256SUMS"), ("closure", "path")] {
        let output = machine.run(verb);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!machine.path("made").join(last).exists());
        fs::remove_dir_all(machine.path("made")).unwrap();
    }
}
