//! JSON lines: `{"timestamp", "level", "service", "message", "context"}`, in this order (LOG-1).

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;

/// Gives every event to `write` as one JSON line, line end included.
pub struct JsonLayer<W> {
    service: &'static str,
    write: W,
    now: fn() -> Timestamp,
}

impl<W: Fn(&str) + 'static> JsonLayer<W> {
    /// A layer that logs as `service`.
    pub fn new(service: &'static str, write: W) -> Self {
        Self {
            service,
            write,
            now: Timestamp::now,
        }
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    service: &'static str,
    message: &'a str,
    context: Ordered<'a>,
}

struct Ordered<'a>(&'a [(&'static str, Value)]);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<S, W> Layer<S> for JsonLayer<W>
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
        let line = Line {
            timestamp: (self.now)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            level: event.metadata().level().as_str(),
            service: self.service,
            message: &fields.message,
            context: Ordered(&fields.context),
        };
        // Strings, numbers and string keys always have a JSON.
        if let Ok(mut line) = serde_json::to_string(&line) {
            line.push('\n');
            (self.write)(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::Secret;

    fn logged(work: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&lines);
        let mut layer = JsonLayer::new("training", move |line: &str| sink.lock().unwrap().push_str(line));
        layer.now = || "2026-03-28T14:30:00.987Z".parse().unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        lines.lock().unwrap().clone()
    }

    #[test]
    fn a_line_has_exactly_the_form_that_log_1_gives() {
        let line = logged(|| {
            tracing::info!(
                epoch = 45,
                loss = 0.0234f32,
                mAP50 = 0.891,
                "Epoch {}/{} completed",
                45,
                120
            )
        });
        assert_eq!(
            line,
            concat!(
                r#"{"timestamp":"2026-03-28T14:30:00Z","level":"INFO","service":"training","#,
                r#""message":"Epoch 45/120 completed","context":{"epoch":45,"loss":0.0234,"mAP50":0.891}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_line_stays_one_line_whatever_it_says() {
        let line = logged(|| tracing::warn!(name = "a\"b\n{\"level\":\"ERROR\"}", "two\nlines"));
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["message"], "two\nlines");
        assert_eq!(value["context"]["name"], "a\"b\n{\"level\":\"ERROR\"}");
        assert_eq!(value["level"], "WARN");
    }

    #[test]
    fn the_fields_of_spans_come_before_those_of_the_event_which_win() {
        let line = logged(|| {
            let outer = tracing::info_span!(
                "run",
                run = "azaion-2026-03-28",
                epoch = 1,
                step = tracing::field::Empty
            );
            outer.record("step", 7);
            outer.in_scope(|| tracing::info!(epoch = 2, "x"));
        });
        assert!(
            line.contains(r#""context":{"run":"azaion-2026-03-28","epoch":2,"step":7}"#),
            "{line}"
        );
    }

    #[test]
    fn an_event_without_fields_has_an_empty_context_and_an_error_its_causes() {
        assert!(logged(|| tracing::error!("x")).ends_with("\"context\":{}}\n"));
        let error = crate::SecretError::Read {
            path: "/x".into(),
            source: std::io::Error::other("broken"),
        };
        let line = logged(|| tracing::error!(error = &error as &dyn std::error::Error, "x"));
        assert!(line.contains("broken"), "{line}");
    }

    #[test]
    fn a_secret_is_redacted_in_every_field_and_message() {
        let secret = Secret::new("hunter2".into());
        let line = logged(|| tracing::info!(%secret, debug = ?secret, "password is {secret}"));
        assert!(!line.contains("hunter2"), "{line}");
        assert_eq!(line.matches("[redacted]").count(), 3);
    }
}
