//! Charts as inline SVG: a frame with axes, and lines or cells in it.
//!
//! A chart is as wide as its place on the page and has a fixed height. Everything is placed in percent of the plot;
//! only the curves are drawn in a square that the browser stretches, with strokes that do not stretch along. So text
//! keeps its size from a telephone to a wall screen, without a script. The room for tick labels and line-end labels
//! around the plot is padding in style.css, which also knows [`PLOT_HEIGHT`].

use std::fmt;

use crate::html::Esc;
use crate::palette::{Color, Hue};
use crate::scale::{Placed, Range, SPAN, Tick};

/// The plot's height in CSS pixels, as in style.css (`.plot`).
const PLOT_HEIGHT: f64 = 190.0;
/// The distance that two line-end labels need.
const LABEL_HEIGHT: f64 = 14.0;

/// One axis: what it shows, between which ends, and where its ticks are.
pub(crate) struct Axis<'a> {
    pub name: &'a str,
    pub range: Range,
    pub ticks: Vec<(f64, String)>,
}

impl<'a> Axis<'a> {
    pub(crate) fn new(name: &'a str, range: Range, ticks: Vec<Tick>) -> Self {
        Self {
            name,
            range,
            ticks: ticks
                .into_iter()
                .map(|tick| (tick.value, tick.to_string()))
                .collect(),
        }
    }

    /// From 0 to 1 in fifths.
    pub(crate) fn unit(name: &'a str) -> Self {
        Self::new(name, Range::UNIT, Range::UNIT.ticks(5))
    }
}

/// How a series looks; the colours are style.css's but for a class's own.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    /// What the chart is about.
    Main,
    /// Its equal partner.
    Second,
    /// What it is compared with.
    Soft,
    /// The mean over the classes.
    Mean,
    /// One class among others.
    Class(Color),
    /// One class among too many to be told apart.
    Thin(Color),
}

impl fmt::Display for Tone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("class=\"main\""),
            Self::Second => f.write_str("class=\"second\""),
            Self::Soft => f.write_str("class=\"soft\""),
            Self::Mean => f.write_str("class=\"mean\""),
            Self::Class(color) => write!(f, "class=\"hue\" {}", Hue(*color)),
            Self::Thin(color) => write!(f, "class=\"hue thin\" {}", Hue(*color)),
        }
    }
}

/// A named curve.
pub(crate) struct Series<'a> {
    pub name: &'a str,
    pub tone: Tone,
    pub points: Vec<(f64, f64)>,
}

impl Series<'_> {
    /// Where the curve ends: its last point that is a number.
    pub(crate) fn last(&self) -> Option<(f64, f64)> {
        self.points
            .iter()
            .rev()
            .find(|(x, y)| x.is_finite() && y.is_finite())
            .copied()
    }
}

/// A figure: title, legend, axes, and a body drawn in percent of the plot.
pub(crate) struct Frame<'a, B> {
    pub title: &'a str,
    /// A sentence below the title; may be empty.
    pub note: String,
    /// What someone who can't see the chart must know.
    pub alt: String,
    pub legend: Vec<(Tone, String)>,
    pub x: &'a Axis<'a>,
    pub y: &'a Axis<'a>,
    pub body: B,
}

impl<B: fmt::Display> fmt::Display for Frame<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<figure class=\"card chart\"><figcaption><h3>{}</h3>",
            Esc(self.title)
        )?;
        if !self.note.is_empty() {
            write!(f, "<p>{}</p>", Esc(&self.note))?;
        }
        if !self.legend.is_empty() {
            f.write_str("<ul class=\"legend\">")?;
            for (tone, text) in &self.legend {
                write!(f, "<li><i {tone}></i>{}</li>", Esc(text))?;
            }
            f.write_str("</ul>")?;
        }
        write!(
            f,
            "</figcaption><div class=\"plot\"><svg role=\"img\" aria-label=\"{}\">",
            Esc(&self.alt)
        )?;
        self.axes(f)?;
        write!(f, "{}</svg></div></figure>", self.body)
    }
}

impl<B> Frame<'_, B> {
    fn axes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<g class=\"grid\">")?;
        for (value, _) in &self.y.ticks {
            let y = Percent(1.0 - self.y.range.share(*value));
            write!(f, "<line x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>")?;
        }
        f.write_str(
            "<line class=\"base\" x1=\"0\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/></g><g class=\"ticks\">",
        )?;
        for (value, text) in &self.y.ticks {
            let y = Percent(1.0 - self.y.range.share(*value));
            write!(
                f,
                "<text x=\"-8\" y=\"{y}\" dy=\".33em\" class=\"end\">{}</text>",
                Esc(text)
            )?;
        }
        for (value, text) in &self.x.ticks {
            let x = Percent(self.x.range.share(*value));
            write!(f, "<text x=\"{x}\" y=\"100%\" dy=\"17\">{}</text>", Esc(text))?;
        }
        write!(
            f,
            "<text class=\"axis\" x=\"50%\" y=\"100%\" dy=\"34\">{}</text></g>",
            Esc(self.x.name)
        )
    }
}

