//! The operations of the kernel, done on a [`State`].

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::state::{FileNode, FolderNode, Kind, ROOT};
use super::{Shared, Sync, lock};

/// The kernel keeps no name and no attribute.
const KEEP: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);
const BLOCK: u64 = 4096;

#[derive(Debug)]
pub(super) struct Server(pub(super) Arc<Mutex<Shared>>);

impl Server {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.0)
    }
}

type Answer<T> = Result<T, Errno>;

impl Shared {
    fn attr(&self, number: u64) -> Answer<FileAttr> {
        let node = self.state.node(number).ok_or(Errno::ENOENT)?;
        let (kind, perm, size) = match &node.kind {
            Kind::File(file) => (FileType::RegularFile, 0o644, file.now.len() as u64),
            Kind::Folder(_) => (FileType::Directory, 0o755, 0),
            Kind::Link(target) => (FileType::Symlink, 0o777, target.as_os_str().len() as u64),
        };
        let time = node.modified;
        let nlink = self.state.names_of(number);
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        })
    }

    fn may_change(&self) -> Answer<()> {
        match () {
            () if self.read_only => Err(Errno::EROFS),
            () if self.lost_power_after.is_some_and(|after| self.done >= after) => Err(Errno::EIO),
            () => Ok(()),
        }
    }

    /// How many more bytes there is room for.
    fn room(&self) -> u64 {
        self.room
            .map_or(u64::MAX, |room| room.saturating_sub(self.state.used()))
    }

    /// A change, done and numbered.
    fn did(&mut self, operation: String) {
        self.done += 1;
        if self.history {
            self.operations.push(operation);
            self.states.push(self.state.clone());
        }
    }

    fn path_in(&self, folder: u64, name: &OsStr) -> String {
        self.state.path(folder).join(name).display().to_string()
    }

    fn make(&mut self, folder: u64, name: &OsStr, kind: Kind, verb: &str) -> Answer<FileAttr> {
        self.may_change()?;
        self.state.folder(folder).ok_or(Errno::ENOTDIR)?;
        if self.state.find(folder, name).is_some() {
            return Err(Errno::EEXIST);
        }
        if self.room() == 0 {
            return Err(Errno::ENOSPC);
        }
        let number = self.state.add(kind);
        self.state.name(folder, name, Some(number));
        self.did(format!("{verb} {}", self.path_in(folder, name)));
        self.attr(number)
    }

    fn remove(&mut self, folder: u64, name: &OsStr) -> Answer<()> {
        self.may_change()?;
        let number = self.state.find(folder, name).ok_or(Errno::ENOENT)?;
        if self
            .state
            .folder(number)
            .is_some_and(|folder| !folder.now.is_empty())
        {
            return Err(Errno::ENOTEMPTY);
        }
        let operation = format!("remove {}", self.path_in(folder, name));
        self.state.name(folder, name, None);
        self.did(operation);
        Ok(())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), flags: RenameFlags) -> Answer<()> {
        self.may_change()?;
        let number = self.state.find(from.0, from.1).ok_or(Errno::ENOENT)?;
        if flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        if let Some(replaced) = self.state.find(to.0, to.1) {
            if flags.contains(RenameFlags::RENAME_NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            if replaced == number {
                return Ok(());
            }
            if self
                .state
                .folder(replaced)
                .is_some_and(|folder| !folder.now.is_empty())
            {
                return Err(Errno::ENOTEMPTY);
            }
        }
        let operation = format!(
            "rename {} {}",
            self.path_in(from.0, from.1),
            self.path_in(to.0, to.1)
        );
        self.state.rename(from, to, self.options.renames);
        self.did(operation);
        Ok(())
    }

    /// Writes what there is room for.
    fn write(&mut self, number: u64, at: u64, bytes: &[u8]) -> Answer<u32> {
        self.may_change()?;
        let length = self.state.file(number).ok_or(Errno::EBADF)?.now.len() as u64;
        let fits = length
            .saturating_add(self.room())
            .saturating_sub(at)
            .min(bytes.len() as u64);
        let bytes = bytes.get(..fits as usize).unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(Errno::ENOSPC);
        }
        self.state.write(number, at as usize, bytes);
        self.did(format!("write {} {at}+{fits}", self.state.path(number).display()));
        Ok(fits as u32)
    }

    fn set_length(&mut self, number: u64, length: u64) -> Answer<()> {
        self.may_change()?;
        let before = self.state.file(number).ok_or(Errno::EINVAL)?.now.len() as u64;
        if length.saturating_sub(before) > self.room() {
            return Err(Errno::ENOSPC);
        }
        self.state.set_length(number, length as usize);
        self.did(format!("truncate {} {length}", self.state.path(number).display()));
        Ok(())
    }

    fn sync(&mut self, number: u64) -> Answer<()> {
        let sync = Sync {
            phase: self.phase,
            path: self.state.path(number),
            bytes: self.state.file(number).map(|file| Arc::clone(&file.now)),
        };
        if !(self.options.ignored)(&sync) {
            match sync.bytes {
                Some(_) => self.state.sync_file(number),
                None => self.state.sync_folder(number),
            }
        }
        self.did(format!("sync {}", sync.path.display()));
        self.syncs.push(sync);
        Ok(())
    }
}

