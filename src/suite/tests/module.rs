//! The NixOS module, its two example hosts and the packages, evaluated by the real Nix without network: what is right passes,
//! what is wrong is refused with words that help, and the module says of the programs what the programs say of themselves.
#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use service::Config;
use suite::nix::Copy;
use suite::{Stage, missing, repository};

const HOST: &str = "nixos-module/hosts/local-broker.nix";
const PASSWORD: &str = "\"/etc/azaion/rabbitmq-password\"";
/// Directives that the systemd of this machine may be too old for; NixOS's is not.
const NEWER: [&str; 2] = ["RestartSteps", "RestartMaxDelaySec"];

/// A copy of the repository for Nix, or `None` where there is no Nix.
fn copy(test: &str) -> Option<Copy> {
    if let Some(why) = missing(&[("nix", "nix-bin"), ("nix-instantiate", "nix-bin")]) {
        eprintln!("skipped: {test}: {why}");
        return None;
    }
    Some(Copy::new().unwrap())
}

/// Nix evaluates the copy after one edit of an example host.
fn edited(copy: &Copy, from: &str, to: &str) -> Result<(), String> {
    copy.edit(HOST, from, to).unwrap();
    let outcome = copy.check().unwrap();
    copy.edit(HOST, to, from).unwrap();
    outcome
}

#[test]
fn every_output_of_the_flake_evaluates() {
    let Some(copy) = copy("every_output_of_the_flake_evaluates") else {
        return;
    };
    assert_eq!(copy.check().unwrap(), Ok(()));
}

#[test]
fn a_mistake_is_refused_with_words_that_help() {
    let Some(copy) = copy("a_mistake_is_refused_with_words_that_help") else {
        return;
    };
    for (what, from, to, words) in [
        (
            "a misspelt option",
            "broker.enable",
            "brokr.enable",
            "services.azaion.brokr",
        ),
        (
            "a misspelt setting",
            "epochs = 10",
            "epoch = 10",
            "training.epoch",
        ),
        (
            "a wrong type",
            "epochs = 10",
            "epochs = \"ten\"",
            "not of type `positive integer",
        ),
        (
            "a secret in the store",
            PASSWORD,
            "\"${./local-broker.nix}\"",
            "lies in the Nix store",
        ),
        (
            "a secret beside the configuration",
            PASSWORD,
            "./local-broker.nix",
            "lies in the Nix store",
        ),
        (
            "a password among the settings",
            "settings.training = {",
            "settings.rabbitmq.password = \"x\"; settings.training = {",
            "holds a password (rabbitmq.password)",
        ),
        (
            "training on what is new without a number",
            "train.enable = true;",
            "train.enable = true; train.new.enable = true;",
            "settings.training.new_annotations",
        ),
        (
            "a broker's name without addresses",
            "broker.enable = true;",
            "settings.rabbitmq.host = \"broker.example\";",
            "services.azaion.broker.addresses",
        ),
        (
            "backups that nobody said where to put",
            "broker.enable = true;",
            "broker.enable = true; backup.enable = true;",
            "services.azaion.settings.backup.repository",
        ),
        (
            "a secret of backups in the store",
            "broker.enable = true;",
            "broker.enable = true; secrets.backupPassword = ./local-broker.nix;",
            "services.azaion.secrets.backupPassword lies in the Nix store",
        ),
    ] {
        let said = edited(&copy, from, to).expect_err(what);
        assert!(said.contains(words), "{what}: {said}");
    }
}

#[test]
fn the_settings_are_those_of_the_programs_with_the_same_defaults() {
    let Some(copy) = copy("the_settings_are_those_of_the_programs_with_the_same_defaults") else {
        return;
    };
    let settings = copy
        .expression(
            "(lib.evalModules { modules = [ (flake + \"/nixos-module/options.nix\") ]; specialArgs = { inherit pkgs; }; })\
             .config.services.azaion.settings",
        )
        .unwrap();
    let mut programs = serde_json::to_value(Config::default()).unwrap();
    // A password itself has no place in settings, which end in the store.
    for section in ["api", "rabbitmq"] {
        programs[section]
            .as_object_mut()
            .unwrap()
            .remove("password")
            .unwrap();
    }
    assert_eq!(with_plain_numbers(settings), with_plain_numbers(programs));
}

