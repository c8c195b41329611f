//! The page: head, headline, sections in reading order, and what stands at the end.
//!
//! The content security policy forbids everything but inline style and inlined images, so the browser itself
//! guarantees that opening a report runs nothing and asks nobody.

use std::fmt;

use crate::confusion::Matrix;
use crate::html::Esc;
use crate::labels::Labels;
use crate::model::{EpochRow, Fact, Progress, RunReport, Scores};
use crate::number::Unit;
use crate::quality::Quality;
use crate::scale::{Placed, Range, SPAN};
use crate::sheet::Sheet;
use crate::training::Training;
use crate::verdict;

const STYLE: &str = include_str!("style.css");

/// The whole document.
pub(crate) struct Page<'a>(pub &'a RunReport);

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"/>\
             {refresh}<title>{title} – training report</title><style>\n{STYLE}</style></head><body><main>",
            refresh = self.refresh(),
            title = Esc(&report.title)
        )?;
        self.header(f)?;
        self.tiles(f)?;
        self.warnings(f)?;
        facts(f, &report.facts, "facts")?;
        write!(f, "{}{}", Training(report), Quality(report))?;
        if let Some(confusion) = &report.confusion {
            Matrix(confusion).fmt(f)?;
        }
        Sheet::Validation(&report.sheet).fmt(f)?;
        Sheet::Training(&report.augmented).fmt(f)?;
        if let Some(labels) = &report.labels {
            Labels(labels).fmt(f)?;
        }
        self.footer(f)?;
        f.write_str("</main></body></html>\n")
    }
}

impl Page<'_> {
    /// A browser loads the page of a running run again by itself.
    fn refresh(&self) -> &'static str {
        match self.0.progress {
            Progress::Running => "<meta http-equiv=\"refresh\" content=\"60\"/>",
            _ => "",
        }
    }

    fn header(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        write!(
            f,
            "<header><p class=\"eyebrow\">Training report</p><h1>{}</h1><p class=\"verdict\">",
            Esc(&report.title)
        )?;
        for (i, sentence) in verdict::sentences(report).iter().enumerate() {
            // No line may break inside the measure's name.
            let sentence = sentence.replace("50-95", "50\u{2011}95");
            match i {
                0 => write!(f, "<strong>{}</strong>", Esc(sentence))?,
                _ => write!(f, " {}", Esc(sentence))?,
            }
        }
        f.write_str("</p>")?;
        if report.progress == Progress::Running && report.planned_epochs > 0 {
            let done = report
                .history
                .last()
                .map_or(0, |row| row.epoch)
                .min(report.planned_epochs);
            let share = f64::from(done) / f64::from(report.planned_epochs) * 100.0;
            write!(
                f,
                "<div class=\"progress\" role=\"img\" aria-label=\"{done} of {planned} epochs\">\
                 <i style=\"width:{share:.1}%\"></i></div>",
                planned = report.planned_epochs
            )?;
        }
        f.write_str("</header>")
    }

    /// The four numbers: which head they are from, what the other one scored, and how they came about.
    fn tiles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(scores) = verdict::headline(self.0) else {
            return Ok(());
        };
        write!(
            f,
            "<p class=\"source\">{}</p><dl class=\"tiles\">",
            Esc(&scores.head)
        )?;
        let tiles: [Tile; 4] = [
            ("mAP50-95", |s| s.map50_95, |row| row.map50_95),
            ("mAP50", |s| s.map50, |row| row.map50),
            ("Precision", |s| s.precision, |row| row.precision),
            ("Recall", |s| s.recall, |row| row.recall),
        ];
        for (i, (name, of, measure)) in tiles.into_iter().enumerate() {
            let first = if i == 0 { " first" } else { "" };
            write!(
                f,
                "<div class=\"card tile{first}\"><dt>{name}</dt><dd>{}",
                Unit(of(&scores))
            )?;
            for other in self.0.scores.iter().skip(1) {
                write!(f, "<small>{} {}</small>", Unit(of(other)), Esc(&other.head))?;
            }
            self.sparkline(f, measure)?;
            f.write_str("</dd></div>")?;
        }
        f.write_str("</dl>")
    }

    fn sparkline(&self, f: &mut fmt::Formatter<'_>, measure: fn(&EpochRow) -> f64) -> fmt::Result {
        let points: Vec<_> = self
            .0
            .history
            .iter()
            .map(|row| (f64::from(row.epoch), measure(row)))
            .collect();
        let finite = points.iter().filter(|p| p.1.is_finite()).count();
        let (x, y) = (
            Range::of(points.iter().map(|p| p.0)),
            Range::of(points.iter().map(|p| p.1)),
        );
        let (Some(x), Some(y), true) = (x, y, finite > 1) else {
            return Ok(());
        };
        let path = Placed::new(&points, x, y);
        write!(
            f,
            "<svg class=\"spark main\" aria-hidden=\"true\" viewBox=\"0 0 {SPAN} {SPAN}\" preserveAspectRatio=\"none\">\
             <path d=\"{path}\"/></svg>"
        )
    }

    fn warnings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = verdict::warnings(self.0);
        if found.is_empty() && self.0.warnings.is_empty() {
            return Ok(());
        }
        f.write_str("<ul class=\"warnings\">")?;
        for warning in found.iter().chain(&self.0.warnings) {
            write!(f, "<li><b>Warning:</b> {}</li>", Esc(warning))?;
        }
        f.write_str("</ul>")
    }

    fn footer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunReport { notes, paths, .. } = self.0;
        if notes.is_empty() && paths.is_empty() {
            return Ok(());
        }
        f.write_str("<footer>")?;
        if !notes.is_empty() {
            f.write_str("<h2>Notes</h2><ul class=\"notes\">")?;
            notes
                .iter()
                .try_for_each(|note| write!(f, "<li>{}</li>", Esc(note)))?;
            f.write_str("</ul>")?;
        }
        facts(f, paths, "facts paths")?;
        f.write_str("</footer>")
    }
}

/// Name, value, and where the value is found in another head's scores and in an epoch.
type Tile = (&'static str, fn(&Scores) -> f64, fn(&EpochRow) -> f64);

fn facts(f: &mut fmt::Formatter<'_>, facts: &[Fact], class: &str) -> fmt::Result {
    if facts.is_empty() {
        return Ok(());
    }
    write!(f, "<dl class=\"{class}\">")?;
    for Fact { name, value } in facts {
        write!(f, "<div><dt>{}</dt><dd>{}</dd></div>", Esc(name), Esc(value))?;
    }
    f.write_str("</dl>")
}
