//! Augmentation: the fused pass against a plain one that builds the canvas, against OpenCV, and box by box.
#![expect(clippy::unwrap_used, reason = "test support may panic")]

mod common;

use annotation::Row;
use dataset::augment::{
    Affine, Augment, Canvas, Draws, Flips, Geometry, HsvShift, LabelledBox, Matrix, Mixup, Mosaic, Scratch,
    Source, apply, is_kept, warp,
};
use dataset::decode::Image;
use dataset::letterbox::{BACKGROUND, Size};
use dataset::rng::{Purpose, stream};
use proptest::prelude::*;

// ---- against OpenCV ------------------------------------------------------------------------------------------------

fn matrix_of(case: &serde_json::Value) -> [[f64; 3]; 3] {
    serde_json::from_value(case["matrix"].clone()).unwrap()
}

fn inverse(m: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let minor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r) / determinant))
}

#[test]
fn warping_is_within_one_level_of_opencv() {
    for case in common::cases("warp") {
        let (input, expected) = common::pictures(&case);
        let side = case["side"].as_u64().unwrap() as usize;
        let mut ours = vec![0; side * side * 3];
        let form = inverse(matrix_of(&case));
        warp(
            &Canvas::single(&input),
            Some(form),
            side,
            Flips::default(),
            &mut ours,
        );
        let (most, share) = common::difference(&ours, expected.pixels());
        assert!(
            most <= 1 && share < 0.01,
            "{case}: {most} levels, {share} of the samples"
        );
    }
}

#[test]
fn colours_shift_within_one_level_of_opencv() {
    for case in common::cases("hsv") {
        let (input, expected) = common::pictures(&case);
        let shift: [f64; 3] = serde_json::from_value(case["shift"].clone()).unwrap();
        let mut ours = input.into_pixels();
        HsvShift::new(shift).apply(&mut ours);
        let (most, share) = common::difference(&ours, expected.pixels());
        // OpenCV truncates in vectors and rounds in a row's tail: 53 pixels have one, 64 have none.
        let allowed = if case["input"] == "even.png" { 0.001 } else { 0.2 };
        assert!(
            most <= 1 && share < allowed,
            "{case}: {most} levels, {share} of the samples"
        );
    }
}

// ---- against the plain version -------------------------------------------------------------------------------------

/// The canvas as pixels: each image pasted where the mosaic puts it.
fn plain_canvas(images: &[&Image], mosaic: Option<&Mosaic>, imgsz: usize) -> (Vec<u8>, Size) {
    let Some(mosaic) = mosaic else {
        return (images[0].pixels().to_vec(), Size::of(images[0]));
    };
    let side = 2 * imgsz;
    let mut canvas = vec![BACKGROUND; side * side * 3];
    for (place, image) in images.iter().enumerate() {
        for y in 0..image.height() {
            for x in 0..image.width() {
                let left = if place % 2 == 0 { image.width() } else { 0 };
                let top = if place < 2 { image.height() } else { 0 };
                let cx = (x + mosaic.centre_x).checked_sub(left).filter(|&cx| cx < side);
                let cy = (y + mosaic.centre_y).checked_sub(top).filter(|&cy| cy < side);
                if let (Some(cx), Some(cy)) = (cx, cy) {
                    let from = (y * image.width() + x) * 3;
                    canvas[(cy * side + cx) * 3..][..3].copy_from_slice(&image.pixels()[from..from + 3]);
                }
            }
        }
    }
    (canvas, Size::square(side))
}

/// Bilinear in f64, four reads a pixel, then the flips.
fn plain_warp(canvas: &[u8], size: Size, form: Option<[[f64; 3]; 3]>, side: usize, flips: Flips) -> Vec<u8> {
    let read = |x: f64, y: f64, c: usize| {
        let inside = (0.0..size.width as f64).contains(&x) && (0.0..size.height as f64).contains(&y);
        f64::from(if inside {
            canvas[(y as usize * size.width + x as usize) * 3 + c]
        } else {
            BACKGROUND
        })
    };
    let mut out = vec![BACKGROUND; side * side * 3];
    let Some(form) = form else { return out };
    for y in 0..side {
        for x in 0..side {
            let [u, v, w] = form.map(|[a, b, c]| a * x as f64 + b * y as f64 + c);
            let (u, v) = (u / w, v / w);
            let (i, j) = (u.floor(), v.floor());
            let to_x = if flips.horizontal { side - 1 - x } else { x };
            let to_y = if flips.vertical { side - 1 - y } else { y };
            for c in 0..3 {
                let upper = read(i, j, c) + (read(i + 1.0, j, c) - read(i, j, c)) * (u - i);
                let lower = read(i, j + 1.0, c) + (read(i + 1.0, j + 1.0, c) - read(i, j + 1.0, c)) * (u - i);
                out[(to_y * side + to_x) * 3 + c] = (upper + (lower - upper) * (v - j)).round() as u8;
            }
        }
    }
    out
}

