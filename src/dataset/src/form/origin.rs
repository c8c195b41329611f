//! Where the labels came from: what the ledger tells of the message that each was written by.
//!
//! An item has the offset, time and role of the message whose label it holds, byte for byte, so that a label that was edited
//! while the dataset was formed, or changed behind the queue's back, is never given another's origin. Without a ledger
//! datasets are formed all the same; what it would have told is then unknown.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use annotation::{Name, Role};
use store::ledger::{self, Entry, Event};
use store::{Digest, Media};

use crate::manifest::ManifestItem;

/// What the ledger tells of one annotation.
#[derive(Default)]
struct Told {
    labels: Vec<Written>,
    media: Option<Media>,
}

/// A label that was written.
struct Written {
    label: Digest,
    offset: Option<u64>,
    time: u64,
    role: Option<Role>,
}

/// What the ledger tells.
#[derive(Default)]
pub(super) struct Origins(HashMap<Name, Told>);

impl Origins {
    /// Reads the ledger of the tree. One that is absent or damaged tells what it can, and a log line says so.
    pub fn read(ledger: &Path) -> Self {
        let mut origins = Self::default();
        let reader = match ledger::read(ledger) {
            Ok(reader) => reader,
            Err(store::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                tracing::info!(ledger = %ledger.display(), "no ledger: offsets, roles and source media are unknown");
                return origins;
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger tells nothing: offsets, roles and source media are unknown");
                return origins;
            }
        };
        for entry in reader {
            match entry {
                Ok(entry) => origins.add(entry),
                Err(error) => {
                    tracing::warn!(%error, "the ledger tells nothing from there on: newer offsets, roles and source media are unknown");
                    break;
                }
            }
        }
        origins
    }

    fn add(&mut self, entry: Entry) {
        if !matches!(entry.event, Event::Created | Event::Edited | Event::Found) {
            return;
        }
        let told = self.0.entry(entry.name).or_default();
        told.media = entry.media.or(told.media);
        if let Some(label) = entry.label {
            told.labels.push(Written {
                label,
                offset: entry.offset,
                time: entry.time,
                role: entry.role,
            });
        }
    }

    /// Adds to an item what is told of it; `media` is what an earlier dataset knew, should the ledger be a new one.
    pub fn complete(&self, item: &mut ManifestItem, media: Option<Media>) {
        let told = Name::new(&item.name).ok().and_then(|name| self.0.get(&name));
        item.media = told.and_then(|told| told.media).or(media);
        let Some(label) = Digest::parse(item.label_sha256.as_bytes()) else {
            return;
        };
        let written = told.and_then(|told| told.labels.iter().rev().find(|written| written.label == label));
        if let Some(Written {
            offset, time, role, ..
        }) = written
        {
            item.offset = *offset;
            item.role = *role;
            item.time = i64::try_from(*time)
                .ok()
                .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        }
    }
}
