//! Fitting images into a network's input: the loaded size, the letterbox, and the shapes of rectangular batches.
//!
//! Sizes and paddings are integers and must equal the reference's exactly, as box coordinates and validation metrics
//! depend on them. Mind the two roundings: loading rounds sizes up, the letterbox rounds half to even.

use crate::decode::Image;
use crate::resize::{self, Scratch};

/// The colour of padding, in all three channels.
pub const BACKGROUND: u8 = 114;
/// The largest stride of the network: sides of its input are multiples of it.
pub const STRIDE: usize = 32;

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl Size {
    /// A square.
    pub fn square(side: usize) -> Size {
        Size {
            width: side,
            height: side,
        }
    }

    /// The size of an image.
    pub fn of(image: &Image) -> Size {
        Size {
            width: image.width(),
            height: image.height(),
        }
    }

    /// Bytes of an RGB image of this size.
    pub fn bytes(self) -> usize {
        self.width * self.height * 3
    }
}

/// The size at which an image is kept for training and validation: the long side becomes `imgsz`, the other follows,
/// rounded up. Small images grow.
pub fn loaded_size(original: Size, imgsz: usize) -> Size {
    let ratio = imgsz as f64 / original.width.max(original.height).max(1) as f64;
    let side = |n: usize| ((n as f64 * ratio).ceil() as usize).clamp(1, imgsz.max(1));
    if ratio == 1.0 {
        return original;
    }
    Size {
        width: side(original.width),
        height: side(original.height),
    }
}

/// What the letterbox may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Shrink only, pad to the target: validation.
    Shrink,
    /// Shrink or grow, pad to the target: prediction with a fixed input size.
    Scale,
    /// Shrink or grow, pad only to the next multiple of [`STRIDE`]: prediction at the smallest rectangle.
    Rectangle,
}

/// Where an image lies in the network's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Size of the whole input.
    pub canvas: Size,
    /// Size of the image in it.
    pub content: Size,
    /// Columns of padding before the image.
    pub left: usize,
    /// Rows of padding before the image.
    pub top: usize,
    /// Input pixels per image pixel.
    pub ratio: f64,
}

impl Letterbox {
    /// The place of an image of size `image` in an input of size `target`.
    pub fn new(image: Size, target: Size, fit: Fit) -> Letterbox {
        let (width, height) = (image.width.max(1) as f64, image.height.max(1) as f64);
        let fill = (target.height as f64 / height).min(target.width as f64 / width);
        let ratio = if fit == Fit::Shrink { fill.min(1.0) } else { fill };
        let side = |n: f64| ((n * ratio).round_ties_even() as usize).max(1);
        let content = Size {
            width: side(width),
            height: side(height),
        };
        let (left, right) = padding(target.width.saturating_sub(content.width), fit);
        let (top, bottom) = padding(target.height.saturating_sub(content.height), fit);
        let canvas = Size {
            width: content.width + left + right,
            height: content.height + top + bottom,
        };
        Letterbox {
            canvas,
            content,
            left,
            top,
            ratio,
        }
    }

    /// Resizes `image` and writes it with its padding to `out`, RGB interleaved, `canvas.bytes()` long.
    pub fn render(&self, image: &Image, out: &mut [u8], scratch: &mut Scratch) {
        let resized;
        let content = if Size::of(image) == self.content {
            image
        } else {
            resized = resize::resize_reusing(image, self.content.width, self.content.height, scratch);
            &resized
        };
        let (before, width) = (self.left * 3, self.content.width * 3);
        for (y, row) in out.chunks_exact_mut(self.canvas.width * 3).enumerate() {
            match y.checked_sub(self.top).filter(|&y| y < self.content.height) {
                None => row.fill(BACKGROUND),
                Some(y) => {
                    row[..before].fill(BACKGROUND);
                    row[before..before + width].copy_from_slice(content.row(y));
                    row[before + width..].fill(BACKGROUND);
                }
            }
        }
    }
}

/// Splits spare pixels into before and after; an odd one goes after.
fn padding(spare: usize, fit: Fit) -> (usize, usize) {
    let spare = if fit == Fit::Rectangle {
        spare % STRIDE
    } else {
        spare
    };
    let half = spare as f64 / 2.0;
    (
        (half - 0.1).round_ties_even() as usize,
        (half + 0.1).round_ties_even() as usize,
    )
}

/// Padding, in strides, that validation adds to the long side of a rectangular batch.
pub const VALIDATION_PAD: f64 = 0.5;

/// Indices of images of the given original sizes, cut into batches of like aspect: sorted by height / width, ties by
/// index. Returns each batch's input size and its images.
pub fn rectangular_batches(sizes: &[Size], batch: usize, imgsz: usize, pad: f64) -> Vec<(Size, Vec<usize>)> {
    let aspect = |i: usize| {
        sizes
            .get(i)
            .map_or(1.0, |s| s.height as f64 / s.width.max(1) as f64)
    };
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|&a, &b| aspect(a).total_cmp(&aspect(b)).then(a.cmp(&b)));
    order
        .chunks(batch.max(1))
        .map(|members| {
            let least = members.first().map_or(1.0, |&i| aspect(i));
            let most = members.last().map_or(1.0, |&i| aspect(i));
            (rectangular_size(least, most, imgsz, pad), members.to_vec())
        })
        .collect()
}

/// The input size for images whose height / width lies in `least..=most`.
pub fn rectangular_size(least: f64, most: f64, imgsz: usize, pad: f64) -> Size {
    let (height, width) = if most < 1.0 {
        (most, 1.0)
    } else if least > 1.0 {
        (1.0, 1.0 / least)
    } else {
        (1.0, 1.0)
    };
    let stride = STRIDE as f64;
    let side = |share: f64| (share * imgsz as f64 / stride + pad).ceil() as usize * STRIDE;
    Size {
        width: side(width),
        height: side(height),
    }
}
