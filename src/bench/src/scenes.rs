//! Images to load: discs on a noisy gradient, 1280 x 720 JPEGs with their labels and a data.yaml.

use annotation::{Label, Row};
use anyhow::{Context, Result};
use dataset::rng::{Purpose, below, stream, unit};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

const IMAGES: u64 = 96;
const WIDTH: usize = 1280;
const HEIGHT: usize = 720;
const DISCS: usize = 10;
const QUALITY: u8 = 90;

/// Writes the dataset into `folder`.
pub fn write(folder: &Path) -> Result<()> {
    let (images, labels) = (folder.join("images/train"), folder.join("labels/train"));
    for made in [&images, &labels] {
        fs::create_dir_all(made).with_context(|| format!("cannot create {}", made.display()))?;
    }
    for index in 0..IMAGES {
        let (pixels, label) = scene(index)?;
        let file = File::create(images.join(format!("{index:03}.jpg")))?;
        JpegEncoder::new_with_quality(BufWriter::new(file), QUALITY).encode(
            &pixels,
            WIDTH as u32,
            HEIGHT as u32,
            ExtendedColorType::Rgb8,
        )?;
        fs::write(labels.join(format!("{index:03}.txt")), label.to_string())?;
    }
    let yaml = format!(
        "path: {}\ntrain: images/train\nval: images/train\nnames: [disc]\n",
        fs::canonicalize(folder)?.display()
    );
    Ok(fs::write(folder.join("data.yaml"), yaml)?)
}

fn scene(index: u64) -> Result<(Vec<u8>, Label)> {
    let mut rng = stream(0, Purpose::Test, 0, index);
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let noise = 30 + below(&mut rng, 9) as usize;
            let ramps = [x * 180 / WIDTH, y * 180 / HEIGHT, (x + y) * 90 / WIDTH];
            pixels.extend(ramps.map(|ramp| (ramp + noise) as u8));
        }
    }
    let mut rows = Vec::with_capacity(DISCS);
    for _ in 0..DISCS {
        let radius = 20 + below(&mut rng, 60) as usize;
        let cx = radius + below(&mut rng, (WIDTH - 2 * radius) as u64) as usize;
        let cy = radius + below(&mut rng, (HEIGHT - 2 * radius) as u64) as usize;
        let colour: [u8; 3] = std::array::from_fn(|_| (unit(&mut rng) * 255.0) as u8);
        for y in cy - radius..cy + radius {
            for x in cx - radius..cx + radius {
                let inside = x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2) < radius.pow(2);
                if let Some(pixel) = pixels.get_mut((y * WIDTH + x) * 3..).filter(|_| inside) {
                    pixel[..3].copy_from_slice(&colour);
                }
            }
        }
        let share = |length: usize, of: usize| length as f32 / of as f32;
        rows.push(Row::new(
            0,
            share(cx, WIDTH),
            share(cy, HEIGHT),
            share(2 * radius, WIDTH),
            share(2 * radius, HEIGHT),
        )?);
    }
    Ok((pixels, Label { rows }))
}
