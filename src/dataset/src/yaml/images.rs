//! Which images a split has, and how large they are.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::decode;

/// Extensions of images that are read; other files are not looked at.
const EXTENSIONS: [&str; 5] = ["bmp", "jpeg", "jpg", "png", "webp"];
/// So much of a JPEG nearly always holds its headers.
const HEAD_BYTES: u64 = 64 * 1024;

/// Adds the images of `source`: a folder and what is below it, or a text file of paths.
pub(super) fn list(source: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    if source.is_dir() {
        walk(source, into)
    } else {
        listed(source, into)
    }
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link to an image is an image; a link to a folder is not followed, since it could lead in a circle.
        if entry.file_type()?.is_dir() {
            walk(&path, into)?;
        } else if is_image(&path) && path.is_file() {
            into.push(path);
        }
    }
    Ok(())
}

fn listed(list: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    let folder = list.parent().unwrap_or(Path::new(""));
    let text = std::fs::read_to_string(list)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    into.extend(lines.map(|line| folder.join(line.strip_prefix("./").unwrap_or(line))));
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    })
}

/// Width and height as shown. Of a JPEG only the beginning is read where that is enough.
pub(super) fn size(image: &Path) -> Result<(usize, usize), String> {
    let mut file = File::open(image).map_err(|error| error.to_string())?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES as usize);
    (&mut file)
        .take(HEAD_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.starts_with(&[0xff, 0xd8])
        && let Ok(size) = decode::dimensions(&bytes)
    {
        return Ok(size);
    }
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    decode::dimensions(&bytes).map_err(|error| error.to_string())
}