/// Nix writes 1.0 as 1.
fn with_plain_numbers(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields
                .map(|(key, value)| (key, with_plain_numbers(value)))
                .collect()
        }
        other => other,
    }
}

#[test]
fn the_example_hosts_configurations_are_accepted_by_the_programs() {
    let Some(copy) = copy("the_example_hosts_configurations_are_accepted_by_the_programs") else {
        return;
    };
    for (host, root) in [("local-broker", "/azaion"), ("gpu-server", "/srv/azaion")] {
        let settings = copy
            .output(&format!(
                "nixosConfigurations.{host}.config.services.azaion.settings"
            ))
            .unwrap();
        // JSON is YAML.
        let config = Config::parse(&settings.to_string(), Path::new(host)).unwrap();
        assert_eq!(config.root_dir, Path::new(root));
    }
}

#[test]
fn the_documentation_of_the_options_is_current() {
    let Some(copy) = copy("the_documentation_of_the_options_is_current") else {
        return;
    };
    let text = copy
        .expression("import (flake + \"/nixos-module/document.nix\") { inherit lib pkgs; }")
        .unwrap();
    let text = text.as_str().unwrap();
    let page = repository().join("docs/OPTIONS.md");
    if std::env::var_os("AZAION_WRITE_DOCS").is_some() {
        fs::write(&page, text).unwrap();
    }
    assert!(
        fs::read_to_string(&page).unwrap() == text,
        "docs/OPTIONS.md is not what nixos-module/options.nix says: AZAION_WRITE_DOCS=1 cargo test -p suite --test module"
    );
}

/// What the module adds to a unit, as the drop-in that NixOS makes of it.
fn drop_in(copy: &Copy, host: &str, service: &str) -> String {
    let settings = copy
        .output(&format!(
            "nixosConfigurations.{host}.config.systemd.services.{service}.serviceConfig"
        ))
        .unwrap();
    let mut text = "[Service]\n".to_owned();
    for (name, value) in settings.as_object().unwrap() {
        let values = match value {
            Value::Array(values) => values.clone(),
            one => vec![one.clone()],
        };
        for value in values {
            let value = match value {
                Value::Bool(yes) => (if yes { "yes" } else { "no" }).to_owned(),
                Value::String(text) => text,
                other => other.to_string(),
            };
            text.push_str(&format!("{name}={value}\n"));
        }
    }
    text
}

#[test]
fn with_what_the_module_adds_the_units_are_still_right_and_tight() {
    let test = "with_what_the_module_adds_the_units_are_still_right_and_tight";
    if let Some(why) = missing(&[("systemd-analyze", "systemd")]) {
        eprintln!("skipped: {test}: {why}");
        return;
    }
    let Some(copy) = copy(test) else { return };
    let backups = [("azaion-backup", 1.5), ("azaion-backup-drill", 1.5)];
    for (host, root, train_at_most, backups) in [
        ("local-broker", "/azaion", 1.5, &[][..]),
        ("gpu-server", "/srv/azaion", 2.5, &backups),
    ] {
        let stage = Stage::new().unwrap();
        for (service, most) in [
            ("azaion-config", 1.5),
            ("azaion-queue", 1.5),
            ("azaion-train", train_at_most),
            ("azaion-train-resume", 1.5),
            ("azaion-train-new", 1.5),
            ("azaion-alert@", 1.5),
        ]
        .iter()
        .chain(backups)
        {
            let text = drop_in(&copy, host, service);
            let name = format!("{service}.service");
            stage.drop_in(&name, &text).unwrap();
            let exposure = stage.exposure(&name).unwrap();
            println!("{host}: {name}: {exposure}");
            assert!(exposure <= *most, "{host}: {name}: {exposure}, at most {most}");
            let writes: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("ReadWritePaths="))
                .collect();
            let inside = |path: &&str| path.is_empty() || path.starts_with(root);
            assert!(
                writes.first().is_none_or(|first| first.is_empty()) && writes.iter().all(inside),
                "{writes:?}"
            );
        }
        let said = stage
            .verify(&[
                "azaion-queue.service",
                "azaion-train.service",
                "azaion-backup.service",
                "azaion-backup-drill.service",
                "azaion.target",
            ])
            .unwrap();
        let errors: Vec<&String> = said
            .iter()
            .filter(|line| !NEWER.iter().any(|name| line.contains(name)))
            .collect();
        assert!(errors.is_empty(), "{host}: {errors:?}");
    }
}

