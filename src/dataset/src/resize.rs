//! Bilinear resize of 8-bit RGB images in fixed point: bit-identical to the resize the reference pipeline uses
//! (OpenCV, INTER_LINEAR), on up- and on down-scaling.
//!
//! Pixel centres lie at half-integers: sample `j` of `N` reads at `f = (j + 1/2) n/N - 1/2`. Weights have 11 bits.
//! A horizontal pass makes 16-bit rows, a vertical one blends two of them; both skip the low bits exactly where the
//! reference does. Fixtures made by OpenCV hold it (tests/resize.rs).

use multiversion::multiversion;

use crate::decode::Image;

/// Weights are multiples of 1/2048.
const WEIGHT_ONE: f32 = 2048.0;

/// Where one output sample reads: two neighbouring source samples and their weights.
#[derive(Debug, Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weights: [i32; 2],
}

/// Buffers that [`resize_reusing`] keeps between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    columns: Vec<Tap>,
    rows: [Row; 2],
}

/// One source row after the horizontal pass, samples times 128.
#[derive(Debug, Default)]
struct Row {
    /// The source row it was made from, if any.
    source: Option<usize>,
    samples: Vec<i16>,
}

/// The image at `width` x `height` (at least 1 each; 0 counts as 1). The same size gives a copy.
pub fn resize(image: &Image, width: usize, height: usize) -> Image {
    resize_reusing(image, width, height, &mut Scratch::default())
}

/// [`resize`] with buffers that were used before.
pub fn resize_reusing(image: &Image, width: usize, height: usize, scratch: &mut Scratch) -> Image {
    let (width, height) = (width.max(1), height.max(1));
    let mut pixels = vec![0; width * height * 3];
    if (width, height) == (image.width(), image.height()) {
        pixels.copy_from_slice(image.pixels());
    } else if (2 * width, 2 * height) == (image.width(), image.height()) {
        halve(image, &mut pixels);
    } else {
        blend(image, width, height, &mut pixels, scratch);
    }
    // The length is right by construction, so the image is never replaced by the source.
    Image::new(width, height, pixels).unwrap_or_else(|| image.clone())
}

fn blend(image: &Image, width: usize, height: usize, pixels: &mut [u8], scratch: &mut Scratch) {
    let Scratch { columns, rows } = scratch;
    columns.clear();
    columns.extend((0..width).map(|x| column_tap(x, image.width(), width)));
    for row in rows.iter_mut() {
        row.source = None;
        row.samples.resize(width * 3, 0);
    }
    for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
        let tap = row_tap(y, image.height(), height);
        // Row indices never fall, so what is the upper row now was often the lower one before.
        if rows[0].source != Some(tap.first) && rows[1].source == Some(tap.first) {
            rows.swap(0, 1);
        }
        rows[0].fill(tap.first, image, columns);
        rows[1].fill(tap.second, image, columns);
        blend_rows(&rows[0].samples, &rows[1].samples, tap.weights, out);
    }
}

/// The vertical pass.
#[multiversion(targets("x86_64+avx2"))]
fn blend_rows(upper: &[i16], lower: &[i16], [b0, b1]: [i32; 2], out: &mut [u8]) {
    for ((out, &r0), &r1) in out.iter_mut().zip(upper).zip(lower) {
        let blended = ((b0 * i32::from(r0)) >> 16) + ((b1 * i32::from(r1)) >> 16);
        *out = ((blended + 2) >> 2).clamp(0, 255) as u8;
    }
}

impl Row {
    /// The horizontal pass over source row `y`, unless that is what the row holds.
    fn fill(&mut self, y: usize, image: &Image, columns: &[Tap]) {
        if self.source == Some(y) {
            return;
        }
        self.source = Some(y);
        let (pixels, _) = image.row(y).as_chunks::<3>();
        let (samples, _) = self.samples.as_chunks_mut::<3>();
        for (out, tap) in samples.iter_mut().zip(columns) {
            let ([a0, a1], p0, p1) = (tap.weights, pixels[tap.first], pixels[tap.second]);
            for ((out, p0), p1) in out.iter_mut().zip(p0).zip(p1) {
                *out = ((a0 * i32::from(p0) + a1 * i32::from(p1)) >> 4) as i16;
            }
        }
    }
}

/// Exactly half the size is by far the commonest case (1280 -> 640): every weight is 1/2, and the general form
/// reduces to the rounded mean of four pixels.
#[multiversion(targets("x86_64+avx2"))]
fn halve(image: &Image, pixels: &mut [u8]) {
    let out_width = image.width() / 2;
    for (y, out) in pixels.chunks_exact_mut(out_width * 3).enumerate() {
        let (upper, _) = image.row(2 * y).as_chunks::<6>();
        let (lower, _) = image.row(2 * y + 1).as_chunks::<6>();
        let (out, _) = out.as_chunks_mut::<3>();
        for ((out, u), l) in out.iter_mut().zip(upper).zip(lower) {
            for c in 0..3 {
                let sum = u16::from(u[c]) + u16::from(u[c + 3]) + u16::from(l[c]) + u16::from(l[c + 3]);
                out[c] = ((sum + 2) >> 2) as u8;
            }
        }
    }
}

/// Position (integer part, fraction) of output sample `j` of `target` on an axis of `source` samples.
fn position(j: usize, source: usize, target: usize) -> (i64, f32) {
    let at = ((j as f64 + 0.5) * (source as f64 / target as f64) - 0.5) as f32;
    let floor = at.floor();
    (floor as i64, at - floor)
}

fn weights(fraction: f32) -> [i32; 2] {
    let fixed = |weight: f32| (weight * WEIGHT_ONE).round_ties_even() as i32;
    [fixed(1.0 - fraction), fixed(fraction)]
}

/// Beyond the image the outermost column counts fully.
fn column_tap(j: usize, source: usize, target: usize) -> Tap {
    let last = source - 1;
    match position(j, source, target) {
        (i, _) if i < 0 => Tap {
            first: 0,
            second: 0,
            weights: weights(0.0),
        },
        (i, _) if i as usize >= last => Tap {
            first: last,
            second: last,
            weights: weights(0.0),
        },
        (i, fraction) => Tap {
            first: i as usize,
            second: i as usize + 1,
            weights: weights(fraction),
        },
    }
}

/// Beyond the image the outermost row is read twice, with the weights as they are.
fn row_tap(j: usize, source: usize, target: usize) -> Tap {
    let (i, fraction) = position(j, source, target);
    let clamped = |i: i64| i.clamp(0, source as i64 - 1) as usize;
    Tap {
        first: clamped(i),
        second: clamped(i + 1),
        weights: weights(fraction),
    }
}
