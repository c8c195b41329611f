//! The detections of a message: a JSON list inside a string (index 5; QUE-2, LBL-1).
//!
//! `{cls, x, y, w, h, confidence?}`, or `classNum, centerX, centerY, width, height`; other keys are tolerated. The text
//! is read in one pass straight into rows. While it is read, [`Progress`] knows which detection and which key is at
//! hand, so that every error, one of JSON's own included, names its place; the texts of the JSON reader are not passed
//! on, since they quote what they met.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{DecodeError, DetectionProblem, Field, Label, Row};

/// The detections of one message.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Detections {
    pub label: Label,
    /// One for each row.
    pub confidences: Vec<Option<f32>>,
}

/// Reads the list; at most `limit` detections.
pub(crate) fn parse(text: &str, limit: usize) -> Result<Detections, DecodeError> {
    let progress = Progress::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let list = List {
        progress: &progress,
        limit,
    }
    .deserialize(&mut json);
    let end = list.and_then(|detections| {
        progress.at(None, None);
        json.end().map(|()| detections)
    });
    end.map_err(|error| DecodeError::Detections {
        index: progress.index.get(),
        field: progress.field.get(),
        problem: progress.problem.take().unwrap_or(DetectionProblem::Json {
            reason: reason(&error),
            line: error.line(),
            column: error.column(),
        }),
    })
}

fn reason(error: &serde_json::Error) -> &'static str {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => "a value of the wrong type",
        Category::Eof => "the JSON text ends too early",
        Category::Syntax | Category::Io => "not valid JSON",
    }
}

/// Where the reader is, and what it found wrong there.
#[derive(Default)]
struct Progress {
    index: Cell<Option<usize>>,
    field: Cell<Option<&'static str>>,
    problem: Cell<Option<DetectionProblem>>,
}

impl Progress {
    fn at(&self, index: Option<usize>, field: Option<&'static str>) {
        self.index.set(index);
        self.field.set(field);
    }

    /// Keeps the problem aside and stops the JSON reader.
    fn fail<E: serde::de::Error>(&self, problem: DetectionProblem) -> E {
        self.problem.set(Some(problem));
        E::custom("")
    }
}

/// The list of detections.
struct List<'p> {
    progress: &'p Progress,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Detections;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Detections, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Detections;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of detections")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Detections, A::Error> {
        let mut detections = Detections::default();
        loop {
            let index = detections.confidences.len();
            self.progress.at(Some(index), None);
            let Some((row, confidence)) = list.next_element_seed(Detection {
                progress: self.progress,
            })?
            else {
                return Ok(detections);
            };
            if index == self.limit {
                self.progress.at(Some(index), None);
                return Err(self
                    .progress
                    .fail(DetectionProblem::TooMany { limit: self.limit }));
            }
            detections.label.rows.push(row);
            detections.confidences.push(confidence);
        }
    }
}

/// One detection.
struct Detection<'p> {
    progress: &'p Progress,
}

impl<'de> DeserializeSeed<'de> for Detection<'_> {
    type Value = (Row, Option<f32>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Detection<'_> {
    type Value = (Row, Option<f32>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a detection")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut numbers = [None; 6];
        while let Some(key) = map.next_key_seed(KeySeed)? {
            self.progress.field.set(key.map(Key::text));
            match key {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(Key::Confidence) => {
                    if let Some(confidence) = map.next_value::<Option<f64>>()? {
                        self.keep(&mut numbers, Key::Confidence, confidence)?;
                    }
                }
                Some(key) => {
                    let number = map.next_value::<f64>()?;
                    self.keep(&mut numbers, key, number)?;
                }
            }
        }
        let [class, x, y, w, h, confidence] = numbers;
        let row = Row::from_f64(
            self.require(class, Key::Class)?,
            [
                self.require(x, Key::X)?,
                self.require(y, Key::Y)?,
                self.require(w, Key::W)?,
                self.require(h, Key::H)?,
            ],
        );
        let row = row.map_err(|error| {
            self.progress.field.set(Some(Key::of(error.field()).text()));
            self.progress.fail(DetectionProblem::Row(error))
        })?;
        Ok((row, self.confidence(confidence)?))
    }
}

