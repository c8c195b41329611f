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

    let entries = machine.journal(QUEUE).unwrap();
    let entry = |message: &str| -> &Value {
        let found = entries
            .iter()
            .find(|entry| entry["MESSAGE"].as_str().unwrap().starts_with(message));
        found.unwrap_or_else(|| panic!("{message} is not in {entries:?}"))
    };
    let ready = entry("queue is ready");
    assert_eq!(ready["PRIORITY"], "6");
    assert_eq!(ready["AZAION_OFFSET"], "0");
    assert_eq!(ready["SYSLOG_IDENTIFIER"], "queue");
    assert_eq!(ready["_TRANSPORT"], "journal");
    let quarantined = entry("message quarantined");
    assert_eq!(quarantined["PRIORITY"], "4");
    assert!(quarantined["AZAION_REASON"].is_string(), "{quarantined}");

    let read = |more: &[&str]| {
        let all = ["journalctl", "--no-pager", "--output=cat", "-u", QUEUE];
        machine.ask(&[all.as_slice(), more].concat()).unwrap()
    };
    let shown = read(&[]);
    assert!(shown.contains("queue is ready  offset=0"), "{shown}");
    assert!(
        shown.contains("message quarantined  offset=0 kind=amqp reason="),
        "{shown}"
    );
    let warnings = read(&["--priority=warning"]);
    assert_eq!(
        warnings.lines().count(),
        1,
        "the one that was quarantined: {warnings}"
    );
    assert_eq!(read(&["AZAION_KIND=amqp"]), warnings, "a field finds its entry");
}
