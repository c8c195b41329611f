//! The classes of the detector: `classes.json` and the 80 names that follow from it (LBL-2).
//!
//! The file is an array of `{Id, Name, ShortName, Color}`. Images come in three conditions, normal, winter and night,
//! which add 0, 20 and 40 to a class's Id; so where every Id is below 20, each class has three of the 80 slots. A list
//! with a greater Id has numbered its slots itself and is taken as it is. A slot without a class is named `Class-N`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::Deserialize;
use thiserror::Error;

use crate::MAX_CLASS;

/// The number of slots: `nc` of data.yaml.
const SLOTS: usize = MAX_CLASS as usize + 1;

/// Ids below this leave room for the conditions.
const CONDITION_STEP: u8 = 20;

/// One class, as `classes.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Class {
    /// Its number, 0 to 79.
    pub id: u8,
    /// Its name; not empty, without control characters.
    pub name: String,
    /// Its name where there is little room; may be empty.
    pub short_name: String,
    /// The colour of its boxes.
    pub color: Color,
}

/// A colour, written `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Color {
    /// Red.
    pub r: u8,
    /// Green.
    pub g: u8,
    /// Blue.
    pub b: u8,
}

impl FromStr for Color {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix('#').ok_or(())?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        let [_, r, g, b] = u32::from_str_radix(digits, 16).map_err(|_| ())?.to_be_bytes();
        Ok(Self { r, g, b })
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }
}

/// The condition an image was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Normal; adds 0 to the Id.
    Norm,
    /// Winter; adds 20.
    Wint,
    /// Night; adds 40.
    Night,
}

impl Condition {
    /// All three, in the order of their slots.
    pub const ALL: [Self; 3] = [Self::Norm, Self::Wint, Self::Night];

    /// What it adds to a class's Id.
    pub const fn offset(self) -> u8 {
        self as u8 * CONDITION_STEP
    }

    /// Its name: `Norm`, `Wint` or `Night`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Norm => "Norm",
            Self::Wint => "Wint",
            Self::Night => "Night",
        }
    }
}

/// The classes of one installation, ordered by their Ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassList(BTreeMap<u8, Class>);

/// Why a text is no `classes.json`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassError {
    /// Not JSON, or a key is missing or of another type.
    #[error("classes.json: {0}; it must be an array of {{\"Id\", \"Name\", \"ShortName\", \"Color\"}}")]
    Json(String),
    /// An Id that is no class number.
    #[error("classes.json: entry {index} has the Id {id}; Ids go from 0 to {MAX_CLASS}")]
    Id {
        /// Which entry, from 0.
        index: usize,
        /// Its Id.
        id: i64,
    },
    /// Two entries with one Id.
    #[error(
        "classes.json: entry {index} has the Id {id}, which an earlier entry has; give it one of its own"
    )]
    Duplicate {
        /// The later entry, from 0.
        index: usize,
        /// Their Id.
        id: u8,
    },
    /// A name that is empty or holds control characters.
    #[error("classes.json: entry {index} (Id {id}): the Name is empty or holds control characters")]
    Name {
        /// Which entry, from 0.
        index: usize,
        /// Its Id.
        id: u8,
    },
    /// A colour of another form.
    #[error("classes.json: entry {index} (Id {id}): the Color {color:?} is not of the form #rrggbb")]
    Color {
        /// Which entry, from 0.
        index: usize,
        /// Its Id.
        id: u8,
        /// What it says.
        color: String,
    },
}

/// An entry as the file has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: i64,
    name: String,
    short_name: String,
    color: String,
}

impl Entry {
    fn check(self, index: usize) -> Result<Class, ClassError> {
        let id = u8::try_from(self.id).ok().filter(|id| *id <= MAX_CLASS);
        let id = id.ok_or(ClassError::Id { index, id: self.id })?;
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Err(ClassError::Name { index, id });
        }
        let Ok(color) = self.color.parse() else {
            return Err(ClassError::Color {
                index,
                id,
                color: self.color,
            });
        };
        Ok(Class {
            id,
            name: self.name,
            short_name: self.short_name,
            color,
        })
    }
}

impl ClassList {
    /// Reads `classes.json`. Other keys than the four are ignored.
    pub fn parse(text: &str) -> Result<Self, ClassError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let entries: Vec<Entry> =
            serde_json::from_str(text).map_err(|error| ClassError::Json(error.to_string()))?;
        let mut classes = BTreeMap::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let class = entry.check(index)?;
            let id = class.id;
            if classes.insert(id, class).is_some() {
                return Err(ClassError::Duplicate { index, id });
            }
        }
        Ok(Self(classes))
    }

    /// The text of `classes.json`: one class a line, ordered by Id.
    pub fn to_json(&self) -> String {
        let lines: Vec<String> = self
            .iter()
            .map(|class| format!("\n  {}", class.to_json()))
            .collect();
        let end = if lines.is_empty() { "]\n" } else { "\n]\n" };
        format!("[{}{end}", lines.join(","))
    }

    /// The classes, by Id.
    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.0.values()
    }

    /// The class and the condition that a slot (the class number of a label) stands for.
    pub fn slot(&self, slot: u8) -> Option<(&Class, Condition)> {
        if !self.has_conditions() {
            return self.0.get(&slot).map(|class| (class, Condition::Norm));
        }
        let condition = *Condition::ALL.get(usize::from(slot / CONDITION_STEP))?;
        self.0
            .get(&(slot % CONDITION_STEP))
            .map(|class| (class, condition))
    }

    /// The names of all 80 slots: `RBC`, `RBC (Wint)`, `RBC (Night)`, `Class-79`.
    pub fn names80(&self) -> [String; SLOTS] {
        std::array::from_fn(|slot| match self.slot(slot as u8) {
            Some((class, Condition::Norm)) => class.name.clone(),
            Some((class, condition)) => format!("{} ({})", class.name, condition.as_str()),
            None => format!("Class-{slot}"),
        })
    }

    /// Whether every Id is below 20, so that each class has a slot for each condition.
    pub fn has_conditions(&self) -> bool {
        self.0.last_key_value().is_none_or(|(&id, _)| id < CONDITION_STEP)
    }
}

