//! The tree: its folders are there, or can be made, and take files from this user.

use super::{Context, Finding};
use queue::verbs;
use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use store::{Home, Paths};

pub(super) fn look(context: &Context) -> Vec<Finding> {
    let paths = verbs::layout(&context.config);
    let root = paths.root();
    let meta = match fs::metadata(root) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => {
            let next = "move it away, and make a folder that belongs to the service's user";
            return vec![Finding::problem(root.display(), "is no folder", next)];
        }
        Err(error) => {
            let next = format!(
                "make it: systemd-tmpfiles --create, or install -d -o azaion -g azaion -m 0750 {}",
                root.display()
            );
            return vec![Finding::problem(root.display(), error, next)];
        }
    };
    let mut found = probes(&paths);
    found.extend(owner(&paths, &meta));
    found
}

/// Files can be made in the root, and in each folder that is there already; the queue makes the others.
fn probes(paths: &Paths) -> Vec<Finding> {
    let folders = folders(paths);
    let found: Vec<Finding> = folders
        .iter()
        .filter_map(|folder| {
            let error = probe(folder).err()?;
            Some(Finding::problem(
                folder.display(),
                format!("takes no file: {error}"),
                remedy(folder, &error),
            ))
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    let what = format!("files can be written (folders tried: {})", folders.len());
    vec![Finding::right(paths.root().display(), what)]
}

fn folders(paths: &Paths) -> Vec<PathBuf> {
    let homes = Home::ALL.map(|home| [paths.images(home), paths.labels(home)]);
    let single = [paths.quarantine(), paths.datasets(), paths.models()];
    std::iter::once(paths.root().to_owned())
        .chain(
            homes
                .into_iter()
                .flatten()
                .chain(single)
                .filter(|folder| folder.exists()),
        )
        .collect()
}

/// Writes a file as the tree's own writers do, and removes it: what is left of one that is killed, they remove.
fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!("{}{}-check", store::atomic::ASIDE, std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(b"azaion check\n")?;
        file.sync_all()
    });
    match (written, fs::remove_file(&path)) {
        (Ok(()), removed) => removed,
        (written, _) => written,
    }
}

fn remedy(folder: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount it for writing; in a unit, name it in ReadWritePaths=".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "give it to the service's user (chown -R azaion:azaion {}), or run this check as that user",
            folder.display()
        ),
        io::ErrorKind::StorageFull => "make room on this disk".to_owned(),
        _ => "look at the disk, and at the kernel's log".to_owned(),
    }
}

fn owner(paths: &Paths, meta: &Metadata) -> Option<Finding> {
    let root = paths.root();
    if meta.mode() & 0o002 != 0 {
        return Some(Finding::problem(
            root.display(),
            format!("every user can change it (mode {:04o})", meta.mode() & 0o7777),
            format!("chmod o-w {}", root.display()),
        ));
    }
    let others: Vec<_> = folders(paths)
        .into_iter()
        .filter(|folder| !takes_files_of(meta.uid(), folder))
        .map(|folder| folder.display().to_string())
        .collect();
    // As root every probe succeeds.
    (nix::unistd::geteuid().is_root() && !others.is_empty()).then(|| {
        Finding::problem(
            others.join(", "),
            format!(
                "the tree belongs to user {}, who cannot write in here",
                meta.uid()
            ),
            format!("chown -R --reference={0} {0}", root.display()),
        )
    })
}

/// Whether files of this user can be made in a folder: it is the user's own.
fn takes_files_of(user: u32, folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|meta| meta.uid() == user && meta.mode() & 0o300 == 0o300)
}
