//! What the disk holds: what processes see now, and what the next boot would find.
//!
//! The two are kept apart. The bytes of a file become durable with a sync of that file, the names in a folder with a sync of
//! that folder, and nothing else makes anything durable. Between syncs a disk may write whatever it likes, in any order: a
//! [`Cut`] decides what of it was written. Nodes are shared between copies until one of them changes, so that a copy at
//! every operation costs next to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rand::{Rng, RngExt};

/// The number of the root folder.
pub(super) const ROOT: u64 = 1;
/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// What a rename from one folder to another is to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renames {
    /// One step, as in a journal: it survives whole or not at all, and a sync of either folder makes all of it durable.
    Whole,
    /// Two changes, each durable with its own folder: after a cut the file may be in both folders, or in neither. POSIX
    /// promises no more.
    Torn,
}

/// What a power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// Nothing.
    Strict,
    /// Each change of a name with this probability, and of each file's bytes any mixture of old, new, zeros and garbage
    /// within what was written.
    Random(f64),
}

/// A file system's content.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) nodes: BTreeMap<u64, Arc<Node>>,
    next: u64,
    /// Changes of names that are not durable, oldest first.
    pending: Vec<Change>,
    /// The number of the next change.
    step: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) modified: SystemTime,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    File(FileNode),
    Folder(FolderNode),
    Link(PathBuf),
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode {
    pub(super) now: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// What was written since the last sync.
    written: Vec<Written>,
}

