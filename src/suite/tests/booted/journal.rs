//! What the queue says in systemd's journal.

use serde_json::Value;

use crate::site::{QUEUE, Site};

#[test]
fn the_journal_has_fields_and_priorities_and_reads_well() {
    let Some(site) = Site::at_work("the_journal_has_fields_and_priorities_and_reads_well") else {
        return;
    };
    let machine = &site.machine;
    site.deliver(&mut site.publisher());
    machine.ask(&["systemctl", "stop", QUEUE]).unwrap();
    let said = machine.ask(&["journalctl", "-u", QUEUE, "--no-pager"]).unwrap();
    println!("{said}");
    for entry in machine.journal(QUEUE).unwrap() {
        println!("{entry}");
    }
}
