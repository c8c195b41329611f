//! What the queue has done since it started.

use serde::{Deserialize, Serialize};

use crate::rules::{Done, Outcome};

/// Counts since the start. Every message counts in exactly one of `processed` and `failed`; the others count what the
/// messages did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Messages that were used, those that had nothing left to do included (`queue_messages_processed`).
    pub processed: u64,
    /// Messages in quarantine (`queue_messages_failed`).
    pub failed: u64,
    /// Annotations created.
    pub created: u64,
    /// Annotations edited.
    pub edited: u64,
    /// Annotations that a bulk message moved to the validated ones.
    pub validated: u64,
    /// Annotations that a bulk message moved to the deleted ones.
    pub deleted: u64,
    /// Created again, or already where a bulk message wanted them.
    pub duplicates: u64,
    /// Mentions that changed nothing because the name was unknown, deleted or out of circulation.
    pub unmatched: u64,
}

impl Counters {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match outcome.refused {
            Some(_) => self.failed += 1,
            None => self.processed += 1,
        }
        match &outcome.done {
            Done::Nothing => {}
            Done::Created { .. } => self.created += 1,
            Done::Edited { .. } => self.edited += 1,
            Done::Duplicate { .. } => self.duplicates += 1,
            Done::Withdrawn { .. } | Done::Missed => self.unmatched += 1,
            Done::Bulk {
                status,
                moved,
                in_place,
                unknown,
                withdrawn,
            } => {
                match status {
                    annotation::BulkStatus::Validated => self.validated += moved,
                    annotation::BulkStatus::Deleted => self.deleted += moved,
                }
                self.duplicates += in_place;
                self.unmatched += unknown + withdrawn;
            }
        }
    }
}
