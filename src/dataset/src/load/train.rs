//! Training batches.

use std::sync::Arc;

use super::engine::{Batches, Crew, Recipe, Sample};
use super::images::{Images, Loaded};
use super::{LoadError, Scratch, ahead, check_imgsz};
use crate::augment::{Augment, Draws, Source, apply};
use crate::batch::{Pool, Target};
use crate::decode::Detail;
use crate::letterbox::Size;
use crate::rng::{Purpose, permutation, stream};
use crate::yaml::Dataset;

/// What the training batches are, and how they are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderOptions {
    /// Side of the square input, a multiple of 32.
    pub imgsz: usize,
    /// Images a batch, cut to the number there are; the last of an epoch may be smaller.
    pub batch: usize,
    /// Threads; with 0 the caller does the work.
    pub workers: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Strength of the augmentation.
    pub augment: Augment,
    /// Bytes of decoded images that are kept in memory.
    pub cache_bytes: usize,
    /// Complete batches that wait at most.
    pub prefetch: usize,
    /// How much the threads give way to others, 0 to 19 (see nice(2)).
    pub nice: i32,
}

impl Default for LoaderOptions {
    fn default() -> LoaderOptions {
        LoaderOptions {
            imgsz: 640,
            batch: 16,
            workers: 8,
            seed: 0,
            augment: Augment::default(),
            cache_bytes: 4 << 30,
            prefetch: 2,
            nice: 0,
        }
    }
}

/// Makes the training batches of every epoch.
pub struct Loader {
    images: Arc<Images>,
    options: LoaderOptions,
    pool: Arc<Pool>,
}

impl Loader {
    /// A loader for the dataset. Checks the options; reads nothing yet.
    pub fn new(dataset: Arc<Dataset>, options: LoaderOptions) -> Result<Loader, LoadError> {
        let items = dataset.items.len();
        if items == 0 {
            return Err(LoadError::Empty);
        }
        check_imgsz(options.imgsz)?;
        options.augment.check()?;
        let options = LoaderOptions {
            batch: options.batch.clamp(1, items),
            ..options
        };
        let images = Arc::new(Images::new(
            dataset,
            options.imgsz,
            Detail::LongSide(options.imgsz),
            options.cache_bytes,
        ));
        let pool = Pool::new(ahead(options.workers, options.batch, options.prefetch) + 1);
        Ok(Loader {
            images,
            options,
            pool,
        })
    }

    /// Number of batches in an epoch.
    pub fn batches(&self) -> usize {
        self.images.dataset().items.len().div_ceil(self.options.batch)
    }

    /// How many images turned out unreadable so far. Each was replaced by the next readable one of the dataset.
    pub fn unreadable(&self) -> usize {
        self.images.unreadable()
    }

    /// The items that a batch of an epoch is made of, without what mosaic and mixup add.
    pub fn items(&self, epoch: u64, batch: usize) -> Vec<usize> {
        let LoaderOptions {
            seed, batch: size, ..
        } = self.options;
        let order = permutation(self.images.dataset().items.len(), seed, Purpose::Shuffle, epoch);
        order.into_iter().skip(batch * size).take(size).collect()
    }

    /// The batches of an epoch from `start_batch` on. Mosaic and mixup are off if `mosaic` is false.
    pub fn epoch(&self, epoch: u64, start_batch: usize, mosaic: bool) -> Result<Batches, LoadError> {
        let LoaderOptions {
            seed,
            workers,
            batch,
            prefetch,
            nice,
            ..
        } = self.options;
        let items = self.images.dataset().items.len();
        let recipe = Epoch {
            images: Arc::clone(&self.images),
            options: self.options,
            order: permutation(items, seed, Purpose::Shuffle, epoch),
            epoch,
            mosaic,
        };
        let crew = Crew {
            workers,
            ahead: ahead(workers, batch, prefetch),
            nice,
        };
        Batches::new(Arc::new(recipe), Arc::clone(&self.pool), start_batch, crew)
    }
}

struct Epoch {
    images: Arc<Images>,
    options: LoaderOptions,
    order: Vec<usize>,
    epoch: u64,
    mosaic: bool,
}

impl Recipe for Epoch {
    fn batches(&self) -> usize {
        self.order.len().div_ceil(self.options.batch)
    }

    fn layout(&self, batch: usize) -> (usize, Size) {
        let left = self.order.len().saturating_sub(batch * self.options.batch);
        (left.min(self.options.batch), Size::square(self.options.imgsz))
    }

    fn make(
        &self,
        batch: usize,
        place: usize,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Option<Sample>, LoadError> {
        let items = self.order.len();
        let LoaderOptions {
            imgsz, seed, augment, ..
        } = self.options;
        let Some(&own) = self.order.get(batch * self.options.batch + place) else {
            return Ok(None);
        };
        // By item, not by place: the sample stays the same whatever the batch size is.
        let mut rng = stream(seed, Purpose::Augment, self.epoch, own as u64);
        let draws = Draws::sample(&mut rng, &augment, items, imgsz, self.mosaic);

        let Scratch {
            load,
            apply: buffers,
            boxes,
        } = scratch;
        let mut loaded: Vec<(usize, Arc<Loaded>)> = Vec::with_capacity(8);
        for item in draws.items(own) {
            loaded.push(
                self.images
                    .load_or_next(item, load)
                    .ok_or(LoadError::NothingReadable { items })?,
            );
        }
        let sources: Vec<Source<'_>> = loaded
            .iter()
            .filter_map(|(item, loaded)| {
                let rows = &self.images.dataset().items.get(*item)?.label.rows;
                Some(Source {
                    image: &loaded.image,
                    rows,
                })
            })
            .collect();

        boxes.clear();
        apply(&draws, &sources, imgsz, out, boxes, buffers);
        let targets = boxes
            .iter()
            .map(|b| Target::from_corners(0, b.class, b.xyxy, imgsz, imgsz))
            .collect();
        let item = loaded.first().map_or(own, |(item, _)| *item);
        Ok(Some(Sample {
            item,
            targets,
            placement: None,
        }))
    }
}
