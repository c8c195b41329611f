//! Transforms with rotation, shear or perspective.
//!
//! A row of the output is a line through the canvas. Where all four neighbours of its pixels lie in one tile they are
//! read from that image in a tight loop, in fixed point: which pixels these are is then decided by the very numbers
//! they are read with. The few at the edges of tiles, and all of a perspective transform, are looked up one by one.

use std::ops::Range;

use multiversion::multiversion;

use super::super::Canvas;
use super::super::canvas::Tile;
use super::{Flips, MAGIC, Sums, bounded, pack};
use crate::letterbox::BACKGROUND;

/// One output row's way through the canvas: homogeneous coordinates `start + step * x`.
pub(super) struct Line {
    start: [f64; 3],
    step: [f64; 3],
    side: usize,
}

impl Line {
    /// The way of output row `y`.
    pub(super) fn new(inverse: &[[f64; 3]; 3], y: usize, side: usize, flips: Flips) -> Line {
        let start = inverse.map(|[_, b, c]| b * y as f64 + c);
        let step = inverse.map(|[a, _, _]| a);
        if !flips.horizontal {
            return Line { start, step, side };
        }
        let end = side as f64 - 1.0;
        let far = std::array::from_fn(|i| start[i] + step[i] * end);
        Line {
            start: far,
            step: step.map(|s| -s),
            side,
        }
    }

    /// The canvas position of output column `x`, in fixed point.
    fn at(&self, x: usize) -> [i64; 2] {
        let [u, v, w] = std::array::from_fn(|i| self.start[i] + self.step[i] * x as f64);
        if w == 0.0 {
            [0; 2]
        } else {
            [fixed(u / w), fixed(v / w)]
        }
    }

    /// Writes the row.
    pub(super) fn draw(&self, canvas: &Canvas<'_>, sums: &mut [Sums], out: &mut [u8]) {
        let (out, _) = out.as_chunks_mut::<3>();
        let [_, _, depth] = self.start;
        if self.step[2] != 0.0 || depth == 0.0 {
            for (x, out) in out.iter_mut().enumerate() {
                *out = sample(canvas, self.at(x));
            }
            return;
        }
        out.fill([BACKGROUND; 3]);
        for tile in canvas.tiles() {
            if !tile.columns().is_empty() && !tile.rows().is_empty() {
                self.draw_tile(canvas, tile, depth, sums, out);
            }
        }
    }

    /// Writes the pixels that touch a tile.
    fn draw_tile(
        &self,
        canvas: &Canvas<'_>,
        tile: &Tile<'_>,
        depth: f64,
        sums: &mut [Sums],
        out: &mut [[u8; 3]],
    ) {
        let [u0, v0] = [self.start[0] / depth, self.start[1] / depth];
        let [du, dv] = [self.step[0] / depth, self.step[1] / depth];
        let (columns, rows) = (tile.columns(), tile.rows());
        // Output columns that read within a margin of the pixel centres of the tile.
        let span = |margin: f64| {
            let u = crossing(
                u0,
                du,
                columns.start as f64 - margin,
                (columns.end - 1) as f64 + margin,
            );
            let v = crossing(v0, dv, rows.start as f64 - margin, (rows.end - 1) as f64 + margin);
            let side = self.side as f64;
            let from = u.0.max(v.0).ceil().clamp(0.0, side) as usize;
            let to = (u.1.min(v.1).floor() + 1.0).clamp(0.0, side) as usize;
            from..to.max(from)
        };
        // A pixel touches the tile if it lies less than one pixel outside; a little more doesn't harm.
        let touched = span(1.01);
        let [dx, dy] = tile.offset();
        let way = Way {
            start: [fixed(u0 - dx as f64), fixed(v0 - dy as f64)],
            step: [fixed(du), fixed(dv)],
        };
        let local = [
            columns.start - dx..columns.end - dx,
            rows.start - dy..rows.end - dy,
        ];
        let inside = way.inside(span(0.0), &local);
        let inside = if inside.is_empty() {
            touched.start..touched.start
        } else {
            inside
        };

        let image = tile.image();
        if let (Some(out), Some(sums)) = (out.get_mut(inside.clone()), sums.get_mut(inside.clone())) {
            walk(image.pixels(), image.width() * 3, way, inside.start, sums);
            pack(sums, out);
        }
        for x in (touched.start..inside.start).chain(inside.end..touched.end) {
            if let Some(out) = out.get_mut(x) {
                *out = sample(canvas, self.at(x));
            }
        }
    }
}

/// The real x for which `start + step * x` lies in `low..=high`.
fn crossing(start: f64, step: f64, low: f64, high: f64) -> (f64, f64) {
    if step == 0.0 {
        let all = (f64::NEG_INFINITY, f64::INFINITY);
        return if (low..=high).contains(&start) {
            all
        } else {
            (all.1, all.0)
        };
    }
    let (a, b) = ((low - start) / step, (high - start) / step);
    (a.min(b), a.max(b))
}

