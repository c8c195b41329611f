//! Checkpoints written in the background, so that training waits for no disk.
//!
//! One thread takes the latest checkpoint that waits and puts it on the shelf; a newer one takes the place of one that
//! still waits. What became of each is told when asked, in order. Dropping the writer waits for what is under way.

use crate::{
    checkpoint::{Checkpoint, CheckpointError},
    shelf::Shelf,
};
use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What became of a checkpoint.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Epochs done, and batches of the next one.
    pub(crate) at: (u32, u64),
    /// How long writing took.
    pub(crate) took: Duration,
    pub(crate) result: Result<(), CheckpointError>,
}

/// Writes checkpoints.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Option<Checkpoint>,
    busy: bool,
    saved: Vec<Saved>,
    end: bool,
}

impl Writer {
    pub(crate) fn new(shelf: Shelf) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || theirs.work(&shelf))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has `checkpoint` written as soon as the one under way is.
    pub(crate) fn write(&self, checkpoint: Checkpoint) {
        self.shared.lock().waiting = Some(checkpoint);
        self.shared.changed.notify_all();
    }

    /// What became of checkpoints since this was last asked.
    pub(crate) fn saved(&self) -> Vec<Saved> {
        std::mem::take(&mut self.shared.lock().saved)
    }

    /// Whether nothing is under way or waits.
    fn is_idle(state: &State) -> bool {
        state.waiting.is_none() && !state.busy
    }

    /// Waits until nothing is under way, calling `meanwhile` once a second.
    pub(crate) fn settle(&self, mut meanwhile: impl FnMut()) {
        let mut state = self.shared.lock();
        while !Self::is_idle(&state) {
            state = self.shared.wait(state, Duration::from_secs(1));
            meanwhile();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().end = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was told on stderr, and its checkpoint was never reported as saved.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every field is whole between any two statements under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        let (state, _) = self
            .changed
            .wait_timeout(state, at_most)
            .unwrap_or_else(PoisonError::into_inner);
        state
    }

    fn work(&self, shelf: &Shelf) {
        let mut state = self.lock();
        loop {
            if let Some(checkpoint) = state.waiting.take() {
                state.busy = true;
                drop(state);
                let saved = put(shelf, &checkpoint);
                state = self.lock();
                state.busy = false;
                state.saved.push(saved);
                self.changed.notify_all();
            } else if state.end {
                return;
            } else {
                state = self.wait(state, Duration::from_secs(60));
            }
        }
    }
}

fn put(shelf: &Shelf, checkpoint: &Checkpoint) -> Saved {
    let started = Instant::now();
    let result = shelf.put(checkpoint);
    Saved {
        at: (checkpoint.position.epoch, checkpoint.position.batch),
        took: started.elapsed(),
        result,
    }
}
