//! A batch of actions on the tree, held in memory until it is committed.
//!
//! The batch is an overlay: each action sees what the ones before it did, and only the final state of a name is written.
//! [`Entry`] lets a caller do what makes sense and nothing else: only an unknown name can be created or missed, only a known
//! one rewritten or moved.

use std::collections::btree_map::{Entry as Slot, OccupiedEntry, VacantEntry};
use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use annotation::{Name, Role, Status};
use bytes::Bytes;

use crate::commit::{self, Logs};
use crate::digest::Digest;
use crate::error::Result;
use crate::ledger::{self, Event, Turn};
use crate::media::Media;
use crate::paths::Home;
use crate::quarantine::Refusal;
use crate::spool::Spooled;
use crate::tree::Tree;
use crate::unmatched::Mention;

/// What a batch will do with one name.
#[derive(Debug)]
pub(crate) enum Change {
    /// Write both files of a name that was unknown.
    Create {
        home: Home,
        image: Bytes,
        label: String,
        /// An earlier commit may have begun to.
        begun: bool,
        /// Its files as far as they are written already.
        spooled: Option<Box<Spooled>>,
    },
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
    pub(crate) entries: Vec<ledger::Entry>,
    /// What was written ahead for the message of an offset.
    spooled: HashMap<u64, Box<Spooled>>,
    turn: Turn,
    /// Now, in seconds since 1970.
    time: u64,
}

/// A name as a message finds it.
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
    /// Nowhere, where the miss is recorded already.
    mentions: Option<&'b mut Vec<Mention>>,
    offset: u64,
    /// Whether an earlier commit may have begun to create it.
    begun: bool,
    spooled: Option<Box<Spooled>>,
    line: Line<'b>,
}

impl Unknown<'_> {
    /// What its image was taken from, for the ledger.
    #[must_use]
    pub fn taken_from(mut self, media: Option<Media>) -> Self {
        self.line.media = media;
        self
    }

    /// Creates the annotation. Its image is saved as it is.
    pub fn create(self, home: Home, image: Bytes, label: String) {
        let Self { begun, spooled, .. } = self;
        self.line
            .write(Event::Created, self.slot.key(), Some(home), Some(&label));
        self.slot.insert(Change::Create {
            home,
            image,
            label,
            begun,
            spooled,
        });
    }

    /// Records that the message mentioned the name in vain, for every replay to come.
    pub fn miss(self, status: Status) {
        self.line.write(Event::Missed, self.slot.key(), None, None);
        if let Some(mentions) = self.mentions {
            mentions.push(Mention {
                offset: self.offset,
                status,
                name: self.slot.into_key(),
            });
        }
    }
}

/// A name that lives somewhere.
#[derive(Debug)]
pub struct Known<'b> {
    slot: OccupiedEntry<'b, Name, Change>,
    line: Line<'b>,
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
    pub fn edit(self, text: String) {
        let home = self.home();
        self.edit_into(home, text);
    }

    /// Replaces the label and moves image and label to the validated ones.
    pub fn edit_and_validate(self, text: String) {
        self.edit_into(Home::Data, text);
    }

    fn edit_into(mut self, home: Home, text: String) {
        self.line
            .write(Event::Edited, self.slot.key(), Some(home), Some(&text));
        match self.slot.get_mut() {
            Change::Create { label, .. } => *label = text,
            Change::Update { label, .. } => *label = Some(text),
        }
        put(self.slot.get_mut(), home);
    }

    /// Moves image and label to the validated ones.
    pub fn validate(mut self) {
        self.line
            .write(Event::Validated, self.slot.key(), Some(Home::Data), None);
        put(self.slot.get_mut(), Home::Data);
    }

    /// Moves image and label to the deleted ones.
    pub fn delete(mut self) {
        self.line
            .write(Event::Deleted, self.slot.key(), Some(Home::Deleted), None);
        put(self.slot.get_mut(), Home::Deleted);
    }

    /// Leaves it as it is.
    pub fn ignore(self) {
        let home = self.home();
        self.line.write(Event::Ignored, self.slot.key(), Some(home), None);
    }
}

fn put(change: &mut Change, to: Home) {
    match change {
        Change::Create { home, .. } => *home = to,
        Change::Update { now, .. } => *now = to,
    }
}

/// Where the ledger's line about a name goes; nowhere, where it has one already.
#[derive(Debug)]
struct Line<'b> {
    entries: Option<&'b mut Vec<ledger::Entry>>,
    offset: u64,
    time: u64,
    role: Option<Role>,
    media: Option<Media>,
}

impl Line<'_> {
    /// The image's digest is added when the image is written.
    fn write(self, event: Event, name: &Name, home: Option<Home>, label: Option<&str>) {
        if let Some(entries) = self.entries {
            entries.push(ledger::Entry {
                offset: Some(self.offset),
                time: self.time,
                event,
                role: self.role,
                home,
                name: name.clone(),
                image: None,
                label: label.map(|text| Digest::of(text.as_bytes())),
                media: self.media,
            });
        }
    }
}

impl<'t> Batch<'t> {
    pub(crate) fn new(tree: &'t mut Tree, turn: Turn) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            tree,
            changes: BTreeMap::new(),
            mentions: Vec::new(),
            refusals: Vec::new(),
            entries: Vec::new(),
            spooled: HashMap::new(),
            turn,
            time: now.unwrap_or_default().as_secs(),
        }
    }

    /// Gives the batch what was written ahead for the message at `offset`, to be used if it creates just that. What is not
    /// synced is of no use: the batch writes it once more.
    pub fn add_spooled(&mut self, offset: u64, spooled: Spooled) {
        if spooled.is_durable() {
            self.spooled.insert(offset, Box::new(spooled));
        }
    }

    /// What the message at `offset`, by someone of this role, finds under `name`.
    pub fn entry(&mut self, offset: u64, role: Option<Role>, name: &Name) -> Result<Entry<'_>> {
        let recorded = self.turn == Turn::Stream && self.tree.ledger.covers(offset);
        let line = Line {
            entries: (!recorded).then_some(&mut self.entries),
            offset,
            time: self.time,
            role,
            media: None,
        };
        let missed = self.tree.unmatched.contains(offset, name);
        if missed && self.turn == Turn::Stream {
            line.write(Event::Missed, name, None, None);
            return Ok(Entry::Missed);
        }
        let vacant = match self.changes.entry(name.clone()) {
            Slot::Occupied(slot) => return Ok(Entry::Known(Known { slot, line })),
            Slot::Vacant(slot) => slot,
        };
        Ok(match self.tree.find(name)? {
            Some(home) => {
                let change = Change::Update {
                    was: home,
                    now: home,
                    label: None,
                };
                Entry::Known(Known {
                    slot: vacant.insert_entry(change),
                    line,
                })
            }
            None => Entry::Unknown(Unknown {
                slot: vacant,
                mentions: (!missed).then_some(&mut self.mentions),
                offset,
                // Lines come before files: where none was written, no file was either.
                begun: recorded || self.turn == Turn::Again,
                spooled: self.spooled.remove(&offset),
                line,
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
            entries,
            turn,
            ..
        } = self;
        let next_offset = next_offset.max(tree.offset);
        let plan = commit::Plan::new(tree, changes, refusals)?;
        let logs = Logs {
            mentions,
            entries,
            turn,
        };
        commit::commit(tree, &plan, logs, next_offset)
    }
}
