//! A small tree on disk, and images for it.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use dataset::form::FormOptions;
use image::{ImageFormat, Rgb, RgbImage};

/// A tree in a temporary folder.
pub struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    pub fn empty() -> Self {
        let tree = Self {
            root: tempfile::tempdir().unwrap(),
        };
        for folder in ["data/images", "data/labels"] {
            fs::create_dir_all(tree.path(folder)).unwrap();
        }
        tree
    }

    /// With so many good annotations, `cell-000` and on, no two of them alike.
    pub fn with_annotations(count: u32) -> Self {
        let tree = Self::empty();
        for i in 0..count {
            tree.annotation(&format!("cell-{i:03}"), &jpeg(16 + i, 12), "0 0.5 0.5 0.1 0.1\n");
        }
        tree
    }

    pub fn options(&self) -> FormOptions {
        FormOptions {
            date: jiff::civil::date(2026, 3, 28),
            created: "2026-03-28T14:30:00Z".parse().unwrap(),
            ..FormOptions::new(self.root.path(), 7)
        }
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    pub fn write(&self, file: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), bytes).unwrap();
    }

    pub fn annotation(&self, name: &str, image: &[u8], label: &str) {
        self.write(&format!("data/images/{name}.jpg"), image);
        self.write(&format!("data/labels/{name}.txt"), label.as_bytes());
    }
}

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let shade = |x: u32, y: u32| {
        Rgb([
            (x * 37 % 251) as u8,
            (y * 91 % 241) as u8,
            ((x ^ y) * 13 % 239) as u8,
        ])
    };
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(width, height, shade)
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

pub fn jpeg(width: u32, height: u32) -> Vec<u8> {
    encoded(width, height, ImageFormat::Jpeg)
}

pub fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(width, height, ImageFormat::Png)
}

/// A PNG that promises so many pixels and holds none; its checksum is right.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = png(1, 1)[..33].to_vec();
    header[16..20].copy_from_slice(&width.to_be_bytes());
    header[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&header[12..29]);
    header[29..33].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// A picture that is like no other one, of patches of grey in different places; compressed at this quality.
pub fn picture(index: u64, quality: u8) -> Vec<u8> {
    let mut state = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut patches = [[0u8; 12]; 9];
    for patch in patches.iter_mut().flatten() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *patch = (state >> 56) as u8;
    }
    let image = RgbImage::from_fn(96, 72, |x, y| Rgb([patches[y as usize / 8][x as usize / 8]; 3]));
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(&image)
        .unwrap();
    bytes
}
