//! Floating-point numbers kept to the bit in any format that holds text.
//!
//! A run's history travels in its checkpoints. JSON has no NaN (what is written as `null` can't be read back as a
//! number), and its readers may round the last bit; a checkpoint must survive the first and a resumed run must not
//! notice the second. So fields marked `#[serde(with = "exact")]` are written as text: the shortest decimal that reads
//! back to the same number, several of them with blanks between, and `NaN`, `inf` and `-inf` by name.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

/// One or more numbers that a field is made of.
pub(crate) trait Numbers: Sized {
    fn numbers(&self) -> &[f64];
    fn of(numbers: Vec<f64>) -> Option<Self>;
}

impl Numbers for f64 {
    fn numbers(&self) -> &[f64] {
        std::slice::from_ref(self)
    }

    fn of(numbers: Vec<f64>) -> Option<Self> {
        <[f64; 1]>::try_from(numbers).ok().map(|[number]| number)
    }
}

impl<const N: usize> Numbers for [f64; N] {
    fn numbers(&self) -> &[f64] {
        self
    }

    fn of(numbers: Vec<f64>) -> Option<Self> {
        numbers.try_into().ok()
    }
}

impl Numbers for Vec<f64> {
    fn numbers(&self) -> &[f64] {
        self
    }

    fn of(numbers: Vec<f64>) -> Option<Self> {
        Some(numbers)
    }
}

pub(crate) fn serialize<T: Numbers, S: Serializer>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let texts: Vec<String> = field.numbers().iter().map(ToString::to_string).collect();
    serializer.serialize_str(&texts.join(" "))
}

pub(crate) fn deserialize<'de, T: Numbers, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let numbers: Option<Vec<f64>> = text
        .split_whitespace()
        .map(|number| number.parse().ok())
        .collect();
    let field = numbers.and_then(T::of);
    field.ok_or_else(|| D::Error::custom(format_args!("{text:?} is not as many numbers as belong here")))
}
