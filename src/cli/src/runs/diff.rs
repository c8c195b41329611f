//! Two runs side by side.

use super::look::{Epoch, Look};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// What two runs differ in.
#[derive(Debug, Serialize)]
pub struct Diff {
    a: String,
    b: String,
    /// What they were begun with, where it differs.
    begun_with: Vec<Differing>,
    /// How many hyper-parameters are the same.
    same: usize,
    /// What their best epochs measured.
    results: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Differing {
    name: String,
    a: Value,
    b: Value,
}

#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    a: Option<f64>,
    b: Option<f64>,
    /// b - a.
    delta: Option<f64>,
}

impl Diff {
    /// Compares `b` with `a`.
    #[must_use]
    pub fn of(a: Look, b: Look) -> Self {
        let mut begun_with: Vec<Differing> = [
            ("dataset", text(&a.dataset), text(&b.dataset)),
            ("dataset hash", text(&a.dataset_hash), text(&b.dataset_hash)),
            ("model", text(&a.model), text(&b.model)),
            ("code", text(&a.code), text(&b.code)),
        ]
        .into_iter()
        .filter(|(_, a, b)| a != b)
        .map(|(name, a, b)| Differing {
            name: name.to_owned(),
            a,
            b,
        })
        .collect();
        let keys = |look: &Look| {
            look.hyper
                .as_object()
                .map(|hyper| hyper.keys().cloned().collect::<Vec<_>>())
        };
        let names: BTreeSet<String> = [&a, &b].into_iter().filter_map(keys).flatten().collect();
        let all = names.len();
        let values = names.into_iter().map(|name| {
            let value = |look: &Look| look.hyper.get(&name).cloned().unwrap_or_default();
            let (a, b) = (value(&a), value(&b));
            Differing { name, a, b }
        });
        let hyper: Vec<Differing> = values.filter(|differing| differing.a != differing.b).collect();
        let same = all - hyper.len();
        begun_with.extend(hyper);
        Self {
            results: results(&a, &b),
            a: a.name,
            b: b.name,
            begun_with,
            same,
        }
    }
}

fn text(value: &Option<impl Serialize>) -> Value {
    // A path that is no text has no JSON: it shows as null.
    serde_json::to_value(value).unwrap_or_default()
}

/// What is compared of an epoch.
type Of = fn(&Epoch) -> f64;

fn results(a: &Look, b: &Look) -> Vec<Measured> {
    let of: [(&'static str, Of); 7] = [
        ("best epoch", |epoch| epoch.epoch.into()),
        ("mAP50-95", |epoch| epoch.map50_95),
        ("mAP50", |epoch| epoch.map50),
        ("precision", |epoch| epoch.precision),
        ("recall", |epoch| epoch.recall),
        ("train loss", |epoch| epoch.train_loss),
        ("val loss", |epoch| epoch.val_loss),
    ];
    let measured = |name, a: Option<f64>, b: Option<f64>| Measured {
        name,
        a,
        b,
        delta: a.zip(b).map(|(a, b)| b - a),
    };
    let best = of.into_iter().map(|(name, of)| {
        let value = |look: &Look| look.best.as_ref().map(of);
        measured(name, value(a), value(b))
    });
    let seconds_an_epoch = |look: &Look| Some(look.seconds? / f64::from(look.epochs_done.max(1)));
    best.chain([measured("s/epoch", seconds_an_epoch(a), seconds_an_epoch(b))])
        .collect()
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells: Vec<[String; 3]> = self
            .begun_with
            .iter()
            .map(|d| [d.name.clone(), short(&d.a), short(&d.b)])
            .collect();
        let wide = |column: usize, least: usize| {
            let cells = cells.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(least)
        };
        let (first, second) = (wide(0, 12), wide(1, self.a.len()));
        writeln!(f, "{:first$}  {:second$}  {}", "", self.a, self.b)?;
        for [name, a, b] in &cells {
            writeln!(f, "{name:first$}  {a:second$}  {b}")?;
        }
        writeln!(f, "{} hyper-parameters are the same", self.same)?;
        for Measured { name, a, b, delta } in &self.results {
            let number = |value: &Option<f64>| match value {
                Some(value) if name.ends_with("epoch") && value.fract() == 0.0 => format!("{value}"),
                Some(value) => format!("{value:.3}"),
                None => "–".to_owned(),
            };
            let delta = delta.map_or_else(String::new, |delta| format!("  {delta:+.3}"));
            writeln!(f, "{name:first$}  {:second$}  {}{delta}", number(a), number(b))?;
        }
        Ok(())
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}
