//! Label files: one detection a line, `class cx cy w h`, normalised to the image (LBL-1).
//!
//! A [`Row`] can only be made valid, so a [`Label`] is valid by construction. The text that `Display` writes uses plain
//! decimals, never an exponent, each the shortest that reads back to the same `f32`. The reader takes what other tools
//! write: CRLF, tabs, blank lines, a byte order mark, exponents, and a class written as `0.0`. An empty label stands
//! for a background image.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The greatest class number.
pub const MAX_CLASS: u8 = 79;

/// A field of a row, by its place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The class number.
    Class,
    /// The centre, from the left edge.
    Cx,
    /// The centre, from the upper edge.
    Cy,
    /// The width.
    W,
    /// The height.
    H,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Class => "class",
            Self::Cx => "cx",
            Self::Cy => "cy",
            Self::W => "w",
            Self::H => "h",
        })
    }
}

/// One detection: a class and a box, as fractions of the image's width and height.
///
/// [`Row::new`] is the only way to make one; it holds `class <= 79`, `0 <= cx, cy <= 1` and `0 < w, h <= 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// Class number, 0 to 79.
    pub class: u8,
    /// Centre of the box, from the left edge.
    pub cx: f32,
    /// Centre of the box, from the upper edge.
    pub cy: f32,
    /// Width of the box.
    pub w: f32,
    /// Height of the box.
    pub h: f32,
}

/// Which field of a row cannot be, and why.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum RowError {
    /// The class is no whole number from 0 to 79.
    #[error("class {value} is not a whole number from 0 to {MAX_CLASS}")]
    Class {
        /// What was given.
        value: f64,
    },
    /// A coordinate is NaN or infinite.
    #[error("{field} is {value}, not a finite number")]
    NotFinite {
        /// The field.
        field: Field,
        /// What was given.
        value: f64,
    },
    /// A coordinate lies outside the image.
    #[error("{field} is {value}, outside 0..1")]
    Outside {
        /// The field.
        field: Field,
        /// What was given.
        value: f64,
    },
    /// The box has no width or no height.
    #[error("{field} is {value}; a box needs a width and a height above 0")]
    NoExtent {
        /// [`Field::W`] or [`Field::H`].
        field: Field,
        /// What was given.
        value: f64,
    },
}

impl RowError {
    /// The field that is wrong.
    pub const fn field(&self) -> Field {
        match self {
            Self::Class { .. } => Field::Class,
            Self::NotFinite { field, .. } | Self::Outside { field, .. } | Self::NoExtent { field, .. } => {
                *field
            }
        }
    }
}

impl Row {
    /// A row of these values, if they are valid.
    pub fn new(class: u8, cx: f32, cy: f32, w: f32, h: f32) -> Result<Self, RowError> {
        let exact = |value: f32| Written {
            text: f64::from(value),
            value,
        };
        Self::from_written(f64::from(class), [exact(cx), exact(cy), exact(w), exact(h)])
    }

    /// A row of numbers as JSON carries them.
    pub(crate) fn from_f64(class: f64, coordinates: [f64; 4]) -> Result<Self, RowError> {
        Self::from_written(
            class,
            coordinates.map(|text| Written {
                text,
                value: text as f32,
            }),
        )
    }

    fn from_written(class: f64, [cx, cy, w, h]: [Written; 4]) -> Result<Self, RowError> {
        if class.fract() != 0.0 || !(0.0..=f64::from(MAX_CLASS)).contains(&class) {
            return Err(RowError::Class { value: class });
        }
        Ok(Self {
            class: class as u8,
            cx: cx.coordinate(Field::Cx)?,
            cy: cy.coordinate(Field::Cy)?,
            w: w.extent(Field::W)?,
            h: h.extent(Field::H)?,
        })
    }
}

/// A number as it was written and as it is kept. Validity is judged on the writing: 1.00000001 is outside, although the
/// nearest `f32` is 1.
#[derive(Clone, Copy)]
struct Written {
    text: f64,
    value: f32,
}

impl Written {
    fn coordinate(self, field: Field) -> Result<f32, RowError> {
        let value = self.text;
        if !value.is_finite() {
            return Err(RowError::NotFinite { field, value });
        }
        if !(0.0..=1.0).contains(&value) {
            return Err(RowError::Outside { field, value });
        }
        // Adding 0 turns -0 into 0, so that equal rows have equal texts.
        Ok(self.value + 0.0)
    }

    fn extent(self, field: Field) -> Result<f32, RowError> {
        let value = self.coordinate(field)?;
        if value > 0.0 {
            Ok(value)
        } else {
            Err(RowError::NoExtent {
                field,
                value: self.text,
            })
        }
    }
}