impl Class {
    fn to_json(&self) -> String {
        // A Value of strings and a number prints without fail, in the file's order of keys.
        let text = |text: &str| serde_json::Value::from(text).to_string();
        format!(
            r#"{{"Id": {}, "Name": {}, "ShortName": {}, "Color": "{}"}}"#,
            self.id,
            text(&self.name),
            text(&self.short_name),
            self.color
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(id: i64) -> String {
        format!(r##"{{"Id":{id},"Name":"N{id}","ShortName":"S","Color":"#0a0B0c"}}"##)
    }

    fn list(ids: &[i64]) -> Result<ClassList, ClassError> {
        ClassList::parse(&format!(
            "[{}]",
            ids.iter().copied().map(entry).collect::<Vec<_>>().join(",")
        ))
    }

    #[test]
    fn the_file_is_read_and_written_back() {
        let text = concat!(
            "[\n",
            "  {\"Id\": 0, \"Name\": \"RBC\", \"ShortName\": \"RBC\", \"Color\": \"#d62728\"},\n",
            "  {\"Id\": 2, \"Name\": \"Plate \\\"let\\\"\", \"ShortName\": \"PLT\", \"Color\": \"#2ca02c\"}\n",
            "]\n"
        );
        let classes = ClassList::parse(text).unwrap();
        assert_eq!(classes.to_json(), text);
        let colors: Vec<Color> = classes.iter().map(|class| class.color).collect();
        assert_eq!(
            colors,
            [
                Color {
                    r: 0xd6,
                    g: 0x27,
                    b: 0x28
                },
                Color {
                    r: 0x2c,
                    g: 0xa0,
                    b: 0x2c
                }
            ]
        );
        assert_eq!(ClassList::default().to_json(), "[]\n");
    }

    #[test]
    fn conditions_add_0_20_and_40() {
        let names = list(&[0, 19]).unwrap().names80();
        assert_eq!(
            (names[0].as_str(), names[20].as_str(), names[40].as_str()),
            ("N0", "N0 (Wint)", "N0 (Night)")
        );
        assert_eq!(
            (names[39].as_str(), names[59].as_str()),
            ("N19 (Wint)", "N19 (Night)")
        );
        for free in [1, 21, 60, 79] {
            assert_eq!(names[free], format!("Class-{free}"));
        }
    }

    #[test]
    fn an_id_of_20_or_more_means_that_slots_are_numbered_by_hand() {
        let names = list(&[0, 20]).unwrap().names80();
        assert_eq!(
            (names[0].as_str(), names[20].as_str(), names[40].as_str()),
            ("N0", "N20", "Class-40")
        );
    }

    #[test]
    fn bad_lists_are_refused_by_entry() {
        assert_eq!(list(&[0, 1, 0]), Err(ClassError::Duplicate { index: 2, id: 0 }));
        assert_eq!(list(&[0, 80]), Err(ClassError::Id { index: 1, id: 80 }));
        assert_eq!(list(&[-1]), Err(ClassError::Id { index: 0, id: -1 }));
        for color in ["red", "#12345", "#1234567", "#12345g", "123456", "#+12345"] {
            let text = entry(3).replace("#0a0B0c", color);
            let error = ClassList::parse(&format!("[{text}]")).unwrap_err();
            assert_eq!(
                error,
                ClassError::Color {
                    index: 0,
                    id: 3,
                    color: color.to_owned()
                }
            );
        }
        for name in ["", " ", "two\\nlines"] {
            let text = entry(3).replace("N3", name);
            assert_eq!(
                ClassList::parse(&format!("[{text}]")),
                Err(ClassError::Name { index: 0, id: 3 })
            );
        }
    }

    #[test]
    fn what_is_no_list_of_classes_is_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "[{\"Id\":0}]",
            "[{\"Id\":0.5,\"Name\":\"a\",\"ShortName\":\"\",\"Color\":\"#000000\"}]",
        ] {
            let error = ClassList::parse(text).unwrap_err();
            assert!(matches!(error, ClassError::Json(_)), "{text}");
        }
        let missing = ClassList::parse("[{\"Id\":0}]").unwrap_err().to_string();
        assert!(
            missing.contains("Name") && missing.contains("line 1"),
            "{missing}"
        );
        let extra = entry(0).replace('{', "{\"MaxSizeM\":4,");
        assert!(ClassList::parse(&format!("\u{feff}[{extra}]")).is_ok());
    }

    proptest! {
        #[test]
        fn names_are_80_and_different(ids in prop::collection::btree_set(0..80i64, 0..20)) {
            let ids: Vec<i64> = ids.into_iter().collect();
            let classes = list(&ids).unwrap();
            let names: std::collections::BTreeSet<String> = classes.names80().into_iter().collect();
            prop_assert_eq!(names.len(), 80);
            prop_assert_eq!(ClassList::parse(&classes.to_json()).unwrap(), classes);
        }
    }
}
