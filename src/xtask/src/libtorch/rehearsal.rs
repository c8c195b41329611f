//! A fresh set-up, rehearsed: what a new machine goes through, without the download. An empty cache, the wheels that an
//! earlier set-up kept, a workspace's link, everything thrown away afterwards. CI runs it, so that the way a new machine
//! comes by its libtorch is exercised by every change and not only by the next new machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::setup::{How, Setup, Wheels};
use super::tree::Listing;
use super::{Recipe, SetupError};
use crate::workspace::Env;

/// What a rehearsal came to.
#[derive(Debug)]
pub enum Rehearsal {
    /// A tree came out that is file for file the pinned one, and so is the one in use.
    Same {
        /// Files in it.
        files: usize,
        /// Their size.
        bytes: u64,
        /// How long the set-up took.
        took: Duration,
    },
    /// There are no wheels to rehearse with in this folder.
    NoWheels(PathBuf),
}

/// Sets libtorch up in an empty folder below `cache` from the wheels kept in `cache`, then compares the tree in use with
/// the pins, file by file.
///
/// # Errors
/// [`SetupError`]: the set-up fails, or the tree in use has been changed.
pub fn rehearse(recipe: &Recipe, cache: &Path, env: Env<'_>) -> Result<Rehearsal, SetupError> {
    let wheels = cache.join("wheels");
    if !recipe
        .wheels
        .iter()
        .all(|wheel| wheels.join(&wheel.file).is_file())
    {
        return Ok(Rehearsal::NoWheels(wheels));
    }
    // On the cache's own disk: half a gigabyte is too much for a /tmp in memory.
    let fresh = tempfile::Builder::new()
        .prefix("rehearsal-")
        .tempdir_in(cache)
        .map_err(SetupError::io("create a folder in", cache))?;
    let started = Instant::now();
    let link = fresh.path().join(".libtorch");
    let setup = Setup {
        recipe,
        cache: fresh.path().join("cache"),
        link,
        wheels: Wheels::From(wheels),
        env,
    };
    let ready = setup.run()?;
    debug_assert_eq!(ready.how, How::Built);
    let took = started.elapsed();
    let in_use = cache.join(recipe.folder());
    let trees = if in_use.exists() {
        vec![ready.tree, in_use]
    } else {
        vec![ready.tree]
    };
    for tree in trees {
        let listing = Listing::read(&tree, |_| {}).map_err(SetupError::io("read", &tree))?;
        if listing.digest() != recipe.digest {
            let (expected, found) = (recipe.digest.clone(), listing.digest());
            return Err(SetupError::WrongTree {
                path: tree,
                expected,
                found,
            });
        }
    }
    Ok(Rehearsal::Same {
        files: recipe.files,
        bytes: recipe.bytes,
        took,
    })
}
