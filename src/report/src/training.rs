//! How the run went: a chart for every measure over the epochs, and the numbers behind them as a table.

use std::fmt::{self, Display as _};

use crate::chart::{Axis, Frame, Lines, Series, Tone};
use crate::html::Esc;
use crate::model::{EpochRow, LOSS_NAMES, RunReport};
use crate::number::{Duration, Short, Unit, exponential};
use crate::scale::Range;

/// More epochs than this are thinned out in the table; `results.csv` has them all.
const TABLE_ROWS: usize = 200;

/// The section of the charts.
pub(crate) struct Training<'a>(pub &'a RunReport);

impl fmt::Display for Training<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(epochs) = Range::of(self.0.history.iter().map(|row| f64::from(row.epoch))) else {
            return Ok(());
        };
        f.write_str("<section><h2>Training</h2><div class=\"grid3\">")?;
        let x = Axis::new("epoch", epochs, epochs.whole_ticks(6));
        self.chart(
            f,
            &x,
            Kind::Share,
            "Mean average precision",
            &[
                ("mAP50-95", Tone::Main, |row| row.map50_95),
                ("mAP50", Tone::Soft, |row| row.map50),
            ],
        )?;
        self.chart(
            f,
            &x,
            Kind::Share,
            "Precision and recall",
            &[
                ("precision", Tone::Main, |row| row.precision),
                ("recall", Tone::Second, |row| row.recall),
            ],
        )?;
        self.learning_rate(f, &x)?;
        let losses: [[Of; 2]; 3] = [
            [|row| row.val[0], |row| row.train[0]],
            [|row| row.val[1], |row| row.train[1]],
            [|row| row.val[2], |row| row.train[2]],
        ];
        for (name, [val, train]) in LOSS_NAMES.iter().zip(losses) {
            let measures: [Measure; 2] = [("validation", Tone::Main, val), ("training", Tone::Soft, train)];
            self.chart(f, &x, Kind::Loss, &format!("{name} loss"), &measures)?;
        }
        write!(f, "</div>{}</section>", Table(self.0))
    }
}

/// What a chart's y axis shows.
#[derive(Clone, Copy)]
enum Kind {
    /// 0 to at most 1.
    Share,
    /// Any size; what matters is whether it falls.
    Loss,
    /// Falls to almost 0.
    Rate,
}

impl Kind {
    /// How its values are written beside the plot.
    fn written(self) -> fn(f64) -> String {
        match self {
            Self::Share => |value| Unit(value).to_string(),
            Self::Loss => |value| Short(value).to_string(),
            Self::Rate => |value| exponential(value, 1),
        }
    }
}

/// What a measure is in an epoch.
type Of = fn(&EpochRow) -> f64;

/// A measure's name, its look, and itself.
type Measure<'a> = (&'a str, Tone, Of);

