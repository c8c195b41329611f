//! Entries of systemd's journal. `journalctl -u` shows the message alone, and so do alerts: so the message has the fields behind
//! it, as a line for a person has. Each field is also one of the entry, `AZAION_OFFSET=4711`, to search and to filter by.
//!
//! The format is systemd's native one: one datagram an entry, a field a line, and a length before a value that has lines
//! of its own. An entry that is too large for a datagram loses its fields and the end of its message.

use std::io;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;
use super::human;

const SOCKET: &str = "/run/systemd/journal/socket";
const PREFIX: &str = "AZAION_";
/// systemd's limit on the name of a field.
const NAME_BYTES: usize = 64;
/// Chars of a message that a datagram takes wherever it is sent.
const SHORT: usize = 8000;

/// Gives every event to the journal.
pub(super) struct JournalLayer {
    service: &'static str,
    socket: UnixDatagram,
}

impl JournalLayer {
    /// A layer that logs as `service`; an error where no journal listens.
    pub(super) fn new(service: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        Ok(Self { service, socket })
    }

    fn send(&self, event: &Event<'_>, fields: &Fields) {
        let priority = priority(*event.metadata().level());
        let target = event.metadata().target();
        let message = human::text(fields);
        let mut entry = Entry::new(self.service, priority, target, &message);
        for (name, value) in &fields.context {
            match value {
                Value::String(text) => entry.add(&field_name(name), text),
                other => entry.add(&field_name(name), &other.to_string()),
            }
        }
        // A log line that cannot be written has nowhere to be reported.
        if self.socket.send(&entry.0).is_err() {
            let short: String = message.chars().take(SHORT).collect();
            let _ = self
                .socket
                .send(&Entry::new(self.service, priority, target, &short).0);
        }
    }
}

/// A datagram.
struct Entry(Vec<u8>);

impl Entry {
    fn new(service: &str, priority: &str, target: &str, message: &str) -> Self {
        let mut entry = Self(Vec::new());
        entry.add("MESSAGE", message);
        entry.add("PRIORITY", priority);
        entry.add("SYSLOG_IDENTIFIER", service);
        entry.add("TARGET", target);
        entry
    }

    fn add(&mut self, name: &str, value: &str) {
        self.0.extend(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend((value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend(value.as_bytes());
        self.0.push(b'\n');
    }
}

/// syslog's number. INFO is what syslog calls informational: "notice" would be bold, and DEBUG is not for everybody.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// The journal takes capital letters, digits and underscores.
fn field_name(name: &str) -> String {
    let usable = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    PREFIX
        .chars()
        .chain(name.chars().map(usable))
        .take(NAME_BYTES)
        .collect()
}

impl<S> Layer<S> for JournalLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Fields::keep(id, |fields| attributes.record(fields), &context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Fields::keep(id, |fields| values.record(fields), &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.send(event, &Fields::of_event(event, &context));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What a journal receives from `work`, as text.
    fn received(work: impl FnOnce()) -> Vec<String> {
        let (socket, journal) = UnixDatagram::pair().unwrap();
        journal
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let layer = JournalLayer {
            service: "queue",
            socket,
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let mut entries = Vec::new();
        let mut entry = vec![0; 1 << 20];
        while let Ok(length) = journal.recv(&mut entry) {
            entries.push(String::from_utf8_lossy(&entry[..length]).into_owned());
        }
        entries
    }

    #[test]
    fn an_entry_has_the_message_with_its_fields_and_each_field_by_itself() {
        let entries = received(|| tracing::warn!(offset = 7, stream_name = "cells", "message quarantined"));
        assert_eq!(
            entries,
            [
                "MESSAGE=message quarantined  offset=7 stream_name=cells\nPRIORITY=4\nSYSLOG_IDENTIFIER=queue\n\
              TARGET=service::log::journal::tests\nAZAION_OFFSET=7\nAZAION_STREAM_NAME=cells\n"
            ]
        );
    }

    #[test]
    fn the_priorities_are_those_of_syslog() {
        let entries = received(|| {
            tracing::error!("a");
            tracing::info!("b");
            tracing::debug!("c");
        });
        for (entry, priority) in entries.iter().zip(["3", "6", "7"]) {
            assert!(entry.contains(&format!("\nPRIORITY={priority}\n")), "{entry}");
        }
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn a_value_with_lines_cannot_make_fields_of_them() {
        let entries = received(|| tracing::info!(reason = "a\nPRIORITY=0", "x"));
        assert!(
            entries[0].contains("AZAION_REASON\n\u{c}\0\0\0\0\0\0\0a\nPRIORITY=0\n"),
            "{entries:?}"
        );
        assert!(
            entries[0].starts_with("MESSAGE=x  reason=a\\nPRIORITY=0\n"),
            "{entries:?}"
        );
    }

    #[test]
    fn a_name_is_made_one_that_the_journal_takes() {
        assert_eq!(field_name("mAP50.b-c"), "AZAION_MAP50_B_C");
        assert_eq!(field_name(&"x".repeat(99)).len(), NAME_BYTES);
    }

    #[test]
    fn what_no_datagram_takes_is_cut_and_not_lost() {
        let entries = received(|| tracing::info!(reason = "x".repeat(4 << 20), "far too long"));
        assert_eq!(entries.len(), 1);
        assert!(entries[0].starts_with("MESSAGE=far too long  reason=xxx"));
        assert!(entries[0].len() < 2 * SHORT);
    }
}
