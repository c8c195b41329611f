//! Metrics as text: the exposition format of Prometheus, for the textfile collector of its node exporter (MET-1).
//!
//! There is no HTTP endpoint: a program renders its metrics with [`text`] and replaces a `.prom` file of its own, and the
//! collector reads it whole. This module is pure. It keeps the format's rules whatever comes in: every family has its HELP
//! and TYPE lines once, before its samples; help texts and label values are escaped; a character that no name may have is
//! replaced, because one bad name would make the collector refuse the whole file. Format: the Prometheus documentation,
//! "Exposition formats", text format 0.0.4.

use std::fmt::{self, Write as _};

/// What a metric's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A count that only grows, and begins anew with its process.
    Counter,
}

/// A metric: its name, what it means, and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    name: String,
    help: String,
    kind: Kind,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Family {
    /// One without values yet.
    #[must_use]
    pub fn new(kind: Kind, name: &str, help: &str) -> Self {
        Self {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            samples: Vec::new(),
        }
    }

    /// A gauge with this one value; a value that is not known leaves it without one.
    #[must_use]
    pub fn gauge(name: &str, help: &str, value: impl Into<Option<f64>>) -> Self {
        let family = Self::new(Kind::Gauge, name, help);
        match value.into() {
            Some(value) => family.with(&[], value),
            None => family,
        }
    }

    /// With one more value, told from the others by its labels.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.samples.push(Sample {
            labels: labels.collect(),
            value,
        });
        self
    }
}

/// The file's content. A metric without a value is left out: no value is not zero.
#[must_use]
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a string does not fail.
        let _ = write!(text, "{family}");
    }
    text
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Name(&self.name);
        let kind = match self.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        writeln!(f, "# HELP {name} {}", Escaped(&self.help, Place::Help))?;
        writeln!(f, "# TYPE {name} {kind}")?;
        self.samples.iter().try_for_each(|sample| {
            write!(f, "{name}")?;
            sample.labels(f)?;
            writeln!(f, " {}", Value(sample.value))
        })
    }
}

impl Sample {
    fn labels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let value = Escaped(value, Place::Label);
            write!(f, "{before}{}=\"{value}\"", LabelName(name))?;
        }
        if self.labels.is_empty() {
            Ok(())
        } else {
            f.write_char('}')
        }
    }
}

/// A metric's name: letters, digits, `_` and `:`, no digit first.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        named(f, self.0, |c| c == ':')
    }
}

/// A label's name: letters, digits and `_`, no digit first.
struct LabelName<'a>(&'a str);

impl fmt::Display for LabelName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        named(f, self.0, |_| false)
    }
}

fn named(f: &mut fmt::Formatter<'_>, name: &str, more: impl Fn(char) -> bool) -> fmt::Result {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        f.write_char('_')?;
    }
    name.chars().try_for_each(|c| {
        let usable = c.is_ascii_alphanumeric() || c == '_' || more(c);
        f.write_char(if usable { c } else { '_' })
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Help,
    Label,
}

struct Escaped<'a>(&'a str, Place);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '"' if self.1 == Place::Label => f.write_str("\\\""),
            c => f.write_char(c),
        })
    }
}

/// As Go reads floats.
struct Value(f64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            v if v.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            v => write!(f, "{v}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_has_help_and_type_once_and_a_line_a_value() {
        let families = [
            Family::gauge("training_mAP50", "mAP50 of the last validation.", 0.891),
            Family::new(Kind::Counter, "queue_messages_failed", "Messages in quarantine.")
                .with(&[("kind", "body")], 3.0)
                .with(&[("kind", "name"), ("where", "b")], 1.5e-7),
        ];
        assert_eq!(
            text(&families),
            "# HELP training_mAP50 mAP50 of the last validation.\n\
             # TYPE training_mAP50 gauge\n\
             training_mAP50 0.891\n\
             # HELP queue_messages_failed Messages in quarantine.\n\
             # TYPE queue_messages_failed counter\n\
             queue_messages_failed{kind=\"body\"} 3\n\
             queue_messages_failed{kind=\"name\",where=\"b\"} 0.00000015\n"
        );
    }

    #[test]
    fn a_value_that_is_not_known_is_left_out_and_one_that_is_no_number_is_said() {
        assert_eq!(text(&[Family::gauge("training_loss", "x", None)]), "");
        for (value, said) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let text = text(&[Family::gauge("training_loss", "x", value)]);
            assert!(text.ends_with(&format!("training_loss {said}\n")), "{text}");
        }
    }

    #[test]
    fn what_would_break_a_line_is_escaped_and_what_no_name_may_have_is_replaced() {
        let odd =
            Family::new(Kind::Gauge, "1 mAP50-95", "a \"b\"\n\\c").with(&[("na me:", "a \"b\"\n\\c")], 1.0);
        assert_eq!(
            text(&[odd]),
            "# HELP _1_mAP50_95 a \"b\"\\n\\\\c\n# TYPE _1_mAP50_95 gauge\n_1_mAP50_95{na_me_=\"a \\\"b\\\"\\n\\\\c\"} 1\n"
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_in_a_family_of_one_value_is_three_lines(
            name in "\\PC*", help in any::<String>(), label in any::<String>(), value in any::<f64>()
        ) {
            let text = text(&[Family::new(Kind::Gauge, &name, &help).with(&[(&label, &help)], value)]);
            prop_assert_eq!(text.matches('\n').count(), 3);
            prop_assert!(text.ends_with('\n'));
        }
    }
}
