//! What the units keep their programs from. A probe is a copy of a shipped unit that runs a script in the program's place.

use std::net::TcpListener;

use suite::{Machine, missing, repository};

use crate::site::{NO_BROKER, PATIENCE, QUEUE, SECRET, configured};

/// From 192.0.2.0/24, which is for examples.
const ELSEWHERE: &str = "192.0.2.10";
const PORT: u16 = 7008;

/// Runs a script as `unit` runs its program, and gives what it says.
fn probe(machine: &Machine, unit: &str, script: &str) -> String {
    let shipped = std::fs::read_to_string(repository().join("units").join(unit)).unwrap();
    machine
        .write("/etc/systemd/system/azaion-probe.service", 0o644, shipped)
        .unwrap();
    machine
        .write("/usr/local/bin/probe", 0o755, format!("#!/bin/bash\n{script}\n"))
        .unwrap();
    let instead = "[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/local/bin/probe\nExecStopPost=\nRestart=no\n\
                   WatchdogSec=0\nStandardOutput=file:/run/probe\nStandardError=file:/run/probe\n";
    machine.drop_in("azaion-probe.service", "probe", instead).unwrap();
    machine.ask(&["rm", "-f", "/run/probe"]).unwrap();
    machine
        .ask(&["systemctl", "start", "azaion-probe.service"])
        .unwrap();
    machine.read("/run/probe").unwrap()
}

/// Each of these exists and everybody may write in it, so nothing but the sandbox refuses. None is in /run: below systemd-nspawn
/// systemd 252 leaves /run writable where it also mounts a /proc for the unit; modes alone keep the user out there.
const OPEN: [&str; 7] = [
    "/open",
    "/etc/open",
    "/usr/open",
    "/var/open",
    "/var/lib/open",
    "/opt/open",
    "/srv/open",
];

#[test]
fn the_queue_can_write_nothing_outside_its_tree() {
    let Some(machine) = configured("the_queue_can_write_nothing_outside_its_tree", NO_BROKER) else {
        return;
    };
    for folder in OPEN {
        machine.ask(&["install", "-d", "-m", "777", folder]).unwrap();
    }
    let try_all = format!(
        "for folder in {} /azaion/datasets /azaion/models /azaion/data/images /azaion/quarantine; do \
         if touch $folder/written 2>/dev/null; then echo $folder; fi; done",
        OPEN.join(" ")
    );
    let free = machine
        .ask(&["runuser", "-u", "azaion", "--", "sh", "-c", &try_all])
        .unwrap();
    assert_eq!(
        free.lines().count(),
        OPEN.len() + 4,
        "without the sandbox all of it is writable: {free}"
    );

    assert_eq!(
        probe(&machine, QUEUE, &try_all),
        "/azaion/data/images\n/azaion/quarantine\n"
    );

    assert_eq!(
        probe(&machine, QUEUE, "touch /tmp/written && echo done"),
        "done\n"
    );
    assert!(machine.read("/tmp/written").is_err(), "its /tmp is its own");
    let home = probe(
        &machine,
        QUEUE,
        "ls /root /home 2>&1 | head -1; ls /proc | grep -c '^[0-9]'",
    );
    assert!(home.starts_with("ls: cannot"), "{home}");
}

#[test]
fn the_queue_reaches_this_machine_and_what_it_is_told_and_training_nothing() {
    let test = "the_queue_reaches_this_machine_and_what_it_is_told_and_training_nothing";
    if let Some(why) = missing(&[("ip", "iproute2")]) {
        eprintln!("skipped: {test}: {why}");
        return;
    }
    let Some(machine) = configured(test, NO_BROKER) else {
        return;
    };
    machine
        .ask(&["ip", "address", "add", &format!("{ELSEWHERE}/32"), "dev", "lo"])
        .unwrap();
    let _listener = machine
        .on_its_network(|| TcpListener::bind(("0.0.0.0", PORT)))
        .unwrap()
        .unwrap();
    let reach = format!(
        "for host in 127.0.0.1 {ELSEWHERE}; do \
         if timeout 3 bash -c \"exec 3<>/dev/tcp/$host/{PORT}\" 2>/dev/null; then echo $host; fi; done"
    );
    let both = format!("127.0.0.1\n{ELSEWHERE}");
    assert_eq!(
        machine.ask(&["bash", "-c", &reach]).unwrap(),
        both,
        "without the sandbox"
    );

    assert_eq!(probe(&machine, QUEUE, &reach), "127.0.0.1\n");
    assert_eq!(probe(&machine, "azaion-train.service", &reach), "");

    let told = format!("[Service]\nIPAddressAllow={ELSEWHERE}\n");
    machine.drop_in("azaion-probe.service", "broker", &told).unwrap();
    assert_eq!(probe(&machine, QUEUE, &reach).trim_end(), both);
}

#[test]
fn the_password_is_readable_by_the_queue_alone() {
    let Some(machine) = configured("the_password_is_readable_by_the_queue_alone", NO_BROKER) else {
        return;
    };
    // It waits for its broker, with its credential.
    machine.ask(&["systemctl", "start", "--no-block", QUEUE]).unwrap();
    machine
        .await_property(QUEUE, "SubState", "start", PATIENCE)
        .unwrap();
    let given = format!("/run/credentials/{QUEUE}/rabbitmq-password");
    machine
        .wait("the credential", PATIENCE, || Ok(machine.read(&given).is_ok()))
        .unwrap();

    let password = broker::PASSWORD;
    let own = "cat $CREDENTIALS_DIRECTORY/rabbitmq-password";
    assert_eq!(probe(&machine, QUEUE, own), format!("{password}\n"));
    let others = format!("cat {given} {SECRET} /etc/credstore/* 2>/dev/null; env");
    for unit in ["azaion-train.service", "azaion-config.service", QUEUE] {
        let seen = probe(&machine, unit, &others);
        assert!(
            !seen.contains(password),
            "a unit of the same user sees it: {unit}: {seen}"
        );
    }
    let nobody = machine
        .run(&["runuser", "-u", "nobody", "--", "cat", &given, SECRET])
        .unwrap();
    assert!(!nobody.status.success() && nobody.stdout.is_empty());
    let pid = machine.property(QUEUE, "MainPID").unwrap();
    for place in ["environ", "cmdline"] {
        let text = machine.read(&format!("/proc/{pid}/{place}")).unwrap();
        assert!(!text.contains(password), "{place}");
    }
}
