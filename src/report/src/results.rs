//! `results.csv`: one line an epoch, with the reference package's columns, so that its tools read our runs.
//!
//! Columns (the reference's, in its order): epoch, time, train/{box,cls,l1}_loss, metrics/precision(B),
//! metrics/recall(B), metrics/mAP50(B), metrics/mAP50-95(B), val/{box,cls,l1}_loss, lr/pg0, lr/pg1, ...; numbers as
//! C's `%.6g`, `nan` and `inf` included. A running training appends [`line()`] after each epoch; the reader finds
//! columns by name, ignores those it does not know, and accepts blanks around names and values. Reading back what was
//! written and writing it again gives the same bytes.

use crate::model::{EpochRow, LOSS_NAMES};
use crate::number::general;

/// Why a `results.csv` can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultsError {
    /// The first line misses a column.
    #[error("results.csv, line 1: there is no column {0:?}: this is not a results file of a detection run")]
    MissingColumn(String),
    /// A line has more or fewer fields than the first one; a torn last line looks like this.
    #[error(
        "results.csv, line {line}: {found} fields where the header has {expected}: remove or repair the line"
    )]
    Fields {
        /// Counted from 1.
        line: usize,
        /// Fields in this line.
        found: usize,
        /// Fields in the header.
        expected: usize,
    },
    /// A field is no number.
    #[error("results.csv, line {line}, column {column:?}: {text:?} is not a number: repair the line")]
    Number {
        /// Counted from 1.
        line: usize,
        /// The column's name.
        column: String,
        /// What stands there.
        text: String,
    },
}

/// The whole file. Rows with fewer learning rates than others get `nan` in their place.
#[must_use]
pub fn results_csv(history: &[EpochRow]) -> String {
    let groups = history.iter().map(|row| row.lr.len()).max().unwrap_or(0);
    let mut csv = header(groups);
    for row in history {
        csv.push_str(&line(row, groups));
    }
    csv
}

/// The first line, with its line end, for so many parameter groups.
#[must_use]
pub fn header(groups: usize) -> String {
    joined(columns(groups))
}

/// The line of one epoch, with its line end, for so many parameter groups.
#[must_use]
pub fn line(row: &EpochRow, groups: usize) -> String {
    let missing = groups.saturating_sub(row.lr.len());
    let numbers = named(row)
        .map(|(_, value)| value)
        .chain(std::iter::repeat_n(f64::NAN, missing))
        .map(|value| general(value, 6));
    joined([row.epoch.to_string()].into_iter().chain(numbers))
}

/// What a line holds, behind the epoch: names of the columns and their values.
pub fn named(row: &EpochRow) -> impl Iterator<Item = (String, f64)> {
    let names = columns(row.lr.len()).skip(1);
    let metrics = [row.precision, row.recall, row.map50, row.map50_95];
    let values = [row.time_s]
        .into_iter()
        .chain(row.train)
        .chain(metrics)
        .chain(row.val)
        .chain(row.lr.clone());
    names.zip(values)
}

/// Reads the file back.
pub fn parse_results(csv: &str) -> Result<Vec<EpochRow>, ResultsError> {
    let mut lines = csv
        .lines()
        .enumerate()
        .filter(|(_, text)| !text.trim().is_empty());
    let Some((_, head)) = lines.next() else {
        return Ok(Vec::new());
    };
    let names: Vec<&str> = head.split(',').map(str::trim).collect();
    let reader = Columns::find(&names)?;
    lines.map(|(index, text)| reader.row(index + 1, text)).collect()
}

fn columns(groups: usize) -> impl Iterator<Item = String> {
    let losses = |part: &'static str| LOSS_NAMES.iter().map(move |name| format!("{part}/{name}_loss"));
    let metrics = ["precision", "recall", "mAP50", "mAP50-95"].map(|name| format!("metrics/{name}(B)"));
    ["epoch", "time"]
        .into_iter()
        .map(str::to_owned)
        .chain(losses("train"))
        .chain(metrics)
        .chain(losses("val"))
        .chain((0..groups).map(|group| format!("lr/pg{group}")))
}

fn joined(fields: impl Iterator<Item = String>) -> String {
    let mut line = String::new();
    for field in fields {
        if !line.is_empty() {
            line.push(',');
        }
        line.push_str(&field);
    }
    line.push('\n');
    line
}

