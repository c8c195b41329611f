//! One line for a person: `14:30:00 INFO  epoch completed  epoch=45 loss=0.0234`, time in UTC.
//!
//! Control characters in messages and values are escaped: what comes from a message or a file name can neither
//! forge a second line nor steer the terminal.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;

/// Gives every event to `print` as one line, line end included.
pub struct HumanLayer<W> {
    colours: bool,
    print: W,
    now: fn() -> Timestamp,
}

impl<W: Fn(&str) + 'static> HumanLayer<W> {
    /// A layer that prints with or without colours.
    pub fn new(colours: bool, print: W) -> Self {
        Self {
            colours,
            print,
            now: Timestamp::now,
        }
    }

    fn line(&self, level: Level, fields: &Fields) -> String {
        let (dim, bold, plain) = if self.colours {
            ("\x1b[2m", colour(level), "\x1b[0m")
        } else {
            ("", "", "")
        };
        let time = (self.now)().strftime("%H:%M:%S");
        let mut line = format!("{dim}{time}{plain} {bold}{level:<5}{plain} ");
        write_text(fields, dim, plain, &mut line);
        line.push('\n');
        line
    }
}

/// Message and fields as one line, without colours and without a line end.
pub(super) fn text(fields: &Fields) -> String {
    let mut text = String::new();
    write_text(fields, "", "", &mut text);
    text
}

fn write_text(fields: &Fields, dim: &str, plain: &str, line: &mut String) {
    escape(&fields.message, line);
    for (i, (name, value)) in fields.context.iter().enumerate() {
        let gap = if i == 0 { "  " } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(line, "{gap}{dim}{name}={plain}");
        match value {
            Value::String(text) => escape(text, line),
            other => drop(write!(line, "{other}")),
        }
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[1;33m",
        Level::INFO => "\x1b[1;32m",
        Level::DEBUG => "\x1b[1;34m",
        Level::TRACE => "\x1b[1;35m",
    }
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        if c.is_control() {
            into.extend(c.escape_default())
        } else {
            into.push(c)
        }
    }
}

impl<S, W> Layer<S> for HumanLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Fields::keep(id, |fields| attributes.record(fields), &context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Fields::keep(id, |fields| values.record(fields), &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = Fields::of_event(event, &context);
        (self.print)(&self.line(*event.metadata().level(), &fields));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn printed(colours: bool, work: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&lines);
        let mut layer = HumanLayer::new(colours, move |line: &str| sink.lock().unwrap().push_str(line));
        layer.now = || "2026-03-28T14:30:00Z".parse().unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        lines.lock().unwrap().clone()
    }

    #[test]
    fn a_line_is_time_level_message_and_fields() {
        let line = printed(false, || {
            tracing::info!(name = "cell-1", loss = 0.5, "annotation saved")
        });
        assert_eq!(line, "14:30:00 INFO  annotation saved  name=cell-1 loss=0.5\n");
    }

    #[test]
    fn foreign_text_can_neither_forge_a_line_nor_steer_the_terminal() {
        let line = printed(false, || tracing::warn!(name = "a\n14:30:01 ERROR b", "\x1b[2Jx"));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\x1b'), "{line:?}");
        assert!(line.contains("a\\n14:30:01"), "{line:?}");
    }

    #[test]
    fn colours_are_there_only_where_asked_for() {
        assert!(printed(true, || tracing::error!("x")).contains("\x1b[1;31mERROR\x1b[0m"));
        assert!(!printed(false, || tracing::error!("x")).contains('\x1b'));
    }
}
