//! What was taken for what: the confusion matrix, in the classes and one more, the background.
//!
//! A row is what lies there, a column what the model said. The last column therefore holds the true boxes that were
//! missed, the last row the detections where nothing is. A table rather than an image, so that it can be read aloud,
//! searched and copied; a cell's shade is its share of its row.

use std::fmt;

use crate::html::Esc;
use crate::number::Count;

/// Beyond so many classes a cell has room for its shade only.
const WITH_NUMBERS: usize = 14;
/// Beyond so many classes the names above the columns stand upright.
const LEVEL_NAMES: usize = 6;
/// How many of the most frequent mistakes are spelt out.
const MISTAKES: usize = 6;
/// The shades that style.css knows, from `s1` to this one.
pub(crate) const SHADES: f64 = 9.0;
/// What the last row and the last column are called.
const BACKGROUND: &str = "background";

/// Counts of (true class, predicted class).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    names: Vec<String>,
    /// Rows of `names.len() + 1`, the background last.
    counts: Vec<u64>,
}

/// Counts that do not fit the classes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfusionError {
    /// Not a square of classes and background.
    #[error("a confusion matrix of {classes} classes and background has {expected} counts, not {found}")]
    Size {
        /// How many names came.
        classes: usize,
        /// The square of one more.
        expected: usize,
        /// How many counts came.
        found: usize,
    },
    /// A class that has no name.
    #[error("there is no class {class} in a confusion matrix of {classes} classes")]
    Class {
        /// The index that came.
        class: usize,
        /// How many there are.
        classes: usize,
    },
}

impl Confusion {
    /// A matrix of zeros.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        let side = names.len() + 1;
        Self {
            names,
            counts: vec![0; side * side],
        }
    }

    /// A matrix counted elsewhere: rows of true classes, in each row the predicted ones, the background last in both.
    pub fn from_counts(names: Vec<String>, counts: Vec<u64>) -> Result<Self, ConfusionError> {
        let expected = (names.len() + 1) * (names.len() + 1);
        if counts.len() != expected {
            return Err(ConfusionError::Size {
                classes: names.len(),
                expected,
                found: counts.len(),
            });
        }
        Ok(Self { names, counts })
    }

    /// Counts one box: what it is, and what it was taken for. None is the background: `(Some(3), None)` is a missed
    /// box of class 3, `(None, Some(3))` a detection where nothing is.
    pub fn add(&mut self, truth: Option<usize>, predicted: Option<usize>) -> Result<(), ConfusionError> {
        let (side, classes) = (self.names.len() + 1, self.names.len());
        let place = |class: Option<usize>| match class {
            Some(class) if class >= classes => Err(ConfusionError::Class { class, classes }),
            Some(class) => Ok(class),
            None => Ok(classes),
        };
        let index = place(truth)? * side + place(predicted)?;
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        Ok(())
    }

    /// How often `truth` was taken for `predicted`; the background is the index after the last class.
    #[must_use]
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        let side = self.names.len() + 1;
        let inside = truth < side && predicted < side;
        self.counts
            .get(truth * side + predicted)
            .filter(|_| inside)
            .copied()
            .unwrap_or(0)
    }

    fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or(BACKGROUND, String::as_str)
    }

    fn row_total(&self, truth: usize) -> u64 {
        (0..=self.names.len())
            .map(|predicted| self.count(truth, predicted))
            .sum()
    }

    /// The rows and columns worth showing: classes that occur or were predicted, and the background.
    fn shown(&self) -> Vec<usize> {
        let background = self.names.len();
        let occurs = |i: usize| (0..=background).any(|j| self.count(i, j) + self.count(j, i) > 0);
        (0..=background)
            .filter(|&i| i == background || occurs(i))
            .collect()
    }

    /// The most frequent mistakes: (truth, predicted, count), most frequent first.
    fn mistakes(&self) -> Vec<(usize, usize, u64)> {
        let side = self.names.len() + 1;
        let cells = (0..side).flat_map(|t| (0..side).map(move |p| (t, p)));
        let wrong = cells
            .filter(|(t, p)| t != p)
            .map(|(t, p)| (t, p, self.count(t, p)));
        let mut mistakes: Vec<_> = wrong.filter(|(.., count)| *count > 0).collect();
        mistakes.sort_by_key(|&(t, p, count)| (std::cmp::Reverse(count), t, p));
        mistakes.truncate(MISTAKES);
        mistakes
    }
}

/// The section.
pub(crate) struct Matrix<'a>(pub &'a Confusion);

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.shown();
        if shown.len() < 2 {
            return Ok(());
        }
        f.write_str(
            "<section><h2>Confusion</h2><p class=\"lead\">Each row is a true class, each column what the model said. \
             The last column holds missed boxes, the last row detections where nothing is; \
             shade and percentage are shares of the row.</p><div class=\"split\"><div class=\"card wide\">",
        )?;
        self.table(f, &shown)?;
        match self.0.names.len() + 1 - shown.len() {
            0 => {}
            1 => f.write_str("<p class=\"aside\">One class without boxes and detections is left out.</p>")?,
            n => write!(
                f,
                "<p class=\"aside\">{n} classes without boxes and detections are left out.</p>"
            )?,
        }
        f.write_str("</div>")?;
        self.mistakes(f)?;
        f.write_str("</div></section>")
    }
}