/// The body of a line chart.
pub(crate) struct Lines<'a> {
    pub x: &'a Axis<'a>,
    pub y: &'a Axis<'a>,
    pub series: Vec<Series<'a>>,
    /// A place on the x axis to be pointed out, and what to call it.
    pub moment: Option<(f64, String)>,
    /// How each line says at its end where it has come to; none if it does not.
    pub ends: Option<fn(f64) -> String>,
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.moment_line(f)?;
        write!(
            f,
            "<svg class=\"lines\" viewBox=\"0 0 {SPAN} {SPAN}\" preserveAspectRatio=\"none\">"
        )?;
        let placed: Vec<_> = self
            .series
            .iter()
            .map(|s| (s.tone, Placed::new(&s.points, self.x.range, self.y.range)))
            .collect();
        for (tone, curve) in &placed {
            write!(f, "<path {tone} d=\"{curve}\"/>")?;
        }
        f.write_str("</svg>")?;
        for (tone, curve) in &placed {
            for (x, y) in curve.lonely() {
                write!(
                    f,
                    "<g {tone}><circle cx=\"{}\" cy=\"{}\" r=\"2.5\"/></g>",
                    Percent(x),
                    Percent(y)
                )?;
            }
        }
        self.moment_dots(f)?;
        self.end_labels(f)
    }
}

impl Lines<'_> {
    fn moment_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((at, text)) = &self.moment else {
            return Ok(());
        };
        let share = self.x.range.share(*at);
        let anchor = match share {
            s if s < 0.2 => "start",
            s if s > 0.8 => "end",
            _ => "middle",
        };
        let x = Percent(share);
        write!(
            f,
            "<g class=\"moment\"><line x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"100%\"/>\
             <text x=\"{x}\" y=\"-6\" text-anchor=\"{anchor}\">{}</text></g>",
            Esc(text)
        )
    }

    /// A dot on every strong curve where the moment's line crosses it.
    fn moment_dots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((at, _)) = &self.moment else {
            return Ok(());
        };
        for series in self
            .series
            .iter()
            .filter(|s| !matches!(s.tone, Tone::Thin(_) | Tone::Class(_)))
        {
            let Some((x, y)) = series.points.iter().find(|(x, y)| x == at && y.is_finite()) else {
                continue;
            };
            let (cx, cy) = (
                Percent(self.x.range.share(*x)),
                Percent(1.0 - self.y.range.share(*y)),
            );
            write!(
                f,
                "<g {}><circle cx=\"{cx}\" cy=\"{cy}\" r=\"3.5\"/></g>",
                series.tone
            )?;
        }
        Ok(())
    }

    fn end_labels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(written) = self.ends else { return Ok(()) };
        let ends: Vec<_> = self
            .series
            .iter()
            .filter_map(|s| Some((s, s.last()?.1)))
            .collect();
        let wanted: Vec<f64> = ends
            .iter()
            .map(|(_, y)| (1.0 - self.y.range.share(*y)) * PLOT_HEIGHT)
            .collect();
        for ((series, value), y) in ends.into_iter().zip(apart(&wanted, PLOT_HEIGHT)) {
            let tone = series.tone;
            write!(
                f,
                "<g {tone}><text x=\"100%\" y=\"{y:.1}\" dx=\"8\" dy=\".33em\">{}</text></g>",
                Esc(written(value))
            )?;
        }
        Ok(())
    }
}

/// The places nearest to the wanted ones where labels do not overlap, in the order given.
fn apart(wanted: &[f64], height: f64) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = wanted.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut above = f64::NEG_INFINITY;
    for (_, y) in &mut order {
        *y = y.max(above + LABEL_HEIGHT);
        above = *y;
    }
    let mut below = height + LABEL_HEIGHT;
    for (_, y) in order.iter_mut().rev() {
        *y = y.min(below - LABEL_HEIGHT);
        below = *y;
    }
    order.sort_by_key(|(index, _)| *index);
    order.into_iter().map(|(_, y)| y).collect()
}

/// A share of the plot as SVG writes it.
pub(crate) struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = if self.0.is_finite() { self.0 } else { 0.0 };
        write!(f, "{:.2}%", share * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{LABEL_HEIGHT, apart};
    use proptest::prelude::*;

    #[test]
    fn labels_that_do_not_touch_stay_where_they_are() {
        assert_eq!(apart(&[150.0, 10.0, 80.0], 190.0), [150.0, 10.0, 80.0]);
    }

    #[test]
    fn labels_at_one_height_are_set_apart_inside_the_plot() {
        assert_eq!(apart(&[190.0, 190.0], 190.0), [176.0, 190.0]);
        assert_eq!(apart(&[0.0, 0.0, 1.0], 190.0), [0.0, 14.0, 28.0]);
    }

    proptest! {
        #[test]
        fn labels_never_overlap(wanted in prop::collection::vec(0.0..190.0_f64, 0..10)) {
            let mut placed = apart(&wanted, 190.0);
            placed.sort_by(f64::total_cmp);
            for pair in placed.windows(2) {
                prop_assert!(pair[1] - pair[0] >= LABEL_HEIGHT - 1e-9);
            }
            prop_assert!(placed.iter().all(|y| (-1e-9..=190.0 + 1e-9).contains(y)));
        }
    }
}
