//! Messages for a soak: of every status, duplicates, and what cannot be used, drawn from a seed.

use annotation::Role;
use rand::{Rng, RngExt};

use crate::common::{Event, Image};

const ROLES: [Role; 5] = [
    Role::Operator,
    Role::CompanionPC,
    Role::Validator,
    Role::Admin,
    Role::ApiAdmin,
];

/// `count` messages about a tenth as many annotations. Names come up in the order of time, so that all statuses meet on
/// each; some are mentioned before they are created, many more than once.
pub(crate) fn drawn(count: usize, chance: &mut impl Rng) -> Vec<Event> {
    let names: Vec<&'static str> = (0..count.div_ceil(10).max(8))
        .map(|n| &*format!("cell-{n:06}").leak())
        .collect();
    (0..count)
        .map(|at| {
            let middle = at * names.len() / count;
            let from = middle.saturating_sub(6);
            let near = &names[from..(middle + 2).min(names.len())];
            draw(near, chance)
        })
        .collect()
}

fn draw(names: &[&'static str], chance: &mut impl Rng) -> Event {
    let name = |chance: &mut dyn FnMut(usize) -> usize| names[chance(names.len())];
    let mut below = |n: usize| chance.random_range(0..n);
    match below(100) {
        0..55 => Event::Annotation {
            edited: below(3) == 0,
            name: name(&mut below),
            role: ROLES[below(ROLES.len())],
            row: [None, Some(0), Some(1), Some(79)][below(4)],
            image: match below(10) {
                0 => Image::None,
                1 => Image::Text,
                _ => Image::Jpeg(below(200) as u8),
            },
        },
        55..92 => Event::Bulk {
            deleted: below(4) == 0,
            names: (0..below(5))
                .map(|_| match below(40) {
                    0 => "../cell",
                    _ => name(&mut below),
                })
                .collect(),
        },
        _ => Event::Garbage((0..below(60)).map(|_| below(256) as u8).collect()),
    }
}
