//! Whether two images show the same: a fingerprint of 256 bits, and all pairs of them that differ in a few bits.
//!
//! A fingerprint says where the picture gets brighter from left to right: it is averaged down to 17 x 16 cells, and a bit
//! is set where a cell is brighter than its left neighbour by more than [`STEP`] levels. So it hardly changes when an
//! image is compressed again, scaled, or made a little brighter; it does change when things in the picture move, when it
//! is cropped, turned or mirrored. Flat areas set no bit, so noise in them sets none either. A picture with few set bits
//! says too little: it has no fingerprint, and is like nothing but its own copy.
//!
//! Guarantee: the mapping from pixels to bits is stable for ever, since manifests keep fingerprints; golden values in the
//! tests hold it. The limit [`ALIKE`] was chosen from measured images, see docs/DATASETS.md.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decode::Image;

/// Two images are near-duplicates whose fingerprints differ in at most so many of the 256 bits.
pub const ALIKE: u32 = 10;

/// Cells beside each other, whose 16 differences are a row of bits.
const COLUMNS: usize = 17;
const ROWS: usize = 16;
/// Of a cell no more rows of pixels are looked at, evenly spread.
const ROWS_OF_CELL: usize = 8;
/// By so many of 256 levels a cell has to be brighter for its bit.
const STEP: u64 = 2;
/// A fingerprint with fewer set bits, or fewer unset ones, says too little.
const LEAST_BITS: u32 = 24;
/// The bits are looked up in so many parts: of two fingerprints that differ in at most [`ALIKE`] bits, one part at least is
/// equal.
const PARTS: usize = ALIKE as usize + 1;

/// What an image looks like from afar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Likeness([u64; 4]);

impl Likeness {
    /// Of an image; none where it is smaller than the cells, or too plain to be told from others.
    #[must_use]
    pub fn of(image: &Image) -> Option<Self> {
        if image.width() < COLUMNS || image.height() < ROWS {
            return None;
        }
        let mut bits = [0u64; 4];
        for row in 0..ROWS {
            let cells = brightness(image, row);
            for (column, pair) in cells.windows(2).enumerate() {
                let place = row * (COLUMNS - 1) + column;
                let brighter = u64::from(pair[1] > pair[0] + STEP * SCALE);
                bits[place / 64] |= brighter << (place % 64);
            }
        }
        let likeness = Self(bits);
        let set: u32 = bits.iter().map(|word| word.count_ones()).sum();
        (LEAST_BITS..=256 - LEAST_BITS).contains(&set).then_some(likeness)
    }

    /// In how many bits two differ.
    #[must_use]
    pub fn distance(self, other: Self) -> u32 {
        self.0
            .iter()
            .zip(other.0)
            .map(|(one, other)| (one ^ other).count_ones())
            .sum()
    }

    /// Reads what `Display` writes; none for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(is_digit) {
            return None;
        }
        let mut words = [0; 4];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u64::from_str_radix(text.get(index * 16..index * 16 + 16)?, 16).ok()?;
        }
        Some(Self(words))
    }

    /// Every [`PARTS`]th bit from `part` on: a part looks at the whole picture, so that a plain sky alone makes none equal.
    fn part(self, part: usize) -> u32 {
        let bit = |place: usize| (self.0[place / 64] >> (place % 64) & 1) as u32;
        (part..256)
            .step_by(PARTS)
            .fold(0, |key, place| key << 1 | bit(place))
    }
}

/// Units of [`brightness`] in one level.
const SCALE: u64 = 4 * 64;