impl fmt::Display for Row {
    // Rust writes an f32 as the shortest plain decimal that reads back to it, without an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.class, self.cx, self.cy, self.w, self.h)
    }
}

/// The detections of one image, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Label {
    /// The detections; none for a background image.
    pub rows: Vec<Row>,
}

/// Why a text is not a label: the line and what is wrong in it.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("line {line}: {problem}")]
pub struct LabelError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: LabelProblem,
}

/// What is wrong in a line of a label file.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LabelProblem {
    /// Not five fields.
    #[error("{found} fields; a row is 5: class cx cy w h")]
    FieldCount {
        /// How many there are.
        found: usize,
    },
    /// A field is no number.
    #[error("{field} is no number")]
    NotANumber {
        /// The field.
        field: Field,
    },
    /// The numbers are no valid row.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The line is not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
}

impl Label {
    /// Reads the text of a label file.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rows = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let row = parse_line(line).map_err(|problem| LabelError {
                line: index + 1,
                problem,
            })?;
            rows.extend(row);
        }
        Ok(Self { rows })
    }

    /// Reads the bytes of a label file; bytes that are not UTF-8 are an error like any other.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, LabelError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            LabelError {
                line,
                problem: LabelProblem::NotUtf8,
            }
        })?;
        Self::parse(text)
    }
}

/// The row of one line; none for a blank one.
fn parse_line(line: &str) -> Result<Option<Row>, LabelProblem> {
    let mut fields = line.split_whitespace();
    let five = [
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
    ];
    match (five, fields.count()) {
        ([None, ..], _) => Ok(None),
        ([Some(class), Some(cx), Some(cy), Some(w), Some(h)], 0) => {
            let class = number(class, Field::Class)?;
            let coordinates = [
                written(cx, Field::Cx)?,
                written(cy, Field::Cy)?,
                written(w, Field::W)?,
                written(h, Field::H)?,
            ];
            Ok(Some(Row::from_written(class, coordinates)?))
        }
        (five, more) => Err(LabelProblem::FieldCount {
            found: five.iter().flatten().count() + more,
        }),
    }
}

fn number<T: FromStr>(text: &str, field: Field) -> Result<T, LabelProblem> {
    text.parse().map_err(|_| LabelProblem::NotANumber { field })
}

/// Parsed twice, since an `f64` rounded to `f32` may differ from the `f32` nearest to the text.
fn written(text: &str, field: Field) -> Result<Written, LabelProblem> {
    Ok(Written {
        text: number(text, field)?,
        value: number(text, field)?,
    })
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::parse(text)
    }
}

