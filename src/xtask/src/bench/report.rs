//! Medians and ratios of what was measured, as a table and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::contender::Answer;
use super::plan::{Name, Plan, Turn};

/// Everything that was measured in a run.
#[derive(Default)]
pub(super) struct Measured {
    /// What the contenders say about themselves.
    pub facts: Vec<(String, Value)>,
    /// Peers that could not run, and why.
    pub skipped: Vec<(&'static str, String)>,
    turns: Vec<Round>,
}

struct Round {
    contender: &'static str,
    case: String,
    round: usize,
    answer: Answer,
}

impl Measured {
    /// Notes a turn.
    pub fn add(&mut self, turn: &Turn, round: usize, answer: Answer) {
        self.turns.push(Round {
            contender: turn.contender,
            case: turn.case.clone(),
            round,
            answer,
        });
    }

    fn rounds<'a>(&'a self, (contender, case): &'a (&str, String)) -> impl Iterator<Item = &'a Round> {
        self.turns
            .iter()
            .filter(move |round| round.contender == *contender && round.case == *case)
    }

    /// Images a second of a side: by the median of all its repetitions.
    fn rate(&self, side: &(&str, String)) -> Option<f64> {
        let images = self.rounds(side).next()?.answer.images;
        let seconds = self.rounds(side).flat_map(|r| r.answer.seconds.iter().copied());
        Some(images / median(seconds.collect())?)
    }

    /// How many times as fast as `peer` `ours` is: the median of the rounds' ratios.
    fn ratio(&self, ours: &(&str, String), peer: &(&str, String)) -> Option<f64> {
        let ratios = self.rounds(ours).filter_map(|our| {
            let their = self.rounds(peer).find(|their| their.round == our.round)?;
            let (o, t) = (
                median(our.answer.seconds.clone())?,
                median(their.answer.seconds.clone())?,
            );
            Some((t / their.answer.images) / (o / our.answer.images))
        });
        median(ratios.collect())
    }

    /// Median milliseconds of each part of a case, in the order in which they ran.
    fn parts(&self, side: &(&str, String)) -> Vec<(String, f64)> {
        let all: Vec<&Vec<(String, f64)>> = self.rounds(side).flat_map(|r| &r.answer.parts).collect();
        let names = all.first().map_or(&[][..], |parts| parts);
        names
            .iter()
            .filter_map(|(name, _)| {
                let of = |parts: &&Vec<(String, f64)>| parts.iter().find(|(n, _)| n == name).map(|(_, s)| *s);
                Some((
                    name.clone(),
                    1000.0 * median(all.iter().filter_map(of).collect())?,
                ))
            })
            .collect()
    }
}

pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

struct Row {
    case: String,
    ours_rate: f64,
    beside: Option<Beside>,
}

struct Beside {
    peer: &'static str,
    rate: f64,
    ratio: f64,
}

struct Shares {
    case: String,
    parts: Vec<(String, f64)>,
}

/// A benchmark's outcome.
pub struct Report {
    name: Name,
    title: &'static str,
    rows: Vec<Row>,
    shares: Vec<Shares>,
    facts: Vec<(String, Value)>,
    skipped: Vec<(&'static str, String)>,
}

impl Report {
    pub(super) fn new(name: Name, plan: &Plan, measured: &Measured) -> Self {
        let row = |comparison: &super::plan::Comparison| {
            Some(Row {
                case: comparison.label.clone(),
                ours_rate: measured.rate(&comparison.ours)?,
                beside: Some(Beside {
                    peer: comparison.peer.0,
                    rate: measured.rate(&comparison.peer)?,
                    ratio: measured.ratio(&comparison.ours, &comparison.peer)?,
                }),
            })
        };
        let alone = |side: &(&'static str, String)| {
            Some(Row {
                case: side.1.clone(),
                ours_rate: measured.rate(side)?,
                beside: None,
            })
        };
        let shares = |side: &(&'static str, String)| Shares {
            case: side.1.clone(),
            parts: measured.parts(side),
        };
        Self {
            name,
            title: plan.title,
            rows: plan
                .comparisons
                .iter()
                .filter_map(row)
                .chain(plan.alone.iter().filter_map(alone))
                .collect(),
            shares: plan.shares.iter().map(shares).collect(),
            facts: measured.facts.clone(),
            skipped: measured.skipped.clone(),
        }
    }

