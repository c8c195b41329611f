//! Which annotation goes where (DST-1).
//!
//! Without lists a division is a function of the seed, the images and the earlier datasets, and of nothing else. An image
//! stays where it was. What is new goes where its group is; a group that is new as a whole draws its split, by the seed and
//! its own name, among those with room for it, so that the shares come as near to 70/20/10 as the groups allow. The largest
//! groups draw first, while there is room for them everywhere. docs/DATASETS.md says why.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use annotation::Name;
use rand::Rng;

use super::earlier::Earlier;
use crate::groups::{Features, Groups};
use crate::manifest::{Grouping, ManifestItem, Split, sha256};
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
    /// What was kept on one side.
    pub grouping: Grouping,
    /// Items that are where an earlier dataset had them.
    pub kept: usize,
    /// Groups that are on more than one side, since earlier datasets had them there.
    pub straddling: usize,
    /// Items that no list names.
    pub unlisted: Vec<Name>,
    /// Names in the lists that are no item.
    pub absent: usize,
}

/// An image as the division sees it.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    /// Where the newest earlier dataset has it.
    was: Option<Split>,
    /// Whether it is to be divided: what only earlier datasets have just tells where its group is.
    is_here: bool,
    features: Option<Features<'a>>,
}

/// Divides the items, which are sorted by name.
pub(super) fn by_seed(mut items: Vec<ManifestItem>, seed: u64, earlier: Option<&Earlier>) -> Divided {
    let members = members(&items, earlier);
    let mut divided = (Grouping::Nothing, Vec::new(), 0);
    for grouping in [Grouping::Media, Grouping::Likeness, Grouping::Nothing] {
        let features: Vec<_> = members.iter().map(|member| member.features).collect();
        let mut groups = Groups::by(grouping, &features);
        let splits = assign(&members, &mut groups, seed);
        let straddling = straddling(&splits, &mut groups);
        divided = (grouping, splits, straddling);
        // Of one film alone nothing could be judged: then its frames are on both sides.
        if items.len() < 2
            || [Split::Train, Split::Valid]
                .iter()
                .all(|split| divided.1.contains(split))
        {
            break;
        }
    }
    let (grouping, splits, straddling) = divided;
    let kept = members
        .iter()
        .filter(|member| member.is_here && member.was.is_some())
        .count();
    for (item, split) in items.iter_mut().zip(splits) {
        item.split = split;
    }
    if grouping != Grouping::Media {
        tracing::warn!(
            kept_together = ?grouping,
            "nearly all images are of one source media, or alike: they are divided all the same, and validation says less"
        );
    }
    if straddling > 0 {
        tracing::warn!(
            groups = straddling,
            "images that belong together are on several sides, where earlier datasets had them: `azaion dataset lint` names them"
        );
    }
    Divided {
        items,
        grouping,
        kept,
        straddling,
        unlisted: Vec::new(),
        absent: 0,
    }
}

/// The items in their order, then what only earlier datasets have, by name.
fn members<'a>(items: &'a [ManifestItem], earlier: Option<&'a Earlier>) -> Vec<Member<'a>> {
    let mut members: Vec<Member<'_>> = items
        .iter()
        .map(|item| Member {
            name: &item.name,
            was: earlier.and_then(|earlier| earlier.split(&item.name)),
            is_here: true,
            features: Some(Features::of(item)),
        })
        .collect();
    let is_item = |name: &str| {
        items
            .binary_search_by(|item| item.name.as_str().cmp(name))
            .is_ok()
    };
    let mut departed: Vec<Member<'_>> = earlier
        .into_iter()
        .flat_map(Earlier::all)
        .filter(|(name, _)| !is_item(name))
        .map(|(name, known)| Member {
            name,
            was: Some(known.split),
            is_here: false,
            features: known.item().map(Features::of),
        })
        .collect();
    departed.sort_unstable_by_key(|member| member.name);
    members.append(&mut departed);
    members
}

/// A group as the division sees it.
struct Group<'a> {
    /// The least name in it.
    name: &'a str,
    /// Where its members were: the first of train, valid and test. A group that is on both sides already grows where it is
    /// learned from, so that no more of what is judged by has been seen.
    was: Option<Split>,
    /// Members without a split.
    new: Vec<usize>,
}

