//! `azaion deploy` on a booted systemd: generations of a profile whose programs are the built ones, or in whose queue's place
//! stands one that hangs, crashes, or is kept from starting. Each is judged by what the deploy says, by what it leaves
//! running, and by the report that it keeps; a training run beside it has to be the same process afterwards.

use std::process::Stdio;

use serde_json::Value;
use suite::{Machine, repository};

use crate::site::{PATIENCE, QUEUE, Site};
use crate::training::{TRAIN, start_run};

const PROFILE: &str = "/nix/var/nix/profiles/azaion";
/// A queue that never becomes ready, and does not end when it is asked to.
const HANGS: &str = "#!/bin/sh\ntrap '' TERM\nexec sleep 1000\n";
/// One that becomes ready, and then does nothing.
const READS_NOTHING: &str = "#!/bin/sh\nsystemd-notify --ready\nexec sleep 1000\n";
const CRASHES: &str = "#!/bin/sh\necho '<3>out of apples' >&2\nexit 3\n";

/// A machine on which the first generation is at work, with a training run beside it.
struct Host {
    site: Site,
    run: String,
}

impl Host {
    fn new(test: &str) -> Option<Self> {
        let site = Site::new(test)?;
        let machine = &site.machine;
        // The machine's own disk is smaller than what a deploy takes for adequate.
        machine
            .ask(&["mount", "-t", "tmpfs", "-o", "size=8g", "tmpfs", "/azaion"])
            .unwrap();
        machine
            .ask(&["systemd-tmpfiles", "--create", "azaion.conf"])
            .unwrap();
        site.create_stream();
        machine.ask(&["systemctl", "start", QUEUE]).unwrap();
        machine
            .await_property(QUEUE, "ActiveState", "active", PATIENCE)
            .unwrap();
        generation(machine, 1);
        start_run(machine);
        let run = machine.property(TRAIN, "MainPID").unwrap();
        let host = Self { site, run };
        let (code, record) = host.switch(1, &[]);
        assert_eq!(code, 0, "{record:#}");
        assert_eq!(host.at_work(), program(1));
        Some(host)
    }

    fn machine(&self) -> &Machine {
        &self.site.machine
    }

    /// Runs a verb of the deploy: its exit code, its JSON, and what it says beside that.
    fn deploy(&self, arguments: &[&str]) -> (i32, Value, String) {
        let command = [
            &["/usr/bin/azaion", "deploy"],
            &arguments[..1],
            &["--json"],
            &arguments[1..],
        ]
        .concat();
        let done = self.machine().run(&command).unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        println!("azaion deploy {}: {}\n{said}", arguments.join(" "), done.status);
        let told = serde_json::from_slice(&done.stdout).unwrap_or_default();
        (done.status.code().unwrap(), told, said)
    }

    /// Switches; holds that the run beside it was left alone and the queue was down for less than it may be, and that the
    /// report in the tree is the one that was told.
    fn switch(&self, number: u32, options: &[&str]) -> (i32, Value) {
        let (code, record, said) = self.deploy(&[&["switch", &place(number)], options].concat());
        assert!(record.is_object(), "{said}");
        println!(
            "generation {number}: {}, down for {} s, {} s in all",
            record["outcome"], record["queue_down_seconds"], record["seconds"]
        );
        assert_eq!(record["exit_code"], code);
        assert_eq!(record["training"]["run"], "untouched", "{record:#}");
        assert_eq!(self.machine().property(TRAIN, "MainPID").unwrap(), self.run);
        let down = record["queue_down_seconds"].as_f64().unwrap();
        assert!(down < 30.0, "down for {down} s");
        let path = said
            .lines()
            .find_map(|line| line.strip_prefix("report: "))
            .unwrap();
        let kept: Value = serde_json::from_str(&self.machine().read(path).unwrap()).unwrap();
        assert_eq!(kept, record);
        let text = self.machine().read(&path.replace(".json", ".txt")).unwrap();
        assert!(text.contains(&place(number)), "{text}");
        (code, record)
    }

    /// What the queue's process runs.
    fn at_work(&self) -> String {
        let pid = self.site.pid();
        self.machine()
            .ask(&["readlink", &format!("/proc/{pid}/exe")])
            .unwrap()
    }

