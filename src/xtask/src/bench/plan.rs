//! What each benchmark measures: who, which cases, how often, and what is compared with what.

use clap::ValueEnum;

use super::MIN_ROUNDS;

/// The benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// One whole training step of yolo26n, batch 8
    Step,
    /// The training loader with mosaic at 640 px, on one core
    Loader,
    /// The folded yolo26n on 640 x 640 px
    Infer,
    /// Peak memory of training steps of yolo26n, batch 8
    Memory,
    /// The queue's daemon beside a consumer in Python
    Queue,
    /// A first backup and a later one beside restic
    Backup,
    /// Forming a dataset of 100,000 annotations beside cp -r and the reference package's cache
    Dataset,
    /// A checkpoint as a share of an epoch's time, and how soon a run goes on
    Resume,
}

impl Name {
    /// As on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Loader => "loader",
            Self::Infer => "infer",
            Self::Memory => "memory",
            Self::Queue => "queue",
            Self::Backup => "backup",
            Self::Dataset => "dataset",
            Self::Resume => "resume",
        }
    }
}

/// One side of a benchmark.
pub(super) struct Spec {
    pub label: &'static str,
    pub program: Program,
}

/// What runs it.
pub(super) enum Program {
    /// `bench` with these arguments; `scenes` says whether the scenes' folder follows.
    Ours {
        arguments: &'static [&'static str],
        scenes: bool,
    },
    /// A script of tests/reference with these arguments, then a folder: the scenes, or an empty one of its own.
    Peer {
        script: &'static str,
        how: Option<&'static str>,
        scenes: bool,
    },
}

impl Spec {
    pub fn is_peer(&self) -> bool {
        matches!(self.program, Program::Peer { .. })
    }
}

/// What one contender does in a round.
pub(super) struct Turn {
    pub contender: &'static str,
    pub case: String,
    pub count: usize,
}

/// Turns that alternate.
pub(super) struct Set {
    pub label: String,
    pub rounds: usize,
    pub turns: Vec<Turn>,
}