fn assert_like_the_plain_version(geometry: &Geometry, images: &[Image], imgsz: usize, flips: Flips) {
    let images: Vec<&Image> = images.iter().collect();
    let (pixels, size) = plain_canvas(&images, geometry.mosaic.as_ref(), imgsz);
    let form = Matrix::new(&geometry.affine, size, imgsz).inverse();
    let canvas = match &geometry.mosaic {
        None => Canvas::single(images[0]),
        Some(mosaic) => Canvas::mosaic([images[0], images[1], images[2], images[3]], mosaic, imgsz),
    };
    let mut ours = vec![0; imgsz * imgsz * 3];
    warp(&canvas, form, imgsz, flips, &mut ours);
    let theirs = plain_warp(&pixels, size, form, imgsz, flips);
    let (most, share) = common::difference(&ours, &theirs);
    assert!(
        most <= 1,
        "{most} levels in {share} of the samples: {geometry:?}, {flips:?}"
    );
    // Differences of a whole level are rounding ties; more of them would be a wrong weight.
    assert!(share < 0.01, "{share} of the samples: {geometry:?}, {flips:?}");
}

fn images(sizes: [(usize, usize); 4]) -> Vec<Image> {
    (0u64..)
        .zip(sizes)
        .map(|(seed, (w, h))| common::noisy(w, h, seed))
        .collect()
}

fn any_affine(rotated: bool) -> impl Strategy<Value = Affine> {
    let degrees = if rotated { 180.0 } else { 0.0 };
    (
        -degrees..=degrees,
        0.4f64..1.9,
        -degrees / 9.0..=degrees / 9.0,
        (0.2f64..0.8, 0.2f64..0.8),
    )
        .prop_map(|(angle, scale, shear, translate)| Affine {
            angle,
            scale,
            shear: [shear, -shear / 2.0],
            translate: [translate.0, translate.1],
            ..Affine::CENTRED
        })
}

const IMGSZ: usize = 48;

fn any_mosaic() -> impl Strategy<Value = Mosaic> {
    (IMGSZ / 2..IMGSZ * 3 / 2, IMGSZ / 2..IMGSZ * 3 / 2).prop_map(|(centre_x, centre_y)| Mosaic {
        partners: [0; 3],
        centre_x,
        centre_y,
    })
}

fn any_sizes() -> impl Strategy<Value = [(usize, usize); 4]> {
    let size = || prop_oneof![(1usize..=IMGSZ, Just(IMGSZ)), (Just(IMGSZ), 1usize..=IMGSZ)];
    [size(), size(), size(), size()]
}

fn any_flips() -> impl Strategy<Value = Flips> {
    (any::<bool>(), any::<bool>()).prop_map(|(vertical, horizontal)| Flips { vertical, horizontal })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_scaled_mosaic_equals_the_warped_canvas(
        affine in any_affine(false), mosaic in any_mosaic(), sizes in any_sizes(), flips in any_flips(),
    ) {
        let geometry = Geometry { mosaic: Some(mosaic), affine };
        assert_like_the_plain_version(&geometry, &images(sizes), IMGSZ, flips);
    }

    #[test]
    fn a_rotated_mosaic_equals_the_warped_canvas(
        affine in any_affine(true), mosaic in any_mosaic(), sizes in any_sizes(), flips in any_flips(),
    ) {
        let geometry = Geometry { mosaic: Some(mosaic), affine };
        assert_like_the_plain_version(&geometry, &images(sizes), IMGSZ, flips);
    }

    #[test]
    fn a_single_image_equals_the_warped_canvas(
        rotated: bool, straight in any_affine(false), turned in any_affine(true),
        sizes in any_sizes(), flips in any_flips(),
    ) {
        let geometry = Geometry { mosaic: None, affine: if rotated { turned } else { straight } };
        assert_like_the_plain_version(&geometry, &images(sizes), IMGSZ, flips);
    }

    #[test]
    fn perspective_equals_the_warped_canvas(
        affine in any_affine(true), p in (-0.002f64..0.002, -0.002f64..0.002), mosaic in any_mosaic(),
        sizes in any_sizes(), flips in any_flips(),
    ) {
        let geometry = Geometry { mosaic: Some(mosaic), affine: Affine { perspective: [p.0, p.1], ..affine } };
        assert_like_the_plain_version(&geometry, &images(sizes), IMGSZ, flips);
    }
}

