//! A labelled folder as both sides of `cargo xtask learn` read it: `images/{train,val}`, `labels/{train,val}`, `data.yaml`.
//!
//! Everything is copied: the reference package rewrites damaged JPEGs in place and leaves a cache beside the labels.
//! What azaion's label rules refuse is left out for both, so that both learn from the same images and the same boxes;
//! its name is told. The classes are those of `classes.json` alone, without the empty slots of azaion's own datasets.

use annotation::{ClassList, Label};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// Copies the train and val images of `from` to the new folder `to`; returns what was copied and left out.
pub fn copy(from: &Path, to: &Path) -> Result<Value> {
    let classes = from.join("classes.json");
    let classes = ClassList::parse(&read(&classes)?).with_context(|| classes.display().to_string())?;
    let slots = classes.iter().map(|class| usize::from(class.id) + 1).max();
    let names = &classes.names80()[..slots.context("classes.json lists no class")?];

    let mut left_out = Vec::new();
    let mut split = |name: &str| -> Result<usize> {
        let list = from.join(name).with_extension("txt");
        let (images, labels) = (to.join("images").join(name), to.join("labels").join(name));
        fs::create_dir_all(&images)?;
        fs::create_dir_all(&labels)?;
        let mut copied = 0;
        for line in read(&list)?
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let image = image(from, line)?;
            let label = from.join("labels").join(file_name(&image)).with_extension("txt");
            if let Err(error) = Label::parse(&read(&label)?) {
                left_out.push(format!("{}: {error}", label.display()));
                continue;
            }
            fs::copy(&image, images.join(file_name(&image)))?;
            fs::copy(&label, labels.join(file_name(&label)))?;
            copied += 1;
        }
        if copied == 0 {
            bail!("{} names no usable image", list.display());
        }
        Ok(copied)
    };
    let (train, val) = (split("train")?, split("val")?);
    let yaml = format!(
        "path: {}\ntrain: images/train\nval: images/val\nnames: {}\n",
        json!(fs::canonicalize(to)?),
        json!(names)
    );
    fs::write(to.join("data.yaml"), yaml)?;
    Ok(json!({ "train": train, "val": val, "left_out": left_out, "names": names }))
}

/// The image that a line of a list names: by its stem or by its file name, with folders before it or without.
fn image(dataset: &Path, line: &str) -> Result<PathBuf> {
    let name = Path::new(line).file_name().context("an empty name in a list")?;
    let named = dataset.join("images").join(name);
    let with = |extension: &&str| {
        let mut path = named.clone().into_os_string();
        path.push(".");
        path.push(extension);
        PathBuf::from(path)
    };
    std::iter::once(named.clone())
        .chain(EXTENSIONS.iter().map(with))
        .find(|path| path.is_file())
        .with_context(|| format!("no image {} (jpg, jpeg, png, bmp, webp)", named.display()))
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
