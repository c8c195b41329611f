//! Batches in order, made ahead by threads.
//!
//! A [`Recipe`] says what each image of each batch is; it is a pure function of batch and place, so the result doesn't
//! depend on how many threads there are. A thread takes one image at a time, always of the earliest batch that has any
//! left, and no more than a set number of batches is under way, so memory is bounded and the first batch comes soon.
//! Dropping [`Batches`] stops and joins the threads. Without threads the batch is made by the caller.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::BytesMut;

use super::{LoadError, Scratch};
use crate::batch::{Batch, Pixels, Placement, Pool, Target};
use crate::letterbox::Size;

/// One image of a batch.
pub(super) struct Sample {
    pub item: usize,
    /// Boxes; the image's number in the batch is filled in later.
    pub targets: Vec<Target>,
    pub placement: Option<Placement>,
}

/// What the batches are.
pub(super) trait Recipe: Send + Sync {
    /// How many batches there are.
    fn batches(&self) -> usize;
    /// How many images a batch has, and of what size.
    fn layout(&self, batch: usize) -> (usize, Size);
    /// Makes image `place` of a batch into `out`; `None` leaves it out of the batch.
    fn make(
        &self,
        batch: usize,
        place: usize,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Option<Sample>, LoadError>;
}

/// How the work is spread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crew {
    pub workers: usize,
    /// Batches under way or waiting at a time, at least 1.
    pub ahead: usize,
    pub nice: i32,
}

/// An iterator over batches, in order. After an error it ends.
pub struct Batches {
    plan: Plan,
    kind: Kind,
    ended: bool,
}

#[derive(Clone)]
struct Plan {
    recipe: Arc<dyn Recipe>,
    pool: Arc<Pool>,
}

enum Kind {
    Inline { next: usize, scratch: Box<Scratch> },
    Threads(Threads),
}

