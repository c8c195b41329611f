//! A training run beside all that a deployment does. In the program's place runs a stand-in that counts steps and feeds the
//! watchdog; what systemd does to the unit does not depend on what runs in it.

use suite::{Machine, repository};

use crate::site::{PATIENCE, QUEUE, Site};

pub(crate) const TRAIN: &str = "azaion-train.service";
const PROFILE: &str = "/opt/profiles/azaion";
const STEP: &str = "/azaion/status/step";
const STAND_IN: &str = "#!/bin/sh
systemd-notify --ready
step=0
while :; do
    step=$((step + 1))
    echo $step >/azaion/status/step.new && mv /azaion/status/step.new /azaion/status/step
    systemd-notify WATCHDOG=1
    sleep 0.1
done
";

/// Puts a generation of the suite beside the others: programs, and units that name them by their place, as a package does.
fn generation(machine: &Machine, number: u32) -> String {
    let place = format!("{PROFILE}-{number}");
    machine.ask(&["mkdir", "-p", &format!("{place}/bin")]).unwrap();
    for program in ["azaion", "azaion-queue"] {
        machine
            .ask(&[
                "cp",
                "-L",
                &format!("/usr/bin/{program}"),
                &format!("{place}/bin/"),
            ])
            .unwrap();
    }
    for unit in suite::SERVICES.into_iter().chain(["azaion.target"]) {
        let text = std::fs::read_to_string(repository().join("units").join(unit)).unwrap();
        let text = text
            .replace("/usr/bin/azaion", &format!("{place}/bin/azaion"))
            .replace("Description=", &format!("Description=generation {number}: "));
        machine
            .write(&format!("{place}/units/{unit}"), 0o644, text)
            .unwrap();
    }
    place
}

/// Makes a generation the current one, as a switch and a rollback both do.
fn switch(site: &Site, place: &str) {
    let machine = &site.machine;
    machine.ask(&["ln", "-sfn", place, PROFILE]).unwrap();
    for unit in suite::SERVICES.into_iter().chain(["azaion.target"]) {
        let at = format!("/etc/systemd/system/{unit}");
        machine
            .ask(&["ln", "-sfn", &format!("{PROFILE}/units/{unit}"), &at])
            .unwrap();
    }
    machine.ask(&["systemctl", "daemon-reload"]).unwrap();
    machine
        .ask(&["systemctl", "restart", "azaion.target", QUEUE])
        .unwrap();
    machine
        .await_property(QUEUE, "ActiveState", "active", PATIENCE)
        .unwrap();
    let program = machine
        .ask(&["readlink", &format!("/proc/{}/exe", site.pid())])
        .unwrap();
    assert_eq!(
        program,
        format!("{place}/bin/azaion-queue"),
        "the queue is the generation's"
    );
}

/// Starts a run of the stand-in.
pub(crate) fn start_run(machine: &Machine) {
    machine.write("/usr/local/bin/steps", 0o755, STAND_IN).unwrap();
    // Its notifications come from systemd-notify, not from the main process.
    let instead = "[Service]\nExecStart=\nExecStart=/usr/local/bin/steps\nNotifyAccess=all\n";
    machine.drop_in(TRAIN, "stand-in", instead).unwrap();
    machine.ask(&["systemctl", "start", TRAIN]).unwrap();
}

fn step(machine: &Machine) -> u64 {
    machine.read(STEP).unwrap().trim().parse().unwrap()
}

#[test]
fn a_training_run_goes_on_through_reload_switch_and_rollback() {
    let Some(site) = Site::at_work("a_training_run_goes_on_through_reload_switch_and_rollback") else {
        return;
    };
    let machine = &site.machine;
    let first = generation(machine, 1);
    let second = generation(machine, 2);
    switch(&site, &first);
    start_run(machine);
    let of_the_run = || {
        ["MainPID", "NRestarts", "ActiveState", "InvocationID"]
            .map(|name| machine.property(TRAIN, name).unwrap())
    };
    let run = of_the_run();
    assert_eq!(&run[1..3], ["0", "active"]);

    for (what, place) in [
        ("daemon-reload", None),
        ("switch", Some(&second)),
        ("rollback", Some(&first)),
    ] {
        let before = step(machine);
        match place {
            Some(place) => switch(&site, place),
            None => drop(machine.ask(&["systemctl", "daemon-reload"]).unwrap()),
        }
        assert_eq!(of_the_run(), run, "the same process after {what}");
        // A run that had begun anew would have to count up to here again.
        machine
            .wait("further steps", PATIENCE, || Ok(step(machine) > before + 5))
            .unwrap();
        println!("{what}: step {before} before, {} now", step(machine));
    }
    site.deliver(&mut site.publisher());
}
