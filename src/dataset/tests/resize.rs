//! The fixed-point resize against OpenCV's, whose results are in tests/fixtures.

mod common;

use dataset::resize::{Scratch, resize, resize_reusing};
use proptest::prelude::*;

#[test]
fn resizing_is_bit_identical_to_opencv() {
    for case in common::cases("resize") {
        let (input, expected) = common::pictures(&case);
        let side = |name: &str| case[name].as_u64().unwrap() as usize;
        let ours = resize(&input, side("width"), side("height"));
        assert_eq!(
            common::difference(ours.pixels(), expected.pixels()),
            (0, 0.0),
            "{case}"
        );
    }
}

#[test]
fn a_size_of_zero_counts_as_one() {
    let image = common::noisy(5, 4, 1);
    assert_eq!(resize(&image, 0, 0), resize(&image, 1, 1));
}

/// The formula as it stands in the specification, sample by sample, with nothing reused.
fn by_the_formula(image: &dataset::decode::Image, width: usize, height: usize) -> Vec<u8> {
    let axis = |j: usize, n: usize, target: usize| {
        let f = ((j as f64 + 0.5) * (n as f64 / target as f64) - 0.5) as f32;
        (f.floor() as i64, f - f.floor())
    };
    let fixed = |x: f32| (x * 2048.0).round_ties_even() as i64;
    let mut out = Vec::new();
    for y in 0..height {
        let (j, fy) = axis(y, image.height(), height);
        for x in 0..width {
            let (mut i, mut fx) = axis(x, image.width(), width);
            if i < 0 {
                (i, fx) = (0, 0.0);
            }
            if i >= image.width() as i64 - 1 {
                (i, fx) = (image.width() as i64 - 1, 0.0);
            }
            for c in 0..3 {
                let at = |i: i64, j: i64| {
                    let i = i.clamp(0, image.width() as i64 - 1) as usize;
                    let j = j.clamp(0, image.height() as i64 - 1) as usize;
                    i64::from(image.row(j)[i * 3 + c])
                };
                let row = |j| fixed(1.0 - fx) * at(i, j) + fixed(fx) * at(i + 1, j);
                let sum = ((fixed(1.0 - fy) * (row(j) >> 4)) >> 16) + ((fixed(fy) * (row(j + 1) >> 4)) >> 16);
                out.push(((sum + 2) >> 2).clamp(0, 255) as u8);
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn any_size_follows_the_formula(
        (w, h) in (1usize..40, 1usize..40), (to_w, to_h) in (1usize..60, 1usize..60), seed: u64,
    ) {
        let image = common::noisy(w, h, seed);
        let ours = resize(&image, to_w, to_h);
        prop_assert_eq!(ours.pixels().to_vec(), by_the_formula(&image, to_w, to_h));
    }

    #[test]
    fn exactly_half_the_size_follows_the_formula((w, h) in (1usize..20, 1usize..20), seed: u64) {
        let image = common::noisy(2 * w, 2 * h, seed);
        let ours = resize(&image, w, h);
        prop_assert_eq!(ours.pixels().to_vec(), by_the_formula(&image, w, h));
    }

    #[test]
    fn reused_buffers_leave_no_trace(sizes in prop::collection::vec((1usize..30, 1usize..30), 2..5)) {
        let mut scratch = Scratch::default();
        for (i, &(w, h)) in sizes.iter().enumerate() {
            let image = common::noisy(17, 11, i as u64);
            prop_assert_eq!(resize_reusing(&image, w, h, &mut scratch), resize(&image, w, h));
        }
    }
}