fn answer_empty(answer: Answer<()>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(answer: Answer<FileAttr>, reply: ReplyEntry) {
    match answer {
        Ok(attr) => reply.entry(&KEEP, &attr, GENERATION),
        Err(error) => reply.error(error),
    }
}

fn answer_attr(answer: Answer<FileAttr>, reply: ReplyAttr) {
    match answer {
        Ok(attr) => reply.attr(&KEEP, &attr),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let shared = self.shared();
        let found = shared.state.find(parent.0, name).ok_or(Errno::ENOENT);
        answer_entry(found.and_then(|number| shared.attr(number)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attr(self.shared().attr(ino.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut shared = self.shared();
        let done = size.map_or(Ok(()), |size| shared.set_length(ino.0, size));
        answer_attr(done.and_then(|()| shared.attr(ino.0)), reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.shared().state.node(ino.0).map(|node| &node.kind) {
            Some(Kind::Link(target)) => reply.data(target.as_os_str().as_encoded_bytes()),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let folder = Kind::Folder(FolderNode::default());
        answer_entry(
            self.shared().make(parent.0, name, folder, "make the folder"),
            reply,
        );
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let link = Kind::Link(target.to_owned());
        answer_entry(self.shared().make(parent.0, name, link, "point the link"), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self
            .shared()
            .make(parent.0, name, Kind::File(FileNode::default()), "create")
        {
            Ok(attr) => reply.created(&KEEP, &attr, GENERATION, FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let mut shared = self.shared();
        let linked = shared.may_change().and_then(|()| {
            if shared.state.find(newparent.0, newname).is_some() {
                return Err(Errno::EEXIST);
            }
            shared.state.name(newparent.0, newname, Some(ino.0));
            let operation = format!("link {}", shared.path_in(newparent.0, newname));
            shared.did(operation);
            shared.attr(ino.0)
        });
        answer_entry(linked, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.shared().remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.shared().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer_empty(
            self.shared()
                .rename((parent.0, name), (newparent.0, newname), flags),
            reply,
        );
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let shared = self.shared();
        let Some(file) = shared.state.file(ino.0) else {
            return reply.error(Errno::EBADF);
        };
        let from = (offset as usize).min(file.now.len());
        let to = from.saturating_add(size as usize).min(file.now.len());
        reply.data(file.now.get(from..to).unwrap_or_default());
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.shared().write(ino.0, offset, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer_empty(self.shared().sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer_empty(self.shared().sync(ino.0), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let shared = self.shared();
        let Some(folder) = shared.state.folder(ino.0) else {
            return reply.error(Errno::ENOTDIR);
        };
        let dots = [(OsStr::new("."), ino.0), (OsStr::new(".."), ROOT)];
        let names = folder
            .now
            .iter()
            .map(|(name, number)| (name.as_os_str(), *number));
        for (at, (name, number)) in (1..).zip(dots.into_iter().chain(names)).skip(offset as usize) {
            let Ok(attr) = shared.attr(number) else { continue };
            if reply.add(INodeNo(number), at, attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let shared = self.shared();
        let (used, free) = (shared.state.used() / BLOCK, shared.room().min(1 << 40) / BLOCK);
        reply.statfs(
            used + free,
            free,
            free,
            1 << 20,
            1 << 20,
            BLOCK as u32,
            255,
            BLOCK as u32,
        );
    }
}
