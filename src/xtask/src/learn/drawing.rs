//! The curves of all runs as one SVG: mAP50 and mAP50-95 by epoch, a colour a side, a line a seed.

use std::fmt::{self, Write as _};

use super::Side;
use super::curve::Point;
use super::report::Report;

const PANEL: (f64, f64) = (400.0, 260.0);
const LEFT: f64 = 44.0;
const TOP: f64 = 58.0;
const GAP: f64 = 60.0;
const BOTTOM: f64 = 44.0;

/// What a panel shows of an epoch.
type Score = fn(&Point) -> f64;

/// Okabe and Ito's vermilion, blue and green, which stay apart for colour-blind eyes.
fn color(side: Side) -> &'static str {
    match side {
        Side::Reference => "#d55e00",
        Side::Bf16 => "#0072b2",
        Side::Fp32 => "#009e73",
    }
}

/// The drawing.
pub(super) fn svg(report: &Report) -> String {
    let panels: [(&str, Score); 2] = [
        ("mAP50", |point| point.map50),
        ("mAP50-95", |point| point.map50_95),
    ];
    let width = LEFT + 2.0 * PANEL.0 + GAP + 16.0;
    let height = TOP + PANEL.1 + BOTTOM;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (index, side) in Side::ALL.into_iter().enumerate() {
        let x = LEFT + 150.0 * index as f64;
        let _ = writeln!(
            out,
            "<path d=\"M{x} 18h22\" stroke=\"{}\" stroke-width=\"2\"/><text x=\"{}\" y=\"22\" fill=\"#333\">{}</text>",
            color(side),
            x + 28.0,
            side.title()
        );
    }
    for (index, (title, value)) in panels.into_iter().enumerate() {
        let panel = Panel {
            left: LEFT + index as f64 * (PANEL.0 + GAP),
            epochs: f64::from(report.epochs.max(1)),
            title,
            value,
            report,
        };
        let _ = writeln!(out, "{panel}");
    }
    out + "</svg>\n"
}

struct Panel<'a> {
    left: f64,
    epochs: f64,
    title: &'a str,
    value: Score,
    report: &'a Report,
}

impl Panel<'_> {
    fn x(&self, epoch: f64) -> f64 {
        self.left + epoch / self.epochs * PANEL.0
    }

    fn y(value: f64) -> f64 {
        TOP + (1.0 - value) * PANEL.1
    }
}

impl fmt::Display for Panel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.left;
        writeln!(
            f,
            "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{}</text>",
            TOP - 12.0,
            self.title
        )?;
        for fifth in 0..=5_u8 {
            let share = f64::from(fifth) / 5.0;
            let y = Self::y(share);
            writeln!(
                f,
                "<path d=\"M{left} {y:.1}h{}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{share:.1}</text>",
                PANEL.0,
                left - 6.0,
                y + 4.0
            )?;
            let epoch = (share * self.epochs).round();
            writeln!(
                f,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{epoch}</text>",
                self.x(epoch),
                TOP + PANEL.1 + 18.0
            )?;
        }
        writeln!(
            f,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">epoch</text>",
            left + PANEL.0 / 2.0,
            TOP + PANEL.1 + 36.0
        )?;
        for run in self.report.runs.iter().filter(|run| !run.curve.is_empty()) {
            let points: Vec<String> = run
                .curve
                .iter()
                .map(|point| {
                    format!(
                        "{:.1},{:.1}",
                        self.x(f64::from(point.epoch)),
                        Self::y((self.value)(point))
                    )
                })
                .collect();
            writeln!(
                f,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.2\" opacity=\"0.8\"/>",
                points.join(" "),
                color(run.side)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Run;
    use super::*;

    #[test]
    fn every_run_is_a_line_in_both_panels_and_better_is_higher() {
        let point = |epoch, map50| Point {
            epoch,
            time: 0.0,
            loss: 0.0,
            map50,
            map50_95: map50 / 2.0,
        };
        let report = Report {
            folder: std::path::PathBuf::new(),
            settings: serde_json::Value::Null,
            epochs: 2,
            runs: vec![Run {
                side: Side::Bf16,
                seed: 0,
                curve: vec![point(1, 0.0), point(2, 1.0)],
                reached: None,
            }],
        };
        let svg = svg(&report);
        let (bottom, top) = (TOP + PANEL.1, TOP);
        let middle = LEFT + PANEL.0 / 2.0;
        let line = format!("{middle:.1},{bottom:.1} {:.1},{top:.1}", LEFT + PANEL.0);
        assert!(svg.contains(&line), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2);
    }
}
