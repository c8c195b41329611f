//! Image files of every kind that is read, whole and damaged.
#![expect(clippy::unwrap_used, reason = "test support may panic")]

mod common;

use std::io::Cursor;

use dataset::decode::{DecodeError, Detail, Image, decode, decode_detail, decode_strict, dimensions};
use image::{
    DynamicImage, ExtendedColorType, ImageBuffer, ImageEncoder, ImageFormat, Luma, LumaA, Rgb, Rgba,
};
use proptest::prelude::*;

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).unwrap();
    out.into_inner()
}

fn jpeg(image: &Image, quality: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality);
    let (width, height) = (image.width() as u32, image.height() as u32);
    encoder
        .write_image(image.pixels(), width, height, ExtendedColorType::Rgb8)
        .unwrap();
    out
}

fn rgb(image: &Image) -> ImageBuffer<Rgb<u8>, Vec<u8>> {
    ImageBuffer::from_raw(
        image.width() as u32,
        image.height() as u32,
        image.pixels().to_vec(),
    )
    .unwrap()
}

#[test]
fn lossless_formats_give_the_pixels_that_went_in() {
    let image = common::noisy(31, 17, 1);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        let bytes = encoded(rgb(&image), format);
        assert_eq!(decode_strict(&bytes).unwrap(), image, "{format:?}");
        assert_eq!(dimensions(&bytes).unwrap(), (31, 17), "{format:?}");
    }
}

#[test]
fn a_jpeg_gives_the_picture_within_its_quality() {
    let smooth = dataset::resize::resize(&common::noisy(6, 4, 1), 90, 60);
    let decoded = decode_strict(&jpeg(&smooth, 95)).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (90, 60));
    let (most, _) = common::difference(decoded.pixels(), smooth.pixels());
    assert!(most < 20, "{most}");
}

#[test]
fn sixteen_bits_keep_the_high_byte() {
    let wide: ImageBuffer<Rgb<u16>, _> =
        ImageBuffer::from_fn(2, 1, |x, _| Rgb([0x12ff, 0xff00, x as u16 * 0x80ff]));
    let image = decode(&encoded(wide, ImageFormat::Png)).unwrap();
    assert_eq!(image.pixels(), [0x12, 0xff, 0, 0x12, 0xff, 0x80]);
    let grey: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(1, 1, Luma([0x7fff]));
    assert_eq!(
        decode(&encoded(grey, ImageFormat::Png)).unwrap().pixels(),
        [0x7f; 3]
    );
}

#[test]
fn alpha_is_dropped_and_grey_spread() {
    let alpha: ImageBuffer<Rgba<u8>, _> = ImageBuffer::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
    assert_eq!(
        decode(&encoded(alpha, ImageFormat::Png)).unwrap().pixels(),
        [10, 20, 30]
    );
    let both: ImageBuffer<LumaA<u8>, _> = ImageBuffer::from_pixel(1, 1, LumaA([77, 9]));
    assert_eq!(
        decode(&encoded(both, ImageFormat::Png)).unwrap().pixels(),
        [77; 3]
    );
    let wide: ImageBuffer<Rgba<u16>, _> = ImageBuffer::from_pixel(1, 1, Rgba([0x0aff, 0x14ff, 0x1eff, 0]));
    assert_eq!(
        decode(&encoded(wide, ImageFormat::Png)).unwrap().pixels(),
        [10, 20, 30]
    );
    let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_pixel(16, 16, Luma([128]));
    let image = decode_strict(&encoded(grey, ImageFormat::Jpeg)).unwrap();
    assert!(image.pixels().iter().all(|&p| p.abs_diff(128) <= 1));
}

#[test]
fn a_cmyk_jpeg_looks_as_opencv_shows_it() {
    let [case] = &common::cases("decode")[..] else {
        panic!("one case")
    };
    let (ours, expected) = common::pictures(case);
    let (most, _) = common::difference(ours.pixels(), expected.pixels());
    assert!(most <= 6, "{most} levels");
}

/// A JPEG with an EXIF segment that holds nothing but the orientation.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [
        b'I',
        b'I',
        42,
        0,
        8,
        0,
        0,
        0, // little-endian, directory at 8
        1,
        0, // one entry
        0x12,
        0x01,
        3,
        0,
        1,
        0,
        0,
        0,
        orientation,
        0,
        0,
        0, // orientation, one 16-bit number
        0,
        0,
        0,
        0, // no further directory
    ];
    let length = (2 + 6 + tiff.len()) as u8;
    [
        &jpeg[..2],
        &[0xff, 0xe1, 0, length],
        b"Exif\0\0",
        &tiff,
        &jpeg[2..],
    ]
    .concat()
}

