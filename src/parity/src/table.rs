//! The table: what was compared, how far apart it is, and whether that is within its bound.

use serde_json::json;
use std::fmt;

/// Sizes of what was compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Nothing yet.
    None,
    /// Sizes, of which the first so many count.
    Sizes([usize; 4], usize),
    /// Of several shapes.
    Several,
}

/// How far two lists of values are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// Values compared.
    pub values: usize,
    /// Their sizes.
    pub shape: Shape,
    /// Largest absolute difference; infinite where the lengths differ or one side alone is not a number.
    pub absolute: f64,
    /// Largest difference as a share of the expected value (what the share is of where that is near 0: see the maker).
    pub relative: f64,
    /// Whether every value has the same bits.
    pub same_bits: bool,
}

impl Gap {
    /// Nothing compared yet.
    pub const NONE: Gap = Gap {
        values: 0,
        shape: Shape::None,
        absolute: 0.0,
        relative: 0.0,
        same_bits: true,
    };

    /// Value by value. A relative difference is a share of the larger of the expected value and `floor`.
    pub fn of(found: &[f32], expected: &[f32], floor: f64) -> Gap {
        let same_bits = found
            .iter()
            .map(|v| v.to_bits())
            .eq(expected.iter().map(|v| v.to_bits()));
        let pairs = found.iter().zip(expected);
        Gap {
            same_bits,
            ..Gap::of_pairs(
                found.len(),
                expected.len(),
                pairs.map(|(&a, &b)| (a.into(), b.into())),
                floor,
            )
        }
    }

    /// The same for 64-bit values.
    pub fn of_f64(found: &[f64], expected: &[f64], floor: f64) -> Gap {
        let pairs = found.iter().zip(expected).map(|(&a, &b)| (a, b));
        Gap {
            same_bits: found == expected,
            ..Gap::of_pairs(found.len(), expected.len(), pairs, floor)
        }
    }

    /// A tensor: relative differences are shares of the larger of the value and a tenth of the largest one, so that
    /// rounding in sums that cancel is not taken for a difference.
    pub fn of_tensor(found: &[f32], expected: &[f32]) -> Gap {
        let largest = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        Gap::of(found, expected, f64::from(largest) * 0.1)
    }

    fn of_pairs(found: usize, expected: usize, pairs: impl Iterator<Item = (f64, f64)>, floor: f64) -> Gap {
        if found != expected {
            return Gap::count(expected, f64::INFINITY);
        }
        pairs.fold(Gap::NONE, |gap, (a, b)| {
            let absolute = match (a - b).abs() {
                difference if difference.is_finite() => difference,
                _ if a == b || (a.is_nan() && b.is_nan()) => 0.0,
                _ => f64::INFINITY,
            };
            let scale = b.abs().max(floor);
            Gap {
                values: gap.values + 1,
                shape: Shape::list(found),
                absolute: gap.absolute.max(absolute),
                relative: gap
                    .relative
                    .max(if absolute == 0.0 { 0.0 } else { absolute / scale }),
                same_bits: true,
            }
        })
    }

    /// `differing` of `values` things that are equal or not.
    pub fn count(values: usize, differing: f64) -> Gap {
        Gap {
            values,
            shape: Shape::list(values),
            absolute: differing,
            relative: differing / values.max(1) as f64,
            same_bits: differing == 0.0,
        }
    }

    /// The same, of values that form a tensor of these sizes (at most four).
    pub fn shaped(self, sizes: &[i64]) -> Gap {
        let mut all = [0; 4];
        for (slot, &size) in all.iter_mut().zip(sizes) {
            *slot = size as usize;
        }
        Gap {
            shape: Shape::Sizes(all, sizes.len().min(4)),
            ..self
        }
    }

    /// The larger of both.
    pub fn and(self, other: Gap) -> Gap {
        let shape = match (self.shape, other.shape) {
            (Shape::None, shape) | (shape, Shape::None) => shape,
            (one, other) if one == other => one,
            _ => Shape::Several,
        };
        Gap {
            values: self.values + other.values,
            shape,
            absolute: self.absolute.max(other.absolute),
            relative: self.relative.max(other.relative),
            same_bits: self.same_bits && other.same_bits,
        }
    }
}

impl Shape {
    fn list(values: usize) -> Self {
        Shape::Sizes([values, 0, 0, 0], 1)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::None => f.pad("-"),
            Shape::Several => f.pad("several"),
            Shape::Sizes(sizes, count) => {
                let sizes: Vec<String> = sizes.iter().take(*count).map(usize::to_string).collect();
                f.pad(&sizes.join(" x "))
            }
        }
    }
}

/// What a row promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The same bits.
    Bits,
    /// A largest absolute difference.
    Absolute(f64),
    /// A largest relative difference.
    Relative(f64),
    /// Nothing: shown because it explains another row.
    Shown,
}

/// One comparison.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is compared.
    pub item: &'static str,
    /// On what.
    pub case: String,
    /// How far apart it is.
    pub gap: Gap,
    /// How far it may be.
    pub bound: Bound,
}

