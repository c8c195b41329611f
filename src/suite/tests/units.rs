//! The units as they ship: what systemd's own tools say of them, and the promises that each of them makes.
#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

use suite::{SERVICES, Stage, TIMERS, Unit, missing, repository};

/// Most exposure of a service without a GPU, and of one with.
const TIGHT: f64 = 1.5;
const WITH_GPU: f64 = 2.5;

/// The full set of hardening. A unit that leaves one out says in a comment why.
const HARDENING: [(&str, &str); 29] = [
    ("AmbientCapabilities", ""),
    ("CapabilityBoundingSet", ""),
    ("DevicePolicy", "closed"),
    ("IPAddressDeny", "any"),
    ("KeyringMode", "private"),
    ("LimitCORE", "0"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateIPC", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateUsers", "yes"),
    ("ProcSubset", "pid"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "strict"),
    ("RemoveIPC", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("UMask", "0027"),
];

fn unit(name: &str) -> Unit {
    Unit::read(&repository().join("units"), name).unwrap()
}

/// What a unit names in all the lines of `name`.
fn words<'a>(unit: &'a Unit, name: &str) -> Vec<&'a str> {
    let lines = unit.all("Unit", name);
    lines.into_iter().flat_map(str::split_whitespace).collect()
}

fn no_systemd(test: &str) -> bool {
    let why = missing(&[("systemd-analyze", "systemd")]);
    if let Some(why) = &why {
        eprintln!("skipped: {test}: {why}");
    }
    why.is_some()
}

#[test]
fn systemd_finds_nothing_in_the_units_and_in_what_they_depend_on() {
    if no_systemd("systemd_finds_nothing_in_the_units_and_in_what_they_depend_on") {
        return;
    }
    let stage = Stage::new().unwrap();
    let mut units = SERVICES.to_vec();
    units.push("azaion.target");
    units.extend(TIMERS);
    units.push("azaion-health.path");
    assert_eq!(stage.verify(&units).unwrap(), Vec::<String>::new());

    stage
        .drop_in("azaion-queue.service", "[Service]\nWachdogSec=3\n")
        .unwrap();
    let said = stage.verify(&["azaion-queue.service"]).unwrap().join("\n");
    assert!(
        said.contains("WachdogSec"),
        "a misspelt directive is found: {said}"
    );
}

#[test]
fn no_service_is_more_exposed_than_its_work_asks_for() {
    if no_systemd("no_service_is_more_exposed_than_its_work_asks_for") {
        return;
    }
    let stage = Stage::new().unwrap();
    for (name, most) in [
        ("azaion-config.service", TIGHT),
        ("azaion-queue.service", TIGHT),
        ("azaion-train.service", WITH_GPU),
        ("azaion-train-resume.service", TIGHT),
        ("azaion-train-new.service", TIGHT),
        ("azaion-alert@.service", TIGHT),
        ("azaion-backup.service", TIGHT),
        ("azaion-backup-drill.service", TIGHT),
        ("azaion-health.service", WITH_GPU),
        ("azaion-health-full.service", WITH_GPU),
    ] {
        let exposure = stage.exposure(name).unwrap();
        println!("{name}: {exposure}");
        assert!(exposure <= most, "{name}: {exposure}, at most {most}");
    }
    // What an administrator adds: a broker elsewhere; a machine without a GPU.
    stage
        .drop_in("azaion-queue.service", "[Service]\nIPAddressAllow=192.0.2.10\n")
        .unwrap();
    stage
        .drop_in(
            "azaion-train.service",
            "[Service]\nPrivateDevices=yes\nDeviceAllow=\n",
        )
        .unwrap();
    for name in ["azaion-queue.service", "azaion-train.service"] {
        let exposure = stage.exposure(name).unwrap();
        assert!(exposure <= TIGHT, "{name}: {exposure}, at most {TIGHT}");
    }
}

