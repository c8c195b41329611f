//! From draws and source images to a sample.

use annotation::Row;

use super::warp::{Buffers, Warper};
use super::{Canvas, Draws, Flips, Geometry, HsvShift, LabelledBox, Matrix};
use crate::decode::Image;

/// An image at its loaded size, with its labels.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The pixels.
    pub image: &'a Image,
    /// Its detections, normalised.
    pub rows: &'a [Row],
}

/// Buffers that are kept from sample to sample.
#[derive(Debug, Default)]
pub struct Scratch {
    first: Buffers,
    second: Buffers,
    row: Vec<u8>,
}

/// Makes the sample that `draws` describes: `3 * imgsz * imgsz` bytes of `out`, RGB interleaved, and its boxes, which
/// are appended to `boxes` in pixels of the sample. `sources` are the items of [`Draws::items`], in that order; if one
/// is missing, nothing is written.
pub fn apply(
    draws: &Draws,
    sources: &[Source<'_>],
    imgsz: usize,
    out: &mut [u8],
    boxes: &mut Vec<LabelledBox>,
    scratch: &mut Scratch,
) {
    let Scratch {
        first,
        second,
        row: spare,
    } = scratch;
    let Some((own, others)) = sources.split_at_checked(draws.geometry.sources()) else {
        return;
    };
    let Some(canvas) = canvas(&draws.geometry, own, imgsz) else {
        return;
    };
    let matrix = Matrix::new(&draws.geometry.affine, canvas.size(), imgsz);
    let mut sample = Warper::new(&canvas, matrix.inverse(), imgsz, draws.flips, first);

    let blended = draws.mixup.and_then(|mixup| {
        let canvas = self::canvas(&mixup.geometry, others, imgsz)?;
        let matrix = Matrix::new(&mixup.geometry.affine, canvas.size(), imgsz);
        Some((mixup, canvas, matrix))
    });
    let mut blend = blended.as_ref().map(|(mixup, canvas, matrix)| {
        spare.resize(imgsz * 3, 0);
        (
            mixup.lambda,
            Warper::new(canvas, matrix.inverse(), imgsz, draws.flips, second),
        )
    });

    let colours = draws.hsv.map(HsvShift::new);
    for (y, row) in out.chunks_exact_mut(imgsz.max(1) * 3).enumerate() {
        sample.row(y, row);
        if let Some((lambda, partner)) = &mut blend {
            partner.row(y, spare);
            mix(row, spare, *lambda);
        }
        if let Some(shift) = &colours {
            shift.apply(row);
        }
    }

    let start = boxes.len();
    place_boxes(&canvas, own, &draws.geometry, &matrix, imgsz, boxes);
    if let Some((mixup, canvas, matrix)) = &blended {
        place_boxes(canvas, others, &mixup.geometry, matrix, imgsz, boxes);
    }
    for placed in &mut boxes[start..] {
        flip(placed, draws.flips, imgsz as f32);
    }
}

fn canvas<'a>(geometry: &Geometry, sources: &[Source<'a>], imgsz: usize) -> Option<Canvas<'a>> {
    match (&geometry.mosaic, sources) {
        (None, [own, ..]) => Some(Canvas::single(own.image)),
        (Some(mosaic), [a, b, c, d, ..]) => Some(Canvas::mosaic(
            [a.image, b.image, c.image, d.image],
            mosaic,
            imgsz,
        )),
        _ => None,
    }
}

/// The reference mixes in f64 and cuts to an integer.
fn mix(row: &mut [u8], other: &[u8], lambda: f64) {
    for (a, &b) in row.iter_mut().zip(other) {
        *a = (f64::from(*a) * lambda + f64::from(b) * (1.0 - lambda)) as u8;
    }
}

fn place_boxes(
    canvas: &Canvas<'_>,
    sources: &[Source<'_>],
    geometry: &Geometry,
    matrix: &Matrix,
    imgsz: usize,
    boxes: &mut Vec<LabelledBox>,
) {
    for (tile, source) in canvas.tiles().iter().zip(sources) {
        for row in source.rows {
            let placed = if geometry.mosaic.is_some() {
                LabelledBox::on_tile(row, tile, canvas.size())
            } else {
                Some(LabelledBox::from_row(row, canvas.size(), [0.0; 2]))
            };
            boxes.extend(placed.and_then(|placed| matrix.transform(&placed, imgsz)));
        }
    }
}

fn flip(placed: &mut LabelledBox, flips: Flips, side: f32) {
    let [x1, y1, x2, y2] = placed.xyxy;
    let [x1, x2] = if flips.horizontal {
        [side - x2, side - x1]
    } else {
        [x1, x2]
    };
    let [y1, y2] = if flips.vertical {
        [side - y2, side - y1]
    } else {
        [y1, y2]
    };
    placed.xyxy = [x1, y1, x2, y2];
}