    /// The numbers for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(
                |Row {
                     case,
                     ours_rate,
                     beside,
                 }| match beside {
                    Some(Beside { peer, rate, ratio }) => json!({
                        "case": case, "peer": peer, "unit": "img/s",
                        "ours_rate": ours_rate, "peer_rate": rate, "ratio": ratio,
                    }),
                    None => json!({ "case": case, "unit": "img/s", "ours_rate": ours_rate }),
                },
            )
            .collect();
        let parts: Vec<Value> = self
            .shares
            .iter()
            .map(|shares| json!({ "case": shares.case, "milliseconds": shares.parts }))
            .collect();
        let skipped: Vec<Value> = self
            .skipped
            .iter()
            .map(|(peer, why)| json!({ "peer": peer, "why": why }))
            .collect();
        json!({
            "bench": self.name.as_str(), "title": self.title, "machine": machine(), "contenders": self.facts,
            "rows": rows, "parts": parts, "skipped": skipped,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; images a second\n{}\n", self.title, machine())?;
        writeln!(
            f,
            "{:<30} {:>8}  {:<18} {:>8} {:>7}",
            "", "azaion", "peer", "", "ratio"
        )?;
        for Row {
            case,
            ours_rate,
            beside,
        } in &self.rows
        {
            write!(f, "{case:<30} {ours_rate:>8.1}")?;
            match beside {
                Some(Beside { peer, rate, ratio }) => writeln!(f, "  {peer:<18} {rate:>8.1} {ratio:>7.2}")?,
                None => writeln!(f)?,
            }
        }
        for Shares { case, parts } in &self.shares {
            let total: f64 = parts.iter().map(|(_, ms)| ms).sum();
            write!(f, "\n{case}, {total:.0} ms:")?;
            for (name, ms) in parts {
                write!(
                    f,
                    " {name} {ms:.1} ({:.1} %)",
                    100.0 * ms / total.max(f64::MIN_POSITIVE)
                )?;
            }
        }
        if !self.shares.is_empty() {
            writeln!(f)?;
        }
        writeln!(f)?;
        for (label, facts) in &self.facts {
            writeln!(f, "{label}: {facts}")?;
        }
        for (peer, why) in &self.skipped {
            writeln!(f, "skipped: {peer}: {why}")?;
        }
        Ok(())
    }
}

/// Cores and model of the processor.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    format!("{cores} cores of {model}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::Name;

    fn measured() -> Measured {
        let mut measured = Measured::default();
        let mut add = |contender, case: &str, round, seconds: &[f64], parts: &[(&str, f64)]| {
            let turn = Turn {
                contender,
                case: case.to_owned(),
                count: seconds.len(),
            };
            let answer = Answer {
                seconds: seconds.to_vec(),
                images: 8.0,
                parts: vec![parts.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect()],
            };
            measured.add(&turn, round, answer);
        };
        // The machine is twice as slow in the second round, for both.
        for (round, slow) in [(1, 1.0), (2, 2.0), (3, 1.0)] {
            add("azaion", "320", round, &[0.4 * slow, 0.5 * slow, 0.6 * slow], &[]);
            add("peer as shipped", "320", round, &[1.5 * slow], &[]);
            add(
                "azaion, a core spare",
                "320-parts",
                round,
                &[0.5],
                &[("forward", 0.3 * slow), ("loss", 0.1)],
            );
        }
        measured
    }

    #[test]
    fn a_machine_that_slows_down_changes_no_ratio() {
        let report = Report::new(Name::Step, &Plan::of(Name::Step).unwrap(), &measured());
        let rows = report.json()["rows"].clone();
        assert_eq!(rows.as_array().map(Vec::len), Some(1));
        assert!((rows[0]["ratio"].as_f64().unwrap() - 3.0).abs() < 1e-12, "{rows}");
        assert!(
            (rows[0]["ours_rate"].as_f64().unwrap() - 8.0 / 0.6).abs() < 1e-9,
            "{rows}"
        );
    }

    #[test]
    fn parts_are_shown_in_their_order_with_their_shares() {
        let text = Report::new(Name::Step, &Plan::of(Name::Step).unwrap(), &measured()).to_string();
        assert!(
            text.contains("320-parts, 400 ms: forward 300.0 (75.0 %) loss 100.0 (25.0 %)"),
            "{text}"
        );
    }

    #[test]
    fn the_median_of_an_even_number_is_in_the_middle() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
