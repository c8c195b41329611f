//! A batch of messages becomes a durable change of the tree.

use annotation::{Limits, Status};
use store::{Result, Tree};
use stream::Batch;

use crate::counters::Counters;
use crate::prepare::{Item, Prepared, Preparer};
use crate::rules::{self, Done, Outcome, Refused};

/// Decodes, applies and commits, batch by batch.
#[derive(Debug)]
pub struct Processor {
    tree: Tree,
    limits: Limits,
    counters: Counters,
    /// What a batch came to whose commit failed. Part of it may be done, so that its retry finds less to do; what is counted and
    /// logged in the end is what the messages did at first.
    unfinished: Vec<(u64, Outcome)>,
}

impl Processor {
    /// A processor that writes to `tree` and decodes within `limits`.
    #[must_use]
    pub fn new(tree: Tree, limits: Limits) -> Self {
        Self {
            tree,
            limits,
            counters: Counters::default(),
            unfinished: Vec::new(),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The offset of the next message to read.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.tree.offset()
    }

    /// Gives the tree back.
    #[must_use]
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    /// Makes a batch durable, and the offset behind its last message with it, with the next batch, or with
    /// [`Processor::settle`]. Messages before the offset were read already and are passed over. On an error nothing is lost: the same batch can be given again.
    ///
    /// What happened is counted and logged once it is durable, and not before.
    pub fn process(&mut self, batch: &Batch) -> Result<()> {
        let preparer = self.preparer();
        let mut prepared = preparer.sync(preparer.prepare(batch.clone()));
        self.commit(&mut prepared)
    }

    /// Who prepares messages for [`Processor::commit`].
    pub(crate) fn preparer(&self) -> Preparer {
        Preparer::new(&self.tree, self.limits.clone())
    }

    /// Makes the last offset durable, which a batch may leave to the next one.
    pub fn settle(&mut self) -> Result<()> {
        self.tree.settle_offset()
    }

    /// [`Processor::process`] for messages that are prepared. Given again after an error, they are as good as new.
    pub(crate) fn commit(&mut self, batch: &mut Prepared) -> Result<()> {
        let from = self.tree.offset();
        let read_already = batch.items.partition_point(|item| item.message.offset < from);
        let items = &mut batch.items[read_already..];
        let Some(last) = items.last() else {
            return Ok(());
        };
        let next_offset = last.message.next_offset();
        let mut outcomes = Vec::with_capacity(items.len());
        let mut actions = self.tree.batch();
        for item in items {
            let outcome = read(&mut actions, item, &self.limits)?;
            let message = &item.message;
            if let Some(Refused { kind, reason }) = &outcome.refused {
                actions.quarantine(message.offset, kind, reason.clone(), message.bytes.clone());
            }
            outcomes.push((message.offset, outcome));
        }
        let committed = actions.commit(next_offset);

        // The retry may be longer, but begins with the same messages.
        for (outcome, first) in outcomes.iter_mut().zip(std::mem::take(&mut self.unfinished)) {
            if outcome.0 == first.0 {
                *outcome = first;
            }
        }
        if committed.is_err() {
            self.unfinished = outcomes;
            return committed;
        }
        for (offset, outcome) in &outcomes {
            self.counters.add(outcome);
            log(*offset, outcome);
        }
        Ok(())
    }
}

fn read(actions: &mut store::Batch<'_>, item: &mut Item, limits: &Limits) -> Result<Outcome> {
    let offset = item.message.offset;
    if let Some(packed) = &item.message.packed {
        return Ok(Outcome::refused("packed", packed.reason.clone()));
    }
    match item.decoded(limits) {
        Err(error) => Ok(Outcome::refused(error.kind(), error.to_string())),
        Ok(decoded) => {
            for note in &decoded.notes {
                tracing::debug!(offset, %note, "message is odd");
            }
            if let Some(spooled) = item.spooled.take() {
                actions.add_spooled(offset, spooled);
            }
            rules::apply(actions, offset, decoded.message)
        }
    }
}

/// The log lines of a durable message (QUE-9): never an e-mail address, never image bytes.
fn log(offset: u64, outcome: &Outcome) {
    match &outcome.done {
        Done::Created { name, status, role } => {
            tracing::info!(%name, %status, %role, offset, "annotation saved");
        }
        Done::Edited { name, role } => {
            tracing::info!(%name, status = %Status::Edited, %role, offset, "annotation saved");
        }
        Done::Duplicate { name } => tracing::debug!(%name, offset, "annotation is there already"),
        Done::Withdrawn { name } => {
            tracing::warn!(%name, offset, unmatched = 1, "edit of a deleted or corrupted annotation ignored");
        }
        Done::Bulk {
            status,
            moved,
            in_place,
            unknown,
            withdrawn,
        } => {
            tracing::info!(%status, moved, in_place, offset, "annotations moved");
            if unknown + withdrawn > 0 {
                tracing::warn!(%status, unknown, withdrawn, offset, "names could not be matched");
            }
        }
        Done::Missed | Done::Nothing => {}
    }
    if let Some(Refused { kind, reason }) = &outcome.refused {
        tracing::warn!(offset, kind, reason, "message quarantined");
    }
}