/// Where the columns of an [`EpochRow`] are, in the order that [`columns`] gives.
struct Columns<'a> {
    names: &'a [&'a str],
    places: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn find(names: &'a [&'a str]) -> Result<Self, ResultsError> {
        let groups = (0..names.len())
            .take_while(|g| names.contains(&format!("lr/pg{g}").as_str()))
            .count();
        let places = columns(groups)
            .map(|wanted| names.iter().position(|name| *name == wanted).ok_or(wanted))
            .collect::<Result<_, _>>()
            .map_err(ResultsError::MissingColumn)?;
        Ok(Self { names, places })
    }

    fn row(&self, line: usize, text: &str) -> Result<EpochRow, ResultsError> {
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        if fields.len() != self.names.len() {
            return Err(ResultsError::Fields {
                line,
                found: fields.len(),
                expected: self.names.len(),
            });
        }
        let mut numbers = self.places.iter().map(|&place| {
            let (text, column) = (fields.get(place).copied(), self.names.get(place).copied());
            let (text, column) = (text.unwrap_or_default(), column.unwrap_or_default());
            let wrong = || ResultsError::Number {
                line,
                column: column.to_owned(),
                text: text.to_owned(),
            };
            match column {
                "epoch" => text.parse::<u32>().map(f64::from).map_err(|_| wrong()),
                _ => text.parse::<f64>().map_err(|_| wrong()),
            }
        });
        let mut next = || numbers.next().unwrap_or(Ok(f64::NAN));
        Ok(EpochRow {
            epoch: next()? as u32,
            time_s: next()?,
            train: [next()?, next()?, next()?],
            precision: next()?,
            recall: next()?,
            map50: next()?,
            map50_95: next()?,
            val: [next()?, next()?, next()?],
            lr: numbers.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ResultsError, header, line, parse_results, results_csv};
    use crate::model::EpochRow;
    use proptest::prelude::*;

    fn row() -> EpochRow {
        EpochRow {
            epoch: 1,
            time_s: 93.4512,
            train: [1.234_567_8, 2.0, 0.005],
            val: [1.5, f64::NAN, f64::INFINITY],
            precision: 0.1,
            recall: 0.2,
            map50: 0.3,
            map50_95: 0.000_012_345_67,
            lr: vec![0.01, 0.002],
        }
    }

    #[test]
    fn columns_and_numbers_are_the_references() {
        assert_eq!(
            results_csv(&[row()]),
            "epoch,time,train/box_loss,train/cls_loss,train/l1_loss,metrics/precision(B),metrics/recall(B),\
             metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,val/cls_loss,val/l1_loss,lr/pg0,lr/pg1\n\
             1,93.4512,1.23457,2,0.005,0.1,0.2,0.3,1.23457e-05,1.5,nan,inf,0.01,0.002\n"
        );
    }

    #[test]
    fn a_file_grown_line_by_line_is_the_file_written_at_once() {
        let rows = [row(), EpochRow { epoch: 2, ..row() }];
        let grown = header(2) + &line(&rows[0], 2) + &line(&rows[1], 2);
        assert_eq!(grown, results_csv(&rows));
    }

    #[test]
    fn nothing_is_read_from_an_empty_file_and_from_a_header() {
        assert_eq!(parse_results(""), Ok(vec![]));
        assert_eq!(parse_results(&header(3)), Ok(vec![]));
    }

    #[test]
    fn columns_are_found_by_name_whatever_their_order_and_company() {
        let csv = " lr/pg0 ,val/l1_loss,val/cls_loss,val/box_loss,metrics/mAP50-95(B),metrics/mAP50(B),extra,\
                   metrics/recall(B),metrics/precision(B),train/l1_loss,train/cls_loss,train/box_loss,time,epoch\r\n\
                   0.1, 12,11,10, 9,8,x,7,6, 5,4,3, 2,1\r\n";
        let expected = EpochRow {
            epoch: 1,
            time_s: 2.0,
            train: [3.0, 4.0, 5.0],
            precision: 6.0,
            recall: 7.0,
            map50: 8.0,
            map50_95: 9.0,
            val: [10.0, 11.0, 12.0],
            lr: vec![0.1],
        };
        assert_eq!(parse_results(csv), Ok(vec![expected]));
    }

    #[test]
    fn errors_name_the_line_and_the_column() {
        let good = results_csv(&[row()]);
        let torn = good.clone() + "2,93.4";
        assert_eq!(
            parse_results(&torn),
            Err(ResultsError::Fields {
                line: 3,
                found: 2,
                expected: 14
            })
        );
        let bad = good.replace(",0.3,", ",0;3,");
        let error = parse_results(&bad).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("metrics/mAP50(B)") && error.contains("0;3"),
            "{error}"
        );
        let negative = good.replace("\n1,", "\n-1,");
        assert!(
            matches!(parse_results(&negative), Err(ResultsError::Number { column, .. }) if column == "epoch")
        );
        assert_eq!(
            parse_results("a,b\n1,2\n"),
            Err(ResultsError::MissingColumn("epoch".into()))
        );
    }

    prop_compose! {
        fn rows()(groups in 0..4_usize)(rows in prop::collection::vec((any::<u32>(),
            prop::array::uniform11(any::<f64>()), prop::collection::vec(any::<f64>(), groups)), 0..20)) -> Vec<EpochRow> {
            rows.into_iter().map(|(epoch, v, lr)| EpochRow {
                epoch, time_s: v[0], train: [v[1], v[2], v[3]], val: [v[4], v[5], v[6]],
                precision: v[7], recall: v[8], map50: v[9], map50_95: v[10], lr,
            }).collect()
        }
    }

    proptest! {
        #[test]
        fn reading_and_writing_again_gives_the_same_bytes(rows in rows()) {
            let csv = results_csv(&rows);
            let read = parse_results(&csv).unwrap();
            prop_assert_eq!(&results_csv(&read), &csv);
            prop_assert_eq!(read.len(), rows.len());
            for (read, row) in read.iter().zip(&rows) {
                prop_assert_eq!(read.epoch, row.epoch);
                let (a, b) = (read.map50, row.map50);
                prop_assert!(a.is_nan() && b.is_nan() || a == b || ((a - b) / b).abs() < 1e-5 || b.abs() < 1e-300);
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*") {
            let _ = parse_results(&text);
            let _ = parse_results(&(header(1) + &text));
        }
    }
}
