//! The fields of an event and of the spans around it, in the order in which they were written.

use std::error::Error;
use std::fmt;

use serde_json::{Number, Value};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// A message and its fields.
#[derive(Debug, Default, Clone)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) context: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Those of an event, after those of the spans around it, outermost first.
    pub(super) fn of_event<S>(event: &tracing::Event<'_>, context: &Context<'_, S>) -> Self
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut fields = Self::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(Self { context, .. }) = span.extensions().get::<Self>() {
                for (name, value) in context {
                    fields.set(name, value.clone());
                }
            }
        }
        event.record(&mut fields);
        fields
    }

    /// Remembers the fields of a new span.
    pub(super) fn keep<S>(span: &tracing::span::Id, record: impl FnOnce(&mut Self), context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(span) = context.span(span) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Self>() {
            Some(fields) => record(fields),
            None => {
                let mut fields = Self::default();
                record(&mut fields);
                extensions.insert(fields);
            }
        }
    }

    fn set(&mut self, name: &'static str, value: Value) {
        match self.context.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.context.push((name, value)),
        }
    }

    fn record(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => {
                self.message = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                }
            }
            // Bookkeeping of the bridge from the `log` crate.
            name if name.starts_with("log.") => {}
            name => self.set(name, value),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, number(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    /// An error with its causes, as one sentence.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.record(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }
}

/// A number in JSON. `tracing` widens an f32 to f64, which shows 0.0234 as 0.023399999365210533: a value that is
/// exactly an f32 is written in the fewest digits that give that f32. NaN and infinities have no JSON: they become text.
fn number(value: f64) -> Value {
    let narrow = value as f32;
    let shortest = if f64::from(narrow) == value {
        narrow.to_string().parse().unwrap_or(value)
    } else {
        value
    };
    Number::from_f64(shortest).map_or_else(|| Value::String(value.to_string()), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_the_fewest_digits() {
        for (value, expected) in [
            (f64::from(0.0234f32), "0.0234"),
            (0.891, "0.891"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::from(f32::MAX), "3.4028235e+38"),
            (0.0, "0.0"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-inf\""),
        ] {
            assert_eq!(number(value).to_string(), expected);
        }
    }
}
