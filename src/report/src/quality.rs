//! How good the model is: precision and F1 curves, and every class in numbers.

use std::fmt;

use crate::chart::{Axis, Frame, Lines, Series, Tone};
use crate::html::Esc;
use crate::model::{ClassRow, Curve, RunReport, Scores};
use crate::number::{Count, NONE, Unit};
use crate::palette::Hue;

/// More class curves than this can't be told apart by their colours: they become a thin background of the mean.
const NAMED_CURVES: usize = 8;

/// More classes than this scroll in a box of their own, so that the reader gets to the next section.
const LISTED_CLASSES: usize = 24;

/// The section of the final validation.
pub(crate) struct Quality<'a>(pub &'a RunReport);

impl fmt::Display for Quality<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let charts = [pr_chart(report), f1_chart(&report.f1)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        if charts.is_empty() && report.classes.is_empty() && report.scores.len() < 2 {
            return Ok(());
        }
        f.write_str("<section><h2>Validation</h2>")?;
        if report.scores.len() > 1 {
            heads(f, &report.scores)?;
        }
        if !charts.is_empty() {
            f.write_str("<div class=\"grid2\">")?;
            charts.iter().try_for_each(|chart| f.write_str(chart))?;
            f.write_str("</div>")?;
        }
        if !report.classes.is_empty() {
            classes(f, &report.classes)?;
        }
        f.write_str("</section>")
    }
}

fn pr_chart(report: &RunReport) -> Option<String> {
    let ap50 = |curve: &Curve| match curve.color {
        Some(_) => report
            .classes
            .iter()
            .find(|class| class.name == curve.name)
            .map(|class| class.ap50),
        None => report.scores.first().map(|scores| scores.map50),
    };
    let named = |curve: &Curve| match ap50(curve).filter(|ap| ap.is_finite()) {
        Some(ap) => format!("{} {}", curve.name, Unit(ap)),
        None => curve.name.clone(),
    };
    let note = "At IoU 0.5; the numbers are areas under the curves (AP50).".to_owned();
    chart("Precision over recall", note, "recall", &report.pr, named, None)
}

fn f1_chart(curves: &[Curve]) -> Option<String> {
    let mean = curves.iter().find(|curve| curve.color.is_none());
    let best = mean.and_then(peak);
    let note = best
        .map(|(x, y)| format!("Best at confidence {x:.2}: F1 {}.", Unit(y)))
        .unwrap_or_default();
    let named = |curve: &Curve| match peak(curve) {
        Some((_, f1)) => format!("{} {}", curve.name, Unit(f1)),
        None => curve.name.clone(),
    };
    let moment = best.map(|(x, _)| (x, format!("{x:.2}")));
    chart("F1 over confidence", note, "confidence", curves, named, moment)
}

/// The first of a curve's highest points.
fn peak(curve: &Curve) -> Option<(f64, f64)> {
    let points = curve
        .points
        .iter()
        .filter(|(x, y)| x.is_finite() && y.is_finite());
    points
        .copied()
        .reduce(|best, point| if point.1 > best.1 { point } else { best })
}

