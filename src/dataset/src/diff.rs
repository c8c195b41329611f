//! What is different between two datasets, by their manifests.

use std::cmp::Ordering;

use serde::Serialize;

use crate::manifest::{Manifest, ManifestItem, Split};

/// An image that is in both datasets, in two splits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// Where it was.
    pub from: Split,
    /// Where it is.
    pub to: Split,
}

/// What became of one dataset in another; names are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Only in the second.
    pub added: Vec<String>,
    /// Only in the first.
    pub removed: Vec<String>,
    /// In both, with other labels.
    pub relabelled: Vec<String>,
    /// In both, with another image under the same name.
    pub replaced: Vec<String>,
    /// In both, in another split.
    pub moved: Vec<Moved>,
    /// In both, in every respect the same.
    pub same: usize,
}

impl Diff {
    /// From `a` to `b`.
    #[must_use]
    pub fn of(a: &Manifest, b: &Manifest) -> Self {
        let mut diff = Self::default();
        let (mut before, mut after) = (a.items.iter().peekable(), b.items.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (Some(one), Some(other)) => one.name.cmp(&other.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return diff,
            };
            match order {
                Ordering::Less => diff.removed.extend(before.next().map(|item| item.name.clone())),
                Ordering::Greater => diff.added.extend(after.next().map(|item| item.name.clone())),
                Ordering::Equal => {
                    if let (Some(one), Some(other)) = (before.next(), after.next()) {
                        diff.compare(one, other);
                    }
                }
            }
        }
    }

    fn compare(&mut self, one: &ManifestItem, other: &ManifestItem) {
        let name = &one.name;
        let (relabelled, replaced, moved) = (
            one.label_sha256 != other.label_sha256,
            one.image_sha256 != other.image_sha256,
            one.split != other.split,
        );
        self.relabelled.extend(relabelled.then(|| name.clone()));
        self.replaced.extend(replaced.then(|| name.clone()));
        self.moved.extend(moved.then(|| Moved {
            name: name.clone(),
            from: one.split,
            to: other.split,
        }));
        self.same += usize::from(!(relabelled || replaced || moved));
    }
}
