//! A dataset's images at their loaded size, decoded at most once a run where memory allows.
//!
//! The cache fills up to its limit and then stays as it is. Every epoch asks for each image once and, with mosaic, for
//! three more at random: no image is likelier than another, so no order of eviction would hit more often than keeping
//! what is there, and this one needs no bookkeeping and never throws work away. A lock for each image makes two threads
//! that want the same one decode it once.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::decode::{Decoded, Detail, Image, decode_detail};
use crate::letterbox::{Size, loaded_size};
use crate::resize::{self, resize_reusing};
use crate::yaml::Dataset;

/// An image as training and validation see it.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The pixels, the long side `imgsz` long.
    pub image: Image,
    /// The size of the image in its file, as it is shown.
    pub original: Size,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct LoadScratch {
    file: Vec<u8>,
    decoded: Vec<u8>,
    pub resize: resize::Scratch,
}

/// The images of a dataset, shared by all threads.
#[derive(Debug)]
pub(super) struct Images {
    dataset: Arc<Dataset>,
    imgsz: usize,
    detail: Detail,
    slots: Vec<Mutex<Slot>>,
    room: AtomicUsize,
    unreadable: AtomicUsize,
}

#[derive(Debug, Clone)]
enum Slot {
    NotHeld,
    Held(Arc<Loaded>),
    Unreadable,
}

impl Images {
    /// The images of `dataset` with a long side of `imgsz`, resized from what is decoded at `detail`. Up to
    /// `cache_bytes` of pixels are kept in memory (beside these, each takes under 100 bytes of bookkeeping).
    pub fn new(dataset: Arc<Dataset>, imgsz: usize, detail: Detail, cache_bytes: usize) -> Images {
        let slots = dataset.items.iter().map(|_| Mutex::new(Slot::NotHeld)).collect();
        Images {
            dataset,
            imgsz,
            detail,
            slots,
            room: AtomicUsize::new(cache_bytes),
            unreadable: AtomicUsize::new(0),
        }
    }

    /// The dataset they belong to.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// How many images turned out unreadable so far.
    pub fn unreadable(&self) -> usize {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// The image of item `index`; `None` if it can't be read, which is logged the first time.
    pub fn load(&self, index: usize, scratch: &mut LoadScratch) -> Option<Arc<Loaded>> {
        let item = self.dataset.items.get(index)?;
        let mut slot = self
            .slots
            .get(index)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Slot::Held(loaded) => return Some(Arc::clone(loaded)),
            Slot::Unreadable => return None,
            Slot::NotHeld => {}
        }
        match self.read(&item.image, scratch) {
            Ok(loaded) => {
                let loaded = Arc::new(loaded);
                if self.reserve(loaded.image.held_bytes()) {
                    *slot = Slot::Held(Arc::clone(&loaded));
                }
                Some(loaded)
            }
            Err(reason) => {
                *slot = Slot::Unreadable;
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(image = %item.image.display(), reason, "image left out: it can't be read");
                None
            }
        }
    }

    /// The image of the first item from `index` on that can be read, the first item coming after the last; `None` if
    /// none can. Which one it is depends on the files alone, so a run can be repeated.
    pub fn load_or_next(&self, index: usize, scratch: &mut LoadScratch) -> Option<(usize, Arc<Loaded>)> {
        let items = self.dataset.items.len();
        (index..items)
            .chain(0..index.min(items))
            .find_map(|at| Some((at, self.load(at, scratch)?)))
    }

    /// Takes `bytes` from the room that is left in the cache, if they fit.
    fn reserve(&self, bytes: usize) -> bool {
        let taken = |room: usize| room.checked_sub(bytes);
        self.room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    fn read(&self, path: &Path, scratch: &mut LoadScratch) -> Result<Loaded, String> {
        scratch.file.clear();
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        file.read_to_end(&mut scratch.file).map_err(|e| e.to_string())?;
        let buffer = std::mem::take(&mut scratch.decoded);
        let Decoded { image: decoded, full } =
            decode_detail(&scratch.file, self.detail, buffer).map_err(|e| e.to_string())?;
        let original = Size {
            width: full.0,
            height: full.1,
        };
        let size = loaded_size(original, self.imgsz);
        // A copy of exactly its size even where nothing is resized: the buffer is a large one, and is used again.
        let image = resize_reusing(&decoded, size.width, size.height, &mut scratch.resize);
        scratch.decoded = decoded.into_pixels();
        Ok(Loaded { image, original })
    }
}

#[cfg(test)]
mod tests {
    use annotation::Label;

    use super::*;
    use crate::yaml::Item;

    /// One image a size, as PNG files.
    fn dataset(folder: &Path, sizes: &[(u32, u32)]) -> Arc<Dataset> {
        let items = sizes.iter().enumerate().map(|(i, &(width, height))| {
            let image = folder.join(format!("{i}.png"));
            let pixels = vec![i as u8; (width * height * 3) as usize];
            image::save_buffer(&image, &pixels, width, height, image::ExtendedColorType::Rgb8).unwrap();
            Item {
                image,
                label: Label { rows: Vec::new() },
                size: (width as usize, height as usize),
            }
        });
        Arc::new(Dataset {
            items: items.collect(),
            ..Dataset::default()
        })
    }

    fn held(images: &Images) -> Vec<usize> {
        let of = |slot: &Mutex<Slot>| match &*slot.lock().unwrap() {
            Slot::Held(loaded) => Some(loaded.image.held_bytes()),
            _ => None,
        };
        images.slots.iter().filter_map(of).collect()
    }

    #[test]
    fn the_cache_holds_what_fits_and_never_more() {
        let folder = tempfile::tempdir().unwrap();
        // At 32 pixels: 3072, 1536, 3072, 1536 and 96 bytes.
        let sizes = [(64, 64), (64, 32), (32, 32), (16, 8), (3200, 10)];
        let dataset = dataset(folder.path(), &sizes);
        let mut scratch = LoadScratch::default();
        for (limit, expected) in [
            (0, vec![]),
            (95, vec![]),
            (3071, vec![1536, 96]),
            (3072, vec![3072]),
            (4700, vec![3072, 1536]),
            (4704, vec![3072, 1536, 96]),
            (1 << 20, vec![3072, 1536, 3072, 1536, 96]),
        ] {
            let images = Images::new(Arc::clone(&dataset), 32, Detail::Full, limit);
            for _ in 0..2 {
                for item in 0..sizes.len() {
                    images.load(item, &mut scratch).unwrap();
                }
                assert_eq!(held(&images), expected, "limit {limit}");
            }
        }
    }
}
