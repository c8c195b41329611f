//! Sizes, paddings and rectangular batches, with the examples of the specification.

mod common;

use dataset::letterbox::{
    BACKGROUND, Fit, Letterbox, Size, VALIDATION_PAD, loaded_size, rectangular_batches, rectangular_size,
};
use dataset::resize::Scratch;
use proptest::prelude::*;

fn size(width: usize, height: usize) -> Size {
    Size { width, height }
}

#[test]
fn loading_rounds_the_short_side_up() {
    assert_eq!(loaded_size(size(1280, 720), 640), size(640, 360));
    assert_eq!(loaded_size(size(1000, 333), 640), size(640, 214)); // 213.12
    assert_eq!(loaded_size(size(333, 1000), 640), size(214, 640));
    assert_eq!(loaded_size(size(100, 50), 640), size(640, 320));
    assert_eq!(loaded_size(size(640, 3), 640), size(640, 3));
    assert_eq!(loaded_size(size(20_000, 10), 640), size(640, 1));
}

#[test]
fn an_odd_padding_puts_the_extra_pixel_last() {
    let odd = Letterbox::new(size(640, 639), Size::square(640), Fit::Shrink);
    assert_eq!(
        (odd.top, odd.left, odd.content, odd.canvas),
        (0, 0, size(640, 639), Size::square(640))
    );
    let small = Letterbox::new(size(500, 333), Size::square(640), Fit::Shrink);
    assert_eq!((small.top, small.left, small.content), (153, 70, size(500, 333)));
    assert_eq!(small.canvas, Size::square(640));
}

#[test]
fn the_letterbox_rounds_half_to_even() {
    let content = |image| Letterbox::new(image, size(10, 64), Fit::Scale).content;
    assert_eq!(content(size(4, 1)), size(10, 2)); // 2.5
    assert_eq!(content(size(4, 3)), size(10, 8)); // 7.5
}

#[test]
fn prediction_pads_only_to_the_next_multiple_of_the_stride() {
    let wide = Letterbox::new(size(1280, 720), Size::square(640), Fit::Rectangle);
    assert_eq!((wide.canvas, wide.content), (size(640, 384), size(640, 360)));
    assert_eq!((wide.left, wide.top), (0, 12));
}

#[test]
fn validation_sizes_have_half_a_stride_of_room() {
    let wide = 720.0 / 1280.0;
    assert_eq!(rectangular_size(wide, wide, 640, VALIDATION_PAD), size(672, 384));
    assert_eq!(rectangular_size(1.0, 1.0, 640, VALIDATION_PAD), size(672, 672));
    assert_eq!(
        rectangular_size(wide, wide, 1280, VALIDATION_PAD),
        size(1312, 736)
    );
    assert_eq!(rectangular_size(wide, 2.0, 640, VALIDATION_PAD), size(672, 672));
    assert_eq!(
        rectangular_size(1.0 / wide, 1.0 / wide, 640, VALIDATION_PAD),
        size(384, 672)
    );
}

#[test]
fn batches_are_of_like_aspect_and_ties_keep_their_order() {
    let sizes = [
        size(100, 100),
        size(200, 100),
        size(100, 200),
        size(400, 200),
        size(50, 50),
    ];
    let batches = rectangular_batches(&sizes, 2, 64, VALIDATION_PAD);
    let members: Vec<_> = batches.iter().map(|(_, members)| members.clone()).collect();
    assert_eq!(members, [vec![1, 3], vec![0, 4], vec![2]]);
    assert_eq!(batches[0].0, size(96, 64));
}

#[test]
fn rendering_copies_the_image_and_pads_with_grey() {
    let image = common::noisy(20, 10, 3);
    let place = Letterbox::new(size(20, 10), size(32, 32), Fit::Shrink);
    let mut out = vec![0; place.canvas.bytes()];
    place.render(&image, &mut out, &mut Scratch::default());
    for y in 0..32 {
        for x in 0..32 {
            let inside = (6..26).contains(&x) && (11..21).contains(&y);
            let expected = if inside {
                &image.row(y - 11)[(x - 6) * 3..(x - 5) * 3]
            } else {
                &[BACKGROUND; 3]
            };
            assert_eq!(&out[(y * 32 + x) * 3..][..3], expected, "at {x}, {y}");
        }
    }
}

proptest! {
    #[test]
    fn a_letterbox_fills_its_target_and_holds_its_content(
        (w, h) in (1usize..3000, 1usize..3000), (tw, th) in (1usize..40, 1usize..40), shrink: bool,
    ) {
        let target = size(tw * 32, th * 32);
        let fit = if shrink { Fit::Shrink } else { Fit::Scale };
        let place = Letterbox::new(size(w, h), target, fit);
        prop_assert_eq!(place.canvas, target);
        prop_assert!(place.left + place.content.width <= target.width);
        prop_assert!(place.top + place.content.height <= target.height);
        let touches = place.content.width == target.width || place.content.height == target.height;
        prop_assert!(touches || (shrink && place.ratio == 1.0));
    }

    #[test]
    fn every_image_is_in_one_rectangular_batch(
        sides in prop::collection::vec((10usize..500, 10usize..500), 1..60), batch in 1usize..9,
    ) {
        let sizes: Vec<Size> = sides.iter().map(|&(w, h)| size(w, h)).collect();
        let batches = rectangular_batches(&sizes, batch, 320, VALIDATION_PAD);
        let mut members: Vec<usize> = batches.iter().flat_map(|(_, members)| members.clone()).collect();
        members.sort_unstable();
        prop_assert_eq!(members, (0..sizes.len()).collect::<Vec<_>>());
        // Every image of the batch fits at its loaded size.
        for (input, members) in batches {
            prop_assert!(input.width % 32 == 0 && input.height % 32 == 0);
            for i in members {
                let loaded = loaded_size(sizes[i], 320);
                prop_assert!(loaded.width <= input.width && loaded.height <= input.height);
            }
        }
    }
}