#[test]
fn right_angles_and_whole_shifts_are_exact_at_every_edge() {
    for angle in [0.0, 90.0, 180.0, -90.0] {
        for translate in [[0.5, 0.5], [0.25, 0.75], [1.5, 0.5]] {
            let mosaic = Some(Mosaic {
                partners: [0; 3],
                centre_x: 30,
                centre_y: 50,
            });
            let geometry = Geometry {
                mosaic,
                affine: Affine {
                    angle,
                    translate,
                    ..Affine::CENTRED
                },
            };
            let sizes = [(48, 20), (20, 48), (48, 48), (1, 48)];
            assert_like_the_plain_version(&geometry, &images(sizes), IMGSZ, Flips::default());
        }
    }
}

// ---- what a sample is made of --------------------------------------------------------------------------------------

fn plain_draws() -> Draws {
    let geometry = Geometry {
        mosaic: None,
        affine: Affine::CENTRED,
    };
    Draws {
        geometry,
        mixup: None,
        hsv: None,
        flips: Flips::default(),
    }
}

fn run(draws: &Draws, sources: &[(Image, Vec<Row>)], imgsz: usize) -> (Vec<u8>, Vec<LabelledBox>) {
    let sources: Vec<Source<'_>> = sources
        .iter()
        .map(|(image, rows)| Source { image, rows })
        .collect();
    let (mut out, mut boxes) = (vec![0; imgsz * imgsz * 3], Vec::new());
    apply(
        draws,
        &sources,
        imgsz,
        &mut out,
        &mut boxes,
        &mut Scratch::default(),
    );
    (out, boxes)
}

fn row(class: u8, cx: f32, cy: f32, w: f32, h: f32) -> Row {
    Row::new(class, cx, cy, w, h).unwrap()
}

#[test]
fn without_draws_the_image_is_centred_and_its_box_follows() {
    let image = common::noisy(64, 32, 1);
    let sources = [(image.clone(), vec![row(3, 0.5, 0.5, 0.5, 0.5)])];
    let (out, boxes) = run(&plain_draws(), &sources, 64);
    assert!(out[..16 * 64 * 3].iter().all(|&p| p == BACKGROUND));
    assert_eq!(&out[16 * 64 * 3..48 * 64 * 3], image.pixels());
    assert!(out[48 * 64 * 3..].iter().all(|&p| p == BACKGROUND));
    assert_eq!(
        boxes,
        [LabelledBox {
            class: 3,
            xyxy: [16.0, 24.0, 48.0, 40.0]
        }]
    );
}

#[test]
fn flips_mirror_pixels_and_boxes() {
    let image = common::noisy(64, 64, 1);
    let sources = [(image, vec![row(0, 0.25, 0.25, 0.25, 0.125)])];
    let (straight, _) = run(&plain_draws(), &sources, 64);
    let flips = Flips {
        vertical: true,
        horizontal: true,
    };
    let (turned, boxes) = run(
        &Draws {
            flips,
            ..plain_draws()
        },
        &sources,
        64,
    );
    let pixels = |samples: &[u8]| samples.chunks(3).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut reversed = pixels(&straight);
    reversed.reverse();
    assert_eq!(pixels(&turned), reversed);
    assert_eq!(
        boxes,
        [LabelledBox {
            class: 0,
            xyxy: [40.0, 44.0, 56.0, 52.0]
        }]
    );
}