/// The mean brightness of the cells of a row, each a weighted sum of red, green twice and blue.
fn brightness(image: &Image, row: usize) -> [u64; COLUMNS] {
    let (top, bottom) = (row * image.height() / ROWS, (row + 1) * image.height() / ROWS);
    let step = (bottom - top).div_ceil(ROWS_OF_CELL);
    let edges: [usize; COLUMNS + 1] = std::array::from_fn(|column| column * image.width() / COLUMNS);
    let mut sums = [0u64; COLUMNS];
    let mut rows = 0;
    for y in (top..bottom).step_by(step) {
        rows += 1;
        let pixels = image.row(y);
        for (sum, edge) in sums.iter_mut().zip(edges.windows(2)) {
            let cell = pixels.get(edge[0] * 3..edge[1] * 3).unwrap_or_default();
            let (rgb, _) = cell.as_chunks::<3>();
            *sum += rgb
                .iter()
                .map(|[r, g, b]| u32::from(*r) + 2 * u32::from(*g) + u32::from(*b))
                .map(u64::from)
                .sum::<u64>();
        }
    }
    for (sum, edge) in sums.iter_mut().zip(edges.windows(2)) {
        *sum = *sum * (SCALE / 4) / (rows * (edge[1] - edge[0])).max(1) as u64;
    }
    sums
}

/// Tells of every two near-duplicates among these, or of enough of them that all that are linked by such pairs are linked.
///
/// Each part of a fingerprint is sorted, and only those with an equal part are compared: with 100,000 images that differ, a
/// fraction of a second.
pub fn near_duplicates(likenesses: &[(usize, Likeness)], mut found: impl FnMut(usize, usize)) {
    let mut first: HashMap<Likeness, usize> = HashMap::with_capacity(likenesses.len());
    let mut different = Vec::with_capacity(likenesses.len());
    for &(index, likeness) in likenesses {
        match first.get(&likeness) {
            Some(&same) => found(same, index),
            None => {
                first.insert(likeness, index);
                different.push((index, likeness));
            }
        }
    }
    for part in 0..PARTS {
        let mut keyed: Vec<(u32, usize, Likeness)> = different
            .iter()
            .map(|&(index, likeness)| (likeness.part(part), index, likeness))
            .collect();
        keyed.sort_unstable_by_key(|&(key, index, _)| (key, index));
        for equal in keyed.chunk_by_mut(|one, other| one.0 == other.0) {
            link(equal, &mut found);
        }
    }
}

/// Tells of near-duplicates among these until all that are linked by such pairs are linked. What was told of is compared with
/// nothing again but what is still alone, so that frames of a camera that stands still, all alike, cost one look each.
fn link(equal: &mut [(u32, usize, Likeness)], found: &mut impl FnMut(usize, usize)) {
    // Up to `linked` they are told of, up to `compared` of these they were compared with all behind.
    let (mut compared, mut linked) = (0, 1);
    while compared < equal.len() {
        let (_, one, likeness) = equal[compared];
        let alone = linked..equal.len();
        for place in alone {
            let (_, other, candidate) = equal[place];
            if likeness.distance(candidate) <= ALIKE {
                found(one, other);
                equal.swap(linked, place);
                linked += 1;
            }
        }
        compared += 1;
        linked = linked.max(compared + 1);
    }
}

impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl Serialize for Likeness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Likeness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a likeness is 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patches of grey in a pattern of the seed's.
    fn picture(seed: usize, width: usize, height: usize, level: impl Fn(u8) -> u8) -> Image {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x * 17 / width, y * 16 / height)));
        let grey = pixels.map(|(x, y)| (((x * 31 + y * 57 + seed * x * (y + 3)) * 2_654_435) >> 8) as u8);
        let samples = grey.flat_map(|grey| [level(grey); 3]).collect();
        Image::new(width, height, samples).unwrap()
    }

    fn likeness(image: &Image) -> Likeness {
        Likeness::of(image).unwrap()
    }

    #[test]
    fn the_bits_are_stable_for_ever() {
        // If this fails, the code is wrong, not the number: fingerprints are kept in manifests. It comes from a second
        // implementation, in Python, written from the documentation above.
        let likeness = likeness(&picture(1, 170, 160, |grey| grey));
        assert_eq!(likeness.to_string(), GOLDEN);
        assert_eq!(Likeness::parse(GOLDEN), Some(likeness));
        for bad in ["", &GOLDEN[1..], &GOLDEN.to_uppercase().replace('0', "G")] {
            assert_eq!(Likeness::parse(bad), None, "{bad}");
        }
    }

    const GOLDEN: &str = "2925efef9292feff2524dfdf9252fdfd2492dfbe9249fdfb2492df7d9249fbf7";

    #[test]
    fn the_same_picture_in_another_size_or_a_little_brighter_is_alike_and_another_is_not() {
        let original = likeness(&picture(1, 340, 320, |grey| grey / 2));
        for other in [
            picture(1, 170, 160, |grey| grey / 2),
            picture(1, 340, 320, |grey| grey / 2 + 20),
        ] {
            assert!(original.distance(likeness(&other)) <= ALIKE);
        }
        let other = likeness(&picture(2, 340, 320, |grey| grey / 2));
        assert!(original.distance(other) > 4 * ALIKE);
    }

    #[test]
    fn what_is_plain_or_smaller_than_the_cells_has_none() {
        assert_eq!(Likeness::of(&picture(1, 340, 320, |_| 128)), None);
        // Noise of one level up and down is still plain.
        assert_eq!(Likeness::of(&picture(1, 340, 320, |grey| 128 + grey % 3)), None);
        assert_eq!(Likeness::of(&picture(1, 16, 320, |grey| grey)), None);
        assert_eq!(Likeness::of(&picture(1, 340, 15, |grey| grey)), None);
    }

    #[test]
    fn twenty_thousand_frames_of_a_camera_that_stands_still_are_linked_in_no_time() {
        // All differ, and any two in at most four bits.
        let frames: Vec<(usize, Likeness)> = (0..256_usize)
            .flat_map(|one| (one + 1..256).map(move |other| [one, other]))
            .take(20_000)
            .map(|flips| {
                let mut words = [0x5a5a_a5a5_3c3c_c3c3; 4];
                flips.iter().for_each(|bit| words[bit / 64] ^= 1 << (bit % 64));
                Likeness(words)
            })
            .enumerate()
            .collect();
        let mut told = 0;
        near_duplicates(&frames, |_, _| told += 1);
        // In each part nearly all are equal, and each but the first of these is told of once.
        assert!((frames.len() - 1..PARTS * frames.len()).contains(&told), "{told}");
    }

    proptest::proptest! {
        #[test]
        fn all_that_pairs_within_the_limit_link_is_linked_and_no_other_pair_is_told_of(
            words: [u64; 4],
            flips in proptest::collection::vec(proptest::collection::btree_set(0usize..256, 0..25), 1..12),
        ) {
            let flipped = flips.iter().map(|flips| {
                let mut words = words;
                flips.iter().for_each(|bit| words[bit / 64] ^= 1 << (bit % 64));
                Likeness(words)
            });
            let all: Vec<(usize, Likeness)> = flipped.enumerate().collect();
            // The group of each, by its least member: joined as told, and as every pair within the limit says.
            let mut told: Vec<usize> = (0..all.len()).collect();
            let mut linked = told.clone();
            let join = |groups: &mut Vec<usize>, one: usize, other: usize| {
                let (from, to) = (groups[one].max(groups[other]), groups[one].min(groups[other]));
                groups.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
            };
            near_duplicates(&all, |one, other| {
                assert!(all[one].1.distance(all[other].1) <= ALIKE, "{one} and {other} are not alike");
                join(&mut told, one, other);
            });
            for (at, &(_, one)) in all.iter().enumerate() {
                for &(other_at, other) in &all[at + 1..] {
                    if one.distance(other) <= ALIKE {
                        join(&mut linked, at, other_at);
                    }
                }
            }
            proptest::prop_assert_eq!(told, linked);
        }
    }
}
