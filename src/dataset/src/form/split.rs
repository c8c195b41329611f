//! Which annotation goes where (DST-1).

use std::collections::BTreeSet;

use annotation::Name;

use crate::manifest::{ManifestItem, Split};
use crate::rng::{self, Purpose};

/// A division by lists of names, as published datasets come with.
///
/// Without a list for test, what is in neither of the others goes there. With all three, names in no list are left
/// out of the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedSplit {
    train: BTreeSet<Name>,
    valid: BTreeSet<Name>,
    test: Option<BTreeSet<Name>>,
}

impl FixedSplit {
    /// A division by these lists, in which no name may be in two.
    pub fn new(
        train: BTreeSet<Name>,
        valid: BTreeSet<Name>,
        test: Option<BTreeSet<Name>>,
    ) -> Result<Self, SplitError> {
        for (split, names) in [(Split::Train, &train), (Split::Valid, &valid)] {
            if names.is_empty() {
                return Err(SplitError::EmptyList { split });
            }
        }
        let fixed = Self { train, valid, test };
        let lists = fixed.lists();
        for (i, (one, names)) in lists.iter().enumerate() {
            for (other, others) in &lists[i + 1..] {
                if let Some(name) = names.intersection(others).next() {
                    return Err(SplitError::Twice {
                        name: name.clone(),
                        one: *one,
                        other: *other,
                    });
                }
            }
        }
        Ok(fixed)
    }

    fn lists(&self) -> Vec<(Split, &BTreeSet<Name>)> {
        let two = [(Split::Train, &self.train), (Split::Valid, &self.valid)];
        two.into_iter()
            .chain(self.test.as_ref().map(|test| (Split::Test, test)))
            .collect()
    }

    /// Where a name goes; `None` if nowhere.
    fn of(&self, name: &Name) -> Option<Split> {
        let listed = self
            .lists()
            .into_iter()
            .find(|(_, names)| names.contains(name))
            .map(|(split, _)| split);
        listed.or(if self.test.is_none() {
            Some(Split::Test)
        } else {
            None
        })
    }
}

/// Why a fixed division cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A list that must hold something does not.
    #[error("the list of names for {split} is empty: train and valid need at least one name each")]
    EmptyList {
        /// Its split.
        split: Split,
    },
    /// A name that would be learned from and judged by.
    #[error("{name} is listed for {one} and for {other}: remove it from one of the lists")]
    Twice {
        /// The name.
        name: Name,
        /// One split.
        one: Split,
        /// The other.
        other: Split,
    },
    /// The lists and the annotations have too little in common.
    #[error("no annotation is in the list for {split}: the lists are not of these annotations")]
    NoneOf {
        /// The split that would be empty.
        split: Split,
    },
}

/// The items, each with its split.
pub(super) struct Divided {
    pub items: Vec<ManifestItem>,
    /// Items that no list names.
    pub unlisted: usize,
    /// Names in the lists that are no item.
    pub absent: usize,
}

/// Divides the items, which are sorted by name.
pub(super) fn divide(
    items: Vec<ManifestItem>,
    seed: u64,
    fixed: Option<&FixedSplit>,
) -> Result<Divided, SplitError> {
    match fixed {
        None => Ok(Divided {
            items: by_seed(items, seed),
            unlisted: 0,
            absent: 0,
        }),
        Some(fixed) => by_lists(items, fixed),
    }
}

/// Shuffles and cuts.
fn by_seed(mut items: Vec<ManifestItem>, seed: u64) -> Vec<ManifestItem> {
    let (train, valid) = sizes(items.len());
    let order = rng::permutation(items.len(), seed, Purpose::Split, 0);
    for (place, item) in order.into_iter().enumerate() {
        items[item].split = match place {
            _ if place < train => Split::Train,
            _ if place < train + valid => Split::Valid,
            _ => Split::Test,
        };
    }
    items
}

/// How many of `n` go to train and to valid; the rest goes to test.
///
/// The cuts are at 70 % and 90 %, each rounded to the nearest item (halves up). So every share is at most one item off
/// its exact size, the three always add up, and valid has at least one item from n = 2 on.
fn sizes(n: usize) -> (usize, usize) {
    let train = (n * 7 + 5) / 10;
    let train_and_valid = (n * 9 + 5) / 10;
    (train, train_and_valid - train)
}

fn by_lists(items: Vec<ManifestItem>, fixed: &FixedSplit) -> Result<Divided, SplitError> {
    let all = items.len();
    let listed: usize = fixed.lists().iter().map(|(_, names)| names.len()).sum();
    let mut found = 0;
    let items: Vec<ManifestItem> = items
        .into_iter()
        .filter_map(|item| {
            let name = Name::new(&item.name).ok()?;
            found += usize::from(fixed.lists().iter().any(|(_, names)| names.contains(&name)));
            fixed.of(&name).map(|split| ManifestItem { split, ..item })
        })
        .collect();
    for split in [Split::Train, Split::Valid] {
        if !items.iter().any(|item| item.split == split) {
            return Err(SplitError::NoneOf { split });
        }
    }
    let (unlisted, absent) = (all - items.len(), listed - found);
    if unlisted > 0 {
        tracing::warn!(
            annotations = unlisted,
            "annotations left out: they are in none of the lists"
        );
    }
    if absent > 0 {
        tracing::warn!(names = absent, "the lists name annotations that are not there");
    }
    Ok(Divided {
        items,
        unlisted,
        absent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cuts_are_at_70_and_90_percent_to_the_nearest_item() {
        for (n, expected) in [
            (0, (0, 0)),
            (1, (1, 0)),
            (2, (1, 1)),
            (3, (2, 1)),
            (5, (4, 1)),
            (10, (7, 2)),
            (100, (70, 20)),
            (364, (255, 73)),
        ] {
            assert_eq!(sizes(n), expected, "{n}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_share_is_within_one_item_of_its_size(n in 2usize..1_000_000) {
            let (train, valid) = sizes(n);
            let off = |share: usize, tenths: usize| (share * 10).abs_diff(n * tenths);
            proptest::prop_assert!(off(train, 7) <= 10 && off(valid, 2) <= 10 && off(n - train - valid, 1) <= 10);
            proptest::prop_assert!(valid >= 1 && train >= 1);
        }
    }

    fn names(list: &str) -> BTreeSet<Name> {
        list.split_whitespace()
            .map(|name| Name::new(name).unwrap())
            .collect()
    }

    #[test]
    fn a_name_is_in_one_list_at_most() {
        let error = FixedSplit::new(names("a b"), names("c"), Some(names("d b"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "b is listed for train and for test: remove it from one of the lists"
        );
        assert_eq!(
            FixedSplit::new(names("a"), names(""), None),
            Err(SplitError::EmptyList { split: Split::Valid })
        );
    }

    #[test]
    fn what_no_list_names_goes_to_test_unless_test_has_a_list() {
        let two = FixedSplit::new(names("a"), names("b"), None).unwrap();
        let three = FixedSplit::new(names("a"), names("b"), Some(names("c"))).unwrap();
        let other = Name::new("other").unwrap();
        assert_eq!((two.of(&other), three.of(&other)), (Some(Split::Test), None));
    }
}
