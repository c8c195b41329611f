//! What can be done for messages before their turn: they are decoded, and the files of new annotations written and synced.
//!
//! It asks the tree nothing and changes nothing in it, so it goes on while the batch before is made durable. Guarantee: a
//! prepared message does to the tree what it would have done unprepared.

use std::sync::{Mutex, PoisonError};

use annotation::{AnnotationStatus, DecodeError, Decoded, Limits, decode_shared};
use store::{Spool, Spooled, Tree};
use stream::{Batch, Message};

use crate::rules;

/// Prepares messages, on any thread.
#[derive(Debug, Clone)]
pub(crate) struct Preparer {
    limits: Limits,
    spool: Option<Spool>,
    /// What comes before this offset was read already, and is mostly found done.
    new_from: u64,
}

/// Messages with what could be done for them ahead.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) items: Vec<Item>,
    bytes: usize,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) message: Message,
    /// Taken by the first who applies it.
    pub(crate) decoded: Option<Result<Decoded, DecodeError>>,
    pub(crate) spooled: Option<Spooled>,
}

impl Preparer {
    pub(crate) fn new(tree: &Tree, limits: Limits) -> Self {
        Self {
            limits,
            spool: tree.spool(),
            new_from: tree.recorded(),
        }
    }

    pub(crate) fn prepare(&self, batch: Batch) -> Prepared {
        let bytes = bytes(&batch);
        let count = batch.messages.len();
        // An annotation is two files.
        let spool = self.spool.as_ref().filter(|spool| spool.pays_for(2 * count));
        let threads = spool.map_or(1, |spool| spool.threads(bytes / count.max(1)));
        let mut items: Vec<Item> = batch.messages.into_iter().map(Item::new).collect();
        self.prepare_each(&mut items, spool, threads);
        Prepared { items, bytes }
    }

    /// Makes durable what was written for them.
    pub(crate) fn sync(&self, mut prepared: Prepared) -> Prepared {
        if prepared.has_files()
            && let Some(spool) = &self.spool
        {
            spool.sync(prepared.items.iter_mut().map(|item| &mut item.spooled));
        }
        prepared
    }

    /// Takes care of all items, in up to `threads` threads of which this is one.
    fn prepare_each(&self, items: &mut [Item], spool: Option<&Spool>, threads: usize) {
        let others = 1..threads.min(items.len());
        let next = Mutex::new(items.iter_mut());
        let work = || {
            loop {
                let item = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(item) = item else { break };
                let decoded = decode_shared(&item.message.bytes, &self.limits);
                if let (Some(spool), Ok(decoded)) = (spool, &decoded)
                    && item.message.offset >= self.new_from
                {
                    item.spooled = spool_new(spool, decoded);
                }
                item.decoded = Some(decoded);
            }
        };
        std::thread::scope(|scope| {
            for _ in others {
                // If the machine has no thread left, the work is done by those there are.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
    }
}

/// Writes the files of what will be a new annotation, if nobody has its name.
fn spool_new(spool: &Spool, decoded: &Decoded) -> Option<Spooled> {
    let annotation::Message::Annotation(annotation) = &decoded.message else {
        return None;
    };
    let image = rules::usable_image(annotation).ok()??;
    match annotation.status {
        AnnotationStatus::Created => spool.annotation(&image, &annotation.label.to_string()),
        // It brings its image in case its name is unknown, and mostly it is known.
        AnnotationStatus::Edited => None,
    }
}

fn bytes(batch: &Batch) -> usize {
    batch.messages.iter().map(|message| message.bytes.len()).sum()
}

impl Prepared {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether files were written ahead.
    pub(crate) fn has_files(&self) -> bool {
        self.items.iter().any(|item| item.spooled.is_some())
    }

    /// Adds the messages that come next.
    pub(crate) fn append(&mut self, mut next: Self) {
        self.items.append(&mut next.items);
        self.bytes += next.bytes;
    }

    /// What a batch that goes on after these may hold; none if they are enough.
    pub(crate) fn room(&self, limits: stream::Limits) -> Option<stream::Limits> {
        let max_messages = limits
            .max_messages
            .checked_sub(self.items.len())
            .filter(|room| *room > 0)?;
        let max_bytes = limits
            .max_bytes
            .checked_sub(self.bytes)
            .filter(|room| *room > 0)?;
        Some(stream::Limits {
            max_messages,
            max_bytes,
        })
    }
}

impl Item {
    fn new(message: Message) -> Self {
        Self {
            message,
            decoded: None,
            spooled: None,
        }
    }

    /// The message, decoded; if need be once more.
    pub(crate) fn decoded(&mut self, limits: &Limits) -> Result<Decoded, DecodeError> {
        self.decoded
            .take()
            .unwrap_or_else(|| decode_shared(&self.message.bytes, limits))
    }
}
