//! Images of unusual size and kind, from the tree through forming and both loaders.
#![expect(clippy::unwrap_used, reason = "test support may panic")]

mod common;

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use annotation::{Label, Row};
use dataset::augment::Augment;
use dataset::batch::Batch;
use dataset::decode::{DecodeError, decode, decode_strict};
use dataset::form::{FormOptions, form};
use dataset::letterbox::{BACKGROUND, Fit, Letterbox, Size, loaded_size};
use dataset::load::{Loader, LoaderOptions, ValLoader, ValOptions, ValShape};
use dataset::resize::{self, resize};
use dataset::yaml::Item;
use dataset::{Dataset, Split};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Pixel, Rgb, Rgba};

const IMGSZ: usize = 64;

struct Odd {
    name: &'static str,
    bytes: Vec<u8>,
    /// Width and height as the image is seen.
    size: (usize, usize),
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A slope from left to right and from top to bottom.
fn slope<P: Pixel>(width: u32, height: u32, pixel: impl Fn(u8, u8) -> P) -> ImageBuffer<P, Vec<P::Subpixel>> {
    ImageBuffer::from_fn(width, height, |x, y| {
        pixel((x * 255 / width) as u8, (y * 255 / height) as u8)
    })
}

/// `jpeg` with an EXIF segment that says it was taken with the camera turned (orientation 6).
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let exif = b"\xff\xe1\x00\x22Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    [&jpeg[..2], exif, &jpeg[2..]].concat()
}

fn odd_images() -> Vec<Odd> {
    let rgb = |width, height| slope(width, height, |x, y| Rgb([x, y, 90]));
    let high = |value: u8| u16::from(value) << 8 | 0x7f;
    let odd = |name, bytes, size| Odd { name, bytes, size };
    use ImageFormat::{Jpeg, Png};
    vec![
        odd("one-pixel-png", encoded(rgb(1, 1), Png), (1, 1)),
        odd("one-pixel-jpeg", encoded(rgb(1, 1), Jpeg), (1, 1)),
        odd("wide-png", encoded(rgb(20_000, 10), Png), (20_000, 10)),
        odd("wide-jpeg", encoded(rgb(20_000, 10), Jpeg), (20_000, 10)),
        odd("tall-jpeg", encoded(rgb(10, 20_000), Jpeg), (10, 20_000)),
        odd(
            "deep-png",
            encoded(slope(50, 40, |x, y| Rgb([high(x), high(y), 0])), Png),
            (50, 40),
        ),
        odd(
            "deep-grey-png",
            encoded(slope(50, 40, |x, _| Luma([high(x)])), Png),
            (50, 40),
        ),
        odd(
            "grey-png",
            encoded(slope(50, 40, |x, _| Luma([x])), Png),
            (50, 40),
        ),
        odd(
            "grey-jpeg",
            encoded(slope(150, 140, |x, _| Luma([x])), Jpeg),
            (150, 140),
        ),
        odd(
            "cmyk-jpeg",
            fs::read(common::fixture("cmyk.jpg")).unwrap(),
            (64, 48),
        ),
        odd(
            "alpha-png",
            encoded(slope(50, 40, |x, y| Rgba([x, y, 7, y])), Png),
            (50, 40),
        ),
        odd(
            "grey-alpha-png",
            encoded(slope(50, 40, |x, y| LumaA([x, y])), Png),
            (50, 40),
        ),
        odd("turned-jpeg", turned(&encoded(rgb(160, 96), Jpeg)), (96, 160)),
        odd("turned-small-jpeg", turned(&encoded(rgb(40, 24), Jpeg)), (24, 40)),
    ]
}

/// The images as a dataset in their order; each has one box of its middle half.
fn dataset(folder: &std::path::Path, images: &[Odd]) -> Arc<Dataset> {
    let items = images.iter().map(|odd| {
        let image = folder.join(odd.name);
        fs::write(&image, &odd.bytes).unwrap();
        let rows = vec![Row::new(0, 0.5, 0.5, 0.5, 0.5).unwrap()];
        Item {
            image,
            label: Label { rows },
            size: odd.size,
        }
    });
    Arc::new(Dataset {
        items: items.collect(),
        names: vec!["thing".into()],
        nc: 1,
        ..Dataset::default()
    })
}

/// What validation should show of it, from an exact decode.
fn letterboxed(odd: &Odd) -> Vec<u8> {
    let whole = decode(&odd.bytes).unwrap();
    let size = loaded_size(Size::of(&whole), IMGSZ);
    let loaded = resize(&whole, size.width, size.height);
    let place = Letterbox::new(size, Size::square(IMGSZ), Fit::Shrink);
    let mut out = vec![0; place.canvas.bytes()];
    place.render(&loaded, &mut out, &mut resize::Scratch::default());
    out
}

fn mean(pixels: &[u8]) -> f64 {
    pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64
}