    /// Holds that the first generation is back, works, and was found good by the deploy that went back to it.
    fn is_back(&self, record: &Value) {
        assert_eq!(record["outcome"], "rolled-back");
        assert_eq!(record["rollback"]["confirmation"]["problems"], 0, "{record:#}");
        assert_eq!(self.at_work(), program(1));
        let current = self.machine().ask(&["readlink", PROFILE]).unwrap();
        assert_eq!(current, "azaion-1-link");
        self.site.deliver(&mut self.site.publisher());
    }
}

fn place(number: u32) -> String {
    format!("/nix/store/suite-{number}")
}

fn program(number: u32) -> String {
    format!("{}/bin/azaion-queue", place(number))
}

/// Installs a generation beside the others: programs, and units that name them by their place, as a package does.
fn generation(machine: &Machine, number: u32) {
    let place = place(number);
    machine.ask(&["mkdir", "-p", &format!("{place}/bin")]).unwrap();
    for name in ["azaion", "azaion-queue"] {
        let copy = ["cp", "-L", &format!("/usr/bin/{name}"), &format!("{place}/bin/")];
        machine.ask(&copy).unwrap();
    }
    for unit in suite::SERVICES.into_iter().chain(["azaion.target"]) {
        let text = std::fs::read_to_string(repository().join("units").join(unit)).unwrap();
        let text = text.replace("/usr/bin/azaion", &format!("{place}/bin/azaion"));
        let path = format!("{place}/lib/systemd/system/{unit}");
        machine.write(&path, 0o644, text).unwrap();
    }
}

/// The same with this in the queue's place.
fn generation_with(machine: &Machine, number: u32, queue: &str) {
    generation(machine, number);
    machine.write(&program(number), 0o755, queue).unwrap();
    change(machine, number, QUEUE, "NotifyAccess=main", "NotifyAccess=all");
}

fn change(machine: &Machine, number: u32, unit: &str, from: &str, to: &str) {
    let path = format!("{}/lib/systemd/system/{unit}", place(number));
    let text = machine.read(&path).unwrap();
    assert!(text.contains(from), "{unit} has no {from}");
    machine.write(&path, 0o644, text.replace(from, to)).unwrap();
}

fn problem(attempt: &Value) -> String {
    let mut found = Vec::new();
    for check in attempt["confirmation"]["checks"].as_array().unwrap() {
        for finding in check["findings"].as_array().unwrap() {
            if finding["grade"] == "problem" {
                found.push(finding["what"].as_str().unwrap().to_owned());
            }
        }
    }
    found.join("; ")
}

#[test]
fn a_version_that_works_is_confirmed_and_a_rollback_goes_back_to_the_one_before() {
    let Some(host) =
        Host::new("a_version_that_works_is_confirmed_and_a_rollback_goes_back_to_the_one_before")
    else {
        return;
    };
    generation(host.machine(), 2);
    let (code, looked, _) = host.deploy(&["preflight", &place(2)]);
    assert_eq!((code, &looked["problems"]), (0, &0.into()), "{looked:#}");
    assert!(looked.to_string().contains("is left alone"), "{looked:#}");

    let (code, record) = host.switch(2, &[]);
    assert_eq!((code, &record["outcome"]), (0, &"confirmed".into()), "{record:#}");
    assert_eq!(record["from"]["number"], 1);
    assert_eq!(host.at_work(), program(2));
    host.site.deliver(&mut host.site.publisher());
    assert_eq!(host.deploy(&["confirm", "--within", "30s"]).0, 0);

    // It is there already: nothing is restarted.
    let pid = host.site.pid();
    assert_eq!(host.switch(2, &[]).0, 0);
    assert_eq!(host.site.pid(), pid);

    let (code, record, _) = host.deploy(&["rollback"]);
    assert_eq!(code, 0, "{record:#}");
    assert_eq!(record["training"]["run"], "untouched");
    assert_eq!(host.at_work(), program(1));
    host.site.deliver(&mut host.site.publisher());
    let nix = host
        .machine()
        .run(&["nix-env", "--profile", PROFILE, "--list-generations"]);
    match nix.unwrap() {
        listed if listed.status.success() => {
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            assert!(
                listed.contains("(current)") && listed.lines().count() == 2,
                "{listed}"
            );
        }
        failed => println!(
            "nix-env lists nothing here: {}",
            String::from_utf8_lossy(&failed.stderr)
        ),
    }
}