fn chart(
    title: &str,
    note: String,
    x_name: &str,
    curves: &[Curve],
    named: impl Fn(&Curve) -> String,
    moment: Option<(f64, String)>,
) -> Option<String> {
    let classes = curves.iter().filter(|curve| curve.color.is_some()).count();
    let tone = |curve: &Curve| match curve.color {
        None => Tone::Mean,
        Some(color) if classes <= NAMED_CURVES => Tone::Class(color),
        Some(color) => Tone::Thin(color),
    };
    let series = |curve: &Curve| Series {
        name: "",
        tone: tone(curve),
        points: curve.points.clone(),
    };
    // The mean last: it lies above the classes.
    let (means, others): (Vec<_>, Vec<_>) = curves.iter().partition(|curve| curve.color.is_none());
    let mut drawn: Vec<_> = others.iter().chain(&means).map(|curve| series(curve)).collect();
    drawn.retain(|series| series.last().is_some());
    if drawn.is_empty() {
        return None;
    }
    let mut legend: Vec<_> = means.iter().map(|curve| (tone(curve), named(curve))).collect();
    if classes <= NAMED_CURVES {
        legend.extend(others.iter().map(|curve| (tone(curve), named(curve))));
    } else {
        legend.push((Tone::Soft, format!("{classes} classes, thin")));
    }
    let listed: Vec<_> = legend.iter().map(|(_, text)| text.as_str()).collect();
    let alt = format!("{title}. {note} {}.", listed.join(", "));
    let (x, y) = (Axis::unit(x_name), Axis::unit(""));
    let body = Lines {
        x: &x,
        y: &y,
        series: drawn,
        moment,
        ends: None,
    };
    Some(
        Frame {
            title,
            note,
            alt,
            legend,
            x: &x,
            y: &y,
            body,
        }
        .to_string(),
    )
}

/// Which head the numbers are from matters as soon as there are two.
fn heads(f: &mut fmt::Formatter<'_>, scores: &[Scores]) -> fmt::Result {
    f.write_str(
        "<div class=\"card wide\"><table class=\"numbers\"><caption>The heads compared</caption><thead><tr>\
         <th scope=\"col\">head</th><th scope=\"col\">mAP50-95</th><th scope=\"col\">mAP50</th>\
         <th scope=\"col\">precision</th><th scope=\"col\">recall</th></tr></thead><tbody>",
    )?;
    for s in scores {
        write!(f, "<tr><th scope=\"row\">{}</th>", Esc(&s.head))?;
        for measure in [s.map50_95, s.map50, s.precision, s.recall] {
            write!(f, "<td>{}</td>", Unit(measure))?;
        }
        f.write_str("</tr>")?;
    }
    f.write_str("</tbody></table></div>")
}

fn classes(f: &mut fmt::Formatter<'_>, rows: &[ClassRow]) -> fmt::Result {
    let (seen, unseen): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.instances > 0);
    let tall = if seen.len() > LISTED_CLASSES { " tall" } else { "" };
    write!(
        f,
        "<div class=\"card wide{tall}\"><table class=\"numbers classes\"><caption>Class by class</caption><thead><tr>\
         <th scope=\"col\">class</th><th scope=\"col\">boxes</th><th scope=\"col\">AP50-95</th>\
         <th scope=\"col\">AP50</th><th scope=\"col\">precision</th><th scope=\"col\">recall</th></tr></thead><tbody>",
    )?;
    for row in &seen {
        let (hue, name, boxes) = (Hue(row.color), Esc(&row.name), Count(row.instances));
        write!(
            f,
            "<tr class=\"hue\" {hue}><th scope=\"row\"><i></i>{name}</th><td>{boxes}</td>"
        )?;
        for measure in [row.ap50_95, row.ap50, row.precision, row.recall] {
            bar(f, measure)?;
        }
        f.write_str("</tr>")?;
    }
    f.write_str("</tbody></table>")?;
    match unseen.len() {
        0 => {}
        1 => f.write_str("<p class=\"aside\">One more class has no box in the validation images.</p>")?,
        n => write!(
            f,
            "<p class=\"aside\">{n} more classes have no box in the validation images.</p>"
        )?,
    }
    f.write_str("</div>")
}

/// A number and the same as a bar below it.
fn bar(f: &mut fmt::Formatter<'_>, measure: f64) -> fmt::Result {
    if !measure.is_finite() {
        return write!(f, "<td class=\"bar\">{NONE}</td>");
    }
    let width = measure.clamp(0.0, 1.0) * 100.0;
    write!(
        f,
        "<td class=\"bar\">{}<b><i style=\"width:{width:.1}%\"></i></b></td>",
        Unit(measure)
    )
}