#[test]
fn a_switch_restarts_the_queue_and_leaves_a_training_run_alone() {
    let Some(copy) = copy("a_switch_restarts_the_queue_and_leaves_a_training_run_alone") else {
        return;
    };
    let of = |service: &str| {
        copy.expression(&format!(
            "let host = (nixpkgs.lib.nixosSystem {{ modules = [ (flake + \"/nixos-module\") (flake + \"/{HOST}\") ]; }}).config; \
             unit = host.systemd.services.{service}; in {{ inherit (unit) restartIfChanged stopIfChanged wantedBy; \
             triggers = map (trigger: trigger.name) unit.restartTriggers; }}"
        ))
        .unwrap()
    };
    let queue = of("azaion-queue");
    assert_eq!(queue["restartIfChanged"], true);
    assert_eq!(queue["triggers"], serde_json::json!(["azaion-config.yaml"]));
    let train = of("azaion-train");
    assert_eq!(train["restartIfChanged"], false);
    assert_eq!(train["stopIfChanged"], false);
    assert_eq!(
        train["wantedBy"],
        serde_json::json!([]),
        "started by hand or by its timer"
    );
}

#[test]
fn each_host_makes_its_own_tree_and_keeps_its_journal_thirty_days() {
    let Some(copy) = copy("each_host_makes_its_own_tree_and_keeps_its_journal_thirty_days") else {
        return;
    };
    let rules = copy
        .output("nixosConfigurations.gpu-server.config.systemd.tmpfiles.rules")
        .unwrap();
    let rules: Vec<&str> = rules
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        !rules.is_empty() && rules.iter().all(|rule| rule.starts_with("d /srv/azaion")),
        "{rules:?}"
    );
    assert!(
        rules
            .iter()
            .any(|rule| rule.starts_with("d /srv/azaion/data-seed/labels "))
    );
    let journal = copy
        .output("nixosConfigurations.gpu-server.config.services.journald.extraConfig")
        .unwrap();
    assert_eq!(journal, "MaxRetentionSec=30day");
}

