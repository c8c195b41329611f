//! What the queue says in systemd's journal.

use serde_json::Value;

use crate::site::{NO_BROKER, PATIENCE, QUEUE, configured};

#[test]
fn the_journal_has_fields_and_priorities_and_reads_well() {
    let test = "the_journal_has_fields_and_priorities_and_reads_well";
    let Some(machine) = configured(test, NO_BROKER) else {
        return;
    };
    machine.ask(&["systemctl", "start", "--no-block", QUEUE]).unwrap();
    let read = |more: &[&str]| {
        let all = ["journalctl", "--no-pager", "--output=cat", "-u", QUEUE];
        machine.ask(&[all.as_slice(), more].concat()).unwrap()
    };
    machine
        .wait("the queue's words", PATIENCE, || {
            Ok(read(&[]).contains("no connection"))
        })
        .unwrap();
    machine.ask(&["systemctl", "stop", QUEUE]).unwrap();

    let entries = machine.journal(QUEUE).unwrap();
    let entry = |message: &str| -> &Value {
        let found = entries
            .iter()
            .find(|entry| entry["MESSAGE"].as_str().unwrap().starts_with(message));
        found.unwrap_or_else(|| panic!("{message} is not in {entries:?}"))
    };
    let started = entry("queue started");
    assert_eq!(started["PRIORITY"], "6");
    assert_eq!(started["AZAION_PORT"], NO_BROKER.to_string());
    assert_eq!(started["SYSLOG_IDENTIFIER"], "queue");
    assert_eq!(started["_TRANSPORT"], "journal");
    let warning = entry("no connection to the broker");
    assert_eq!(warning["PRIORITY"], "4");

    // A person sees the reason, and finds what matters.
    let shown = read(&[]);
    assert!(
        shown.contains("queue started  root=/azaion host=127.0.0.1 port=7007 stream=cells offset=0"),
        "{shown}"
    );
    let warnings = read(&["--priority=warning"]);
    assert!(!warnings.is_empty(), "{shown}");
    for line in warnings.lines() {
        assert!(
            line.starts_with("no connection to the broker  ") && line.contains("Connection refused"),
            "{line}"
        );
    }
    let found = read(&["AZAION_STREAM=cells"]);
    assert!(found.lines().all(|line| line.contains("stream=cells")), "{found}");
}
