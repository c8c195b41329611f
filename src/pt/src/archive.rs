//! The zip archive around a checkpoint: members that are stored, not compressed, by name.
//!
//! Sizes come from the central directory, so that members with a data descriptor need no special care. Members must lie
//! apart from each other and before the directory: together they are never more than the file.

use std::collections::HashMap;

use super::PtError;
use super::value::shown;

/// Signatures of the zip format's records.
const LOCAL: u32 = 0x0403_4b50;
const ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;

/// Length of the end record without its comment, which has at most 65535 bytes.
const END_LENGTH: usize = 22;
const LOCATOR64_LENGTH: usize = 20;

pub(super) fn problem(member: &str, problem: &'static str) -> PtError {
    PtError::Archive {
        member: shown(member),
        problem,
    }
}

const TRUNCATED: &str = "the file ends within it: truncated or damaged; copy it again";

pub(super) struct Archive<'a> {
    /// Below the one top-level folder, whose name differs from file to file.
    members: HashMap<&'a str, &'a [u8]>,
}

/// Where the central directory lies and how many entries it has.
struct Directory {
    start: usize,
    end: usize,
    entries: u64,
}

/// What an entry of the directory says.
struct Listed<'a> {
    name: &'a str,
    size: usize,
    header: usize,
    crc32: u32,
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, PtError> {
        let directory = Directory::find(bytes)?;
        let mut rest = bytes
            .get(directory.start..directory.end)
            .ok_or_else(|| problem("", TRUNCATED))?;
        let (mut members, mut extents, mut root) = (HashMap::new(), Vec::new(), None);
        for _ in 0..directory.entries {
            let listed = Listed::parse(&mut rest)?;
            let extent = Extent::locate(bytes, &listed, directory.start)?;
            let (folder, name) = listed
                .name
                .split_once('/')
                .ok_or_else(|| problem(listed.name, "not in a folder: not written by PyTorch"))?;
            if *root.get_or_insert(folder) != folder {
                return Err(problem(
                    listed.name,
                    "in a second top-level folder: not written by PyTorch",
                ));
            }
            if members.insert(name, extent.data).is_some() {
                return Err(problem(listed.name, "listed twice"));
            }
            extents.push(extent);
        }
        extents.sort_unstable_by_key(|extent| extent.start);
        if let Some(pair) = extents.windows(2).find(|pair| pair[0].end > pair[1].start) {
            return Err(problem(pair[1].name, "overlaps another member: damaged"));
        }
        // Apart from each other, they take one pass over the file at most.
        for extent in extents {
            if crc32fast::hash(extent.data) != extent.crc32 {
                return Err(problem(
                    extent.name,
                    "its checksum does not match: damaged; copy the file again",
                ));
            }
        }
        Ok(Self { members })
    }

    /// The contents of a member, if there is one of this name below the folder.
    pub(super) fn member(&self, name: &str) -> Option<&'a [u8]> {
        self.members.get(name).copied()
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a [u8], PtError> {
        self.member(name)
            .ok_or_else(|| problem(name, "missing: not a PyTorch checkpoint"))
    }
}

impl Directory {
    fn find(bytes: &[u8]) -> Result<Self, PtError> {
        let end = find_end(bytes).ok_or(PtError::NotAnArchive)?;
        let at = |offset: usize| end + offset;
        let (mut entries, mut size, mut start) = (
            u64::from(u16_at(bytes, at(10)).unwrap_or(0)),
            u64::from(u32_at(bytes, at(12)).unwrap_or(0)),
            u64::from(u32_at(bytes, at(16)).unwrap_or(0)),
        );
        let locator = end
            .checked_sub(LOCATOR64_LENGTH)
            .filter(|&l| u32_at(bytes, l) == Some(LOCATOR64));
        if let Some(locator) = locator {
            let record = u64_at(bytes, locator + 8).and_then(|r| usize::try_from(r).ok());
            let record = record.filter(|&r| u32_at(bytes, r) == Some(END64));
            let field = |offset| record.and_then(|r| u64_at(bytes, r.checked_add(offset)?));
            let missing = || problem("", "its 64-bit end record is missing: truncated or damaged");
            entries = field(32).ok_or_else(missing)?;
            size = field(40).ok_or_else(missing)?;
            start = field(48).ok_or_else(missing)?;
        }
        let within = |value: u64| usize::try_from(value).ok().filter(|&v| v <= end);
        let bounds = within(start).zip(start.checked_add(size).and_then(within));
        let (start, end) = bounds.ok_or_else(|| problem("", TRUNCATED))?;
        Ok(Self { start, end, entries })
    }
}