/// A line of the table: the same work by both.
pub(super) struct Comparison {
    pub label: String,
    pub ours: (&'static str, String),
    pub peer: (&'static str, String),
}

/// A benchmark.
pub(super) struct Plan {
    pub title: &'static str,
    pub needs_scenes: bool,
    pub contenders: Vec<Spec>,
    pub sets: Vec<Set>,
    pub comparisons: Vec<Comparison>,
    /// Cases without a peer, whose rate is shown.
    pub alone: Vec<(&'static str, String)>,
    /// Cases whose parts are shown as shares.
    pub shares: Vec<(&'static str, String)>,
}

const OURS: &str = "azaion";
/// With one thread fewer than there are cores, as the peer is shipped.
const SPARING: &str = "azaion, a core spare";
pub(super) const SHIPPED: &str = "peer as shipped";
pub(super) const BEST: &str = "peer at its best";
const PEER: &str = "peer";
const ONNX: &str = "onnxruntime fp32";

impl Plan {
    /// The plan of a benchmark of speed; none for one of another kind.
    pub fn of(name: Name) -> Option<Self> {
        match name {
            Name::Step => Some(step()),
            Name::Loader => Some(loader()),
            Name::Infer => Some(infer()),
            Name::Memory | Name::Queue | Name::Dataset | Name::Backup | Name::Resume => None,
        }
    }
}

pub(super) fn ours(label: &'static str, arguments: &'static [&'static str], scenes: bool) -> Spec {
    Spec {
        label,
        program: Program::Ours { arguments, scenes },
    }
}

pub(super) fn peer(label: &'static str, script: &'static str, how: Option<&'static str>) -> Spec {
    Spec {
        label,
        program: Program::Peer {
            script,
            how,
            scenes: how.is_none(),
        },
    }
}

fn turn(contender: &'static str, case: &str, count: usize) -> Turn {
    Turn {
        contender,
        case: case.to_owned(),
        count,
    }
}

fn compare(label: &str, our_case: &str, peer: &'static str, peer_case: &str) -> Comparison {
    Comparison {
        label: label.to_owned(),
        ours: (OURS, our_case.to_owned()),
        peer: (peer, peer_case.to_owned()),
    }
}

/// The same with both sides leaving a core alone.
fn compare_sparing(label: &str, our_case: &str, peer_case: &str) -> Comparison {
    Comparison {
        ours: (SPARING, our_case.to_owned()),
        ..compare(&format!("{label}, a core spare"), our_case, SHIPPED, peer_case)
    }
}

fn step() -> Plan {
    let set = |side: &str, rounds, count| Set {
        label: format!("{side} px"),
        rounds,
        turns: vec![
            turn(OURS, side, count),
            turn(SHIPPED, side, count),
            turn(BEST, side, count),
            turn(SPARING, side, count),
            turn(SPARING, &format!("{side}-parts"), count),
        ],
    };
    Plan {
        title: "one training step, yolo26n, 3 classes, batch 8, MuSGD",
        needs_scenes: false,
        contenders: vec![
            ours(OURS, &["step"], false),
            ours(SPARING, &["step", "--spare-core"], false),
            peer(SHIPPED, "bench_step.py", Some("shipped")),
            peer(BEST, "bench_step.py", Some("best")),
        ],
        sets: vec![set("320", 7, 3), set("640", 7, 1)],
        comparisons: vec![
            compare("320 px", "320", SHIPPED, "320"),
            compare_sparing("320 px", "320", "320"),
            compare("320 px", "320", BEST, "320"),
            compare("640 px", "640", SHIPPED, "640"),
            compare_sparing("640 px", "640", "640"),
            compare("640 px", "640", BEST, "640"),
        ],
        alone: Vec::new(),
        shares: vec![
            (SPARING, "320-parts".to_owned()),
            (SPARING, "640-parts".to_owned()),
        ],
    }
}

fn infer() -> Plan {
    let set = |batch: &str, rounds, count| Set {
        label: format!("batch {batch}"),
        rounds,
        turns: vec![
            turn(OURS, &format!("fp32-{batch}"), count),
            turn(SPARING, &format!("fp32-{batch}"), count),
            turn(SHIPPED, batch, count),
            turn(OURS, &format!("bf16-{batch}"), count),
            turn(BEST, batch, count),
            turn(ONNX, batch, count),
        ],
    };
    let lines = |batch: &str| {
        let (exact, fast) = (format!("fp32-{batch}"), format!("bf16-{batch}"));
        [
            compare(&format!("batch {batch}, fp32"), &exact, SHIPPED, batch),
            compare_sparing(&format!("batch {batch}, fp32"), &exact, batch),
            compare(&format!("batch {batch}, fp32"), &exact, ONNX, batch),
            compare(&format!("batch {batch}, bf16"), &fast, BEST, batch),
        ]
    };
    Plan {
        title: "inference, yolo26n folded, 3 classes, 640 x 640 px, pixels to boxes",
        needs_scenes: false,
        contenders: vec![
            ours(OURS, &["infer"], false),
            ours(SPARING, &["infer", "--spare-core"], false),
            peer(SHIPPED, "bench_infer.py", Some("shipped")),
            peer(BEST, "bench_infer.py", Some("best")),
            peer(ONNX, "bench_infer.py", Some("onnxruntime")),
        ],
        sets: vec![set("1", 9, 5), set("8", 9, 1)],
        comparisons: lines("1").into_iter().chain(lines("8")).collect(),
        alone: Vec::new(),
        shares: Vec::new(),
    }
}

/// Threads that share the work, and the rates in images a second of a trainer that they work for: below and above what
/// they can do.
const REHEARSALS: [(&str, usize, &[usize]); 6] = [
    ("first", 1, &[]),
    ("first", 2, &[]),
    ("first", 24, &[2000, 4000, 8000]),
    ("warm", 1, &[]),
    ("warm", 2, &[]),
    ("warm", 24, &[8000, 16_000, 32_000]),
];

fn loader() -> Plan {
    let sides = |(work, workers, _): &(&str, usize, &[usize])| (OURS, format!("{work}/{workers}-workers"));
    let alone: Vec<_> = REHEARSALS.iter().map(sides).collect();
    let shares: Vec<_> = REHEARSALS
        .iter()
        .flat_map(|case| {
            let of = |rate: &usize| (OURS, format!("{}/{rate}-a-second", sides(case).1));
            case.2.iter().map(of)
        })
        .collect();
    Plan {
        title: "training loader on one core (processor time), 1280 x 720 JPEGs to 640 px, mosaic + affine + HSV + flip, batch 8; \
                N workers: the engine with threads that sleep as long as an image took (clock time), and a trainer's share of waiting",
        needs_scenes: true,
        contenders: vec![ours(OURS, &["loader"], true), peer(PEER, "bench_loader.py", None)],
        sets: vec![
            Set {
                label: "one thread".to_owned(),
                rounds: 9,
                turns: vec![
                    turn(OURS, "first", 2),
                    turn(PEER, "first", 1),
                    turn(OURS, "warm", 2),
                    turn(PEER, "warm", 1),
                ],
            },
            Set {
                label: "rehearsals".to_owned(),
                rounds: MIN_ROUNDS,
                turns: alone
                    .iter()
                    .chain(&shares)
                    .map(|(contender, case)| turn(contender, case, 1))
                    .collect(),
            },
        ],
        comparisons: vec![
            compare("decoding (first epoch)", "first", PEER, "first"),
            compare("from memory (cache=ram)", "warm", PEER, "warm"),
            compare("from memory, peer decoding", "warm", PEER, "first"),
        ],
        alone,
        shares,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_compared_is_measured_in_the_same_set_by_a_contender_of_the_plan() {
        for name in [Name::Step, Name::Loader, Name::Infer] {
            let plan = Plan::of(name).unwrap();
            for Comparison { label, ours, peer } in &plan.comparisons {
                let has = |set: &Set, side: &(&str, String)| {
                    set.turns
                        .iter()
                        .any(|turn| (turn.contender, &turn.case) == (side.0, &side.1))
                };
                assert!(
                    plan.sets.iter().any(|set| has(set, ours) && has(set, peer)),
                    "{label}"
                );
                for (contender, _) in [ours, peer] {
                    assert!(plan.contenders.iter().any(|spec| spec.label == *contender));
                }
            }
            for side in plan.alone.iter().chain(&plan.shares) {
                let turns = plan.sets.iter().flat_map(|set| &set.turns);
                assert!(
                    turns
                        .map(|turn| (turn.contender, turn.case.clone()))
                        .any(|turn| turn == *side)
                );
            }
        }
    }
}
