//! The books of what was received and is not yet durable: how many bytes may still be read, and how many more chunks
//! the broker may send.
//!
//! Bytes are reserved before they are read, belong to whoever decodes them until the messages are handed out, and come
//! free when those are durable. A reservation is granted while the total keeps within the limit, or when nothing is
//! waiting to become durable: a message larger than the limit passes alone.
//!
//! A chunk costs one credit, which goes back when all of the chunk is durable. How many credits there are in all follows
//! from the size of the chunks: as many as fill half of the limit, at least two, so that one half arrives while the other is
//! written.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Credits of a new subscription, and the fewest there ever are.
const LEAST_CREDITS: usize = 2;
/// The most there ever are: enough for chunks of one small message.
const MOST_CREDITS: usize = 512;

#[derive(Debug)]
pub(super) struct Ledger {
    books: Mutex<Books>,
    /// Something became durable.
    freed: Notify,
    /// A credit is due.
    due: Notify,
}

#[derive(Debug)]
struct Books {
    limit: usize,
    /// Everything below this is durable.
    durable: u64,
    /// Bytes reserved and not yet handed out.
    held: usize,
    /// Bytes handed out and not yet durable, with the offsets at which they will be.
    handed: VecDeque<(u64, usize)>,
    handed_bytes: usize,
    /// Where the chunks end that were received and are not yet durable.
    chunks: VecDeque<u64>,
    /// The size of chunks lately; large ones are forgotten slowly.
    chunk_bytes: usize,
    /// Credits at the broker, due, or in chunks that are not yet durable.
    credits: usize,
    due: usize,
    subscription: u8,
    /// The most that was ever reserved and handed out at once.
    peak: usize,
}

impl Ledger {
    pub(super) fn new(limit: usize, from: u64) -> Self {
        Self {
            books: Mutex::new(Books {
                limit,
                durable: from,
                held: 0,
                handed: VecDeque::new(),
                handed_bytes: 0,
                chunks: VecDeque::new(),
                chunk_bytes: 0,
                credits: LEAST_CREDITS,
                due: 0,
                subscription: 0,
                peak: 0,
            }),
            freed: Notify::new(),
            due: Notify::new(),
        }
    }

    /// The books stay true in whatever place a thread that held them ended.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves bytes, if there is room.
    pub(super) fn try_reserve(&self, bytes: usize) -> bool {
        let mut books = self.books();
        let total = books.held + books.handed_bytes + bytes;
        if total > books.limit && books.handed_bytes > 0 {
            return false;
        }
        books.held += bytes;
        books.peak = books.peak.max(total);
        true
    }

    /// Reserves bytes as soon as there is room. What is held must not be what keeps others from becoming durable.
    pub(super) async fn reserve(&self, bytes: usize) {
        while !self.try_reserve(bytes) {
            self.freed.notified().await;
        }
    }

    /// Gives held bytes to messages that were handed out: they come free when everything below `next` is durable.
    pub(super) fn hand_out(&self, next: u64, bytes: usize) {
        let mut books = self.books();
        books.held = books.held.saturating_sub(bytes);
        if next > books.durable {
            books.handed.push_back((next, bytes));
            books.handed_bytes += bytes;
        }
    }

    /// A connection ended: what its decoder held may live on in messages that end before `next`.
    pub(super) fn let_go(&self, next: u64) {
        let held = self.books().held;
        self.hand_out(next, held);
    }

    /// A chunk of so many bytes was received; it ends before `next`.
    pub(super) fn chunk_received(&self, next: u64, bytes: usize) {
        let mut books = self.books();
        books.chunk_bytes = bytes.max(books.chunk_bytes - books.chunk_bytes / 8).max(1);
        books.chunks.push_back(next);
        if books.settle_credits() {
            self.due.notify_one();
        }
    }

    /// Everything below `next` is durable.
    pub(super) fn durable(&self, next: u64) {
        let mut books = self.books();
        books.durable = books.durable.max(next);
        while let Some(&(end, bytes)) = books.handed.front()
            && end <= books.durable
        {
            books.handed.pop_front();
            books.handed_bytes -= bytes;
        }
        self.freed.notify_one();
        if books.settle_credits() {
            self.due.notify_one();
        }
    }