#[test]
fn what_a_unit_leaves_out_of_the_full_set_it_gives_a_reason_for() {
    for name in SERVICES {
        let unit = unit(name);
        for (directive, value) in HARDENING {
            let given = unit.get("Service", directive);
            let reason = unit.comments().contains(&format!("- {directive}= is left"));
            assert!(
                given == Some(value) || (given.is_none() && reason),
                "{name}: {directive}={given:?}, and no reason"
            );
        }
        let calls = unit.all("Service", "SystemCallFilter");
        let without = if unit.comments().contains("SystemCallFilter= keeps @resources") {
            "~@privileged"
        } else {
            "~@privileged @resources"
        };
        assert_eq!(calls, ["@system-service", without], "{name}");
    }
}

#[test]
fn every_service_has_its_user_its_limits_and_its_time_to_stop() {
    for name in SERVICES {
        let unit = unit(name);
        for (directive, value) in [("User", "azaion"), ("Group", "azaion"), ("TimeoutStopSec", "30")] {
            assert_eq!(unit.get("Service", directive), Some(value), "{name}: {directive}");
        }
        for directive in ["MemoryMax", "TasksMax", "TimeoutStartSec"] {
            assert!(unit.get("Service", directive).is_some(), "{name}: {directive}");
        }
        // Before what only root may do, a condition asks the program.
        let asks = unit.get("Service", "ExecCondition");
        let asks = asks.map(|asks| asks.trim_start_matches("/bin/sh -c '"));
        let program = asks.or(unit.get("Service", "ExecStart")).unwrap();
        assert!(program.starts_with("/usr/bin/azaion"), "{name}: {program}");
    }
}

#[test]
fn a_daemon_is_watched_restarted_with_limits_and_told_of() {
    for (name, watchdog, pause) in [
        ("azaion-queue.service", "120", "5"),
        ("azaion-train.service", "15min", "60"),
    ] {
        let unit = unit(name);
        for (directive, value) in [
            ("Type", "notify"),
            ("NotifyAccess", "main"),
            ("WatchdogSec", watchdog),
            ("Restart", "on-failure"),
            ("RestartSec", pause),
        ] {
            assert_eq!(unit.get("Service", directive), Some(value), "{name}: {directive}");
        }
        // In [Service] systemd would not heed them.
        for limit in ["StartLimitIntervalSec", "StartLimitBurst"] {
            assert!(unit.get("Unit", limit).is_some(), "{name}: {limit}");
        }
        let told = unit.get("Service", "ExecStopPost").unwrap();
        assert!(told.contains("azaion-alert@%n.service"), "{name}: {told}");
    }
}

#[test]
fn every_failure_raises_the_alert_but_the_alerts_own() {
    for name in SERVICES {
        let raised = unit(name).get("Unit", "OnFailure").map(str::to_owned);
        let expected = (name != "azaion-alert@.service").then_some("azaion-alert@%n.service");
        assert_eq!(raised.as_deref(), expected, "{name}");
    }
}

#[test]
fn what_the_documents_tell_debian_to_install_is_every_unit() {
    let text = std::fs::read_to_string(suite::repository().join("docs/UNITS.md")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("install -m 644 units/*.service"))
        .unwrap();
    for entry in std::fs::read_dir(suite::repository().join("units")).unwrap() {
        let path = entry.unwrap().path();
        if let Some(kind) = path.extension().filter(|_| path.is_file()) {
            let named = format!(" units/*.{} ", kind.to_str().unwrap());
            assert!(line.contains(&named), "{line}: {}", path.display());
        }
    }
}

#[test]
fn a_timer_makes_up_for_what_it_missed_and_no_two_machines_come_at_once() {
    for name in TIMERS {
        let timer = unit(name);
        // Whether enough is new is asked again soon enough.
        let is_asked_again = name == "azaion-train-new.timer";
        assert!(
            is_asked_again || timer.get("Timer", "Persistent") == Some("yes"),
            "{name}"
        );
        if name.starts_with("azaion-backup") {
            assert!(timer.get("Timer", "RandomizedDelaySec").is_some(), "{name}");
        }
        assert!(timer.get("Install", "WantedBy").is_some(), "{name}");
        assert!(
            SERVICES.contains(&name.replace(".timer", ".service").as_str()),
            "{name}"
        );
    }
}