/// A line through an image's own pixels, in units of 2^-32 pixel.
#[derive(Clone, Copy)]
struct Way {
    start: [i64; 2],
    step: [i64; 2],
}

fn fixed(position: f64) -> i64 {
    (bounded(position) * 4_294_967_296.0) as i64
}

impl Way {
    /// Wraps around only for transforms that magnify a pixel over thousands of outputs, never out of the image's bytes.
    #[inline(always)]
    fn at(&self, x: usize) -> [i64; 2] {
        std::array::from_fn(|axis| self.start[axis].wrapping_add(self.step[axis].wrapping_mul(x as i64)))
    }

    /// The part of `span` whose pixels have all four neighbours in the image's columns and rows given.
    fn inside(&self, mut span: Range<usize>, bounds: &[Range<i64>; 2]) -> Range<usize> {
        let inside = |x: usize| {
            let within = |(at, range): (i64, &Range<i64>)| (range.start..range.end - 1).contains(&(at >> 32));
            self.at(x).into_iter().zip(bounds).all(within)
        };
        while !span.is_empty() && !inside(span.start) {
            span.start += 1;
        }
        while !span.is_empty() && !inside(span.end - 1) {
            span.end -= 1;
        }
        span
    }
}

/// The tight loop: pixels from output column `first` on, all of which have their four neighbours in the image.
#[multiversion(targets("x86_64+avx2"))]
fn walk(pixels: &[u8], stride: usize, way: Way, first: usize, sums: &mut [Sums]) {
    for (x, sums) in (first..).zip(sums) {
        if let Some(blended) = read(pixels, stride, way.at(x)) {
            *sums = blended;
        }
    }
}

/// The pixel at a position whose four neighbours are in the image; `None` if they are not even in its bytes.
#[inline(always)]
fn read(pixels: &[u8], stride: usize, [u, v]: [i64; 2]) -> Option<Sums> {
    let row = ((v >> 32) as usize).wrapping_mul(stride);
    let at = row.wrapping_add(((u >> 32) as usize).wrapping_mul(3));
    let upper = pixels.get(at..)?;
    let lower = pixels.get(at.wrapping_add(stride)..)?;
    // Eight samples are one vector; only at the very end of an image there are fewer.
    Some(match (upper.first_chunk::<8>(), lower.first_chunk::<8>()) {
        (Some(upper), Some(lower)) => blend(upper, lower, fraction(u), fraction(v)),
        _ => blend(&padded(upper), &padded(lower), fraction(u), fraction(v)),
    })
}

/// The 24 upper bits of the fraction, which f32 holds exactly.
#[inline(always)]
fn fraction(position: i64) -> f32 {
    ((position >> 8) & 0xff_ffff) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// Two neighbouring pixels and samples that don't count.
#[cold]
fn padded(samples: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    for (out, &sample) in out.iter_mut().zip(samples.iter().take(6)) {
        *out = sample;
    }
    out
}

/// Blends two neighbouring pixels of two rows, which are the first six samples of each.
#[inline(always)]
fn blend(upper: &[u8; 8], lower: &[u8; 8], fu: f32, fv: f32) -> Sums {
    let column: [f32; 8] = std::array::from_fn(|c| {
        let (upper, lower) = (f32::from(upper[c]), f32::from(lower[c]));
        upper + (lower - upper) * fv
    });
    std::array::from_fn(|c| (column[c] + (column[c + 3] - column[c]) * fu + MAGIC).to_bits())
}

/// One pixel at any position of the canvas, with a short cut inside a tile.
fn sample(canvas: &Canvas<'_>, [u, v]: [i64; 2]) -> [u8; 3] {
    let (i, j) = (u >> 32, v >> 32);
    let within = |range: Range<i64>, first: i64| range.start <= first && first + 1 < range.end;
    let around = canvas
        .tiles()
        .iter()
        .find(|tile| within(tile.columns(), i) && within(tile.rows(), j));
    let inside = around.and_then(|tile| {
        let ([dx, dy], image) = (tile.offset(), tile.image());
        read(
            image.pixels(),
            image.width() * 3,
            [u - (dx << 32), v - (dy << 32)],
        )
    });
    let [r, g, b, _] = inside.unwrap_or_else(|| {
        let [upper, lower] = [j, j + 1].map(|j| {
            let ([r0, g0, b0], [r1, g1, b1]) = (canvas.pixel(i, j), canvas.pixel(i + 1, j));
            [r0, g0, b0, r1, g1, b1, 0, 0]
        });
        blend(&upper, &lower, fraction(u), fraction(v))
    });
    [r as u8, g as u8, b as u8]
}