    /// A new subscription begins with one credit at the broker; the others are due.
    pub(super) fn subscribed(&self, subscription: u8) {
        let mut books = self.books();
        books.subscription = subscription;
        books.chunks.clear();
        books.credits = LEAST_CREDITS;
        books.due = LEAST_CREDITS - 1;
        self.due.notify_one();
    }

    /// The subscription and the credits that are due to it; waits for one.
    pub(super) async fn due(&self) -> (u8, u16) {
        loop {
            if let Some(due) = self.books().take_due() {
                return due;
            }
            self.due.notified().await;
        }
    }

    /// The most that was ever reserved and handed out at once.
    pub(super) fn peak(&self) -> usize {
        self.books().peak
    }
}

impl Books {
    fn take_due(&mut self) -> Option<(u8, u16)> {
        let due = std::mem::take(&mut self.due) as u16;
        (due > 0).then_some((self.subscription, due))
    }

    /// Takes credits back from durable chunks and decides how many there shall be. True if some are due.
    fn settle_credits(&mut self) -> bool {
        while let Some(&end) = self.chunks.front()
            && end <= self.durable
        {
            self.chunks.pop_front();
            self.credits -= 1;
        }
        let wanted = (self.limit / 2 / self.chunk_bytes.max(1)).clamp(LEAST_CREDITS, MOST_CREDITS);
        let due = wanted.saturating_sub(self.credits);
        self.credits += due;
        self.due += due;
        self.due > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(ledger: &Ledger) -> usize {
        std::mem::take(&mut ledger.books().due)
    }

    #[test]
    fn bytes_come_free_when_they_are_durable() {
        let ledger = Ledger::new(100, 0);
        assert!(ledger.try_reserve(60));
        ledger.hand_out(3, 60);
        assert!(!ledger.try_reserve(50));
        ledger.durable(2);
        assert!(!ledger.try_reserve(50));
        ledger.durable(3);
        assert!(ledger.try_reserve(50));
        assert_eq!(ledger.peak(), 60);
    }

    #[test]
    fn a_message_larger_than_the_limit_passes_alone() {
        let ledger = Ledger::new(100, 0);
        assert!(ledger.try_reserve(10));
        ledger.hand_out(1, 10);
        assert!(!ledger.try_reserve(500));
        ledger.durable(1);
        assert!(ledger.try_reserve(500));
        ledger.let_go(1);
        assert!(ledger.try_reserve(100));
    }

    #[test]
    fn what_is_handed_out_below_the_durable_offset_is_free_at_once() {
        let ledger = Ledger::new(100, 10);
        assert!(ledger.try_reserve(100));
        ledger.hand_out(10, 100);
        assert!(ledger.try_reserve(100));
    }

    #[test]
    fn a_credit_goes_back_when_the_whole_chunk_is_durable() {
        let ledger = Ledger::new(200, 0);
        ledger.subscribed(0);
        assert_eq!(due(&ledger), 1);
        ledger.chunk_received(5, 100);
        ledger.durable(4);
        assert_eq!(due(&ledger), 0);
        ledger.durable(5);
        assert_eq!(due(&ledger), 1);
        // One of which nothing was wanted costs nothing.
        ledger.chunk_received(5, 100);
        assert_eq!(due(&ledger), 1);
    }

    #[test]
    fn small_chunks_have_more_credits_and_large_ones_fewer() {
        let ledger = Ledger::new(2000, 0);
        ledger.subscribed(0);
        due(&ledger);
        ledger.chunk_received(1, 100);
        assert_eq!(due(&ledger), 8);
        ledger.chunk_received(2, 1000);
        ledger.durable(2);
        assert_eq!(due(&ledger), 0);
        for next in 3..60 {
            ledger.chunk_received(next, 10);
            ledger.durable(next);
        }
        assert_eq!(ledger.books().credits, 100);
        assert_eq!(Ledger::new(usize::MAX, 0).books().credits, LEAST_CREDITS);
    }

    #[test]
    fn a_new_subscription_begins_with_two() {
        let ledger = Ledger::new(8000, 0);
        ledger.subscribed(0);
        ledger.chunk_received(1, 10);
        ledger.subscribed(0);
        assert_eq!(due(&ledger), 1);
        ledger.durable(1);
        assert!(due(&ledger) > 0);
    }
}