impl Batches {
    pub(super) fn new(
        recipe: Arc<dyn Recipe>,
        pool: Arc<Pool>,
        start: usize,
        crew: Crew,
    ) -> Result<Batches, LoadError> {
        let plan = Plan { recipe, pool };
        let kind = if crew.workers == 0 {
            Kind::Inline {
                next: start,
                scratch: Box::default(),
            }
        } else {
            Kind::Threads(Threads::start(&plan, start, crew)?)
        };
        Ok(Batches {
            plan,
            kind,
            ended: false,
        })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let made = match &mut self.kind {
                Kind::Inline { next, scratch } => self.plan.make_here(next, scratch),
                Kind::Threads(threads) => threads.next(),
            };
            let batch =
                made.and_then(|made| made.map(|assembly| assembly.finish(&self.plan.pool)).transpose());
            match batch {
                // Every image of it was left out.
                Ok(Some(batch)) if batch.is_empty() => {}
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Plan {
    fn open(&self, batch: usize) -> Assembly {
        let (count, size) = self.recipe.layout(batch);
        Assembly::new(batch, count, size, self.pool.get(count * size.bytes()))
    }

    fn make_here(&self, next: &mut usize, scratch: &mut Scratch) -> Result<Option<Assembly>, LoadError> {
        if *next >= self.recipe.batches() {
            return Ok(None);
        }
        let mut assembly = self.open(*next);
        *next += 1;
        while let Some(mut job) = assembly.take() {
            let made = self.recipe.make(job.batch, job.place, &mut job.part, scratch);
            assembly.put(job, made);
        }
        Ok(Some(assembly))
    }
}

// ---- a batch in the making -----------------------------------------------------------------------------------------

/// One image to be made.
struct Job {
    batch: usize,
    place: usize,
    part: BytesMut,
}

type Made = (BytesMut, Result<Option<Sample>, LoadError>);

struct Assembly {
    batch: usize,
    size: Size,
    /// Memory of images that no thread has taken yet.
    rest: BytesMut,
    taken: usize,
    /// Finished images by place.
    made: Vec<Option<Made>>,
    missing: usize,
}

impl Assembly {
    fn new(batch: usize, count: usize, size: Size, memory: BytesMut) -> Assembly {
        let made = std::iter::repeat_with(|| None).take(count).collect();
        Assembly {
            batch,
            size,
            rest: memory,
            taken: 0,
            made,
            missing: count,
        }
    }

    fn take(&mut self) -> Option<Job> {
        if self.taken == self.made.len() {
            return None;
        }
        let place = self.taken;
        self.taken += 1;
        Some(Job {
            batch: self.batch,
            place,
            part: self.rest.split_to(self.size.bytes()),
        })
    }

    fn put(&mut self, job: Job, made: Result<Option<Sample>, LoadError>) {
        if let Some(slot) = self.made.get_mut(job.place) {
            *slot = Some((job.part, made));
            self.missing -= 1;
        }
    }

    /// Joins the parts. Images that were left out are closed up.
    fn finish(self, pool: &Arc<Pool>) -> Result<Batch, LoadError> {
        let one = self.size.bytes();
        let mut bytes = BytesMut::new();
        let mut samples = Vec::with_capacity(self.made.len());
        for (part, made) in self.made.into_iter().flatten() {
            bytes.unsplit(part);
            samples.push(made?);
        }
        bytes.unsplit(self.rest);
        let (width, height) = (self.size.width, self.size.height);
        let (mut targets, mut items, mut placements) = (Vec::new(), Vec::new(), Vec::new());
        for (place, sample) in samples.into_iter().enumerate() {
            let Some(sample) = sample else { continue };
            let image = items.len();
            if image < place {
                bytes.copy_within(place * one..(place + 1) * one, image * one);
            }
            targets.extend(sample.targets.into_iter().map(|target| Target {
                image: image as u32,
                ..target
            }));
            items.push(sample.item);
            placements.extend(sample.placement);
        }
        bytes.truncate(items.len() * one);
        Ok(Batch {
            pixels: Pixels::new(bytes, Arc::clone(pool)),
            width,
            height,
            targets,
            items,
            placements,
        })
    }
}

// ---- threads -------------------------------------------------------------------------------------------------------

struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    ahead: usize,
    state: Mutex<State>,
    /// There may be something to do, or to stop for.
    room: Condvar,
    /// A batch may be complete.
    done: Condvar,
}

struct State {
    /// The next batch to open.
    next: usize,
    /// Batches in the making or complete, in order.
    open: VecDeque<Assembly>,
    stop: bool,
    /// A thread panicked: its image will never come.
    broken: bool,
}

impl Threads {
    fn start(plan: &Plan, start: usize, crew: Crew) -> Result<Threads, LoadError> {
        let state = State {
            next: start,
            open: VecDeque::new(),
            stop: false,
            broken: false,
        };
        let shared = Arc::new(Shared {
            plan: plan.clone(),
            ahead: crew.ahead.max(1),
            state: Mutex::new(state),
            room: Condvar::new(),
            done: Condvar::new(),
        });
        let mut threads = Threads {
            shared,
            workers: Vec::with_capacity(crew.workers),
        };
        for number in 0..crew.workers {
            let shared = Arc::clone(&threads.shared);
            let worker = std::thread::Builder::new()
                .name(format!("loader-{number}"))
                .spawn(move || shared.work(crew.nice))
                .map_err(LoadError::Thread)?;
            threads.workers.push(worker);
        }
        Ok(threads)
    }

    fn next(&mut self) -> Result<Option<Assembly>, LoadError> {
        let shared = &self.shared;
        let mut state = shared.lock();
        loop {
            if state.open.front().is_some_and(|assembly| assembly.missing == 0) {
                let assembly = state.open.pop_front();
                shared.room.notify_all();
                return Ok(assembly);
            }
            if state.broken {
                return Err(LoadError::Worker);
            }
            if state.open.is_empty() && state.next >= shared.plan.recipe.batches() {
                return Ok(None);
            }
            state = shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A panic was reported by the panic hook and by `next`.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, nice: i32) {
        let _alarm = Alarm(self);
        if nice != 0
            && let Err(error) = rustix::process::nice(nice)
        {
            tracing::debug!(nice, %error, "the loader thread keeps its priority");
        }
        let mut scratch = Scratch::default();
        while let Some(mut job) = self.take() {
            let made = self
                .plan
                .recipe
                .make(job.batch, job.place, &mut job.part, &mut scratch);
            self.put(job, made);
        }
    }

    /// The next image to make; waits while enough is under way. `None` if all are taken.
    fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stop || state.broken {
                return None;
            }
            if let Some(job) = state.open.back_mut().and_then(Assembly::take) {
                return Some(job);
            }
            if state.next >= self.plan.recipe.batches() {
                return None;
            }
            if state.open.len() < self.ahead {
                let assembly = self.plan.open(state.next);
                state.next += 1;
                state.open.push_back(assembly);
                // There is work for others as well.
                self.room.notify_all();
            } else {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn put(&self, job: Job, made: Result<Option<Sample>, LoadError>) {
        let mut state = self.lock();
        let Some(first) = state.open.front().map(|assembly| assembly.batch) else {
            return;
        };
        if let Some(assembly) = state.open.get_mut(job.batch - first) {
            assembly.put(job, made);
            if assembly.missing == 0 {
                self.done.notify_all();
            }
        }
    }
}

/// Wakes the consumer if a thread panics, which would otherwise wait for ever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().broken = true;
            self.0.done.notify_all();
            self.0.room.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Batches of two images of 1 x 1 pixel whose samples are their number.
    struct Numbers {
        batches: usize,
        panics_at: Option<usize>,
        made: AtomicUsize,
    }

    impl Numbers {
        fn new(batches: usize) -> Numbers {
            Numbers {
                batches,
                panics_at: None,
                made: AtomicUsize::new(0),
            }
        }
    }

    impl Recipe for Numbers {
        fn batches(&self) -> usize {
            self.batches
        }

        fn layout(&self, _: usize) -> (usize, Size) {
            (2, Size::square(1))
        }

        fn make(
            &self,
            batch: usize,
            place: usize,
            out: &mut [u8],
            _: &mut Scratch,
        ) -> Result<Option<Sample>, LoadError> {
            let item = batch * 2 + place;
            assert_ne!(Some(item), self.panics_at, "as the test wants");
            self.made.fetch_add(1, Ordering::SeqCst);
            out.fill(item as u8);
            Ok(Some(Sample {
                item,
                targets: Vec::new(),
                placement: None,
            }))
        }
    }

    fn start(recipe: &Arc<Numbers>, workers: usize, ahead: usize) -> Batches {
        let crew = Crew {
            workers,
            ahead,
            nice: 0,
        };
        Batches::new(Arc::clone(recipe) as Arc<dyn Recipe>, Pool::new(ahead), 0, crew).unwrap()
    }

    #[test]
    fn batches_come_in_order_whatever_the_number_of_threads() {
        for (workers, ahead) in [(0, 1), (1, 1), (4, 1), (4, 3), (9, 20)] {
            let batches = start(&Arc::new(Numbers::new(50)), workers, ahead);
            let pixels: Vec<u8> = batches.flat_map(|batch| batch.unwrap().pixels.to_vec()).collect();
            let expected: Vec<u8> = (0..100).flat_map(|item| [item; 3]).collect();
            assert_eq!(pixels, expected, "{workers} workers, {ahead} ahead");
        }
    }

    #[test]
    fn no_more_than_the_set_number_of_batches_is_made_ahead() {
        let recipe = Arc::new(Numbers::new(50));
        let mut batches = start(&recipe, 4, 3);
        batches.next();
        // Nothing tells that the threads came to rest; should they be slow, the test is only weaker.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let made = recipe.made.load(Ordering::SeqCst);
        assert!(
            (2..=8).contains(&made),
            "one taken and three ahead are 8 images, not {made}"
        );
    }

    /// Images that are made only while `together` threads are at one at the same time.
    struct Meeting {
        batch: usize,
        together: usize,
        present: Mutex<usize>,
        arrived: Condvar,
    }

    impl Recipe for Meeting {
        fn batches(&self) -> usize {
            (4 * self.together).div_ceil(self.batch)
        }

        fn layout(&self, _: usize) -> (usize, Size) {
            (self.batch, Size::square(1))
        }

        fn make(
            &self,
            batch: usize,
            place: usize,
            _: &mut [u8],
            _: &mut Scratch,
        ) -> Result<Option<Sample>, LoadError> {
            let mut present = self.present.lock().unwrap();
            *present += 1;
            self.arrived.notify_all();
            let patience = std::time::Duration::from_secs(60);
            let all = |present: &mut usize| *present < self.together;
            let (present, late) = self.arrived.wait_timeout_while(present, patience, all).unwrap();
            drop(present);
            assert!(!late.timed_out(), "not all threads had work");
            Ok(Some(Sample {
                item: batch * self.batch + place,
                targets: Vec::new(),
                placement: None,
            }))
        }
    }

    #[test]
    fn twenty_four_workers_all_have_work_at_once_whatever_the_size_of_a_batch() {
        for batch in [1, 5, 8, 16, 64] {
            let recipe = Arc::new(Meeting {
                batch,
                together: 24,
                present: Mutex::new(0),
                arrived: Condvar::new(),
            });
            let crew = Crew {
                workers: 24,
                ahead: super::super::ahead(24, batch, 0),
                nice: 0,
            };
            let batches = Batches::new(recipe, Pool::new(crew.ahead), 0, crew).unwrap();
            let items: Vec<usize> = batches.flat_map(|made| made.unwrap().items).collect();
            assert!(items.len() >= 96 && items.is_sorted(), "batches of {batch}");
        }
    }

    #[test]
    fn a_panic_in_a_thread_ends_the_batches_with_an_error() {
        let recipe = Arc::new(Numbers {
            panics_at: Some(5),
            ..Numbers::new(50)
        });
        let results: Vec<_> = start(&recipe, 3, 2).collect();
        assert!(
            matches!(results.last(), Some(Err(LoadError::Worker))),
            "{results:?}"
        );
        assert!(results.len() <= 3, "{results:?}");
    }

    #[test]
    fn memory_is_used_again_once_a_batch_is_dropped() {
        let mut batches = start(&Arc::new(Numbers::new(50)), 0, 1);
        let first = batches.next().unwrap().unwrap();
        let address = first.pixels.as_ptr();
        let second = batches.next().unwrap().unwrap();
        assert_ne!(second.pixels.as_ptr(), address, "the first one is still in use");
        drop(first);
        assert_eq!(batches.next().unwrap().unwrap().pixels.as_ptr(), address);
    }
}