/// The split of every member that is here, in their order.
fn assign(members: &[Member<'_>], groups: &mut Groups, seed: u64) -> Vec<Split> {
    let here = members.iter().filter(|member| member.is_here).count();
    let mut room = Room::of(here);
    let mut splits = vec![Split::Train; here];
    let mut gathered: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for (index, member) in members.iter().enumerate() {
        let place = *places.entry(groups.of(index)).or_insert_with(|| {
            gathered.push(Group {
                name: member.name,
                was: None,
                new: Vec::new(),
            });
            gathered.len() - 1
        });
        let group = &mut gathered[place];
        group.name = group.name.min(member.name);
        group.was = group.was.into_iter().chain(member.was).min();
        match member.was {
            Some(was) if member.is_here => {
                splits[index] = was;
                room.take(was, 1);
            }
            None => group.new.push(index),
            Some(_) => {}
        }
    }
    let mut drawing = Vec::new();
    for group in gathered.into_iter().filter(|group| !group.new.is_empty()) {
        match group.was {
            Some(was) => {
                room.take(was, group.new.len());
                group.new.iter().for_each(|&index| splits[index] = was);
            }
            None => {
                let mut lot = lot(seed, group.name);
                drawing.push((Reverse(group.new.len()), lot.next_u64(), group, lot));
            }
        }
    }
    drawing.sort_by(|one, other| (one.0, one.1, one.2.name).cmp(&(other.0, other.1, other.2.name)));
    for (Reverse(size), _, group, mut lot) in drawing {
        let split = room.draw(size, &mut lot);
        room.take(split, size);
        group.new.iter().for_each(|&index| splits[index] = split);
    }
    splits
}

/// The random numbers of a group: a function of the seed and its name.
fn lot(seed: u64, name: &str) -> impl Rng {
    let key = sha256(name.as_bytes());
    let index = key
        .get(..16)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    rng::stream(seed, Purpose::Split, 1, index.unwrap_or_default())
}

/// How many images each split lacks; below zero where it has too many.
struct Room {
    shares: [i64; 3],
    left: [i64; 3],
}

impl Room {
    fn of(n: usize) -> Self {
        let (train, valid) = sizes(n);
        let shares = [train, valid, n - train - valid].map(|share| i64::try_from(share).unwrap_or(i64::MAX));
        Self { shares, left: shares }
    }

    fn take(&mut self, split: Split, size: usize) {
        self.left[split as usize] -= i64::try_from(size).unwrap_or(i64::MAX);
    }

    /// A split with room for so many, each as likely as it has room; where none has, the one that lacks the most of its share.
    fn draw(&self, size: usize, lot: &mut impl Rng) -> Split {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let with_room = || {
            Split::ALL
                .into_iter()
                .filter(|split| self.left[*split as usize] >= size)
        };
        let all: i64 = with_room().map(|split| self.left[split as usize]).sum();
        let mut at = i64::try_from(rng::below(lot, all.max(0) as u64)).unwrap_or_default();
        for split in with_room() {
            let left = self.left[split as usize];
            if at < left {
                return split;
            }
            at -= left;
        }
        let lacks = |split: Split| {
            let share = self.shares[split as usize].max(1);
            // In millionths: ties go to the first.
            (
                i128::from(self.left[split as usize]) * 1_000_000 / i128::from(share),
                Reverse(split),
            )
        };
        Split::ALL
            .into_iter()
            .max_by_key(|split| lacks(*split))
            .unwrap_or(Split::Train)
    }
}

/// How many groups are in more than one split.
fn straddling(splits: &[Split], groups: &mut Groups) -> usize {
    let mut first: HashMap<usize, Split> = HashMap::new();
    let mut across = BTreeSet::new();
    for (index, split) in splits.iter().enumerate() {
        let group = groups.of(index);
        if *first.entry(group).or_insert(*split) != *split {
            across.insert(group);
        }
    }
    across.len()
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

/// Divides the items by lists, whatever earlier datasets say.
pub(super) fn by_lists(items: Vec<ManifestItem>, fixed: &FixedSplit) -> Result<Divided, SplitError> {
    let listed: usize = fixed.lists().iter().map(|(_, names)| names.len()).sum();
    let mut found = 0;
    let mut unlisted = Vec::new();
    let mut divided = Vec::with_capacity(items.len());
    for item in items {
        let Ok(name) = Name::new(&item.name) else { continue };
        found += usize::from(fixed.lists().iter().any(|(_, names)| names.contains(&name)));
        match fixed.of(&name) {
            Some(split) => divided.push(ManifestItem { split, ..item }),
            None => unlisted.push(name),
        }
    }
    for split in [Split::Train, Split::Valid] {
        if !divided.iter().any(|item| item.split == split) {
            return Err(SplitError::NoneOf { split });
        }
    }
    let absent = listed - found;
    if !unlisted.is_empty() {
        tracing::warn!(
            annotations = unlisted.len(),
            "annotations left out: they are in none of the lists"
        );
    }
    if absent > 0 {
        tracing::warn!(names = absent, "the lists name annotations that are not there");
    }
    Ok(Divided {
        items: divided,
        grouping: Grouping::Nothing,
        kept: 0,
        straddling: 0,
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

    /// An image of a film; of none where `film` is 0.
    fn item(name: &str, film: u8) -> ManifestItem {
        ManifestItem {
            name: name.into(),
            split: Split::Train,
            image_sha256: sha256(name.as_bytes()),
            label_sha256: String::new(),
            width: 64,
            height: 48,
            boxes: 0,
            offset: None,
            time: None,
            role: None,
            media: (film > 0).then(|| store::Media::of(&film.to_string())).flatten(),
            likeness: None,
            image_file: None,
            label_file: None,
        }
    }

    fn alone(range: std::ops::Range<usize>) -> Vec<ManifestItem> {
        range.map(|index| item(&format!("cell-{index:05}"), 0)).collect()
    }

    fn counts(items: &[ManifestItem]) -> [usize; 3] {
        Split::ALL.map(|split| items.iter().filter(|item| item.split == split).count())
    }

    fn split_of(items: &[ManifestItem], name: &str) -> Split {
        items.iter().find(|item| item.name == name).unwrap().split
    }

    #[test]
    fn images_by_themselves_are_divided_70_20_10_to_the_image_and_so_are_later_ones() {
        let first = by_seed(alone(0..137), 7, None).items;
        assert_eq!(counts(&first), [96, 27, 14]);
        let second = by_seed(alone(0..1000), 7, Some(&Earlier::of([&first[..]]))).items;
        assert_eq!(counts(&second), [700, 200, 100]);
        assert_eq!(by_seed(alone(0..137), 7, None).items, first);
        assert_ne!(by_seed(alone(0..137), 8, None).items, first);
    }

    #[test]
    fn no_split_is_favoured_by_names_or_by_place() {
        // Of 3000 images in any thousand neighbours every split has about its share.
        let items = by_seed(alone(0..3000), 1, None).items;
        for thousand in items.chunks(1000) {
            let [train, valid, test] = counts(thousand);
            assert!(train.abs_diff(700) < 45 && valid.abs_diff(200) < 40 && test.abs_diff(100) < 30);
        }
    }

    #[test]
    fn what_links_two_sides_leaves_each_where_it_was_and_grows_where_it_is_learned_from() {
        let mut earlier = [item("a", 0), item("b", 0)];
        earlier[0].split = Split::Test;
        earlier[1].split = Split::Train;
        let now = vec![item("a", 1), item("b", 1), item("c", 1)];
        let divided = by_seed(now, 7, Some(&Earlier::of([&earlier[..]])));
        let splits: Vec<Split> = divided.items.iter().map(|item| item.split).collect();
        // Without one to be judged by, what belongs together would be divided, but not what was divided before.
        assert_eq!(&splits[..2], [Split::Test, Split::Train]);
        assert_eq!(divided.kept, 2);

        let mut more = alone(0..20);
        more.extend([item("a", 1), item("b", 1), item("c", 1)]);
        more.sort_by(|a, b| a.name.cmp(&b.name));
        let divided = by_seed(more, 7, Some(&Earlier::of([&earlier[..]])));
        assert_eq!(split_of(&divided.items, "a"), Split::Test);
        assert_eq!(split_of(&divided.items, "b"), Split::Train);
        assert_eq!(split_of(&divided.items, "c"), Split::Train);
        assert_eq!((divided.straddling, divided.grouping), (1, Grouping::Media));
    }

    #[test]
    fn a_copy_of_what_is_gone_goes_where_that_was() {
        let mut gone = item("before", 0);
        gone.split = Split::Test;
        let mut items = alone(0..30);
        items[3].image_sha256.clone_from(&gone.image_sha256);
        let divided = by_seed(items, 7, Some(&Earlier::of([&[gone][..]])));
        assert_eq!(divided.items[3].split, Split::Test);
        assert_eq!(counts(&divided.items), [21, 6, 3]);
    }

    #[test]
    fn of_one_film_alone_frames_are_on_both_sides_for_want_of_another() {
        let film: Vec<_> = (0..10).map(|index| item(&format!("frame-{index}"), 1)).collect();
        let divided = by_seed(film, 7, None);
        assert_eq!(counts(&divided.items), [7, 2, 1]);
        assert_eq!(divided.grouping, Grouping::Likeness);
    }

    proptest::proptest! {
        /// Batches of images, each of a film or of none, arrive; after each a dataset is formed.
        #[test]
        fn nothing_ever_moves_and_no_film_is_on_two_sides(
            batches in proptest::collection::vec(proptest::collection::vec(0u8..12, 1..40), 1..6),
            seed: u64,
        ) {
            let mut known: Vec<ManifestItem> = Vec::new();
            let mut earlier: Vec<ManifestItem> = Vec::new();
            let mut grouped = true;
            for (batch, films) in batches.iter().enumerate() {
                known.extend(films.iter().enumerate().map(|(at, film)| item(&format!("{batch}-{at:02}"), *film)));
                known.sort_by(|a, b| a.name.cmp(&b.name));
                let divided = by_seed(known.clone(), seed, Some(&Earlier::of([&earlier[..]])));
                proptest::prop_assert_eq!(divided.items.len(), known.len());
                for item in &earlier {
                    proptest::prop_assert_eq!(split_of(&divided.items, &item.name), item.split);
                }
                // A film that had to be on two sides stays there.
                grouped &= divided.grouping == Grouping::Media;
                if grouped {
                    let mut films: HashMap<_, Split> = HashMap::new();
                    for item in divided.items.iter().filter(|item| item.media.is_some()) {
                        proptest::prop_assert_eq!(*films.entry(item.media).or_insert(item.split), item.split);
                    }
                    proptest::prop_assert_eq!(divided.straddling, 0);
                }
                let [_, valid, _] = counts(&divided.items);
                proptest::prop_assert!(valid > 0 || known.len() < 2);
                earlier = divided.items;
            }
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
