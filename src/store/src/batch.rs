//! A batch of actions on the tree, held in memory until it is committed.
//!
//! The batch is an overlay: each action sees what the ones before it did, and only the final state of a name is written.
//! [`Entry`] lets a caller do what makes sense and nothing else: only an unknown name can be created or missed, only a known
//! one rewritten or moved.

use std::collections::BTreeMap;
use std::collections::btree_map::{Entry as Slot, OccupiedEntry, VacantEntry};

use annotation::{Name, Status};
use bytes::Bytes;

use crate::commit;
use crate::error::Result;
use crate::paths::Home;
use crate::quarantine::Refusal;
use crate::tree::Tree;
use crate::unmatched::Mention;

/// What a batch will do with one name.
#[derive(Debug)]
pub(crate) enum Change {
    /// Write both files of a name that was unknown.
    Create { home: Home, image: Bytes, label: String },
    /// Move and rewrite what is on disk; neither, where `was` is `now` and there is no label.
    Update {
        was: Home,
        now: Home,
        label: Option<String>,
    },
}

/// Actions that become durable together; dropping it forgets them.
#[derive(Debug)]
pub struct Batch<'t> {
    tree: &'t mut Tree,
    pub(crate) changes: BTreeMap<Name, Change>,
    pub(crate) mentions: Vec<Mention>,
    pub(crate) refusals: Vec<Refusal>,
}

/// A name as the message at some offset finds it.
#[derive(Debug)]
pub enum Entry<'b> {
    /// It lives nowhere.
    Unknown(Unknown<'b>),
    /// It lives somewhere.
    Known(Known<'b>),
    /// It was unknown when this message was first read. The message must not touch it, whatever it is now.
    Missed,
}

/// A name that lives nowhere.
#[derive(Debug)]
pub struct Unknown<'b> {
    slot: VacantEntry<'b, Name, Change>,
    mentions: &'b mut Vec<Mention>,
    offset: u64,
}

impl Unknown<'_> {
    /// Creates the annotation. Its image is saved as it is.
    pub fn create(self, home: Home, image: Bytes, label: String) {
        self.slot.insert(Change::Create { home, image, label });
    }

    /// Records that the message at this offset mentioned the name in vain, for every replay to come.
    pub fn miss(self, status: Status) {
        self.mentions.push(Mention {
            offset: self.offset,
            status,
            name: self.slot.into_key(),
        });
    }
}

/// A name that lives somewhere.
#[derive(Debug)]
pub struct Known<'b> {
    slot: OccupiedEntry<'b, Name, Change>,
}

impl Known<'_> {
    /// Where it lives, after what the batch did so far.
    #[must_use]
    pub fn home(&self) -> Home {
        match self.slot.get() {
            Change::Create { home, .. } => *home,
            Change::Update { now, .. } => *now,
        }
    }

    /// Replaces the label, where the annotation lives.
    pub fn rewrite_label(&mut self, text: String) {
        match self.slot.get_mut() {
            Change::Create { label, .. } => *label = text,
            Change::Update { label, .. } => *label = Some(text),
        }
    }

    /// Moves image and label.
    pub fn move_to(&mut self, to: Home) {
        match self.slot.get_mut() {
            Change::Create { home, .. } => *home = to,
            Change::Update { now, .. } => *now = to,
        }
    }
}

impl<'t> Batch<'t> {
    pub(crate) fn new(tree: &'t mut Tree) -> Self {
        Self {
            tree,
            changes: BTreeMap::new(),
            mentions: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// What the message at `offset` finds under `name`.
    pub fn entry(&mut self, offset: u64, name: &Name) -> Result<Entry<'_>> {
        if self.tree.unmatched.contains(offset, name) {
            return Ok(Entry::Missed);
        }
        let vacant = match self.changes.entry(name.clone()) {
            Slot::Occupied(slot) => return Ok(Entry::Known(Known { slot })),
            Slot::Vacant(slot) => slot,
        };
        Ok(match self.tree.locate(name)? {
            Some(home) => {
                let change = Change::Update {
                    was: home,
                    now: home,
                    label: None,
                };
                Entry::Known(Known {
                    slot: vacant.insert_entry(change),
                })
            }
            None => Entry::Unknown(Unknown {
                slot: vacant,
                mentions: &mut self.mentions,
                offset,
            }),
        })
    }

    /// Puts a message that cannot be used into quarantine: `kind` is short and stable, `reason` is for people and holds no
    /// personal data.
    pub fn quarantine(&mut self, offset: u64, kind: &'static str, reason: String, message: Bytes) {
        self.refusals.push(Refusal {
            offset,
            kind,
            reason,
            message,
        });
    }

    /// Makes everything durable, then replaces `offset.yaml` with `next_offset`, the offset of the next message to read.
    ///
    /// On an error the offset is where it was, and part of the batch may be done. Nothing is lost: the same messages, in a new
    /// batch or after opening the tree again, end in the same tree. The offset never goes back here, see [`Tree::rewind`].
    pub fn commit(self, next_offset: u64) -> Result<()> {
        let Self {
            tree,
            changes,
            mentions,
            refusals,
        } = self;
        let next_offset = next_offset.max(tree.offset);
        commit::commit(tree, changes, &mentions, refusals, next_offset)
    }
}