#[derive(Debug, Clone, Copy)]
enum Written {
    Bytes { at: usize, len: usize },
    Length(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct FolderNode {
    pub(super) now: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
}

#[derive(Debug, Clone)]
struct Change {
    folder: u64,
    name: OsString,
    to: Option<u64>,
    /// Changes of the same step survive together.
    step: u64,
}

impl Change {
    fn apply(&self, nodes: &mut BTreeMap<u64, Arc<Node>>) {
        if let Some(Kind::Folder(folder)) = nodes
            .get_mut(&self.folder)
            .map(|node| &mut Arc::make_mut(node).kind)
        {
            match self.to {
                Some(node) => drop(folder.durable.insert(self.name.clone(), node)),
                None => drop(folder.durable.remove(&self.name)),
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            nodes: BTreeMap::new(),
            next: ROOT,
            pending: Vec::new(),
            step: 0,
        };
        state.add(Kind::Folder(FolderNode::default()));
        state
    }
}

impl State {
    pub(super) fn node(&self, number: u64) -> Option<&Node> {
        self.nodes.get(&number).map(Arc::as_ref)
    }

    pub(super) fn file(&self, number: u64) -> Option<&FileNode> {
        match &self.node(number)?.kind {
            Kind::File(file) => Some(file),
            _ => None,
        }
    }

    pub(super) fn folder(&self, number: u64) -> Option<&FolderNode> {
        match &self.node(number)?.kind {
            Kind::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.folder(folder)?.now.get(name).copied()
    }

    /// How many bytes the files hold.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self
            .folders()
            .flat_map(|(_, folder)| folder.now.values().copied())
            .collect();
        named
            .iter()
            .filter_map(|number| self.file(*number))
            .map(|file| file.now.len() as u64)
            .sum()
    }

    /// How many names a node has.
    pub(super) fn names_of(&self, number: u64) -> u32 {
        let named = |folder: &FolderNode| folder.now.values().filter(|node| **node == number).count();
        self.folders().map(|(_, folder)| named(folder) as u32).sum()
    }

    /// A path of the node from the root; empty for the root and for what has no name.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        let mut names = Vec::new();
        let mut at = number;
        while at != ROOT
            && let Some((folder, name)) = self.folders().find_map(|(folder, node)| {
                node.now
                    .iter()
                    .find(|(_, to)| **to == at)
                    .map(|(name, _)| (folder, name))
            })
        {
            names.push(name);
            at = folder;
        }
        names.into_iter().rev().collect()
    }

    fn folders(&self) -> impl Iterator<Item = (u64, &FolderNode)> {
        self.nodes.iter().filter_map(|(number, node)| match &node.kind {
            Kind::Folder(folder) => Some((*number, folder)),
            _ => None,
        })
    }

    pub(super) fn add(&mut self, kind: Kind) -> u64 {
        let number = self.next;
        self.next += 1;
        self.nodes.insert(
            number,
            Arc::new(Node {
                kind,
                modified: SystemTime::now(),
            }),
        );
        number
    }

    /// Gives a name to a node, replacing what had it.
    pub(super) fn name(&mut self, folder: u64, name: &OsStr, to: Option<u64>) {
        self.step += 1;
        self.change(folder, name, to);
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), renames: Renames) {
        let Some(node) = self.find(from.0, from.1) else {
            return;
        };
        self.name(from.0, from.1, None);
        if renames == Renames::Torn {
            self.step += 1;
        }
        self.change(to.0, to.1, Some(node));
    }

    fn change(&mut self, folder: u64, name: &OsStr, to: Option<u64>) {
        if let Some(Kind::Folder(node)) = self.kind_mut(folder) {
            match to {
                Some(to) => drop(node.now.insert(name.to_owned(), to)),
                None => drop(node.now.remove(name)),
            }
        }
        self.pending.push(Change {
            folder,
            name: name.to_owned(),
            to,
            step: self.step,
        });
    }

    pub(super) fn write(&mut self, number: u64, at: usize, bytes: &[u8]) {
        if let Some(Kind::File(file)) = self.kind_mut(number) {
            let (end, now) = (at + bytes.len(), Arc::make_mut(&mut file.now));
            if now.len() < end {
                now.resize(end, 0);
            }
            if let Some(range) = now.get_mut(at..end) {
                range.copy_from_slice(bytes);
            }
            file.written.push(Written::Bytes { at, len: bytes.len() });
        }
    }

    pub(super) fn set_length(&mut self, number: u64, length: usize) {
        if let Some(Kind::File(file)) = self.kind_mut(number) {
            Arc::make_mut(&mut file.now).resize(length, 0);
            file.written.push(Written::Length(length));
        }
    }

    fn kind_mut(&mut self, number: u64) -> Option<&mut Kind> {
        let node = Arc::make_mut(self.nodes.get_mut(&number)?);
        node.modified = SystemTime::now();
        Some(&mut node.kind)
    }

    /// Makes a file's bytes durable.
    pub(super) fn sync_file(&mut self, number: u64) {
        if let Some(Kind::File(file)) = self
            .nodes
            .get_mut(&number)
            .map(|node| &mut Arc::make_mut(node).kind)
        {
            file.durable = Arc::clone(&file.now);
            file.written.clear();
        }
    }

    /// Makes a folder's names durable, and what hangs on them: the other half of a rename that is one step, and what happened
    /// to the same name before.
    pub(super) fn sync_folder(&mut self, folder: u64) {
        let mut synced: BTreeSet<usize> = BTreeSet::new();
        let mut found: Vec<usize> = (0..self.pending.len())
            .filter(|at| {
                self.pending
                    .get(*at)
                    .is_some_and(|change| change.folder == folder)
            })
            .collect();
        while let Some(at) = found.pop() {
            let Some(change) = self.pending.get(at).filter(|_| synced.insert(at)) else {
                continue;
            };
            found.extend(self.pending.iter().enumerate().filter_map(|(other, earlier)| {
                let same_name = other < at && earlier.folder == change.folder && earlier.name == change.name;
                (same_name || earlier.step == change.step).then_some(other)
            }));
        }
        let mut at = 0;
        let nodes = &mut self.nodes;
        self.pending.retain(|change| {
            let durable = synced.contains(&at);
            at += 1;
            if durable {
                change.apply(nodes);
            }
            !durable
        });
    }

    /// Everything is durable as it is now.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut state = self.clone();
        for change in std::mem::take(&mut state.pending) {
            change.apply(&mut state.nodes);
        }
        let numbers: Vec<u64> = state.nodes.keys().copied().collect();
        numbers.into_iter().for_each(|number| state.sync_file(number));
        state.reboot()
    }

