//! Walking the heads of a stream file: where each record begins, and where the intact ones end.
//!
//! A walk reads 12 bytes a record and steps over the payloads; only the last payload is checked, because only the last
//! may be torn. So everything below the end that a walk finds is either intact or damaged, never unfinished.

use super::{BAD_HEAD, HEAD_BYTES, Head, Log, Position};
use crate::Error;

/// What follows the last intact record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// Bytes of a record that was not written to its end.
    Torn {
        /// How many.
        bytes: u64,
    },
}

/// The end of the intact records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub position: Position,
    pub tail: Tail,
}

/// Walks from `start` to the end of the file and calls `visit` with the beginning of each record.
pub(super) fn walk(log: &Log, start: Position, mut visit: impl FnMut(Position)) -> Result<End, Error> {
    let length = log.length()?;
    let mut at = start;
    loop {
        let left = length.saturating_sub(at.byte);
        let torn = End {
            position: at,
            tail: Tail::Torn { bytes: left },
        };
        if left == 0 {
            return Ok(End {
                position: at,
                tail: Tail::Clean,
            });
        }
        if left < HEAD_BYTES as u64 {
            return Ok(torn);
        }
        let Some(head) = log.head(at)? else {
            if all_zero(log, at.byte, length)? {
                return Ok(torn);
            }
            return Err(log.damaged(at, BAD_HEAD));
        };
        if head.record_bytes() > left || (head.record_bytes() == left && !payload_matches(log, at, head)?) {
            return Ok(torn);
        }
        visit(at);
        at = at.after(head);
    }
}

fn payload_matches(log: &Log, at: Position, head: Head) -> Result<bool, Error> {
    let mut payload = vec![0; head.length];
    log.read_at(&mut payload, at.byte + HEAD_BYTES as u64)?;
    Ok(head.matches(&payload))
}

/// Whether the file holds nothing but zeros from `from` to `to`.
fn all_zero(log: &Log, from: u64, to: u64) -> Result<bool, Error> {
    let mut block = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let wanted = (to - at).min(block.len() as u64) as usize;
        let Some(part) = block.get_mut(..wanted) else {
            return Ok(false);
        };
        log.read_at(part, at)?;
        if part.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}