#[test]
fn a_mosaic_places_each_images_boxes_by_its_corner_and_cuts_them_at_the_canvas() {
    let full = |class| vec![row(class, 0.5, 0.5, 1.0, 1.0)];
    let sources: Vec<_> = (0..4)
        .map(|i| (common::noisy(64, 64, u64::from(i)), full(i)))
        .collect();
    let mosaic = Some(Mosaic {
        partners: [1, 2, 3],
        centre_x: 48,
        centre_y: 80,
    });
    // Half the size: the whole canvas of 128 is in view.
    let affine = Affine {
        scale: 0.5,
        ..Affine::CENTRED
    };
    let (_, boxes) = run(
        &Draws {
            geometry: Geometry { mosaic, affine },
            ..plain_draws()
        },
        &sources,
        64,
    );
    let expected = [
        LabelledBox {
            class: 0,
            xyxy: [0.0, 8.0, 24.0, 40.0],
        },
        LabelledBox {
            class: 1,
            xyxy: [24.0, 8.0, 56.0, 40.0],
        },
        LabelledBox {
            class: 2,
            xyxy: [0.0, 40.0, 24.0, 64.0],
        },
        LabelledBox {
            class: 3,
            xyxy: [24.0, 40.0, 56.0, 64.0],
        },
    ];
    assert_eq!(boxes, expected);
}

#[test]
fn the_filter_drops_small_cut_and_thin_boxes() {
    assert!(is_kept([10.0, 10.0], [10.0, 10.0]));
    assert!(!is_kept([10.0, 10.0], [2.0, 10.0]), "sides must exceed 2 pixels");
    assert!(!is_kept([10.0, 10.0], [10.0, 2.0]));
    assert!(
        is_kept([100.0, 100.0], [10.1, 100.0]),
        "a little over a tenth is left"
    );
    assert!(
        !is_kept([100.0, 100.0], [9.9, 100.0]),
        "a little less than a tenth is left"
    );
    assert!(is_kept([297.0, 3.0], [297.0, 3.0]));
    assert!(!is_kept([303.0, 3.0], [303.0, 3.0]), "100 times as long as wide");
    assert!(!is_kept([10.0, 10.0], [f32::NAN, 10.0]));
}

#[test]
fn the_filter_compares_with_the_zoomed_size() {
    // Of a box zoomed to 121.6 pixels 35.2 are left on each axis: 8 % of its area, though 30 % of what it was before.
    let source = LabelledBox {
        class: 0,
        xyxy: [0.0, 0.0, 64.0, 64.0],
    };
    let zoomed = |translate| Affine {
        scale: 1.9,
        translate: [translate; 2],
        ..Affine::CENTRED
    };
    let kept = |affine: Affine| Matrix::new(&affine, Size::square(64), 64).transform(&source, 64);
    assert_eq!(kept(zoomed(0.5)).map(|b| b.xyxy), Some([0.0, 0.0, 64.0, 64.0]));
    assert_eq!(kept(zoomed(1.4)), None);
    assert!(kept(zoomed(1.3)).is_some(), "41.6 pixels are 12 %");
}

