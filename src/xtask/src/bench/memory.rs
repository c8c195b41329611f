//! `cargo xtask bench memory`: the most memory that training steps ever take, of the whole process and of the steps alone.
//!
//! Every contender runs every case in a process of its own. What it holds once it is ready, with libraries, network and
//! optimiser in place, is its base; its peak is the kernel's high-water mark after the steps. Nothing is asked of the
//! contenders but to run: both numbers are read from outside.

use std::fmt;

use serde_json::{Value, json};

use super::contender::Contender;
use super::plan::{BEST, SHIPPED, Spec, ours, peer};
use super::{Place, report::machine};
use crate::resident::Resident;

/// By the second step everything is there; the allocator may need a few more to settle.
const STEPS: usize = 8;
const SIDES: [&str; 2] = ["320", "640"];
const BF16: &str = "azaion, bf16";
const FP32: &str = "azaion, fp32";
/// In one number format.
const COMPARED: [(&str, &str); 2] = [(FP32, SHIPPED), (BF16, BEST)];

fn contenders() -> [Spec; 4] {
    [
        ours(FP32, &["step", "--precision", "fp32"], false),
        ours(BF16, &["step", "--precision", "bf16"], false),
        peer(SHIPPED, "bench_step.py", Some("shipped")),
        peer(BEST, "bench_step.py", Some("best")),
    ]
}

/// What one process took, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Taken {
    base: u64,
    peak: u64,
}

impl Taken {
    fn steps(self) -> u64 {
        self.peak.saturating_sub(self.base)
    }
}

/// What all took.
#[derive(Debug, Default)]
pub struct Report {
    taken: Vec<(&'static str, &'static str, Taken)>,
    facts: Vec<(&'static str, Value)>,
    skipped: Vec<(&'static str, String)>,
}

/// Measures every contender in every case.
pub(super) fn measure(place: &Place<'_>) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for side in SIDES {
        let scratch = place.scratch.join(side);
        std::fs::create_dir_all(&scratch)?;
        let place = Place {
            scratch: &scratch,
            ..*place
        };
        for spec in contenders() {
            eprintln!("{side} px: {}", spec.label);
            let taken = Contender::start(&spec, &place).and_then(|mut contender| {
                let base = Resident::of(contender.id())?.now;
                contender.ask(side, STEPS)?;
                let peak = Resident::of(contender.id())?.peak;
                Ok((Taken { base, peak }, contender.facts.clone()))
            });
            match taken {
                Ok((taken, facts)) => {
                    report.taken.push((side, spec.label, taken));
                    report.facts.push((spec.label, facts));
                }
                Err(error) if spec.is_peer() => report.skipped.push((spec.label, format!("{error:#}"))),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(report)
}

struct Row {
    side: &'static str,
    ours: (&'static str, Taken),
    peer: (&'static str, Taken),
}

impl Row {
    /// How much more the peer's process takes.
    fn ratio(&self) -> f64 {
        self.peer.1.peak as f64 / self.ours.1.peak as f64
    }

    /// How much more the peer's steps take.
    fn ratio_of_steps(&self) -> f64 {
        self.peer.1.steps() as f64 / self.ours.1.steps() as f64
    }
}

impl Report {
    fn rows(&self) -> impl Iterator<Item = Row> {
        let of = |side: &str, label: &'static str| {
            let found = self
                .taken
                .iter()
                .find(|taken| (taken.0, taken.1) == (side, label));
            found.map(|(_, _, taken)| (label, *taken))
        };
        SIDES.into_iter().flat_map(move |side| {
            COMPARED.into_iter().filter_map(move |(ours, peer)| {
                Some(Row {
                    side,
                    ours: of(side, ours)?,
                    peer: of(side, peer)?,
                })
            })
        })
    }

    /// The numbers for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let taken =
            |(label, taken): (&str, Taken)| json!({ "label": label, "base": taken.base, "peak": taken.peak });
        let rows: Vec<Value> = self
            .rows()
            .map(|row| {
                json!({
                    "case": format!("{} px", row.side), "unit": "bytes", "ours": taken(row.ours), "peer": taken(row.peer),
                    "ratio": row.ratio(), "ratio_of_steps": row.ratio_of_steps(),
                })
            })
            .collect();
        json!({
            "bench": "memory", "machine": machine(), "steps": STEPS, "contenders": self.facts, "rows": rows,
            "skipped": self.skipped,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
        writeln!(
            f,
            "peak memory of training steps, yolo26n, 3 classes, batch 8, MuSGD; MB\n{}\n",
            machine()
        )?;
        writeln!(
            f,
            "{:<8} {:<14} {:>6} {:>6} {:>6}  {:<16} {:>6} {:>6} {:>6}  {:>6} {:>6}",
            "", "", "peak", "base", "steps", "", "peak", "base", "steps", "ratio", "steps"
        )?;
        for row in self.rows() {
            let numbers = |Taken { base, peak }: Taken, steps| [peak, base, steps].map(megabytes);
            let [our_peak, our_base, our_steps] = numbers(row.ours.1, row.ours.1.steps());
            let [peer_peak, peer_base, peer_steps] = numbers(row.peer.1, row.peer.1.steps());
            writeln!(
                f,
                "{:<8} {:<14} {our_peak:>6} {our_base:>6} {our_steps:>6}  {:<16} {peer_peak:>6} {peer_base:>6} {peer_steps:>6}  \
                 {:>6.2} {:>6.2}",
                format!("{} px", row.side),
                row.ours.0,
                row.peer.0,
                row.ratio(),
                row.ratio_of_steps(),
            )?;
        }
        for (peer, why) in &self.skipped {
            writeln!(f, "skipped: {peer}: {why}")?;
        }
        write!(
            f,
            "ratio: peer / azaion, above 1: azaion takes less; base: ready to train; steps: peak without base"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_says_that_azaion_takes_less() {
        let (ours, theirs) = (Taken { base: 100, peak: 300 }, Taken { base: 200, peak: 600 });
        let report = Report {
            taken: vec![("320", FP32, ours), ("320", SHIPPED, theirs), ("640", FP32, ours)],
            ..Report::default()
        };
        let rows: Vec<Row> = report.rows().collect();
        let [row] = rows.as_slice() else {
            panic!("{report}")
        };
        assert_eq!((row.ratio(), row.ratio_of_steps()), (2.0, 2.0));
        assert_eq!(report.json()["rows"][0]["ratio"], 2.0);
    }
}