#[test]
fn a_backup_writes_in_status_alone_and_leaves_processor_and_disk_to_the_others() {
    for name in ["azaion-backup.service", "azaion-backup-drill.service"] {
        let unit = unit(name);
        assert_eq!(
            unit.all("Service", "ReadWritePaths"),
            ["/azaion/status"],
            "{name}"
        );
        assert_eq!(unit.get("Service", "IPAddressAllow"), Some("localhost"), "{name}");
        for weight in ["CPUWeight", "IOWeight"] {
            assert_eq!(unit.get("Service", weight), Some("20"), "{name}: {weight}");
        }
    }
}

#[test]
fn a_configuration_that_fails_its_check_blocks_queue_training_and_backups() {
    for name in [
        "azaion-queue.service",
        "azaion-train.service",
        "azaion-backup.service",
        "azaion-backup-drill.service",
    ] {
        let unit = unit(name);
        assert!(
            words(&unit, "Requires").contains(&"azaion-config.service"),
            "{name}"
        );
        assert!(words(&unit, "After").contains(&"azaion-config.service"), "{name}");
    }
    let check = unit("azaion-config.service");
    assert_eq!(check.get("Service", "Type"), Some("oneshot"));
    assert!(!check.assigns("RemainAfterExit"), "it is made for every start");
}

#[test]
fn nothing_that_stops_or_restarts_the_suite_reaches_a_training_run() {
    let train = unit("azaion-train.service");
    for directive in ["PartOf", "BindsTo", "WantedBy", "Requisite"] {
        assert!(!train.assigns(directive), "{directive}");
    }
    // The one unit that it requires cannot be stopped or restarted.
    assert_eq!(words(&train, "Requires"), ["azaion-config.service"]);
    let check = unit("azaion-config.service");
    assert_eq!(check.get("Unit", "RefuseManualStop"), Some("yes"));
    assert!(!words(&unit("azaion.target"), "Wants").contains(&"azaion-train.service"));
}

#[test]
fn what_starts_a_training_run_by_itself_asks_first_and_does_nothing_else_as_root() {
    for (name, question) in [
        (
            "azaion-train-resume.service",
            "/usr/bin/azaion train interrupted ",
        ),
        ("azaion-train-new.service", "/usr/bin/azaion train new "),
    ] {
        let unit = unit(name);
        assert!(
            unit.get("Service", "ExecCondition").unwrap().contains(question),
            "{name}"
        );
        assert_eq!(
            unit.all("Service", "ExecStart"),
            ["+/bin/sh -c 'systemctl --no-block start azaion-train.service'"],
            "{name}"
        );
    }
    let target = unit("azaion.target");
    let wanted = words(&target, "Wants");
    assert!(wanted.contains(&"azaion-train-resume.service"), "{wanted:?}");
    // Off until somebody enables its timer.
    assert!(
        !wanted.iter().any(|unit| unit.contains("train-new")),
        "{wanted:?}"
    );
    assert!(!unit("azaion-train-new.service").assigns("WantedBy"));
}

#[test]
fn the_queue_writes_nothing_of_training_and_training_has_no_network() {
    let queue = unit("azaion-queue.service");
    let read_only = queue.get("Service", "ReadOnlyPaths").unwrap();
    assert_eq!(read_only, "-/azaion/datasets -/azaion/models");
    assert_eq!(queue.get("Service", "IPAddressAllow"), Some("localhost"));
    let train = unit("azaion-train.service");
    assert_eq!(train.get("Service", "PrivateNetwork"), Some("yes"));
    for name in SERVICES {
        let unit = unit(name);
        let writes = unit.all("Service", "ReadWritePaths");
        assert!(
            writes.iter().all(|path| path.starts_with("/azaion")),
            "{name}: {writes:?}"
        );
    }
}