#[test]
fn mixup_blends_pixels_and_joins_boxes() {
    let flat = |value| Image::new(64, 64, vec![value; 64 * 64 * 3]).unwrap();
    let centre = |class| vec![row(class, 0.5, 0.5, 0.5, 0.5)];
    let sources = [(flat(200), centre(1)), (flat(100), centre(2))];
    let geometry = Geometry {
        mosaic: None,
        affine: Affine::CENTRED,
    };
    let mixup = Some(Mixup {
        partner: 1,
        geometry,
        lambda: 0.625,
    });
    let (out, boxes) = run(
        &Draws {
            mixup,
            ..plain_draws()
        },
        &sources,
        64,
    );
    assert!(
        out.iter().all(|&p| p == 162),
        "200 x 0.625 + 100 x 0.375 = 162.5, cut"
    );
    assert_eq!(boxes.iter().map(|b| b.class).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn missing_sources_leave_the_sample_untouched() {
    let (out, boxes) = run(&plain_draws(), &[], 32);
    assert!(out.iter().all(|&p| p == 0));
    assert!(boxes.is_empty());
}

// ---- draws ---------------------------------------------------------------------------------------------------------

fn draw(augment: &Augment, index: u64, mosaic: bool) -> Draws {
    Draws::sample(
        &mut stream(5, Purpose::Augment, 2, index),
        augment,
        10,
        640,
        mosaic,
    )
}

#[test]
fn the_same_key_gives_the_same_draws_and_another_gives_others() {
    let augment = Augment {
        mixup: 0.5,
        degrees: 10.0,
        ..Augment::default()
    };
    assert_eq!(draw(&augment, 3, true), draw(&augment, 3, true));
    assert_ne!(draw(&augment, 3, true), draw(&augment, 4, true));
}

#[test]
fn draws_stay_in_their_ranges_and_reach_both_ends() {
    let augment = Augment {
        degrees: 10.0,
        shear: 5.0,
        flipud: 0.5,
        ..Augment::default()
    };
    let draws: Vec<Draws> = (0..2000).map(|i| draw(&augment, i, true)).collect();
    let spread = |of: &dyn Fn(&Draws) -> f64| {
        let values = draws.iter().map(of);
        (
            values.clone().fold(f64::INFINITY, f64::min),
            values.fold(f64::NEG_INFINITY, f64::max),
        )
    };
    let check = |name: &str, (least, most): (f64, f64), low: f64, high: f64| {
        let slack = (high - low) * 0.01;
        assert!(
            low <= least && least < low + slack,
            "{name}: least {least}, range {low}..{high}"
        );
        assert!(
            high - slack < most && most <= high,
            "{name}: most {most}, range {low}..{high}"
        );
    };
    check("angle", spread(&|d| d.geometry.affine.angle), -10.0, 10.0);
    check("scale", spread(&|d| d.geometry.affine.scale), 0.5, 1.5);
    check("shear", spread(&|d| d.geometry.affine.shear[1]), -5.0, 5.0);
    check("translate", spread(&|d| d.geometry.affine.translate[0]), 0.4, 0.6);
    check("hue", spread(&|d| d.hsv.unwrap()[0]), -0.015, 0.015);
    check("saturation", spread(&|d| d.hsv.unwrap()[1]), -0.7, 0.7);
    check(
        "centre",
        spread(&|d| d.geometry.mosaic.unwrap().centre_x as f64),
        320.0,
        960.0,
    );
    for partner in 0..10 {
        assert!(
            draws
                .iter()
                .any(|d| d.geometry.mosaic.unwrap().partners[2] == partner)
        );
    }
    let flipped = draws.iter().filter(|d| d.flips.vertical).count();
    assert!((900..1100).contains(&flipped), "{flipped}");
}

#[test]
fn closed_mosaic_also_closes_mixup_and_leaves_the_rest() {
    let augment = Augment {
        mixup: 1.0,
        ..Augment::default()
    };
    let open = draw(&augment, 1, true);
    assert!(open.geometry.mosaic.is_some() && open.mixup.is_some());
    assert_eq!(open.items(7).count(), 8);
    let closed = draw(&augment, 1, false);
    assert!(closed.geometry.mosaic.is_none() && closed.mixup.is_none());
    assert!(closed.hsv.is_some());
    assert_eq!(closed.items(7).collect::<Vec<_>>(), [7]);
}

#[test]
fn mixup_weights_lie_around_one_half() {
    let augment = Augment {
        mixup: 1.0,
        ..Augment::default()
    };
    let lambdas: Vec<f64> = (0..1000)
        .map(|i| draw(&augment, i, true).mixup.unwrap().lambda)
        .collect();
    let mean = lambdas.iter().sum::<f64>() / 1000.0;
    let variance = lambdas.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 1000.0;
    assert!((mean - 0.5).abs() < 0.01, "{mean}");
    // Beta(a, a) has the variance 1 / (8 a + 4).
    assert!((variance - 1.0 / 260.0).abs() < 0.0006, "{variance}");
}

#[test]
fn hyper_parameters_out_of_range_are_named() {
    assert_eq!(Augment::default().check(), Ok(()));
    assert_eq!(Augment::none().check(), Ok(()));
    let error = Augment {
        hsv_s: -0.1,
        ..Augment::default()
    }
    .check()
    .unwrap_err();
    assert_eq!(error.to_string(), "augmentation: hsv_s = -0.1 is outside 0 to 1");
    assert!(
        Augment {
            degrees: f64::NAN,
            ..Augment::default()
        }
        .check()
        .is_err()
    );
}
