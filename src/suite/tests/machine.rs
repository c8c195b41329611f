//! The machine that the other tests boot: what it promises them, and that nothing of it stays behind.
#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use suite::Machine;

/// Control groups of machines of this process.
fn control_groups(name: &str) -> Vec<String> {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name", name])
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    found.lines().map(str::to_owned).collect()
}

fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .count()
}

#[test]
fn a_machine_boots_with_units_user_and_tree_and_leaves_nothing_behind() {
    let mounts_before = mounts();
    let Some(machine) =
        Machine::for_test("a_machine_boots_with_units_user_and_tree_and_leaves_nothing_behind")
    else {
        return;
    };
    assert_eq!(machine.ask(&["cat", "/proc/1/comm"]).unwrap(), "systemd");
    assert_eq!(
        machine
            .ask(&["stat", "--format=%U:%G %a", "/azaion/data/images"])
            .unwrap(),
        "azaion:azaion 750"
    );
    let shipped = fs::read_to_string(suite::repository().join("units/azaion-queue.service")).unwrap();
    assert_eq!(
        machine
            .read("/usr/lib/systemd/system/azaion-queue.service")
            .unwrap(),
        shipped
    );
    let sleeper = machine.command("sleep").arg("1000").spawn();
    let mut sleeper = sleeper.unwrap();
    let name = machine.name().to_owned();
    assert_ne!(control_groups(&name), Vec::<String>::new());

    drop(machine);

    assert!(!sleeper.wait().unwrap().success(), "what ran inside ends with it");
    assert_eq!(control_groups(&name), Vec::<String>::new());
    assert_eq!(mounts(), mounts_before);
    assert!(!Path::new("/run/systemd/nspawn/propagate").join(&name).exists());
}

#[test]
fn what_is_done_in_a_machine_is_not_seen_outside() {
    let Some(machine) = Machine::for_test("what_is_done_in_a_machine_is_not_seen_outside") else {
        return;
    };
    let path = format!("/etc/{}", machine.name());
    machine.write(&path, 0o640, "a\nb\0").unwrap();
    assert_eq!(machine.read(&path).unwrap(), "a\nb\0");
    assert_eq!(machine.ask(&["stat", "--format=%a", &path]).unwrap(), "640");
    assert!(!Path::new(&path).exists());

    let inside = machine
        .on_its_network(|| TcpListener::bind("127.0.0.1:7"))
        .unwrap()
        .unwrap();
    assert!(TcpListener::bind("127.0.0.1:7").is_ok(), "a loopback of its own");
    drop(inside);

    let refused = machine
        .ask(&["sh", "-c", "echo why >&2; exit 3"])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("why") && refused.contains('3'), "{refused}");
}
