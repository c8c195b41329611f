//! Files from disk into memory.

use super::WeightsError;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes that a model file can have: the largest network with optimiser state has about a quarter of it.
pub const LARGEST: u64 = 4 << 30;

/// The bytes of a model file; the caller's message says which.
///
/// # Errors
/// It is not a plain file (a folder, a device, a pipe), too large, or cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, WeightsError> {
    // Before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file").into());
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LARGEST {
        return Err(WeightsError::TooLarge(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
