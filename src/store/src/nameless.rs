//! Files without a name (`O_TMPFILE`): written in peace, and seen whole or not at all.
//!
//! Giving such a file its name takes one change of a folder where an aside file takes three, and what is never named
//! needs no cleaning up, not even after a power cut. Large files bypass the page cache (`O_DIRECT`): images are written once
//! and not read soon, and copying them into fresh pages was the larger part of writing them. A file system that knows
//! neither says so, and the ordinary ways are used. Facts: open(2), link(2), and `AT_EMPTY_PATH` in linkat(2).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl};
use nix::unistd::linkat;

/// A file without a name. It is gone with its last handle, unless it was given one.
#[derive(Debug)]
pub struct Nameless(pub(crate) Kind);

impl Nameless {
    fn handle(&self) -> io::Result<&File> {
        match &self.0 {
            Kind::Open(file) => Ok(file),
            #[cfg(any(test, feature = "fault"))]
            Kind::Number(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Kind {
    Open(File),
    /// Of a disk in memory.
    #[cfg(any(test, feature = "fault"))]
    Number(usize),
}

/// From this size on the page cache is bypassed: below, a file's one request costs more than the copy.
pub(crate) const DIRECT_FROM: usize = 64 << 10;
/// What direct requests must be multiples of, in memory and on disk: a page, which is enough for any sector.
const ALIGNMENT: usize = 4096;
/// The most that goes out in one request.
const REQUEST: usize = 512 << 10;

/// How a file system takes files without a name, learnt by trying.
#[derive(Debug, Default)]
pub(crate) struct Maker {
    has_none: AtomicBool,
    takes_no_direct: AtomicBool,
    links_by_proc: AtomicBool,
    /// Memory of requests that are done; as many as there are threads that write at once.
    requests: Mutex<Vec<Request>>,
}

impl Maker {
    pub(crate) fn write(&self, dir: &Path, bytes: &[u8]) -> io::Result<Option<Nameless>> {
        if self.has_none.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if bytes.len() >= DIRECT_FROM && !self.takes_no_direct.load(Ordering::Relaxed) {
            match self.write_direct(dir, bytes) {
                Ok(file) => return Ok(Some(Nameless(Kind::Open(file)))),
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                    self.takes_no_direct.store(true, Ordering::Relaxed);
                }
                Err(error) if !is_unsupported(&error) => return Err(error),
                Err(_) => {}
            }
        }
        match open(dir, OFlag::O_TMPFILE) {
            Ok(mut file) => {
                file.write_all(bytes)?;
                Ok(Some(Nameless(Kind::Open(file))))
            }
            Err(error) if is_unsupported(&error) => {
                self.has_none.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn write_direct(&self, dir: &Path, bytes: &[u8]) -> io::Result<File> {
        let file = open(dir, OFlag::O_TMPFILE | OFlag::O_DIRECT)?;
        let (pages, rest) = bytes.split_at(bytes.len() - bytes.len() % ALIGNMENT);
        let mut request = self.requests().pop().unwrap_or_else(Request::new);
        let mut at = 0;
        for part in pages.chunks(REQUEST) {
            file.write_all_at(request.fill(part), at)?;
            at += part.len() as u64;
        }
        self.requests().push(request);
        if !rest.is_empty() {
            // Through the page cache: to write a whole page and cut it would have the page read again.
            fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
            file.write_all_at(rest, at)?;
        }
        Ok(file)
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails with [`io::ErrorKind::AlreadyExists`] where something has that name.
    pub(crate) fn name(&self, file: &Nameless, path: &Path) -> io::Result<()> {
        let file = file.handle()?;
        if !self.links_by_proc.load(Ordering::Relaxed) {
            match linkat(file, "", AT_FDCWD, path, AtFlags::AT_EMPTY_PATH) {
                // Before Linux 6.10 only with a capability.
                Err(Errno::ENOENT) => self.links_by_proc.store(true, Ordering::Relaxed),
                linked => return Ok(linked?),
            }
        }
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(linkat(
            AT_FDCWD,
            open.as_str(),
            AT_FDCWD,
            path,
            AtFlags::AT_SYMLINK_FOLLOW,
        )?)
    }
}

fn open(dir: &Path, flags: OFlag) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits())
        .mode(0o666)
        .open(dir)
}

/// EISDIR is the answer of a kernel to a flag that it does not know.
fn is_unsupported(error: &io::Error) -> bool {
    [Errno::EOPNOTSUPP, Errno::EISDIR, Errno::ENOSYS]
        .into_iter()
        .any(|errno| error.raw_os_error() == Some(errno as i32))
}

/// Memory that the disk reads from by itself.
#[derive(Debug)]
struct Request {
    memory: Vec<u8>,
    from: usize,
}

impl Request {
    fn new() -> Self {
        let memory = vec![0; REQUEST + ALIGNMENT];
        let from = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, from }
    }

    /// A copy of the part, which is not longer than a request.
    fn fill(&mut self, part: &[u8]) -> &[u8] {
        let request = &mut self.memory[self.from..][..part.len()];
        request.copy_from_slice(part);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_is_whole_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::default();
        for size in [
            0,
            1,
            4096,
            DIRECT_FROM - 1,
            DIRECT_FROM,
            DIRECT_FROM + 1,
            3 * REQUEST + 17,
        ] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let Some(file) = maker.write(dir.path(), &bytes).unwrap() else {
                eprintln!(
                    "skipped: a_file_of_any_size_is_whole_under_its_name: this file system has no nameless files"
                );
                return;
            };
            let path = dir.path().join(format!("{size}.jpg"));
            maker.name(&file, &path).unwrap();
            assert!(std::fs::read(path).unwrap() == bytes, "{size} bytes");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::default();
        let path = dir.path().join("1.jpg");
        std::fs::write(&path, b"somebody's").unwrap();
        let Some(file) = maker.write(dir.path(), b"ours").unwrap() else {
            eprintln!(
                "skipped: a_name_that_is_taken_is_not_taken_over: this file system has no nameless files"
            );
            return;
        };
        let kind = maker.name(&file, &path).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_the_capability_the_name_comes_by_way_of_proc() {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::default();
        maker.links_by_proc.store(true, Ordering::Relaxed);
        if let Some(file) = maker.write(dir.path(), b"ours").unwrap() {
            let path = dir.path().join("1.jpg");
            maker.name(&file, &path).unwrap();
            assert_eq!(std::fs::read(path).unwrap(), b"ours");
        } else {
            eprintln!(
                "skipped: without_the_capability_the_name_comes_by_way_of_proc: this file system has no nameless files"
            );
        }
    }

    #[test]
    fn a_file_system_without_such_files_says_so() {
        let written = Maker::default().write(Path::new("/proc"), b"ours");
        if let Err(error) = &written
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            eprintln!("skipped: a_file_system_without_such_files_says_so: only root may ask /proc");
            return;
        }
        assert!(written.unwrap().is_none());
    }
}
