//! What smells: rules over annotations that were read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use annotation::{Label, Row};

use super::{Finding, Kind, Seen};
use crate::groups::Groups;
use crate::manifest::{Grouping, Split};

/// A side of fewer pixels in the image is next to nothing: the detector's finest grid has a cell of 8.
const TINY_PX: f64 = 4.0;
/// Two boxes are in one place whose intersection is so much of their union.
const SAME_PLACE: f64 = 0.9;
/// A class is rare that has one box where the most frequent class has so many.
const RARE: usize = 100;

/// Everything that smells.
pub(super) fn smells(seen: &[Seen]) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.append(&mut duplicates(seen));
    findings.append(&mut leakage(seen));
    for one in seen {
        if let Some(label) = &one.label {
            findings.extend(tiny(one, label));
            findings.extend(double(one, label));
        }
    }
    findings.append(&mut classes(seen));
    findings
}

fn tiny(seen: &Seen, label: &Label) -> Option<Finding> {
    let image = seen.image.as_ref()?;
    let (width, height) = (image.width as f64, image.height as f64);
    let is_tiny = |row: &&Row| f64::from(row.w) * width < TINY_PX || f64::from(row.h) * height < TINY_PX;
    let count = label.rows.iter().filter(is_tiny).count();
    let what = format!("{} with a side below {TINY_PX} pixels", boxes(count));
    (count > 0).then(|| Finding::new(Kind::TinyBox, &seen.name, what))
}

fn double(seen: &Seen, label: &Label) -> Option<Finding> {
    let rows = &label.rows;
    let pairs = rows
        .iter()
        .enumerate()
        .flat_map(|(at, one)| rows.iter().skip(at + 1).map(move |other| (one, other)))
        .filter(|(one, other)| overlap(one, other) >= SAME_PLACE);
    let (mut same, mut other) = (0, 0);
    for (a, b) in pairs {
        if a.class == b.class {
            same += 1;
        } else {
            other += 1;
        }
    }
    let what = match (same, other) {
        (0, 0) => return None,
        (same, 0) => format!("{} of one class", pairs_of(same)),
        (0, other) => format!("{} of two classes", pairs_of(other)),
        (same, other) => format!("{} of one class, {} of two", pairs_of(same), pairs_of(other)),
    };
    Some(Finding::new(Kind::DoubleBox, &seen.name, what))
}

/// Intersection over union.
fn overlap(a: &Row, b: &Row) -> f64 {
    let side = |centre_a: f32, size_a: f32, centre_b: f32, size_b: f32| {
        let [ca, sa, cb, sb] = [centre_a, size_a, centre_b, size_b].map(f64::from);
        ((ca + sa / 2.0).min(cb + sb / 2.0) - (ca - sa / 2.0).max(cb - sb / 2.0)).max(0.0)
    };
    let common = side(a.cx, a.w, b.cx, b.w) * side(a.cy, a.h, b.cy, b.h);
    let area = |row: &Row| f64::from(row.w) * f64::from(row.h);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

/// Images with the same bytes, in one split or where there is none; across splits they are leakage.
fn duplicates(seen: &[Seen]) -> Vec<Finding> {
    let mut first: HashMap<(&str, Option<Split>), &Seen> = HashMap::new();
    let mut findings = Vec::new();
    for one in seen {
        let Some(image) = &one.image else { continue };
        match first.get(&(image.sha256.as_str(), one.split)) {
            Some(same) => {
                let what = format!("has the image of {}", same.name);
                findings.push(Finding::new(Kind::Duplicate, &one.name, what));
            }
            None => drop(first.insert((&image.sha256, one.split), one)),
        }
    }
    findings
}

/// Groups of images that are on several sides: near-duplicates, then frames of one source media.
fn leakage(seen: &[Seen]) -> Vec<Finding> {
    let features: Vec<_> = seen.iter().map(Seen::features).collect();
    let mut alike = Groups::by(Grouping::Likeness, &features);
    let by_likeness = across(seen, (0..seen.len()).map(|index| Some(alike.of(index))));
    let by_media = across(seen, seen.iter().map(|one| one.media));
    let tell = |what: &str, members: Vec<&Seen>| {
        let splits: BTreeSet<Split> = members.iter().filter_map(|one| one.split).collect();
        let examples: Vec<String> = splits
            .iter()
            .filter_map(|split| {
                let one = members.iter().find(|one| one.split == Some(*split))?;
                let count = members.iter().filter(|one| one.split == Some(*split)).count();
                let more = if count > 1 {
                    format!(" and {} more", count - 1)
                } else {
                    String::new()
                };
                Some(format!("{split}: {}{more}", one.name))
            })
            .collect();
        let place = members
            .first()
            .map_or_else(String::new, |one| one.name.to_string());
        Finding::new(Kind::Leakage, place, format!("{what}: {}", examples.join(", ")))
    };
    let alike = by_likeness
        .into_iter()
        .map(|members| tell("near-duplicates", members));
    let media = by_media
        .into_iter()
        .map(|members| tell("frames of one source media", members));
    alike.chain(media).collect()
}

/// The members of each group that is in more than one split.
fn across<K: Eq + std::hash::Hash>(
    seen: &[Seen],
    groups: impl Iterator<Item = Option<K>>,
) -> Vec<Vec<&Seen>> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut gathered: Vec<Vec<&Seen>> = Vec::new();
    for (one, group) in seen.iter().zip(groups) {
        let Some(group) = group else { continue };
        let place = *places.entry(group).or_insert_with(|| {
            gathered.push(Vec::new());
            gathered.len() - 1
        });
        gathered[place].push(one);
    }
    gathered.retain(|members| members.iter().any(|one| one.split != members[0].split));
    gathered
}

/// Boxes of a class, by split.
type Counted = BTreeMap<Option<Split>, usize>;

fn classes(seen: &[Seen]) -> Vec<Finding> {
    let mut counts: BTreeMap<u8, Counted> = BTreeMap::new();
    for one in seen {
        for row in one.label.iter().flat_map(|label| &label.rows) {
            *counts.entry(row.class).or_default().entry(one.split).or_default() += 1;
        }
    }
    let all = |counted: &Counted| counted.values().sum::<usize>();
    let most = counts.values().map(all).max().unwrap_or_default();
    let mut findings = Vec::new();
    for (class, counted) in &counts {
        let place = format!("class {class}");
        let count = all(counted);
        if count * RARE <= most {
            let what = format!("{} beside {most} of the most frequent class", boxes(count));
            findings.push(Finding::new(Kind::Imbalance, &place, what));
        }
        let of = |split| counted.get(&Some(split)).copied().unwrap_or_default();
        let judged = of(Split::Valid) + of(Split::Test);
        let what = match (of(Split::Train), judged) {
            (0, 1..) => format!("{} to be judged by, none to learn from", boxes(judged)),
            (learned @ 1.., _) if of(Split::Valid) == 0 => {
                format!("{} to learn from, none to be judged by", boxes(learned))
            }
            _ => continue,
        };
        findings.push(Finding::new(Kind::OneSided, &place, what));
    }
    findings
}

fn boxes(count: usize) -> String {
    match count {
        1 => "1 box".to_owned(),
        _ => format!("{count} boxes"),
    }
}

fn pairs_of(count: usize) -> String {
    match count {
        1 => "1 pair".to_owned(),
        _ => format!("{count} pairs"),
    }
}