impl Matrix<'_> {
    fn table(&self, f: &mut fmt::Formatter<'_>, shown: &[usize]) -> fmt::Result {
        let classes = shown.len() - 1;
        let kind = match classes {
            _ if classes > WITH_NUMBERS => " upright dense",
            _ if classes > LEVEL_NAMES => " upright",
            _ => "",
        };
        write!(
            f,
            "<table class=\"confusion{kind}\"><caption>Rows: truth. Columns: prediction.</caption><thead><tr><td></td>"
        )?;
        for &column in shown {
            write!(
                f,
                "<th scope=\"col\"><span>{}</span></th>",
                Esc(self.0.name(column))
            )?;
        }
        f.write_str("</tr></thead><tbody>")?;
        for &row in shown {
            write!(f, "<tr><th scope=\"row\">{}</th>", Esc(self.0.name(row)))?;
            let total = self.0.row_total(row);
            for &column in shown {
                self.cell(f, row, column, total, classes > WITH_NUMBERS)?;
            }
            f.write_str("</tr>")?;
        }
        f.write_str("</tbody></table>")
    }

    fn cell(
        &self,
        f: &mut fmt::Formatter<'_>,
        row: usize,
        column: usize,
        total: u64,
        dense: bool,
    ) -> fmt::Result {
        let count = self.0.count(row, column);
        if count == 0 {
            return f.write_str("<td></td>");
        }
        let share = count as f64 / total.max(1) as f64;
        let (shade, percent) = (shade(share), Percentage(share));
        if dense {
            let (truth, said) = (self.0.name(row), self.0.name(column));
            let title = format!("{truth} taken for {said}: {count} ({percent})");
            return write!(f, "<td class=\"s{shade}\" title=\"{}\"></td>", Esc(title));
        }
        write!(
            f,
            "<td class=\"s{shade}\"><b>{}</b><small>{}</small></td>",
            Count(count),
            Esc(percent)
        )
    }

    fn mistakes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mistakes = self.0.mistakes();
        if mistakes.is_empty() {
            return Ok(());
        }
        f.write_str("<div class=\"card\"><h3>Most frequent mistakes</h3><ol class=\"mistakes\">")?;
        let background = self.0.names.len();
        for (truth, predicted, count) in mistakes {
            let what = match (truth == background, predicted == background) {
                (true, _) => format!("{} seen where nothing is", self.0.name(predicted)),
                (_, true) => format!("{} missed", self.0.name(truth)),
                _ => format!("{} taken for {}", self.0.name(truth), self.0.name(predicted)),
            };
            write!(f, "<li><span>{}</span><b>{}</b></li>", Esc(what), Count(count))?;
        }
        f.write_str("</ol></div>")
    }
}

/// A share that is not nothing, never rounded down to nothing.
struct Percentage(f64);

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0.01 {
            f.write_str("< 1 %")
        } else {
            write!(f, "{:.0} %", self.0 * 100.0)
        }
    }
}

/// The shade of a share of 0..1: 1 for the least that is not nothing.
pub(crate) fn shade(share: f64) -> u8 {
    (share * SHADES).ceil().clamp(1.0, SHADES) as u8
}

#[cfg(test)]
mod tests {
    use super::{Confusion, ConfusionError, Matrix, shade};

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class{i}")).collect()
    }

    #[test]
    fn boxes_are_counted_where_they_belong() {
        let mut confusion = Confusion::new(names(2));
        confusion.add(Some(1), Some(0)).unwrap();
        confusion.add(Some(1), None).unwrap();
        confusion.add(None, Some(0)).unwrap();
        assert_eq!(
            confusion,
            Confusion::from_counts(names(2), vec![0, 0, 0, 1, 0, 1, 1, 0, 0]).unwrap()
        );
        assert_eq!(
            (
                confusion.count(1, 0),
                confusion.count(2, 0),
                confusion.count(0, 3)
            ),
            (1, 1, 0)
        );
    }

    #[test]
    fn counts_that_are_no_square_and_classes_without_a_name_are_refused() {
        let size = ConfusionError::Size {
            classes: 2,
            expected: 9,
            found: 4,
        };
        assert_eq!(Confusion::from_counts(names(2), vec![0; 4]), Err(size));
        let class = ConfusionError::Class { class: 2, classes: 2 };
        assert_eq!(Confusion::new(names(2)).add(Some(2), None), Err(class));
    }

    #[test]
    fn a_cell_says_its_count_and_its_share_of_the_row() {
        let confusion = Confusion::from_counts(names(2), vec![9, 1, 0, 0, 0, 4, 0, 0, 0]).unwrap();
        let html = Matrix(&confusion).to_string();
        assert!(
            html.contains("<td class=\"s9\"><b>9</b><small>90 %</small></td>"),
            "{html}"
        );
        assert!(
            html.contains("<td class=\"s1\"><b>1</b><small>10 %</small></td>"),
            "{html}"
        );
        assert!(
            html.contains("class0 taken for class1") && html.contains("class1 missed"),
            "{html}"
        );
    }

    #[test]
    fn classes_that_never_occur_are_left_out_and_counted() {
        let mut confusion = Confusion::new(names(80));
        confusion.add(Some(7), Some(7)).unwrap();
        let html = Matrix(&confusion).to_string();
        assert_eq!(html.matches("<tr>").count(), 3, "head, class7, background");
        assert!(html.contains("79 classes without boxes"), "{html}");
    }

    #[test]
    fn nothing_counted_is_nothing_shown() {
        assert_eq!(Matrix(&Confusion::new(names(80))).to_string(), "");
        assert_eq!(Matrix(&Confusion::new(vec![])).to_string(), "");
    }

    #[test]
    fn the_least_share_is_seen_and_the_whole_is_darkest() {
        assert_eq!((shade(0.0001), shade(0.5), shade(1.0)), (1, 5, 9));
    }
}