/// The end record is the last thing in the file but for a comment of the length that it states.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LENGTH)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|&at| {
        u32_at(bytes, at) == Some(END)
            && u16_at(bytes, at + 20)
                .is_some_and(|comment| at + END_LENGTH + usize::from(comment) == bytes.len())
    })
}

impl<'a> Listed<'a> {
    /// Takes one entry off the front of the directory.
    fn parse(rest: &mut &'a [u8]) -> Result<Self, PtError> {
        let entry = *rest;
        let short = || problem("", TRUNCATED);
        if u32_at(entry, 0) != Some(ENTRY) {
            return Err(problem(
                "",
                "its directory has fewer entries than it says: damaged",
            ));
        }
        let half = |at| u16_at(entry, at).map(usize::from).ok_or_else(short);
        let word = |at| u32_at(entry, at).ok_or_else(short);
        let (name_length, extra_length, comment_length) = (half(28)?, half(30)?, half(32)?);
        let name_end = 46 + name_length;
        let name = entry.get(46..name_end).ok_or_else(short)?;
        let name = std::str::from_utf8(name).map_err(|_| problem("", "a member's name is not UTF-8"))?;
        let extra = entry.get(name_end..name_end + extra_length).ok_or_else(short)?;
        *rest = entry
            .get(name_end + extra_length + comment_length..)
            .ok_or_else(short)?;

        if half(8)? & 1 != 0 {
            return Err(problem(name, "encrypted: not written by PyTorch"));
        }
        if half(10)? != 0 {
            return Err(problem(
                name,
                "compressed: PyTorch stores members plainly; repack it without compression",
            ));
        }
        // 64-bit values stand in an extra field, in this order, for those that are all ones here.
        let mut wide = extra_field(extra, 1).unwrap_or(&[]);
        let mut widened = |short_value: u32| -> Result<usize, PtError> {
            if short_value != u32::MAX {
                return Ok(short_value as usize);
            }
            let value = u64_at(wide, 0).ok_or_else(|| problem(name, TRUNCATED))?;
            wide = &wide[8..];
            usize::try_from(value).map_err(|_| problem(name, TRUNCATED))
        };
        let (size, stored, header) = (widened(word(24)?)?, widened(word(20)?)?, widened(word(42)?)?);
        if size != stored {
            return Err(problem(
                name,
                "its two sizes differ though it is not compressed: damaged",
            ));
        }
        Ok(Self {
            name,
            size,
            header,
            crc32: word(16)?,
        })
    }
}

fn extra_field(mut extra: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (id, length) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let body = extra.get(4..4 + length)?;
        if id == wanted {
            return Some(body);
        }
        extra = &extra[4 + length..];
    }
}

/// A member in the file, from its local header to the end of its data.
struct Extent<'a> {
    name: &'a str,
    data: &'a [u8],
    crc32: u32,
    start: usize,
    end: usize,
}

impl<'a> Extent<'a> {
    fn locate(bytes: &'a [u8], listed: &Listed<'a>, limit: usize) -> Result<Self, PtError> {
        let &Listed {
            name,
            size,
            header: start,
            crc32,
        } = listed;
        let find = || {
            let header = bytes.get(start..limit)?;
            if u32_at(header, 0)? != LOCAL {
                return None;
            }
            let names = usize::from(u16_at(header, 26)?) + usize::from(u16_at(header, 28)?);
            let data = header.get(30 + names..)?.get(..size)?;
            Some(Self {
                name,
                data,
                crc32,
                start,
                end: start + 30 + names + size,
            })
        };
        find().ok_or_else(|| problem(name, TRUNCATED))
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests_support {
    //! Archives to order.

    use super::super::write::Archive;

    /// An archive with these members below its folder.
    pub(in super::super) fn archive_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Archive::default();
        for (name, data) in members {
            archive.add(name, data).unwrap();
        }
        archive.finish().unwrap()
    }

    /// The same with one 16-bit field of one directory entry set.
    pub(in super::super) fn patched_directory(
        bytes: &[u8],
        entry: usize,
        field: usize,
        value: u16,
    ) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let starts = bytes
            .windows(4)
            .enumerate()
            .filter(|(_, w)| *w == b"PK\x01\x02")
            .map(|(at, _)| at);
        let at = starts.collect::<Vec<_>>()[entry] + field;
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        bytes
    }
}