#[test]
fn a_package_brings_its_units_with_its_own_programs_in_them() {
    let Some(copy) = copy("a_package_brings_its_units_with_its_own_programs_in_them") else {
        return;
    };
    for (package, files) in [
        (
            "azaion",
            [
                "systemd/system/azaion.target",
                "systemd/system/azaion-alert@.service",
                "systemd/system/azaion-config.service",
                "systemd/system/azaion-train-new.service",
                "systemd/system/azaion-train-new.timer",
                "systemd/system/azaion-train-resume.service",
                "sysusers.d/azaion.conf",
                "tmpfiles.d/azaion.conf",
            ]
            .as_slice(),
        ),
        ("azaion-queue", &["systemd/system/azaion-queue.service"]),
        (
            "azaion-backup",
            &[
                "systemd/system/azaion-backup.service",
                "systemd/system/azaion-backup.timer",
                "systemd/system/azaion-backup-drill.service",
                "systemd/system/azaion-backup-drill.timer",
            ],
        ),
        (
            "azaion-health",
            &[
                "systemd/system/azaion-health.service",
                "systemd/system/azaion-health.timer",
                "systemd/system/azaion-health.path",
                "systemd/system/azaion-health-full.service",
                "systemd/system/azaion-health-full.timer",
            ],
        ),
        ("azaion-train", &["systemd/system/azaion-train.service"]),
    ] {
        let script = copy
            .output(&format!("packages.x86_64-linux.{package}.postInstall"))
            .unwrap();
        let out = tempfile::tempdir().unwrap();
        // nixpkgs' function, as far as it is used: it fails where there is nothing to replace.
        let substitute = "substituteInPlace() { grep -q \"$3\" \"$1\" && chmod u+w \"$1\" && sed -i \"s|$3|$4|g\" \"$1\"; }";
        let output = Command::new("bash")
            .args(["-euc", &format!("{substitute}\n{}", script.as_str().unwrap())])
            .current_dir(repository())
            .env("out", out.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{package}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for file in files {
            let text = fs::read_to_string(out.path().join("lib").join(file)).unwrap();
            assert!(!text.contains("/usr/bin/azaion"), "{package}: {file}");
            let runs = text
                .lines()
                .find(|line| line.starts_with("ExecCondition=") || line.starts_with("ExecStart="));
            let own = format!("{}/bin/{package} ", out.path().display());
            assert!(
                runs.is_none_or(|line| line.contains(&own)),
                "{package}: {file}: {runs:?}"
            );
        }
    }
}

#[test]
fn the_queue_and_the_operators_tool_are_built_without_libtorch() {
    let Some(copy) = copy("the_queue_and_the_operators_tool_are_built_without_libtorch") else {
        return;
    };
    let inputs = |package: &str| {
        let attribute = format!("packages.x86_64-linux.{package}.drvAttrs");
        copy.output(&attribute).unwrap().to_string()
    };
    for package in ["azaion", "azaion-queue", "azaion-backup", "azaion-health"] {
        assert!(!inputs(package).contains("libtorch"), "{package}");
    }
    assert!(inputs("azaion-train").contains("libtorch-cpu"));
    assert!(inputs("azaion-train-cuda").contains("libtorch-cuda"));
}

#[test]
fn the_wheels_are_those_that_the_set_up_takes() {
    let Some(copy) = copy("the_wheels_are_those_that_the_set_up_takes") else {
        return;
    };
    let wheels = copy
        .expression("import (flake + \"/nixos-module/packages/wheels.nix\")")
        .unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let taken: Vec<(String, String)> = wheels["cpu"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wheel| {
            let parts = ["pname", "version", "python", "abi", "platform"].map(|name| text(&wheel[name]));
            (format!("{}.whl", parts.join("-")), text(&wheel["sha256"]))
        })
        .collect();
    let pinned: Vec<(String, String)> = xtask::libtorch::Recipe::pinned()
        .wheels
        .into_iter()
        .map(|wheel| (wheel.file, wheel.sha256))
        .collect();
    assert_eq!(taken, pinned);
}

#[test]
fn the_scripts_of_the_virtual_machines_are_python() {
    let test = "the_scripts_of_the_virtual_machines_are_python";
    if let Some(why) = missing(&[("python3", "python3")]) {
        eprintln!("skipped: {test}: {why}");
        return;
    }
    let Some(copy) = copy(test) else { return };
    for name in [
        "boots",
        "ingests",
        "trains",
        "resumes",
        "survives-reboot",
        "rolls-back",
    ] {
        let script = copy
            .output(&format!("checks.x86_64-linux.vm-{name}.testScript"))
            .unwrap();
        let output = Command::new("python3")
            .args([
                "-c",
                "import sys; compile(sys.argv[1], 'testScript', 'exec')",
                script.as_str().unwrap(),
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