impl Detection<'_> {
    /// Two spellings of one key may both be there, if they agree.
    fn keep<E: serde::de::Error>(
        &self,
        numbers: &mut [Option<f64>; 6],
        key: Key,
        number: f64,
    ) -> Result<(), E> {
        let Some(slot) = numbers.get_mut(key as usize) else {
            return Ok(());
        };
        match slot.replace(number) {
            Some(before) if before != number => Err(self.progress.fail(DetectionProblem::Twice)),
            _ => Ok(()),
        }
    }

    fn require<E: serde::de::Error>(&self, number: Option<f64>, key: Key) -> Result<f64, E> {
        number.ok_or_else(|| {
            self.progress.field.set(Some(key.text()));
            self.progress.fail(DetectionProblem::Missing)
        })
    }

    fn confidence<E: serde::de::Error>(&self, confidence: Option<f64>) -> Result<Option<f32>, E> {
        match confidence {
            Some(value) if !(0.0..=1.0).contains(&value) => {
                self.progress.field.set(Some(Key::Confidence.text()));
                Err(self.progress.fail(DetectionProblem::Confidence { value }))
            }
            other => Ok(other.map(|value| value as f32)),
        }
    }
}

/// A key of a detection, under either of its spellings.
#[derive(Clone, Copy)]
enum Key {
    Class,
    X,
    Y,
    W,
    H,
    Confidence,
}

impl Key {
    /// The spelling that errors use.
    const fn text(self) -> &'static str {
        match self {
            Self::Class => "cls",
            Self::X => "x",
            Self::Y => "y",
            Self::W => "w",
            Self::H => "h",
            Self::Confidence => "confidence",
        }
    }

    const fn of(field: Field) -> Self {
        match field {
            Field::Class => Self::Class,
            Field::Cx => Self::X,
            Field::Cy => Self::Y,
            Field::W => Self::W,
            Field::H => Self::H,
        }
    }
}

