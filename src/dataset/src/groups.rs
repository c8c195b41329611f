//! Images that belong together: of one source media, near-duplicates, or copies. What belongs to the same belongs together.

use std::collections::HashMap;
use std::hash::Hash;

use crate::likeness::{self, Likeness};
use crate::manifest::{Grouping, ManifestItem};

/// What can be told of an image without looking at it again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Features<'a> {
    /// SHA-256 of its file, in hex.
    pub sha256: &'a str,
    pub likeness: Option<Likeness>,
    pub media: Option<store::Media>,
}

impl<'a> Features<'a> {
    pub fn of(item: &'a ManifestItem) -> Self {
        Self {
            sha256: &item.image_sha256,
            likeness: item.likeness,
            media: item.media,
        }
    }
}

/// A partition of `0..n` (a forest of disjoint sets).
#[derive(Debug)]
pub(crate) struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    /// Everything by itself.
    pub fn apart(n: usize) -> Self {
        Self {
            parents: (0..n).collect(),
        }
    }

    /// Together what belongs together; an image of which nothing is known is by itself.
    pub fn by(grouping: Grouping, images: &[Option<Features<'_>>]) -> Self {
        let mut groups = Self::apart(images.len());
        let known = || {
            let numbered = images.iter().enumerate();
            numbered.filter_map(|(index, features)| Some((index, (*features)?)))
        };
        if grouping == Grouping::Media {
            groups.join_equal(known().filter_map(|(index, features)| Some((index, features.media?))));
        }
        if grouping != Grouping::Nothing {
            groups.join_equal(known().map(|(index, features)| (index, features.sha256)));
            let likenesses: Vec<_> = known()
                .filter_map(|(index, features)| Some((index, features.likeness?)))
                .collect();
            likeness::near_duplicates(&likenesses, |one, other| groups.join(one, other));
        }
        groups
    }

    fn join_equal<K: Eq + Hash>(&mut self, keyed: impl Iterator<Item = (usize, K)>) {
        let mut first = HashMap::new();
        for (index, key) in keyed {
            let with = *first.entry(key).or_insert(index);
            self.join(with, index);
        }
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        // The lesser is the root, so what a group is called does not depend on the order of the joins.
        self.parents[one.max(other)] = one.min(other);
    }

    /// The group of an image, by its least member.
    pub fn of(&mut self, index: usize) -> usize {
        let mut at = index;
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image<'a>(sha256: &'a str, media: Option<&str>) -> Option<Features<'a>> {
        let media = media.and_then(store::Media::of);
        Some(Features {
            sha256,
            likeness: None,
            media,
        })
    }

    #[test]
    fn what_belongs_to_the_same_belongs_together() {
        let images = [
            image("1", Some("film")),
            image("2", None),
            None,
            image("2", Some("film")),
            image("3", None),
        ];
        let groups = |grouping| {
            let mut groups = Groups::by(grouping, &images);
            (0..images.len())
                .map(|index| groups.of(index))
                .collect::<Vec<_>>()
        };
        assert_eq!(groups(Grouping::Media), [0, 0, 2, 0, 4]);
        assert_eq!(groups(Grouping::Likeness), [0, 1, 2, 1, 4]);
        assert_eq!(groups(Grouping::Nothing), [0, 1, 2, 3, 4]);
    }
}