#[test]
fn exif_orientation_is_applied() {
    // Flat quarters, so that compression doesn't blur which is which.
    let quarters = [40u8, 90, 150, 210];
    let plain: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_fn(64, 32, |x, y| {
        Luma([quarters[usize::from(x >= 32) + 2 * usize::from(y >= 16)]])
    });
    let plain = encoded(plain, ImageFormat::Jpeg);
    let [tl, tr, bl, br] = [0, 1, 2, 3];
    // The quarters as seen, row by row, from the EXIF definition of where row 0 and column 0 belong.
    let seen = [
        (1, [tl, tr, bl, br]),
        (2, [tr, tl, br, bl]),
        (3, [br, bl, tr, tl]),
        (4, [bl, br, tl, tr]),
        (5, [tl, bl, tr, br]),
        (6, [bl, tl, br, tr]),
        (7, [br, tr, bl, tl]),
        (8, [tr, br, tl, bl]),
    ];
    for (orientation, expected) in seen {
        let bytes = with_orientation(&plain, orientation);
        let image = decode_strict(&bytes).unwrap();
        let sides = if orientation < 5 { (64, 32) } else { (32, 64) };
        assert_eq!(
            (image.width(), image.height()),
            sides,
            "orientation {orientation}"
        );
        assert_eq!(dimensions(&bytes).unwrap(), sides, "orientation {orientation}");
        let (w, h) = sides;
        let middles = [
            (w / 4, h / 4),
            (3 * w / 4, h / 4),
            (w / 4, 3 * h / 4),
            (3 * w / 4, 3 * h / 4),
        ];
        for ((x, y), quarter) in middles.into_iter().zip(expected) {
            let value = image.row(y)[3 * x];
            assert!(
                value.abs_diff(quarters[quarter]) < 8,
                "orientation {orientation}: {value} at {x}, {y}"
            );
        }
    }
}

#[test]
fn an_unknown_orientation_is_ignored() {
    let plain = jpeg(&common::noisy(16, 8, 1), 90);
    assert_eq!(dimensions(&with_orientation(&plain, 9)).unwrap(), (16, 8));
}

#[test]
fn a_truncated_jpeg_is_refused_strictly_and_read_in_part_otherwise() {
    let whole = jpeg(&common::noisy(128, 96, 2), 90);
    assert!(decode_strict(&whole).is_ok());
    for kept in [whole.len() / 2, whole.len() - 2, whole.len() - 1] {
        let cut = &whole[..kept];
        let error = decode_strict(cut).unwrap_err();
        assert!(
            matches!(error, DecodeError::Truncated { length } if length == kept),
            "{kept}: {error}"
        );
    }
    let half = decode(&whole[..whole.len() / 2]).unwrap();
    assert_eq!((half.width(), half.height()), (128, 96));
}

#[test]
fn a_jpeg_with_damaged_data_is_refused_even_if_its_end_is_there() {
    let mut bytes = jpeg(&common::noisy(128, 96, 2), 90);
    let middle = bytes.len() / 2;
    bytes.splice(middle..middle, [0xff, 0xc8, 0, 2]);
    assert!(matches!(
        decode_strict(&bytes),
        Err(DecodeError::Damaged { format: "JPEG", .. })
    ));
}

#[test]
fn the_end_marker_of_a_thumbnail_does_not_count() {
    let thumbnail = jpeg(&common::noisy(8, 8, 1), 50);
    let whole = jpeg(&common::noisy(64, 64, 2), 90);
    let length = ((thumbnail.len() + 2) as u16).to_be_bytes();
    let carrier = [&whole[..2], &[0xff, 0xe5], &length[..], &thumbnail, &whole[2..]].concat();
    assert!(decode_strict(&carrier).is_ok());
    let cut = &carrier[..carrier.len() - 2];
    assert!(matches!(decode_strict(cut), Err(DecodeError::Truncated { .. })));
}

#[test]
fn bytes_behind_the_end_of_a_jpeg_do_not_matter() {
    let mut bytes = jpeg(&common::noisy(16, 16, 2), 90);
    bytes.extend([0; 100]);
    assert!(decode_strict(&bytes).is_ok());
}

#[test]
fn truncated_files_of_the_other_formats_are_refused() {
    let image = rgb(&common::noisy(64, 64, 1));
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        let whole = encoded(image.clone(), format);
        assert!(decode(&whole[..whole.len() / 2]).is_err(), "{format:?}");
    }
}

#[test]
fn what_is_no_image_is_named_as_such() {
    for bytes in [&b""[..], b"GIF89a", b"not an image", &[0xff]] {
        let error = decode(bytes).unwrap_err();
        assert!(matches!(error, DecodeError::UnknownFormat), "{error}");
        assert!(dimensions(bytes).is_err());
    }
}