#[test]
fn odd_images_are_good_annotations() {
    let root = tempfile::tempdir().unwrap();
    let images = odd_images();
    for folder in ["data/images", "data/labels"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    for odd in &images {
        let image = root.path().join(format!("data/images/{}.jpg", odd.name));
        fs::write(image, &odd.bytes).unwrap();
        let label = root.path().join(format!("data/labels/{}.txt", odd.name));
        fs::write(label, "0 0.5 0.5 0.5 0.5\n").unwrap();
    }
    let formed = form(&FormOptions::new(root.path(), 7)).unwrap();

    assert!(formed.refused.is_empty(), "{:?}", formed.refused);
    let opened: usize = Split::ALL
        .into_iter()
        .map(|split| {
            let dataset = Dataset::open(&formed.folder.join("data.yaml"), split).unwrap();
            for item in &dataset.items {
                let name = item.image.file_stem().unwrap().to_str().unwrap();
                let odd = images.iter().find(|odd| odd.name == name).unwrap();
                assert_eq!(item.size, odd.size, "{name}");
            }
            dataset.items.len()
        })
        .sum();
    assert_eq!(opened, images.len());
    for item in &formed.manifest.items {
        let odd = images.iter().find(|odd| odd.name == item.name).unwrap();
        assert_eq!((item.width, item.height), odd.size, "{}", item.name);
    }
}

#[test]
fn validation_shows_odd_images_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let images = odd_images();
    let options = ValOptions {
        imgsz: IMGSZ,
        batch: 5,
        shape: ValShape::Square,
        workers: 2,
        ..ValOptions::default()
    };
    let loader = ValLoader::new(dataset(folder.path(), &images), options).unwrap();
    let batches: Vec<Batch> = loader.batches().unwrap().map(Result::unwrap).collect();
    let shown: Vec<&[u8]> = batches
        .iter()
        .flat_map(|batch| batch.pixels.chunks(IMGSZ * IMGSZ * 3))
        .collect();
    assert_eq!((shown.len(), loader.unreadable()), (images.len(), 0));
    let placements = batches.iter().flat_map(|batch| &batch.placements);
    for ((odd, pixels), placement) in images.iter().zip(shown).zip(placements) {
        assert!(pixels == letterboxed(odd), "{}", odd.name);
        let original = placement.original.map(|side| side as usize);
        assert_eq!((original[0], original[1]), odd.size, "{}", odd.name);
    }
}

#[test]
fn training_shows_odd_images_as_validation_does() {
    let folder = tempfile::tempdir().unwrap();
    let images = odd_images();
    let options = LoaderOptions {
        imgsz: IMGSZ,
        batch: 1,
        workers: 2,
        augment: Augment::none(),
        ..LoaderOptions::default()
    };
    let loader = Loader::new(dataset(folder.path(), &images), options).unwrap();
    let mut seen = 0;
    for batch in loader.epoch(0, 0, true).unwrap() {
        let batch = batch.unwrap();
        let odd = &images[batch.items[0]];
        let expected = letterboxed(odd);
        assert!(expected.iter().any(|&p| p != BACKGROUND), "{}", odd.name);
        // The letterbox starts at whole pixels, the centred sample may lie half a pixel further.
        let apart = (mean(&batch.pixels) - mean(&expected)).abs();
        assert!(apart < 1.5, "{}: {apart}", odd.name);
        seen += 1;
    }
    assert_eq!((seen, loader.unreadable()), (images.len(), 0));
}

#[test]
fn odd_images_go_into_mosaics() {
    let folder = tempfile::tempdir().unwrap();
    let images = odd_images();
    let options = LoaderOptions {
        imgsz: IMGSZ,
        batch: 4,
        workers: 2,
        augment: Augment {
            mixup: 0.5,
            degrees: 10.0,
            ..Augment::default()
        },
        ..LoaderOptions::default()
    };
    let loader = Loader::new(dataset(folder.path(), &images), options).unwrap();
    for number in 0..3 {
        let batches = loader.epoch(number, 0, true).unwrap().map(Result::unwrap);
        assert_eq!(batches.map(|batch| batch.len()).sum::<usize>(), images.len());
    }
    assert_eq!(loader.unreadable(), 0);
}

#[test]
fn an_image_cut_short_is_refused_by_forming_and_read_in_part_by_training() {
    let whole = encoded(slope(160, 96, |x, y| Rgb([x, y, 90])), ImageFormat::Jpeg);
    let cut = Odd {
        name: "cut",
        bytes: whole[..whole.len() * 2 / 3].to_vec(),
        size: (160, 96),
    };
    let refusal = decode_strict(&cut.bytes).unwrap_err();
    assert!(matches!(refusal, DecodeError::Truncated { .. }), "{refusal}");
    let folder = tempfile::tempdir().unwrap();
    let options = LoaderOptions {
        imgsz: IMGSZ,
        workers: 0,
        augment: Augment::none(),
        ..LoaderOptions::default()
    };
    let loader = Loader::new(dataset(folder.path(), std::slice::from_ref(&cut)), options).unwrap();
    let batch = loader.epoch(0, 0, true).unwrap().next().unwrap().unwrap();
    assert!((mean(&batch.pixels) - mean(&letterboxed(&cut))).abs() < 1.5);
}
