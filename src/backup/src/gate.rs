//! Lets a snapshot into the repository only where everything that belongs to it was read.
//!
//! The library goes on without a file that it cannot read, and writes the snapshot all the same: of a backup that was broken
//! off it would be one that looks whole. The snapshot's file is the last one of a backup, so refusing that one file makes a
//! backup whole or absent. What was sent before it stays, is found by the next one, and is not sent again.

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A backend whose snapshots can be held back.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: Arc<dyn WriteBackend>,
    shut: Arc<AtomicBool>,
}

impl Gate {
    /// In front of this backend; no snapshot goes through while `shut` is set.
    pub(crate) fn before(inner: Arc<dyn WriteBackend>, shut: Arc<AtomicBool>) -> Self {
        Self { inner, shut }
    }
}

impl ReadBackend for Gate {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.inner.list_with_size(kind)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.inner.read_full(kind, id)
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.inner.read_partial(kind, id, cacheable, offset, length)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.inner.warmup_path(kind, id)
    }
}

impl WriteBackend for Gate {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()
    }

    fn write_bytes(&self, kind: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        if kind == FileType::Snapshot && self.shut.load(Ordering::SeqCst) {
            return Err(RusticError::new(
                ErrorKind::Other,
                "the snapshot is not whole and was not written",
            ));
        }
        self.inner.write_bytes(kind, id, cacheable, content)
    }

    fn remove(&self, kind: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.inner.remove(kind, id, cacheable)
    }
}