/// A PNG header that promises that many pixels, and no data.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let crc = chunk.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| {
            if c & 1 == 1 {
                0xedb8_8320 ^ (c >> 1)
            } else {
                c >> 1
            }
        })
    });
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        vec![0, 0, 0, 13],
        chunk,
        (!crc).to_be_bytes().to_vec(),
    ]
    .concat()
}

#[test]
fn a_header_that_promises_too_much_is_refused_before_anything_is_allocated() {
    let mut bytes = png_header(60_000, 60_000);
    bytes.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let error = decode(&bytes).unwrap_err();
    assert!(
        matches!(
            error,
            DecodeError::TooLarge {
                width: 60_000,
                height: 60_000
            }
        ),
        "{error}"
    );
}

#[test]
fn a_very_wide_image_is_read() {
    let wide = Image::new(20_000, 10, vec![128; 600_000]).unwrap();
    let image = decode_strict(&jpeg(&wide, 80)).unwrap();
    assert_eq!((image.width(), image.height()), (20_000, 10));
    assert_eq!(decode(&encoded(rgb(&wide), ImageFormat::Png)).unwrap(), wide);
}

#[test]
fn a_reused_buffer_leaves_no_trace() {
    let again = |bytes: &[u8]| decode_detail(bytes, Detail::Full, vec![9; 5000]).unwrap();
    let image = common::noisy(20, 20, 4);
    let bytes = encoded(rgb(&image), ImageFormat::Png);
    assert_eq!(again(&bytes).image, image);
    let jpeg = jpeg(&image, 90);
    assert_eq!(again(&jpeg).image, decode(&jpeg).unwrap());
}

// ---- at less detail ------------------------------------------------------------------------------------------------

fn at_side(bytes: &[u8], side: usize) -> dataset::decode::Decoded {
    decode_detail(bytes, Detail::LongSide(side), Vec::new()).unwrap()
}

/// The image with every `by` x `by` pixels made one, as far as there are that many.
fn means(image: &Image, by: usize) -> Image {
    let (width, height) = (image.width() / by, image.height() / by);
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width * 3 {
            let at = |i: usize| u32::from(image.row(y * by + i / by)[(x / 3 * by + i % by) * 3 + x % 3]);
            let sum: u32 = (0..by * by).map(at).sum();
            pixels.push((2 * sum / (by * by) as u32).div_ceil(2) as u8);
        }
    }
    Image::new(width, height, pixels).unwrap()
}

/// The part of `image` that is as large as `other`.
fn cut(image: &Image, other: &Image) -> Vec<u8> {
    let row = |y| &image.row(y)[..other.width() * 3];
    (0..other.height()).flat_map(row).copied().collect()
}

fn mean_difference(ours: &[u8], theirs: &[u8]) -> f64 {
    let sum: u32 = ours
        .iter()
        .zip(theirs)
        .map(|(&a, &b)| u32::from(a.abs_diff(b)))
        .sum();
    f64::from(sum) / ours.len() as f64
}

#[test]
fn a_reduced_jpeg_is_the_mean_of_the_whole_one_in_every_sampling() {
    for case in common::cases("reduce") {
        let name = case["input"].as_str().unwrap();
        let bytes = std::fs::read(common::fixture(name)).unwrap();
        let whole = decode(&bytes).unwrap();
        assert_eq!((whole.width(), whole.height()), (85, 61), "{name}");
        for (side, by) in [(42, 2), (22, 2), (21, 4), (10, 8), (1, 8)] {
            let reduced = at_side(&bytes, side);
            assert_eq!(reduced.full, (85, 61), "{name}");
            if case["whole_only"] == true {
                assert_eq!(reduced.image, whole, "{name}");
                continue;
            }
            let size = (reduced.image.width(), reduced.image.height());
            assert_eq!(size, (85usize.div_ceil(by), 61usize.div_ceil(by)), "{name}");
            let expected = means(&whole, by);
            let ours = cut(&reduced.image, &expected);
            let mean = mean_difference(&ours, expected.pixels());
            assert!(mean < 1.0, "{name} at 1/{by}: {mean}");
        }
        assert_eq!(
            at_side(&bytes, 43).image,
            whole,
            "{name}: half would be too small"
        );
    }
}

