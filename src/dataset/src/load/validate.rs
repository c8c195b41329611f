//! Validation batches: every image once, letterboxed, with the way back to its own pixels.

use std::sync::Arc;

use super::engine::{Batches, Crew, Recipe, Sample};
use super::images::Images;
use super::{LoadError, Scratch, ahead, check_imgsz};
use crate::batch::{Placement, Pool, Target};
use crate::decode::Detail;
use crate::letterbox::{Fit, Letterbox, Size, VALIDATION_PAD, rectangular_batches};
use crate::yaml::Dataset;

/// The shape of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValShape {
    /// Images of like aspect together, in the smallest rectangle that holds them and half a stride of padding.
    #[default]
    Rectangular,
    /// Always `imgsz` x `imgsz`, in the dataset's order.
    Square,
}

/// What the validation batches are, and how they are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValOptions {
    /// Long side of the images, a multiple of 32.
    pub imgsz: usize,
    /// Images a batch; the last may be smaller.
    pub batch: usize,
    /// The shape of the input.
    pub shape: ValShape,
    /// Threads; with 0 the caller does the work.
    pub workers: usize,
    /// Bytes of decoded images that are kept in memory from one validation to the next.
    pub cache_bytes: usize,
    /// Complete batches that wait at most.
    pub prefetch: usize,
    /// How much the threads give way to others, 0 to 19 (see nice(2)).
    pub nice: i32,
}

impl Default for ValOptions {
    fn default() -> ValOptions {
        ValOptions {
            imgsz: 640,
            batch: 32,
            shape: ValShape::default(),
            workers: 8,
            cache_bytes: 1 << 30,
            prefetch: 2,
            nice: 0,
        }
    }
}

/// Makes the validation batches, the same ones each time.
pub struct ValLoader {
    recipe: Arc<Validation>,
    options: ValOptions,
    pool: Arc<Pool>,
}

impl ValLoader {
    /// A loader for the dataset. Checks the options; reads nothing yet.
    pub fn new(dataset: Arc<Dataset>, options: ValOptions) -> Result<ValLoader, LoadError> {
        if dataset.items.is_empty() {
            return Err(LoadError::Empty);
        }
        check_imgsz(options.imgsz)?;
        let batch = options.batch.max(1);
        let batches = match options.shape {
            ValShape::Rectangular => {
                let size = |&(width, height): &(usize, usize)| Size { width, height };
                let sizes: Vec<Size> = dataset.items.iter().map(|item| size(&item.size)).collect();
                rectangular_batches(&sizes, batch, options.imgsz, VALIDATION_PAD)
            }
            ValShape::Square => {
                let order: Vec<usize> = (0..dataset.items.len()).collect();
                order
                    .chunks(batch)
                    .map(|items| (Size::square(options.imgsz), items.to_vec()))
                    .collect()
            }
        };
        // What is measured must not depend on a short cut.
        let images = Images::new(dataset, options.imgsz, Detail::Full, options.cache_bytes);
        let pool = Pool::new(ahead(options.workers, batch, options.prefetch) + 1);
        Ok(ValLoader {
            recipe: Arc::new(Validation { images, batches }),
            options,
            pool,
        })
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.recipe.batches.len()
    }

    /// Whether there is no batch: never, as an empty dataset is refused.
    pub fn is_empty(&self) -> bool {
        self.recipe.batches.is_empty()
    }

    /// How many images turned out unreadable so far. They are left out.
    pub fn unreadable(&self) -> usize {
        self.recipe.images.unreadable()
    }

    /// All batches, from the first.
    pub fn batches(&self) -> Result<Batches, LoadError> {
        let ValOptions {
            workers,
            batch,
            prefetch,
            nice,
            ..
        } = self.options;
        let crew = Crew {
            workers,
            ahead: ahead(workers, batch, prefetch),
            nice,
        };
        Batches::new(
            Arc::clone(&self.recipe) as Arc<dyn Recipe>,
            Arc::clone(&self.pool),
            0,
            crew,
        )
    }
}

struct Validation {
    images: Images,
    batches: Vec<(Size, Vec<usize>)>,
}

impl Recipe for Validation {
    fn batches(&self) -> usize {
        self.batches.len()
    }

    fn layout(&self, batch: usize) -> (usize, Size) {
        self.batches
            .get(batch)
            .map_or((0, Size::square(0)), |(size, items)| (items.len(), *size))
    }

    fn make(
        &self,
        batch: usize,
        place: usize,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Option<Sample>, LoadError> {
        let Some((size, items)) = self.batches.get(batch) else {
            return Ok(None);
        };
        let Some(&item) = items.get(place) else {
            return Ok(None);
        };
        let Some(loaded) = self.images.load(item, &mut scratch.load) else {
            return Ok(None);
        };
        let Some(rows) = self.images.dataset().items.get(item).map(|item| &item.label.rows) else {
            return Ok(None);
        };

        let place = Letterbox::new(Size::of(&loaded.image), *size, Fit::Shrink);
        place.render(&loaded.image, out, &mut scratch.load.resize);

        let ratio = place.ratio as f32;
        let (width, height) = (loaded.image.width() as f32, loaded.image.height() as f32);
        let pad = [place.left as f32, place.top as f32];
        let targets = rows.iter().map(|row| {
            let x = |share: f32| share * width * ratio + pad[0];
            let y = |share: f32| share * height * ratio + pad[1];
            let (half_w, half_h) = (row.w / 2.0, row.h / 2.0);
            let xyxy = [
                x(row.cx - half_w),
                y(row.cy - half_h),
                x(row.cx + half_w),
                y(row.cy + half_h),
            ];
            Target::from_corners(0, row.class, xyxy, size.width, size.height)
        });
        let Size {
            width: full_width,
            height: full_height,
        } = loaded.original;
        let placement = Placement {
            gain: [
                width / full_width as f32 * ratio,
                height / full_height as f32 * ratio,
            ],
            pad,
            original: [full_width as u32, full_height as u32],
        };
        Ok(Some(Sample {
            item,
            targets: targets.collect(),
            placement: Some(placement),
        }))
    }
}
