//! What a run does about steps that went wrong, as a pure state machine that is kept in the checkpoint.
//!
//! A step whose loss or gradients are not finite is skipped and its images are named. When several follow each other, the
//! weights are at fault rather than a batch: the run goes back to the checkpoint of an epoch's end, learns more slowly
//! from there on, and sets the batches aside that it failed on. As the state is part of the checkpoint, a restart forgets
//! nothing, and a run that was interrupted decides as one that was not.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// Bad steps in a row after which the run goes back.
const IN_A_ROW: u32 = 3;
/// How often a run goes back before it gives up.
const RETURNS: usize = 5;
/// What the learning rate is multiplied by whenever the run goes back.
const SLOWER: f64 = 0.5;
/// Skipped steps that are remembered one by one; more are counted.
const REMEMBERED: usize = 200;
/// The loss diverges from this multiple of the least of the last epochs on (ALR-4).
const DIVERGED: f64 = 3.0;
/// How many epochs that least is taken of.
const EPOCHS: usize = 5;

/// A batch of a run: epoch, from 0, and its number in the epoch, from 0.
pub type BatchAt = (u32, u64);

/// What was not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotFinite {
    /// The loss.
    Loss,
    /// Gradients.
    Gradients,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Gradients => "gradients",
        })
    }
}

/// A step that was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its last batch.
    pub at: BatchAt,
    /// What was not finite.
    pub what: NotFinite,
}

/// A return to an earlier checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Return {
    /// Where the run was.
    pub from: BatchAt,
    /// The epoch it went back to, as the number of epochs that were done.
    pub to: u32,
    /// What every learning rate is multiplied by since.
    pub lr_factor: f64,
}

/// What to do after a bad step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing but going on with the next batch.
    GoOn,
    /// Go back to the checkpoint of an earlier epoch's end.
    GoBack,
    /// Nothing helps.
    GiveUp,
}

/// What went wrong in a run so far, and what is done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guards {
    /// What every learning rate is multiplied by.
    pub lr_factor: f64,
    /// Batches that are not trained on.
    pub set_aside: BTreeSet<BatchAt>,
    /// Steps that were skipped, the latest last; at most some hundreds are kept.
    pub skipped: Vec<Skipped>,
    /// How many were skipped in all.
    pub skipped_in_all: u64,
    /// Bad steps since the last good one.
    in_a_row: u32,
    /// The batches that took part in them.
    suspects: BTreeSet<BatchAt>,
    /// Returns to earlier checkpoints.
    pub returns: Vec<Return>,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            lr_factor: 1.0,
            set_aside: BTreeSet::new(),
            skipped: Vec::new(),
            skipped_in_all: 0,
            in_a_row: 0,
            suspects: BTreeSet::new(),
            returns: Vec::new(),
        }
    }
}

impl Guards {
    /// A step went well.
    pub fn good(&mut self) {
        self.in_a_row = 0;
        self.suspects.clear();
    }

    /// A step was skipped; `batches` took part in it.
    #[must_use]
    pub fn bad(&mut self, what: NotFinite, batches: &[BatchAt]) -> Remedy {
        self.skipped_in_all += 1;
        if let Some(&at) = batches.last() {
            self.skipped.push(Skipped { at, what });
        }
        let many = self.skipped.len().saturating_sub(REMEMBERED);
        self.skipped.drain(..many);
        self.suspects.extend(batches);
        self.in_a_row += 1;
        match self.in_a_row {
            ..IN_A_ROW => Remedy::GoOn,
            _ if self.returns.len() >= RETURNS => Remedy::GiveUp,
            _ => Remedy::GoBack,
        }
    }

    /// Whether the last step was a bad one.
    pub fn in_trouble(&self) -> bool {
        self.in_a_row > 0
    }

    /// How many epochs' ends to go back: the last one, and one further with every return from the same epoch.
    pub fn how_far(&self, epoch: u32) -> u32 {
        self.returns
            .iter()
            .rev()
            .take_while(|r| r.from.0 == epoch)
            .count() as u32
    }

    /// The run goes back from `from` to where `to` epochs were done.
    pub fn go_back(&mut self, from: BatchAt, to: u32) {
        self.lr_factor *= SLOWER;
        self.in_a_row = 0;
        self.set_aside.append(&mut self.suspects);
        self.returns.push(Return {
            from,
            to,
            lr_factor: self.lr_factor,
        });
    }
}

/// Whether the loss of the last epoch diverges (ALR-4): it is more than three times the least of the five before it.
pub fn diverges(losses: impl DoubleEndedIterator<Item = f64>) -> bool {
    let mut losses = losses.rev();
    let Some(last) = losses.next() else { return false };
    let least = losses.take(EPOCHS).fold(f64::INFINITY, f64::min);
    !last.is_finite() || last > DIVERGED * least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(guards: &mut Guards, epoch: u32, batch: u64) -> Remedy {
        guards.bad(NotFinite::Loss, &[(epoch, batch)])
    }

    #[test]
    fn single_bad_steps_are_skipped_for_ever() {
        let mut guards = Guards::default();
        for batch in 0..1000 {
            assert_eq!(bad(&mut guards, 0, 3 * batch), Remedy::GoOn);
            assert_eq!(bad(&mut guards, 0, 3 * batch + 1), Remedy::GoOn);
            assert!(guards.in_trouble());
            guards.good();
        }
        assert_eq!((guards.skipped_in_all, guards.skipped.len()), (2000, REMEMBERED));
        assert_eq!((guards.lr_factor, guards.in_trouble()), (1.0, false));
    }

    #[test]
    fn three_in_a_row_send_the_run_back_slower_without_those_batches_and_further_each_time() {
        let mut guards = Guards::default();
        for (times, factor) in [0.5, 0.25, 0.125, 0.0625, 0.03125].into_iter().enumerate() {
            assert_eq!(bad(&mut guards, 4, 7), Remedy::GoOn);
            assert_eq!(bad(&mut guards, 4, 8), Remedy::GoOn);
            assert_eq!(bad(&mut guards, 4, 9), Remedy::GoBack);
            assert_eq!(guards.how_far(4), times as u32);
            guards.go_back((4, 9), 4 - times as u32);
            assert_eq!(guards.lr_factor, factor);
            assert!(!guards.in_trouble());
        }
        assert_eq!(guards.set_aside, BTreeSet::from([(4, 7), (4, 8), (4, 9)]));
        for batch in [1, 2] {
            assert_eq!(bad(&mut guards, 4, batch), Remedy::GoOn);
        }
        assert_eq!(bad(&mut guards, 4, 3), Remedy::GiveUp);
        assert_eq!(guards.how_far(5), 0);
    }

    #[test]
    fn the_state_survives_its_file() {
        let mut guards = Guards::default();
        assert_eq!(bad(&mut guards, 1, 2), Remedy::GoOn);
        guards.go_back((1, 2), 1);
        let text = serde_json::to_string(&guards).unwrap();
        assert_eq!(serde_json::from_str::<Guards>(&text).unwrap(), guards);
        assert_eq!(serde_json::from_str::<Guards>("{}").unwrap(), Guards::default());
    }

    #[test]
    fn a_loss_of_three_times_the_least_of_the_last_five_diverges() {
        let of = |losses: &[f64]| diverges(losses.iter().copied());
        assert!(!of(&[]) && !of(&[5.0]) && !of(&[1.0, 3.0]));
        assert!(of(&[1.0, 3.01]) && of(&[1.0, f64::NAN]) && of(&[f64::NAN]));
        assert!(of(&[9.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.5]));
        assert!(
            !of(&[1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.5]),
            "the sixth last does not count"
        );
    }
}
