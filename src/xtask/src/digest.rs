//! SHA-256 of files, streamed, as lower-case hex: the form in which `sha256sum` prints it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes read at a time: large enough that a 500 MB wheel is a matter of the disk, not of system calls.
pub const CHUNK: usize = 1 << 20;

/// The SHA-256 of `bytes` in lower-case hex.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of the file at `path` in lower-case hex; `seen` is told of every chunk's length.
///
/// # Errors
/// What opening and reading the file gives.
pub fn of_file(path: &Path, seen: impl FnMut(u64)) -> io::Result<String> {
    copy(&mut File::open(path)?, &mut io::sink(), seen).map(|copied| copied.sha256)
}

/// What [`copy`] moved.
pub struct Copied {
    /// SHA-256 of the bytes, lower-case hex.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
}

/// Copies `from` to `to` and hashes on the way; `seen` is told of every chunk's length.
///
/// # Errors
/// What reading and writing give.
pub fn copy(from: &mut impl Read, to: &mut impl io::Write, mut seen: impl FnMut(u64)) -> io::Result<Copied> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let chunk = match from.read(&mut buffer) {
            Ok(0) => {
                return Ok(Copied {
                    sha256: hex(&hasher.finalize()),
                    bytes,
                });
            }
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(chunk);
        to.write_all(chunk)?;
        bytes += chunk.len() as u64;
        seen(chunk.len() as u64);
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // `printf abc | sha256sum`
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn bytes_hash_as_sha256sum_prints_it() {
        assert_eq!(of_bytes(b"abc"), ABC);
    }

    #[test]
    fn a_copy_hashes_what_it_wrote_across_chunks() {
        let data = vec![7_u8; 3 * CHUNK + 5];
        let mut written = Vec::new();
        let mut seen = 0;
        let copied = copy(&mut data.as_slice(), &mut written, |n| seen += n).unwrap();
        assert_eq!(written, data);
        assert_eq!((copied.bytes, seen), (data.len() as u64, data.len() as u64));
        assert_eq!(copied.sha256, of_bytes(&data));
    }
}
