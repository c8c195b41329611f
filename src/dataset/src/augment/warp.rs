//! The fused pass: rows of the output, read through flip, affine and mosaic directly from the source images.
//!
//! Bilinear, pixel centres at integers, full-precision weights, background beyond every tile; pixels at the edges of
//! tiles blend with what lies next to them on the canvas, be it another tile or background.
//!
//! There are two ways: [`separable`] for transforms without rotation, shear and perspective, which are the default, and
//! [`general`] for all others.

mod general;
mod separable;

use multiversion::multiversion;

use self::general::Line;
use self::separable::{Separable, Tap};
use super::Canvas;
use crate::letterbox::BACKGROUND;

/// Mirrorings of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flips {
    /// Upside down.
    pub vertical: bool,
    /// Left to right.
    pub horizontal: bool,
}

/// The whole warped output, `imgsz` x `imgsz` RGB: what [`super::apply`] makes before mixup and HSV.
pub fn warp(canvas: &Canvas<'_>, inverse: Option<[[f64; 3]; 3]>, imgsz: usize, flips: Flips, out: &mut [u8]) {
    let mut buffers = Buffers::default();
    let mut warper = Warper::new(canvas, inverse, imgsz, flips, &mut buffers);
    for (y, row) in out.chunks_exact_mut(imgsz.max(1) * 3).enumerate() {
        warper.row(y, row);
    }
}

/// Buffers that a [`Warper`] borrows, for reuse from sample to sample.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    taps: Vec<Tap>,
    blended: Vec<f32>,
    sums: Vec<Sums>,
}

/// Makes the rows of one output.
pub(super) struct Warper<'a> {
    canvas: &'a Canvas<'a>,
    side: usize,
    flips: Flips,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// The source collapsed: only background.
    Nothing,
    Separable(Separable<'a>),
    General {
        inverse: [[f64; 3]; 3],
        sums: &'a mut [Sums],
    },
}

impl<'a> Warper<'a> {
    /// Prepares an output of side `side`; `inverse` maps its pixels to the canvas.
    pub(super) fn new(
        canvas: &'a Canvas<'a>,
        inverse: Option<[[f64; 3]; 3]>,
        side: usize,
        flips: Flips,
        buffers: &'a mut Buffers,
    ) -> Warper<'a> {
        let kind = match inverse {
            None => Kind::Nothing,
            Some([[a, 0.0, c], [0.0, e, f], [0.0, 0.0, i]]) if i != 0.0 => {
                let column = |x| (a * x as f64 + c) / i;
                Separable::new(canvas, column, [e / i, f / i], side, flips, buffers)
                    .map_or(Kind::Nothing, Kind::Separable)
            }
            Some(inverse) => {
                buffers.sums.resize(side, Sums::default());
                Kind::General {
                    inverse,
                    sums: &mut buffers.sums,
                }
            }
        };
        Warper {
            canvas,
            side,
            flips,
            kind,
        }
    }

    /// Writes output row `y`, `3 * side` samples.
    pub(super) fn row(&mut self, y: usize, out: &mut [u8]) {
        let y = if self.flips.vertical { self.side - 1 - y } else { y };
        match &mut self.kind {
            Kind::Nothing => out.fill(BACKGROUND),
            Kind::Separable(separable) => separable.row(self.canvas, y, out),
            Kind::General { inverse, sums } => {
                Line::new(inverse, y, self.side, self.flips).draw(self.canvas, sums, out);
            }
        }
    }
}

/// A pixel before it is packed: three sums of value and [`MAGIC`], and a lane to make them a vector.
type Sums = [u32; 4];

/// 1.5 * 2^23: adding it to a value of 0..=255 leaves the nearest integer, half to even, in the low bits. Unlike a cast
/// it needs no range checks and vectorises on any processor.
const MAGIC: f32 = 12_582_912.0;

/// Packs pixels to three bytes. Apart from computing them, because each of the two loops then is one of vectors.
#[multiversion(targets("x86_64+avx2"))]
fn pack(sums: &[Sums], out: &mut [[u8; 3]]) {
    for (out, &[r, g, b, _]) in out.iter_mut().zip(sums) {
        *out = [r as u8, g as u8, b as u8];
    }
}

/// Positions so far off that they are background anyway, kept within what integers can hold.
fn bounded(position: f64) -> f64 {
    const FAR: f64 = 1e8;
    if position.is_nan() {
        -FAR
    } else {
        position.clamp(-FAR, FAR)
    }
}