    /// What the next boot finds.
    #[must_use]
    pub fn cut(&self, cut: Cut, chance: &mut impl Rng) -> Self {
        let mut state = self.clone();
        let pending = std::mem::take(&mut state.pending);
        if let Cut::Random(kept) = cut {
            let mut steps = BTreeMap::new();
            for change in &pending {
                if *steps
                    .entry(change.step)
                    .or_insert_with(|| chance.random_bool(kept))
                {
                    change.apply(&mut state.nodes);
                }
            }
            for node in state.nodes.values_mut() {
                if let Kind::File(file) = &node.kind
                    && !file.written.is_empty()
                {
                    let left = Arc::new(file.left(kept, chance));
                    if let Kind::File(file) = &mut Arc::make_mut(node).kind {
                        file.durable = left;
                    }
                }
            }
        }
        state.reboot()
    }

    /// What is durable is what there is; what cannot be reached is gone. A folder with two names, which a torn rename can leave,
    /// keeps the first.
    fn reboot(mut self) -> Self {
        let mut reached = BTreeSet::from([ROOT]);
        let mut ahead = vec![ROOT];
        while let Some(number) = ahead.pop() {
            let Some(Kind::Folder(folder)) = self.nodes.get(&number).map(|node| &node.kind) else {
                continue;
            };
            let mut folder = folder.clone();
            folder.durable.retain(|_, to| {
                let again = !reached.insert(*to);
                let is_folder = self.folder(*to).is_some();
                if is_folder && !again {
                    ahead.push(*to);
                }
                !(is_folder && again)
            });
            folder.now = folder.durable.clone();
            if let Some(node) = self.nodes.get_mut(&number) {
                Arc::make_mut(node).kind = Kind::Folder(folder);
            }
        }
        self.nodes.retain(|number, _| reached.contains(number));
        for node in self.nodes.values_mut() {
            if let Kind::File(file) = &node.kind
                && (!file.written.is_empty() || !Arc::ptr_eq(&file.now, &file.durable))
                && let Kind::File(file) = &mut Arc::make_mut(node).kind
            {
                file.now = Arc::clone(&file.durable);
                file.written.clear();
            }
        }
        self
    }
}

impl FileNode {
    /// What a disk may hold of a file that was written and not synced: a length it had or was about to have, and within what
    /// was written each sector old, new, zero or garbage. What was not written since the sync stays.
    fn left(&self, kept: f64, chance: &mut impl Rng) -> Vec<u8> {
        let mut lengths = vec![self.durable.len()];
        let mut longest = self.durable.len();
        for written in &self.written {
            longest = match written {
                Written::Bytes { at, len } => longest.max(at + len),
                Written::Length(length) => *length,
            };
            lengths.push(longest);
        }
        let (least, most) = lengths.iter().fold((usize::MAX, 0), |(least, most), length| {
            (least.min(*length), most.max(*length))
        });
        let length = if chance.random_bool(kept) {
            self.now.len()
        } else if chance.random_bool(0.5) {
            lengths
                .get(chance.random_range(0..lengths.len()))
                .copied()
                .unwrap_or(least)
        } else {
            chance.random_range(least..=most)
        };
        let mut left = (*self.durable).clone();
        left.resize(most.max(left.len()), 0);
        for written in &self.written {
            let (at, end) = match written {
                Written::Bytes { at, len } => (*at, at + len),
                // What was cut off may still be there, or be zeros.
                Written::Length(length) => (*length, most),
            };
            let mut from = at;
            while from < end {
                let to = ((from / SECTOR + 1) * SECTOR).min(end);
                self.sector(&mut left, from, to, kept, chance);
                from = to;
            }
        }
        left.truncate(length);
        left
    }

    fn sector(&self, left: &mut [u8], from: usize, to: usize, kept: f64, chance: &mut impl Rng) {
        // A sector may be torn too, at a byte: nothing here relies on a disk that writes sectors whole.
        let to = if chance.random_bool(0.1) {
            chance.random_range(from..=to)
        } else {
            to
        };
        let Some(range) = left.get_mut(from..to) else {
            return;
        };
        if chance.random_bool(kept) {
            for (byte, at) in range.iter_mut().zip(from..) {
                *byte = self.now.get(at).copied().unwrap_or(0);
            }
        } else {
            match chance.random_range(0..4) {
                0 => range.fill(0),
                1 => chance.fill(range),
                _ => {}
            }
        }
    }
}