#[test]
fn a_queue_that_hangs_before_or_after_it_is_ready_is_rolled_back() {
    let Some(host) = Host::new("a_queue_that_hangs_before_or_after_it_is_ready_is_rolled_back") else {
        return;
    };
    generation_with(host.machine(), 2, HANGS);
    let (code, record) = host.switch(2, &["--ready-within", "15s"]);
    assert_eq!(code, 3, "{record:#}");
    let said = problem(&record["attempt"]);
    assert!(said.contains("not ready after 15 s"), "{said}");
    host.is_back(&record);

    generation_with(host.machine(), 3, READS_NOTHING);
    let mut publisher = host.site.publisher();
    let begun = host.site.offset();
    let record = std::thread::scope(|scope| {
        let switch = scope.spawn(|| host.switch(3, &["--within", "25s"]));
        host.machine()
            .wait("the new queue", PATIENCE, || {
                Ok(host.machine().property(QUEUE, "StatusText")?.is_empty()
                    && host.machine().property(QUEUE, "ActiveState")? == "active")
            })
            .unwrap();
        publisher.send(&[b"one".to_vec(), b"two".to_vec()]).unwrap();
        publisher.confirm().unwrap();
        let (code, record) = switch.join().unwrap();
        assert_eq!(code, 3, "{record:#}");
        record
    });
    let said = problem(&record["attempt"]);
    assert!(said.contains("2 messages wait"), "{said}");
    host.is_back(&record);
    assert!(
        host.site.offset() >= begun + 3,
        "what waited was read by the one before"
    );
}

#[test]
fn a_queue_that_crashes_is_rolled_back_with_its_last_words_in_the_report() {
    let Some(host) = Host::new("a_queue_that_crashes_is_rolled_back_with_its_last_words_in_the_report")
    else {
        return;
    };
    generation_with(host.machine(), 2, CRASHES);
    let (code, record) = host.switch(2, &[]);
    assert_eq!(code, 3, "{record:#}");
    let said = problem(&record["attempt"]);
    assert!(
        said.contains("exit-code") && said.contains("out of apples"),
        "{said}"
    );
    let journal = record["attempt"]["journal"].to_string();
    assert!(
        journal.contains("out of apples") && journal.contains("status=3"),
        "{journal}"
    );
    host.is_back(&record);
}

#[test]
fn a_configuration_that_is_invalid_is_found_before_or_rolled_back() {
    let Some(host) = Host::new("a_configuration_that_is_invalid_is_found_before_or_rolled_back") else {
        return;
    };
    let machine = host.machine();
    // The generation brings a configuration of its own, as a NixOS does.
    generation(machine, 2);
    machine
        .write(
            &format!("{}/config.yaml", place(2)),
            0o644,
            "training: {imgsz: 100}\n",
        )
        .unwrap();
    let own = format!("{}/config.yaml", place(2));
    change(
        machine,
        2,
        "azaion-config.service",
        "/etc/azaion/config.yaml",
        &own,
    );
    let (code, record) = host.switch(2, &[]);
    assert_eq!(code, 3, "{record:#}");
    let said = problem(&record["attempt"]);
    assert!(said.contains("not running"), "{said}");
    let journal = record["attempt"]["journal"].to_string();
    assert!(journal.contains("training.imgsz"), "{journal}");
    host.is_back(&record);

    generation(machine, 3);
    let good = machine.read("/etc/azaion/config.yaml").unwrap();
    machine
        .write("/etc/azaion/config.yaml", 0o640, format!("{good}  prot: 5552\n"))
        .unwrap();
    let pid = host.site.pid();
    let (code, looked, said) = host.deploy(&["switch", &place(3)]);
    assert_eq!(code, 2, "{looked:#}");
    assert!(
        looked.to_string().contains("prot") && said.contains("nothing was changed"),
        "{looked:#}{said}"
    );
    assert_eq!(host.site.pid(), pid);
    assert_eq!(machine.ask(&["readlink", PROFILE]).unwrap(), "azaion-1-link");
}

