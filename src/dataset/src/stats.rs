//! What a dataset holds, split by split: images, boxes, classes, sizes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annotation::Label;
use rayon::prelude::*;
use serde::Serialize;

use crate::manifest::{Manifest, ManifestItem, Split};

/// Up to this area in pixels a box is small, as COCO counts; up to [`MEDIUM`] it is medium.
const SMALL: f64 = 32.0 * 32.0;
const MEDIUM: f64 = 96.0 * 96.0;

/// Boxes by their area in pixels of the image: below 32 x 32, below 96 x 96, and larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BoxSizes {
    /// Below 32 x 32.
    pub small: usize,
    /// Below 96 x 96.
    pub medium: usize,
    /// The others.
    pub large: usize,
}

/// What one split holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SplitStats {
    /// Images.
    pub images: usize,
    /// Images without a box.
    pub background: usize,
    /// Boxes.
    pub boxes: usize,
    /// The most boxes of an image.
    pub most_boxes: usize,
    /// Boxes of each class that occurs.
    pub classes: BTreeMap<u8, usize>,
    /// Boxes by size.
    pub box_sizes: BoxSizes,
    /// Images of each size, width and height in pixels, the most frequent first.
    pub image_sizes: Vec<ImageSize>,
    /// Bytes of all images, as far as the manifest tells.
    pub bytes: u64,
}

/// How many images are of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ImageSize {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// How many.
    pub images: usize,
}

impl SplitStats {
    fn add(&mut self, item: &ManifestItem, label: &Label) {
        self.images += 1;
        self.background += usize::from(label.rows.is_empty());
        self.boxes += label.rows.len();
        self.most_boxes = self.most_boxes.max(label.rows.len());
        self.bytes += item.image_file.map_or(0, |file| file.bytes);
        for row in &label.rows {
            *self.classes.entry(row.class).or_default() += 1;
            let (width, height) = (
                f64::from(row.w) * item.width as f64,
                f64::from(row.h) * item.height as f64,
            );
            let sizes = &mut self.box_sizes;
            match width * height {
                area if area < SMALL => sizes.small += 1,
                area if area < MEDIUM => sizes.medium += 1,
                _ => sizes.large += 1,
            }
        }
    }
}

/// Counts what the dataset in this folder holds; the labels are read.
pub fn stats(folder: &Path, manifest: &Manifest) -> Result<BTreeMap<Split, SplitStats>, StatsError> {
    let labels: Vec<Label> = manifest
        .items
        .par_iter()
        .map(|item| label(folder, item))
        .collect::<Result<_, _>>()?;
    let mut sizes: BTreeMap<Split, BTreeMap<(usize, usize), usize>> = BTreeMap::new();
    let mut all: BTreeMap<Split, SplitStats> = Split::ALL
        .into_iter()
        .map(|split| (split, SplitStats::default()))
        .collect();
    for (item, label) in manifest.items.iter().zip(&labels) {
        all.entry(item.split).or_default().add(item, label);
        let of_split = sizes.entry(item.split).or_default();
        *of_split.entry((item.width, item.height)).or_default() += 1;
    }
    for (split, sizes) in sizes {
        let mut counted: Vec<ImageSize> = sizes
            .into_iter()
            .map(|((width, height), images)| ImageSize {
                width,
                height,
                images,
            })
            .collect();
        counted.sort_by_key(|size| std::cmp::Reverse(size.images));
        all.entry(split).or_default().image_sizes = counted;
    }
    Ok(all)
}

fn label(folder: &Path, item: &ManifestItem) -> Result<Label, StatsError> {
    let file = format!("{}.txt", item.name);
    let path = folder.join(item.split.folder()).join("labels").join(file);
    let problem = match std::fs::read(&path).map(|bytes| Label::parse_bytes(&bytes)) {
        Ok(Ok(label)) => return Ok(label),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(StatsError { path, problem })
}

/// A label that the manifest lists cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the label {} cannot be counted: {problem}; `azaion dataset lint` tells what else is wrong", .path.display())]
pub struct StatsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}