#[test]
fn a_reduced_jpeg_within_the_range_of_colours_is_off_by_rounding_only() {
    let soft = dataset::resize::resize(&common::noisy(60, 40, 3), 120, 80);
    let grey: ImageBuffer<Luma<u8>, _> =
        ImageBuffer::from_fn(120, 80, |x, y| Luma([soft.row(y as usize)[3 * x as usize]]));
    for (bytes, bound) in [(jpeg(&soft, 90), 2), (encoded(grey, ImageFormat::Jpeg), 1)] {
        let whole = decode(&bytes).unwrap();
        for by in [2, 4, 8] {
            let reduced = at_side(&bytes, 120 / by);
            let (most, _) = common::difference(reduced.image.pixels(), means(&whole, by).pixels());
            assert!(most <= bound, "1/{by}: {most}");
        }
    }
}

#[test]
fn a_reduced_jpeg_is_turned_as_exif_says() {
    let plain = jpeg(&common::noisy(64, 32, 5), 90);
    for orientation in 1..=8 {
        let bytes = with_orientation(&plain, orientation);
        let (whole, reduced) = (decode(&bytes).unwrap(), at_side(&bytes, 32));
        assert_eq!(reduced.full, (whole.width(), whole.height()));
        let expected = means(&whole, 2);
        let (most, _) = common::difference(reduced.image.pixels(), expected.pixels());
        assert!(most <= 4, "orientation {orientation}: {most}");
    }
}

#[test]
fn what_is_not_read_reduced_comes_whole() {
    let image = common::noisy(64, 48, 2);
    let whole_jpeg = jpeg(&image, 90);
    let mut damaged = whole_jpeg.clone();
    let middle = damaged.len() / 2;
    damaged.splice(middle..middle, [0xff, 0xc8, 0, 2]);
    let cmyk = std::fs::read(common::fixture("cmyk.jpg")).unwrap();
    let cases = [
        encoded(rgb(&image), ImageFormat::Png),
        cmyk,
        whole_jpeg[..whole_jpeg.len() / 2].to_vec(),
        damaged,
    ];
    for (number, bytes) in cases.iter().enumerate() {
        let (whole, reduced) = (decode(bytes).unwrap(), at_side(bytes, 4));
        assert_eq!(reduced.image, whole, "case {number}");
        assert_eq!(reduced.full, (whole.width(), whole.height()), "case {number}");
    }
}

#[test]
fn errors_and_limits_are_the_same_at_less_detail() {
    let reduced = |bytes: &[u8]| {
        decode_detail(bytes, Detail::LongSide(8), Vec::new())
            .unwrap_err()
            .to_string()
    };
    let jpeg = jpeg(&common::noisy(64, 48, 2), 90);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let mut huge = jpeg.clone();
    huge[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    for bytes in [&b"not an image"[..], b"", &jpeg[..frame], &jpeg[..3], &huge] {
        assert_eq!(reduced(bytes), decode(bytes).unwrap_err().to_string());
    }
    assert!(reduced(&huge).contains("60000 x 60000"), "{}", reduced(&huge));
}

#[test]
fn an_image_has_as_many_samples_as_its_size_says() {
    assert!(Image::new(2, 2, vec![0; 12]).is_some());
    assert!(Image::new(2, 2, vec![0; 11]).is_none());
    assert!(Image::new(0, 2, vec![]).is_none());
    assert!(Image::new(usize::MAX, 2, vec![]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_files_never_panic(
        format in prop::sample::select(vec![ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Jpeg]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        kept in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(rgb(&common::noisy(24, 18, 1)), format);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(kept.index(bytes.len()) + 1);
        // The size is checked before anything of that size is allocated, so this is quick whatever the header says.
        if dimensions(&bytes).is_ok_and(|(w, h)| w * h < 1 << 20) {
            let _ = decode(&bytes);
            let _ = decode_strict(&bytes);
        }
    }

    #[test]
    fn damaged_jpegs_never_panic_at_less_detail(
        kind in prop::sample::select(vec!["444", "422", "420", "440", "grey", "progressive"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        kept in any::<prop::sample::Index>(),
        side in prop::sample::select(vec![1usize, 12, 24, 42]),
    ) {
        let mut bytes = std::fs::read(common::fixture(&format!("jpeg_{kind}.jpg"))).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(kept.index(bytes.len()) + 1);
        if let Ok((width, height)) = dimensions(&bytes) && width * height < 1 << 20 {
            let decoded = decode_detail(&bytes, Detail::LongSide(side), Vec::new());
            prop_assert!(decoded.is_ok() || decode(&bytes).is_err());
            prop_assert!(decoded.is_err() || decoded.is_ok_and(|d| d.full == (width, height)));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), as_jpeg: bool) {
        if as_jpeg {
            bytes.splice(0..0, [0xff, 0xd8, 0xff]);
        }
        let _ = decode_strict(&bytes);
        let _ = dimensions(&bytes);
    }
}