/// Reads a key without keeping its text; none for an unknown one.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<Key>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Key>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<Key>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<Key>, E> {
        Ok(match key {
            "cls" | "classNum" => Some(Key::Class),
            "x" | "centerX" => Some(Key::X),
            "y" | "centerY" => Some(Key::Y),
            "w" | "width" => Some(Key::W),
            "h" | "height" => Some(Key::H),
            "confidence" => Some(Key::Confidence),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RowError;

    type Place = (Option<usize>, Option<&'static str>, DetectionProblem);

    fn failure(text: &str) -> Place {
        match parse(text, 10).unwrap_err() {
            DecodeError::Detections {
                index,
                field,
                problem,
            } => (index, field, problem),
            other => panic!("{other:?}"),
        }
    }

    fn place(text: &str) -> (Option<usize>, Option<&'static str>) {
        let (index, field, _) = failure(text);
        (index, field)
    }

    #[test]
    fn both_spellings_are_read() {
        let short = r#"[{"cls":3,"x":0.5,"y":0.25,"w":0.125,"h":1,"confidence":0.5}]"#;
        let long =
            r#"[{"height":1.0,"width":0.125,"centerY":0.25,"centerX":0.5,"classNum":3.0,"confidence":0.5}]"#;
        let detections = parse(short, 10).unwrap();
        assert_eq!(
            detections.label.rows,
            [Row::new(3, 0.5, 0.25, 0.125, 1.0).unwrap()]
        );
        assert_eq!(detections.confidences, [Some(0.5)]);
        assert_eq!(parse(long, 10).unwrap(), detections);
    }

    #[test]
    fn no_detections_are_a_background_image() {
        assert_eq!(parse(" [ ] ", 0).unwrap(), Detections::default());
    }

    #[test]
    fn other_keys_and_a_null_confidence_are_tolerated() {
        let text =
            r#"[{"id":"a","cls":0,"x":0.5,"y":0.5,"deep":[[{"x":9}]],"w":0.1,"h":0.1,"confidence":null}]"#;
        assert_eq!(parse(text, 10).unwrap().confidences, [None]);
        let both = r#"[{"cls":1,"classNum":1,"x":0.5,"y":0.5,"w":0.1,"h":0.1}]"#;
        assert_eq!(parse(both, 10).unwrap().label.rows.len(), 1);
    }

    #[test]
    fn a_bad_value_is_named_by_index_and_key() {
        let good = r#"{"cls":0,"x":0.5,"y":0.5,"w":0.1,"h":0.1}"#;
        for (key, valid) in [
            ("cls", "0"),
            ("x", "0.5"),
            ("y", "0.5"),
            ("w", "0.1"),
            ("h", "0.1"),
        ] {
            for bad in [
                "NaN", "-1", "1e308", "1e999", "80", "\"0.5\"", "null", "[]", "Infinity", "0.5.5",
            ] {
                let from = format!("\"{key}\":{valid}");
                let text = format!("[{good},{}]", good.replace(&from, &format!("\"{key}\":{bad}")));
                assert_eq!(place(&text), (Some(1), Some(key)), "{text}");
            }
            let missing = good.replace(&format!("\"{key}\":{valid}"), "\"other\":1");
            assert_eq!(
                failure(&format!("[{missing}]")),
                (Some(0), Some(key), DetectionProblem::Missing)
            );
        }
    }

    #[test]
    fn the_text_of_an_error_says_what_and_where() {
        let error = parse(r#"[{"cls":0,"x":0.5,"y":1.5,"w":0.1,"h":0.1}]"#, 10)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "detections (index 5), detection 0, y: cy is 1.5, outside 0..1"
        );
        let error = parse(r#"[{"cls":0,"x":"a@b.example","y":1}]"#, 10)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("detection 0, x: a value of the wrong type at line 1"),
            "{error}"
        );
        assert!(!error.contains("example"), "{error}");
    }

    #[test]
    fn class_and_extent_follow_the_rules_of_labels() {
        let class = failure(r#"[{"cls":80,"x":0.5,"y":0.5,"w":0.1,"h":0.1}]"#).2;
        assert_eq!(class, DetectionProblem::Row(RowError::Class { value: 80.0 }));
        let empty = failure(r#"[{"cls":0,"x":0.5,"y":0.5,"w":0,"h":0.1}]"#).2;
        assert!(matches!(
            empty,
            DetectionProblem::Row(RowError::NoExtent { field: Field::W, .. })
        ));
    }

    #[test]
    fn a_confidence_is_a_fraction() {
        for bad in ["1.5", "-0.1"] {
            let text = format!(r#"[{{"cls":0,"x":0.5,"y":0.5,"w":0.1,"h":0.1,"confidence":{bad}}}]"#);
            assert_eq!(place(&text), (Some(0), Some("confidence")));
        }
    }

    #[test]
    fn one_key_has_one_value() {
        let text = r#"[{"cls":1,"classNum":2,"x":0.5,"y":0.5,"w":0.1,"h":0.1}]"#;
        assert_eq!(failure(text), (Some(0), Some("cls"), DetectionProblem::Twice));
    }

    #[test]
    fn anything_but_a_list_of_objects_is_refused() {
        for text in [
            "",
            "null",
            "{}",
            "[",
            "[1]",
            "[[]]",
            "[{}",
            "[]]",
            "[] x",
            "[{\"cls\":1,}]",
            "cells",
        ] {
            assert!(parse(text, 10).is_err(), "{text}");
        }
        assert_eq!(place("[] x"), (None, None));
        let deep = "[".repeat(100_000);
        assert!(parse(&deep, 10).is_err());
        let deep_extra = format!("[{{\"extra\":{}", "[".repeat(100_000));
        assert!(parse(&deep_extra, 10).is_err());
    }

    #[test]
    fn the_number_of_detections_is_limited() {
        let one = r#"{"cls":0,"x":0.5,"y":0.5,"w":0.1,"h":0.1}"#;
        let list = |count: usize| format!("[{}]", vec![one; count].join(","));
        assert_eq!(parse(&list(10), 10).unwrap().confidences.len(), 10);
        assert_eq!(
            failure(&list(11)),
            (Some(10), None, DetectionProblem::TooMany { limit: 10 })
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_detections_or_an_error(text in r#"[\[\]{}":,.0-9a-zA-Z\- ]{0,80}"#) {
            let _ = parse(&text, 3);
        }

        #[test]
        fn numbers_arrive_as_the_nearest_f32(x in 0.0..=1.0f64) {
            let text = format!(r#"[{{"cls":0,"x":{x},"y":0.5,"w":0.1,"h":0.1}}]"#);
            prop_assert_eq!(parse(&text, 1).unwrap().label.rows[0].cx.to_bits(), (x as f32).to_bits());
        }
    }
}