impl Row {
    /// Whether the promise is kept. A row that compared nothing keeps none.
    pub fn holds(&self) -> bool {
        let within = match self.bound {
            Bound::Bits => self.gap.same_bits,
            Bound::Absolute(most) => self.gap.absolute <= most,
            Bound::Relative(most) => self.gap.relative <= most,
            Bound::Shown => true,
        };
        within && self.gap.values > 0
    }

    fn verdict(&self) -> &'static str {
        match (self.bound, self.holds()) {
            (_, false) => "BROKEN",
            (Bound::Shown, true) => "-",
            (_, true) => "ok",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Bits => f.pad("same bits"),
            Bound::Absolute(0.0) => f.pad("none differ"),
            Bound::Absolute(most) => f.pad(&format!("{} absolute", number(*most))),
            Bound::Relative(most) => f.pad(&format!("{} relative", number(*most))),
            Bound::Shown => f.pad("none"),
        }
    }
}

/// "0", "3", "1.2e-7".
fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e6 {
        format!("{value}")
    } else {
        format!("{value:.1e}")
    }
}

/// All comparisons.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds rows.
    pub fn extend(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// Whether every row's bound holds.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }

    /// As JSON. A difference that is not finite is null.
    pub fn json(&self) -> serde_json::Value {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "item": row.item, "case": row.case, "shape": row.gap.shape.to_string(), "values": row.gap.values,
                    "max_absolute": row.gap.absolute, "max_relative": row.gap.relative,
                    "bound": row.bound.to_string(), "holds": row.holds(),
                })
            })
            .collect();
        json!({ "rows": rows, "holds": self.holds() })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<[String; 8]> = std::iter::once(
            [
                "item", "case", "shape", "values", "max abs", "max rel", "bound", "verdict",
            ]
            .map(str::to_owned),
        )
        .chain(self.rows.iter().map(|row| {
            [
                row.item.to_owned(),
                row.case.clone(),
                row.gap.shape.to_string(),
                row.gap.values.to_string(),
                number(row.gap.absolute),
                number(row.gap.relative),
                row.bound.to_string(),
                row.verdict().to_owned(),
            ]
        }))
        .collect();
        let widths: [usize; 8] = std::array::from_fn(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        });
        for (index, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                for width in widths {
                    write!(f, "|{:-<1$}", "", width + 2)?;
                }
                writeln!(f, "|")?;
            }
        }
        let broken = self.rows.iter().filter(|row| !row.holds()).count();
        writeln!(f, "\n{} comparisons, {broken} bounds broken", self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(gap: Gap, bound: Bound) -> Row {
        Row {
            item: "item",
            case: "case".to_owned(),
            gap,
            bound,
        }
    }

    #[test]
    fn one_bit_breaks_a_bound_of_bits() {
        let (one, next) = (1.0_f32, f32::from_bits(1.0_f32.to_bits() + 1));
        assert!(row(Gap::of_tensor(&[one], &[one]), Bound::Bits).holds());
        assert!(!row(Gap::of_tensor(&[next], &[one]), Bound::Bits).holds());
        assert!(!row(Gap::of_tensor(&[-0.0], &[0.0]), Bound::Bits).holds());
    }

    #[test]
    fn what_cannot_be_compared_breaks_every_bound() {
        for gap in [
            Gap::of_tensor(&[1.0], &[1.0, 2.0]),
            Gap::of_tensor(&[f32::NAN], &[1.0]),
            Gap::of_tensor(&[f32::INFINITY], &[1.0]),
            Gap::of_f64(&[], &[], 1.0),
        ] {
            for bound in [Bound::Absolute(1e9), Bound::Relative(1e9)] {
                assert!(!row(gap, bound).holds(), "{gap:?}");
            }
        }
    }

    #[test]
    fn small_values_are_judged_by_the_size_of_their_tensor() {
        let gap = Gap::of_tensor(&[10.0, 1e-6], &[10.0, 0.0]);
        assert!((gap.relative - 1e-6).abs() < 1e-12 && gap.values == 2);
        assert_eq!(Gap::of(&[1.5], &[1.0], 0.0).relative, 0.5);
        assert_eq!(Gap::of(&[1.5], &[1.0], 5.0).relative, 0.1);
    }

    #[test]
    fn shapes_are_kept_while_they_agree() {
        let shape = |gap: Gap| gap.shape.to_string();
        let image = Gap::of_tensor(&[0.0; 6], &[0.0; 6]).shaped(&[1, 2, 3]);
        assert_eq!(shape(image), "1 x 2 x 3");
        assert_eq!(shape(Gap::NONE.and(image).and(image)), "1 x 2 x 3");
        assert_eq!(shape(image.and(Gap::count(6, 0.0))), "several");
        assert_eq!(shape(Gap::count(6, 0.0)), "6");
    }

    #[test]
    fn one_broken_row_breaks_the_table_and_is_named() {
        let mut table = Table::default();
        table.extend(vec![row(Gap::count(4, 0.0), Bound::Absolute(0.0))]);
        assert!(table.holds());
        table.extend(vec![row(Gap::count(4, 1.0), Bound::Absolute(0.0))]);
        assert!(!table.holds());
        let text = table.to_string();
        assert!(
            text.contains("BROKEN") && text.contains("1 bounds broken"),
            "{text}"
        );
        assert_eq!(table.json()["holds"], false);
    }
}