#[test]
fn a_deploy_that_was_cut_off_is_found_and_only_one_runs_at_a_time() {
    let Some(host) = Host::new("a_deploy_that_was_cut_off_is_found_and_only_one_runs_at_a_time") else {
        return;
    };
    let machine = host.machine();
    generation_with(machine, 2, READS_NOTHING);
    let mut switch = machine
        .command("/usr/bin/azaion")
        .args(["deploy", "switch", &place(2)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    machine
        .wait("the switch", PATIENCE, || {
            Ok(machine.property(QUEUE, "ExecStart")?.contains(&program(2)))
        })
        .unwrap();
    let (code, _, said) = host.deploy(&["switch", &place(1)]);
    assert_eq!(code, 75);
    assert!(said.contains(&format!("switch to {}", place(2))), "{said}");
    // As the machine numbers it; the handle here is that of nsenter.
    let note = machine.read("/var/lib/azaion-deploy/lock").unwrap();
    let pid = note.split([' ', ',']).nth(1).unwrap();
    machine.ask(&["kill", "-KILL", pid]).unwrap();
    switch.wait().unwrap();

    let (_, looked, _) = host.deploy(&["preflight", &place(1)]);
    assert!(looked.to_string().contains("was cut off"), "{looked:#}");
    // Back to the one that was confirmed, not to the one that is there.
    generation_with(machine, 3, CRASHES);
    let (code, record) = host.switch(3, &[]);
    assert_eq!(code, 3, "{record:#}");
    assert!(
        record["cut_off_before"]["to"]
            .as_str()
            .unwrap()
            .contains(&place(2)),
        "{record:#}"
    );
    host.is_back(&record);
    let (_, looked, _) = host.deploy(&["preflight", &place(1)]);
    assert!(looked.to_string().contains("none is unfinished"), "{looked:#}");
}

/// What a NixOS brings to activate itself, as far as a deploy sees it: it takes over its unit, restarts what has changed, and
/// says with its exit code that a unit did not start.
const ACTIVATES: &str = "#!/bin/sh
set -e
test \"$1\" = switch
place=$(readlink -f \"$(dirname \"$0\")/..\")
cp \"$place/lib/systemd/system/azaion-queue.service\" /etc/systemd/system/
systemctl daemon-reload
systemctl restart azaion-queue.service || exit 4
";

#[test]
fn a_command_that_switches_a_whole_system_is_confirmed_or_taken_back() {
    let Some(host) = Host::new("a_command_that_switches_a_whole_system_is_confirmed_or_taken_back") else {
        return;
    };
    let machine = host.machine();
    machine
        .ask(&["rm", &format!("/etc/systemd/system/{QUEUE}")])
        .unwrap();
    generation(machine, 2);
    generation_with(machine, 3, CRASHES);
    for number in [2, 3] {
        let switch = format!("{}/bin/switch-to-configuration", place(number));
        machine.write(&switch, 0o755, ACTIVATES).unwrap();
        let tool = format!(
            "mkdir -p {0}/sw/bin && ln -s ../../bin/azaion {0}/sw/bin/",
            place(number)
        );
        machine.ask(&["sh", "-c", &tool]).unwrap();
    }
    let (code, record) = host.switch(2, &[]);
    assert_eq!((code, host.at_work()), (0, program(2)), "{record:#}");
    let profile = "/nix/var/nix/profiles/system";
    assert_eq!(record["profile"], profile);

    let rebuild = format!(
        "echo building >&2; ln -s {} {profile}-2-link && ln -sfn system-2-link {profile} && exec {profile}/bin/switch-to-configuration switch",
        place(3)
    );
    let (code, record, said) = host.deploy(&["switch", "--", "false"]);
    assert_eq!(
        (code, &record["outcome"]),
        (1, &"failed".into()),
        "nothing was switched: {record:#}{said}"
    );
    assert_eq!(host.at_work(), program(2));
    let (code, record, said) = host.deploy(&["switch", "--", "sh", "-c", &rebuild]);
    assert_eq!(code, 3, "{record:#}{said}");
    assert!(said.contains("building"), "{said}");
    assert_eq!(record["attempt"]["generation"]["number"], 2);
    assert!(
        record["attempt"]["failure"]
            .as_str()
            .unwrap()
            .contains("exit status: 4"),
        "{record:#}"
    );
    assert!(record["attempt"]["journal"].to_string().contains("out of apples"));
    assert_eq!(record["training"]["run"], "untouched");
    assert_eq!(machine.ask(&["readlink", profile]).unwrap(), "system-1-link");
    assert_eq!(host.at_work(), program(2));
    host.site.deliver(&mut host.site.publisher());
}