impl From<Vec<Row>> for Label {
    fn from(rows: Vec<Row>) -> Self {
        Self { rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> (usize, LabelProblem) {
        let error = Label::parse(text).unwrap_err();
        (error.line, error.problem)
    }

    fn row_problem(text: &str) -> RowError {
        match problem(text).1 {
            LabelProblem::Row(error) => error,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn one_line_is_one_detection() {
        let label = Label::parse("0 0.5 0.5 0.1 0.1\n79 0 1 1 1").unwrap();
        let expected = [
            Row::new(0, 0.5, 0.5, 0.1, 0.1).unwrap(),
            Row::new(79, 0.0, 1.0, 1.0, 1.0).unwrap(),
        ];
        assert_eq!(label.rows, expected);
    }

    #[test]
    fn an_empty_file_is_a_background_image() {
        for text in ["", "\n", "\u{feff}", " \t\r\n\r\n"] {
            assert_eq!(Label::parse(text), Ok(Label::default()), "{text:?}");
        }
        assert_eq!(Label::default().to_string(), "");
    }

    #[test]
    fn what_other_tools_write_is_read() {
        let plain = Label::parse("3 0.5 0.25 0.125 1\n").unwrap();
        for text in [
            "3\t0.5\t0.25\t0.125\t1",
            "\u{feff}3 0.5 0.25 0.125 1\r\n",
            "\n\n  3   .5 2.5e-1 +0.125 1.  \n\n",
            "3.0 0.5 0.25 0.125 1",
        ] {
            assert_eq!(Label::parse(text).as_ref(), Ok(&plain), "{text:?}");
        }
    }

    #[test]
    fn a_row_has_exactly_five_fields() {
        for (text, found) in [("0", 1), ("0 0.5 0.5 0.1", 4), ("0 0.5 0.5 0.1 0.1 0.9", 6)] {
            assert_eq!(problem(text), (1, LabelProblem::FieldCount { found }));
        }
    }

    #[test]
    fn the_error_names_the_line_and_the_field() {
        let (line, field) = (3, Field::Cy);
        assert_eq!(
            problem("0 .5 .5 .1 .1\n\n0 0.5 x 0.1 0.1"),
            (line, LabelProblem::NotANumber { field })
        );
        let text = Label::parse("0 .5 .5 .1 .1\r\n0 0.5 1.5 0.1 0.1")
            .unwrap_err()
            .to_string();
        assert_eq!(text, "line 2: cy is 1.5, outside 0..1");
        assert_eq!(
            Label::parse_bytes(b"\n0 .5 .5 .1 .1\n\xff"),
            Err(LabelError {
                line: 3,
                problem: LabelProblem::NotUtf8
            })
        );
    }

    #[test]
    fn classes_are_whole_numbers_from_0_to_79() {
        for class in ["80", "-1", "0.5", "nan", "inf", "1e9"] {
            let error = row_problem(&format!("{class} 0.5 0.5 0.1 0.1"));
            assert_eq!(error.field(), Field::Class, "{class}");
        }
        assert_eq!(
            Row::new(80, 0.5, 0.5, 0.1, 0.1),
            Err(RowError::Class { value: 80.0 })
        );
    }

    #[test]
    fn coordinates_are_finite_and_inside_the_image() {
        for bad in [
            "-0.1",
            "1.1",
            "1.00000001",
            "-1e-60",
            "1e308",
            "nan",
            "inf",
            "-inf",
        ] {
            for place in 1..5 {
                let mut fields = ["0", "0.5", "0.5", "0.1", "0.1"];
                fields[place] = bad;
                let error = row_problem(&fields.join(" "));
                let expected = [Field::Class, Field::Cx, Field::Cy, Field::W, Field::H][place];
                assert_eq!(error.field(), expected, "{bad} at {place}");
                let finite = bad.parse::<f64>().unwrap().is_finite();
                assert_eq!(
                    matches!(error, RowError::Outside { .. }),
                    finite,
                    "{bad}: {error}"
                );
            }
        }
    }

    #[test]
    fn a_box_has_a_width_and_a_height() {
        // 1e-60 is above 0 as written and 0 as an f32.
        for zero in ["0", "-0", "0.000", "1e-60"] {
            assert!(matches!(
                row_problem(&format!("0 .5 .5 {zero} .1")),
                RowError::NoExtent { field: Field::W, .. }
            ));
            assert!(matches!(
                row_problem(&format!("0 .5 .5 .1 {zero}")),
                RowError::NoExtent { field: Field::H, .. }
            ));
        }
    }

    #[test]
    fn small_numbers_are_written_without_an_exponent() {
        let row = Row::new(7, -0.0, 1e-7, f32::MIN_POSITIVE, 0.1).unwrap();
        let text = row.to_string();
        assert!(
            text.starts_with("7 0 0.0000001 0.0000000000000000000000000000000000000117549"),
            "{text}"
        );
        assert!(text.ends_with(" 0.1"), "{text}");
        assert!(!text.contains(['e', 'E']), "{text}");
    }

    fn fraction() -> impl Strategy<Value = f32> {
        // Every f32 from 0 to 1 by its bits, so that subnormals are as likely as anything.
        (0..=1f32.to_bits()).prop_map(f32::from_bits)
    }

    fn extent() -> impl Strategy<Value = f32> {
        (1..=1f32.to_bits()).prop_map(f32::from_bits)
    }

    prop_compose! {
        fn row()(class in 0..=MAX_CLASS, cx in fraction(), cy in fraction(), w in extent(), h in extent()) -> Row {
            Row::new(class, cx, cy, w, h).unwrap()
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_to_the_same_bits(rows in prop::collection::vec(row(), 0..8)) {
            let label = Label { rows };
            let text = label.to_string();
            prop_assert_eq!(text.lines().count(), label.rows.len());
            prop_assert!(text.is_empty() || text.ends_with('\n'));
            prop_assert_eq!(Label::parse(&text).unwrap(), label);
        }

        #[test]
        fn any_text_gives_a_label_or_an_error(text in "[0-9a-z.+\\- \t\r\n\u{feff}]{0,60}") {
            if let Ok(label) = Label::parse(&text) {
                prop_assert_eq!(Label::parse(&label.to_string()).unwrap(), label);
            }
        }

        #[test]
        fn any_bytes_give_a_label_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Label::parse_bytes(&bytes);
        }
    }
}
