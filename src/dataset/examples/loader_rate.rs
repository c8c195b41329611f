//! Images a second that one core loads at 640 pixels from 1280 x 720 JPEGs, with the default augmentation:
//!
//!     cargo run --release -p dataset --example loader_rate
//!
//! Everything decoded again for every use, the first epoch that fills the cache, and later ones. Rates are by the
//! processor time used, as a busy machine would falsify the clock's.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annotation::{Label, Row};
use dataset::load::{Loader, LoaderOptions};
use dataset::rng::{Purpose, below, stream, unit};
use dataset::yaml::{Dataset, Item};

const IMAGES: usize = 96;
const SIZE: (usize, usize) = (1280, 720);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let items = (0..IMAGES)
        .map(|i| item(folder.path(), i))
        .collect::<Result<Vec<_>, _>>()?;
    let bytes = items
        .iter()
        .map(|item| item.image.metadata().map_or(0, |m| m.len()))
        .sum::<u64>();
    println!("{IMAGES} JPEGs of {} KB", bytes / IMAGES as u64 / 1000);
    let dataset = Dataset {
        items,
        names: vec!["disc".into()],
        nc: 1,
        ..Dataset::default()
    };
    let dataset = Arc::new(dataset);

    let options = LoaderOptions {
        workers: 0,
        ..LoaderOptions::default()
    };
    let uncached = Loader::new(
        Arc::clone(&dataset),
        LoaderOptions {
            cache_bytes: 0,
            ..options
        },
    )?;
    println!(
        "no cache, mosaic:       {:6.1} img/s",
        rate(&uncached, 0..1, true)?
    );
    println!(
        "no cache, no mosaic:    {:6.1} img/s",
        rate(&uncached, 0..1, false)?
    );
    let cached = Loader::new(dataset, options)?;
    println!("first epoch, mosaic:    {:6.1} img/s", rate(&cached, 0..1, true)?);
    println!("later epochs, mosaic:   {:6.1} img/s", rate(&cached, 1..9, true)?);
    println!(
        "later epochs, no mosaic:{:6.1} img/s",
        rate(&cached, 1..9, false)?
    );
    Ok(())
}

fn rate(
    loader: &Loader,
    epochs: std::ops::Range<u64>,
    mosaic: bool,
) -> Result<f64, Box<dyn std::error::Error>> {
    let (start, used) = (Instant::now(), processor_time());
    let mut images = 0;
    for epoch in epochs {
        for batch in loader.epoch(epoch, 0, mosaic)? {
            images += batch?.len();
        }
    }
    let took = match (used, processor_time()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => start.elapsed(),
    };
    Ok(images as f64 / took.as_secs_f64())
}

/// What Linux counted for this thread so far, to the nanosecond.
fn processor_time() -> Option<Duration> {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(counted.split(' ').next()?.parse().ok()?))
}

/// Discs on a gradient with a little noise.
fn item(folder: &Path, index: usize) -> Result<Item, Box<dyn std::error::Error>> {
    let (width, height) = SIZE;
    let mut rng = stream(0, Purpose::Test, 0, index as u64);
    let mut pixels: Vec<u8> = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let noise = below(&mut rng, 9) as usize;
            pixels.extend(
                [x * 180 / width, y * 180 / height, (x + y) * 90 / width].map(|v| (v + 30 + noise) as u8),
            );
        }
    }
    let mut rows = Vec::new();
    for _ in 0..10 {
        let radius = 20 + below(&mut rng, 60) as usize;
        let cx = radius + below(&mut rng, (width - 2 * radius) as u64) as usize;
        let cy = radius + below(&mut rng, (height - 2 * radius) as u64) as usize;
        let colour: [u8; 3] = std::array::from_fn(|_| (unit(&mut rng) * 255.0) as u8);
        for y in cy - radius..cy + radius {
            for x in cx - radius..cx + radius {
                if x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2) < radius.pow(2) {
                    pixels[(y * width + x) * 3..][..3].copy_from_slice(&colour);
                }
            }
        }
        let share = |n: usize, of: usize| n as f32 / of as f32;
        let (w, h) = (share(2 * radius, width), share(2 * radius, height));
        rows.push(Row::new(0, share(cx, width), share(cy, height), w, h)?);
    }
    let path = folder.join(format!("{index}.jpg"));
    let file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    image::codecs::jpeg::JpegEncoder::new_with_quality(file, 90).encode(
        &pixels,
        width as u32,
        height as u32,
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(Item {
        image: path,
        label: Label { rows },
        size: SIZE,
    })
}
