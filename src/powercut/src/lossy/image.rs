//! A disk's content, in blocks that copies share.

use std::sync::Arc;

const BLOCK: usize = 4096;

type Block = Arc<[u8; BLOCK]>;

/// The bytes of a disk. What was never written is zero and takes no memory.
#[derive(Debug, Clone)]
pub struct Image {
    blocks: Vec<Option<Block>>,
}

impl Image {
    /// The image with these bytes, filled up to whole blocks.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut image = Self {
            blocks: vec![None; bytes.len().div_ceil(BLOCK)],
        };
        for (at, block) in (0..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
            if block.iter().any(|byte| *byte != 0) {
                image.write(at, block);
            }
        }
        image
    }

    /// How many bytes the disk has.
    #[must_use]
    pub fn len(&self) -> u64 {
        (self.blocks.len() * BLOCK) as u64
    }

    /// Whether the disk has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let end = at.saturating_add(length as u64).min(self.len());
        let mut bytes = Vec::with_capacity(length);
        let mut at = at;
        while at < end {
            let (block, from) = ((at / BLOCK as u64) as usize, (at % BLOCK as u64) as usize);
            let to = BLOCK.min(from + (end - at) as usize);
            match self.blocks.get(block).and_then(Option::as_ref) {
                Some(block) => bytes.extend_from_slice(block.get(from..to).unwrap_or_default()),
                None => bytes.resize(bytes.len() + (to - from), 0),
            }
            at += (to - from) as u64;
        }
        bytes
    }

    /// Writes what lies within the disk.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let (block, from) = ((at / BLOCK as u64) as usize, (at % BLOCK as u64) as usize);
            let (now, later) = rest.split_at(rest.len().min(BLOCK - from));
            let Some(block) = self.blocks.get_mut(block) else {
                return;
            };
            let block = Arc::make_mut(block.get_or_insert_with(|| Arc::new([0; BLOCK])));
            if let Some(range) = block.get_mut(from..from + now.len()) {
                range.copy_from_slice(now);
            }
            at += now.len() as u64;
            rest = later;
        }
    }
}
