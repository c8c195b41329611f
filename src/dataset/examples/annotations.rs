//! What `cargo xtask bench dataset` runs: `annotations draw FOLDER FROM COUNT` draws annotations into the tree FOLDER, each a JPEG
//! of 160 x 120 pixels that is like no other and a label of three boxes; `annotations form FOLDER` forms a dataset of them.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use dataset::form::{FormOptions, form};
use dataset::rng::{Purpose, below, stream};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use rayon::prelude::*;

const WIDTH: u32 = 160;
const HEIGHT: u32 = 120;
/// Side of the patches that a picture is made of.
const PATCH: u32 = 10;
const QUALITY: u8 = 90;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["draw", folder, from, count] => match (from.parse(), count.parse()) {
            (Ok(from), Ok(count)) => {
                draw_all(&Path::new(folder).join("data"), from, count).map_err(|error| error.to_string())
            }
            _ => Err("FROM and COUNT are numbers".to_owned()),
        },
        ["form", folder] => form(&FormOptions::new(*folder, 0))
            .map(drop)
            .map_err(|error| error.to_string()),
        _ => Err("usage: annotations draw FOLDER FROM COUNT | form FOLDER".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn draw_all(data: &Path, from: u64, count: u64) -> io::Result<()> {
    for folder in ["images", "labels"] {
        fs::create_dir_all(data.join(folder))?;
    }
    (from..from + count).into_par_iter().try_for_each(|index| {
        let name = format!("drawn-{index:07}");
        fs::write(data.join(format!("images/{name}.jpg")), picture(index)?)?;
        fs::write(
            data.join(format!("labels/{name}.txt")),
            "0 0.25 0.5 0.1 0.2\n1 0.5 0.5 0.2 0.1\n2 0.75 0.5 0.1 0.1\n",
        )
    })
}

fn picture(index: u64) -> io::Result<Vec<u8>> {
    let mut rng = stream(0, Purpose::Test, 1, index);
    let columns = WIDTH / PATCH;
    let patches: Vec<Rgb<u8>> = (0..columns * (HEIGHT / PATCH))
        .map(|_| Rgb([(); 3].map(|()| below(&mut rng, 256) as u8)))
        .collect();
    let image = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let patch = (y / PATCH * columns + x / PATCH) as usize;
        patches.get(patch).copied().unwrap_or(Rgb([0; 3]))
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode_image(&image)
        .map_err(io::Error::other)?;
    Ok(bytes)
}