impl Training<'_> {
    fn chart(
        &self,
        f: &mut fmt::Formatter<'_>,
        x: &Axis<'_>,
        kind: Kind,
        title: &str,
        measures: &[Measure<'_>],
    ) -> fmt::Result {
        let series = measures.iter().map(|&(name, tone, measure)| {
            let points = self
                .0
                .history
                .iter()
                .map(|row| (f64::from(row.epoch), measure(row)))
                .collect();
            Series { name, tone, points }
        });
        self.draw(f, x, kind, title, series.collect())
    }

    /// One curve for all parameter groups that share their rate in every epoch.
    fn learning_rate(&self, f: &mut fmt::Formatter<'_>, x: &Axis<'_>) -> fmt::Result {
        let groups = self.0.history.iter().map(|row| row.lr.len()).max().unwrap_or(0);
        let mut distinct: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for group in 0..groups {
            let rate = |row: &EpochRow| row.lr.get(group).copied().unwrap_or(f64::NAN);
            let points: Vec<_> = self
                .0
                .history
                .iter()
                .map(|row| (f64::from(row.epoch), rate(row)))
                .collect();
            match distinct.iter_mut().find(|(_, known)| same(known, &points)) {
                Some((name, _)) => name.push_str(&format!(", {group}")),
                None => distinct.push((format!("group {group}"), points)),
            }
        }
        let single = distinct.len() == 1;
        let tones = [Tone::Main, Tone::Second]
            .into_iter()
            .chain(std::iter::repeat(Tone::Soft));
        let series = distinct.iter().zip(tones).map(|((name, points), tone)| {
            let name = if single { "all groups" } else { name };
            Series {
                name,
                tone,
                points: points.clone(),
            }
        });
        self.draw(f, x, Kind::Rate, "Learning rate", series.collect())
    }

    fn draw(
        &self,
        f: &mut fmt::Formatter<'_>,
        x: &Axis<'_>,
        kind: Kind,
        title: &str,
        mut series: Vec<Series<'_>>,
    ) -> fmt::Result {
        series.retain(|series| series.last().is_some());
        let values = series.iter().flat_map(|s| s.points.iter().map(|p| p.1));
        let range = match kind {
            Kind::Loss => Range::of(values),
            Kind::Share | Kind::Rate => Range::from_zero(values),
        };
        let Some(range) = range else { return Ok(()) };
        let (range, ticks) = range.rounded(5);
        let y = Axis::new("", range, ticks);
        let moment = self
            .0
            .best_epoch
            .map(f64::from)
            .filter(|best| (0.0..=1.0).contains(&x.range.share(*best)));
        let moment = moment.map(|best| (best, format!("best: {best:.0}")));
        let legend = series.iter().map(|s| (s.tone, s.name.to_owned())).collect();
        let alt = alternative(title, &series);
        // The strongest series comes first in the legend and is drawn last, above the others.
        series.reverse();
        let body = Lines {
            x,
            y: &y,
            series,
            moment,
            ends: Some(kind.written()),
        };
        Frame {
            title,
            note: String::new(),
            alt,
            legend,
            x,
            y: &y,
            body,
        }
        .fmt(f)
    }
}

/// Equal point by point, where two missing values are equal too.
fn same(a: &[(f64, f64)], b: &[(f64, f64)]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(p, q)| p.1 == q.1 || p.1.is_nan() && q.1.is_nan())
}

fn alternative(title: &str, series: &[Series<'_>]) -> String {
    let mut alt = format!("{title} over the epochs.");
    for series in series {
        let first = series.points.iter().find(|(_, y)| y.is_finite());
        if let (Some((from, start)), Some((to, end))) = (first, series.last()) {
            let (name, start, end) = (series.name, Short(*start), Short(end));
            alt.push_str(&format!(
                " {name}: {start} in epoch {from:.0}, {end} in epoch {to:.0}."
            ));
        }
    }
    alt
}

/// Every epoch's numbers, folded away until asked for.
struct Table<'a>(&'a RunReport);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = &self.0.history;
        let every = history.len().div_ceil(TABLE_ROWS).max(1);
        f.write_str("<details class=\"card\"><summary>The numbers of ")?;
        match every {
            1 => f.write_str("every epoch")?,
            _ => write!(f, "every {every}th epoch; results.csv has all {}", history.len())?,
        }
        f.write_str(
            "</summary><div class=\"wide\"><table class=\"numbers\"><thead><tr><th scope=\"col\">epoch</th>",
        )?;
        let losses = |part: &'static str| LOSS_NAMES.iter().map(move |name| format!("{part} {name}"));
        let measures = ["mAP50-95", "mAP50", "precision", "recall"].map(str::to_owned);
        for name in losses("train")
            .chain(losses("val"))
            .chain(measures)
            .chain(["time".to_owned()])
        {
            write!(f, "<th scope=\"col\">{}</th>", Esc(name))?;
        }
        f.write_str("</tr></thead><tbody>")?;
        for (i, row) in history.iter().enumerate() {
            let best = self.0.best_epoch == Some(row.epoch);
            if i % every == 0 || best || i + 1 == history.len() {
                epoch_row(f, row, best)?;
            }
        }
        f.write_str("</tbody></table></div></details>")
    }
}

fn epoch_row(f: &mut fmt::Formatter<'_>, row: &EpochRow, best: bool) -> fmt::Result {
    let (class, star) = if best {
        (" class=\"best\"", " ★")
    } else {
        ("", "")
    };
    write!(f, "<tr{class}><th scope=\"row\">{}{star}</th>", row.epoch)?;
    for loss in row.train.into_iter().chain(row.val) {
        write!(f, "<td>{}</td>", Short(loss))?;
    }
    for measure in [row.map50_95, row.map50, row.precision, row.recall] {
        write!(f, "<td>{}</td>", Unit(measure))?;
    }
    write!(f, "<td>{}</td></tr>", Duration(row.time_s))
}
