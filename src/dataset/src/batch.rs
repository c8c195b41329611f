//! A batch as the network takes it, and the pool its pixels come from.
//!
//! Pixels of a whole batch lie in one allocation, which several threads fill at once, each its own part (safe, because
//! `BytesMut` can be cut into parts and joined again without a copy). Dropping the pixels gives it back to the pool.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// Images and boxes for one step of training or validation.
#[derive(Debug)]
pub struct Batch {
    /// `len() * height * width * 3` samples: images one after the other, rows from the top, RGB interleaved.
    pub pixels: Pixels,
    /// Width of every image.
    pub width: usize,
    /// Height of every image.
    pub height: usize,
    /// All boxes, sorted by image.
    pub targets: Vec<Target>,
    /// The dataset's item that each image was made of (the first one, for a mosaic).
    pub items: Vec<usize>,
    /// Where each image lies in the network's input; empty for training, where augmentation has no simple way back.
    pub placements: Vec<Placement>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it holds no image.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// A box that the network should find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Which image of the batch.
    pub image: u32,
    /// Class of the object.
    pub class: u8,
    /// Centre, as a share of the input's width.
    pub cx: f32,
    /// Centre, as a share of the input's height.
    pub cy: f32,
    /// Width, as a share of the input's width.
    pub w: f32,
    /// Height, as a share of the input's height.
    pub h: f32,
}

impl Target {
    /// A box of image `image`, given by its corners (left, top, right, bottom) in pixels of an input of that size.
    pub fn from_corners(image: u32, class: u8, xyxy: [f32; 4], width: usize, height: usize) -> Target {
        let [x1, y1, x2, y2] = xyxy;
        let (width, height) = (width as f32, height as f32);
        let (cx, cy) = ((x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height);
        Target {
            image,
            class,
            cx,
            cy,
            w: (x2 - x1) / width,
            h: (y2 - y1) / height,
        }
    }
}

/// Where an image lies in the network's input. Pairs are (x, y).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Input pixels per original pixel.
    pub gain: [f32; 2],
    /// Input pixels of padding left of and above the image.
    pub pad: [f32; 2],
    /// Width and height of the original image.
    pub original: [u32; 2],
}

impl Placement {
    /// A box (left, top, right, bottom) of the input in pixels of the original image, cut at its edges.
    pub fn to_original(&self, xyxy: [f32; 4]) -> [f32; 4] {
        let back = |value: f32, axis: usize| {
            ((value - self.pad[axis]) / self.gain[axis]).clamp(0.0, self.original[axis] as f32)
        };
        let [x1, y1, x2, y2] = xyxy;
        [back(x1, 0), back(y1, 1), back(x2, 0), back(y2, 1)]
    }
}

/// The samples of a batch. Reads as a slice; returns its memory to the pool it came from when dropped.
pub struct Pixels {
    bytes: BytesMut,
    home: Option<Arc<Pool>>,
}

impl Pixels {
    pub(crate) fn new(bytes: BytesMut, home: Arc<Pool>) -> Pixels {
        Pixels {
            bytes,
            home: Some(home),
        }
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(samples: Vec<u8>) -> Pixels {
        Pixels {
            bytes: Bytes::from(samples).into(),
            home: None,
        }
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.put(std::mem::take(&mut self.bytes));
        }
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({} bytes)", self.bytes.len())
    }
}

/// Memory for batches, used again and again: a fresh allocation of that size costs as many page faults as the pixels
/// cost work.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Mutex<Vec<BytesMut>>,
    kept: usize,
}

impl Pool {
    /// A pool that keeps up to `kept` buffers while they are not in use.
    pub(crate) fn new(kept: usize) -> Arc<Pool> {
        Arc::new(Pool {
            free: Mutex::new(Vec::new()),
            kept,
        })
    }

    /// A buffer of `length` bytes whose contents don't matter.
    pub(crate) fn get(&self, length: usize) -> BytesMut {
        let used = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match used {
            Some(mut buffer) if buffer.capacity() >= length => {
                buffer.resize(length, 0);
                buffer
            }
            _ => BytesMut::zeroed(length),
        }
    }

    fn put(&self, buffer: BytesMut) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.kept && buffer.capacity() > 0 {
            free.push(buffer);
        }
    }
}
