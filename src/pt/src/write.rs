//! Writing a state dictionary that PyTorch loads with `weights_only=True`.
//!
//! The same entries give the same bytes. Every storage starts at a multiple of 64 bytes, as PyTorch lays them out, so
//! that the file can be mapped.

use super::{EXTRA, PtError};

const ALIGNMENT: usize = 64;
/// The archive's one top-level folder.
const ROOT: &str = "archive";

/// The elements of a tensor to be written, in row-major order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Integers, for counters.
    I64(&'a [i64]),
}

/// A tensor to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Name in the state dictionary.
    pub name: &'a str,
    /// Sizes, outermost first; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements.
    pub data: Data<'a>,
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::I64(data) => data.len(),
        }
    }

    fn element_size(&self) -> usize {
        match self {
            Self::F32(_) => size_of::<f32>(),
            Self::I64(_) => size_of::<i64>(),
        }
    }

    fn storage_class(&self) -> &'static str {
        match self {
            Self::F32(_) => "FloatStorage",
            Self::I64(_) => "LongStorage",
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(data) => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::I64(data) => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}

/// The bytes of a `.pt` file with these tensors in this order, and with `extra_json` in a member of our own.
pub fn write(entries: &[Entry<'_>], extra_json: &str) -> Result<Vec<u8>, PtError> {
    let mut names = std::collections::HashSet::new();
    for entry in entries {
        let problem =
            if entry.shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s)) != Some(entry.data.len()) {
                "its shape does not hold as many elements as came"
            } else if !names.insert(entry.name) {
                "the name is used twice"
            } else {
                continue;
            };
        return Err(PtError::Write {
            name: entry.name.to_owned(),
            problem,
        });
    }

    let pickle = pickle(entries);
    let mut archive = Archive::default();
    let storages: usize = entries
        .iter()
        .map(|e| e.data.len() * e.data.element_size() + 2 * ALIGNMENT)
        .sum();
    archive.bytes.reserve(pickle.len() + storages);
    archive.add("data.pkl", &pickle)?;
    archive.add(".format_version", b"1")?;
    archive.add(".storage_alignment", ALIGNMENT.to_string().as_bytes())?;
    archive.add("byteorder", b"little")?;
    for (index, entry) in entries.iter().enumerate() {
        archive.add(&format!("data/{index}"), &entry.data.bytes())?;
    }
    archive.add("version", b"3\n")?;
    // PyTorch puts a hash of the contents here; any 40 digits do.
    let identity = format!("{:020}{:020}", crc32fast::hash(&pickle), archive.checksums());
    archive.add(".data/serialization_id", identity.as_bytes())?;
    archive.add(EXTRA, extra_json.as_bytes())?;
    archive.finish()
}

/// An ordered dictionary of tensors, in the instructions of protocol 2.
fn pickle(entries: &[Entry<'_>]) -> Vec<u8> {
    const EMPTY_ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = b"\x80\x02".to_vec();
    out.extend_from_slice(EMPTY_ORDERED_DICT);
    out.push(b'(');
    for (index, entry) in entries.iter().enumerate() {
        text(&mut out, entry.name);
        out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend_from_slice(format!("ctorch\n{}\n", entry.data.storage_class()).as_bytes());
        text(&mut out, &index.to_string());
        text(&mut out, "cpu");
        int(&mut out, entry.data.len());
        // End of the storage's tuple, reference to it, offset 0.
        out.extend_from_slice(b"tQK\x00");
        tuple(&mut out, entry.shape.iter().copied());
        tuple(&mut out, strides(entry.shape).into_iter());
        // No gradient, no hooks.
        out.push(0x89);
        out.extend_from_slice(EMPTY_ORDERED_DICT);
        out.extend_from_slice(b"tR");
    }
    out.extend_from_slice(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn int(out: &mut Vec<u8>, value: usize) {
    if let Ok(value) = i32::try_from(value) {
        out.push(b'J');
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        // Nine bytes, so that the highest bit is never taken for a sign.
        out.extend_from_slice(&[0x8a, 9]);
        out.extend_from_slice(&(value as u64).to_le_bytes());
        out.push(0);
    }
}

fn tuple(out: &mut Vec<u8>, values: impl Iterator<Item = usize>) {
    out.push(b'(');
    values.for_each(|value| int(out, value));
    out.push(b't');
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut stride = 1usize;
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&side| {
            let own = stride;
            stride = stride.saturating_mul(side.max(1));
            own
        })
        .collect();
    strides.reverse();
    strides
}

/// A zip archive of stored members, being written.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    members: u16,
}

impl Archive {
    pub(super) fn add(&mut self, name: &str, data: &[u8]) -> Result<(), PtError> {
        let too_large = |_| PtError::Write {
            name: name.to_owned(),
            problem: "the file would pass 4 GiB or 65535 members, more than its plain form holds",
        };
        let path = format!("{ROOT}/{name}");
        let header = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let size = u32::try_from(data.len()).map_err(too_large)?;
        let path_length = u16::try_from(path.len()).map_err(too_large)?;
        self.members = u16::try_from(usize::from(self.members) + 1).map_err(too_large)?;
        // An extra field, which has a header of 4 bytes itself, moves the data to the next multiple.
        let unpadded = self.bytes.len() + 30 + path.len() + 4;
        let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;

        let mut common = Vec::with_capacity(26);
        // Version 2.0, no flags, stored, midnight of 1980-01-01.
        [20u16, 0, 0, 0, 0x21]
            .iter()
            .for_each(|v| common.extend_from_slice(&v.to_le_bytes()));
        [crc32fast::hash(data), size, size]
            .iter()
            .for_each(|v| common.extend_from_slice(&v.to_le_bytes()));
        common.extend_from_slice(&path_length.to_le_bytes());

        self.bytes.extend_from_slice(b"PK\x03\x04");
        self.bytes.extend_from_slice(&common);
        self.bytes.extend_from_slice(&(padding as u16 + 4).to_le_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.extend_from_slice(b"FB");
        self.bytes.extend_from_slice(&(padding as u16).to_le_bytes());
        self.bytes.resize(self.bytes.len() + padding, b'Z');
        self.bytes.extend_from_slice(data);

        self.directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        self.directory.extend_from_slice(&common);
        // No extra field, comment, disk or attributes.
        self.directory.extend_from_slice(&[0; 12]);
        self.directory.extend_from_slice(&header.to_le_bytes());
        self.directory.extend_from_slice(path.as_bytes());
        Ok(())
    }

    /// One number for all members so far.
    fn checksums(&self) -> u32 {
        crc32fast::hash(&self.directory)
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>, PtError> {
        let too_large = |_| PtError::Write {
            name: String::new(),
            problem: "the file would pass 4 GiB, more than its plain form holds",
        };
        let start = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let size = u32::try_from(self.directory.len()).map_err(too_large)?;
        self.bytes.append(&mut self.directory);
        self.bytes.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
        [self.members, self.members]
            .iter()
            .for_each(|v| self.bytes.extend_from_slice(&v.to_le_bytes()));
        [size, start]
            .iter()
            .for_each(|v| self.bytes.extend_from_slice(&v.to_le_bytes()));
        self.bytes.extend_from_slice(&[0, 0]);
        Ok(self.bytes)
    }
}
