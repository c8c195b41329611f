//! The affine matrix and what it does to boxes.
//!
//! The matrix is a product of 3 x 3 matrices in f32, as in the reference; its inverse, which maps output pixels back,
//! is in f64.

use annotation::Row;

use super::{Affine, Tile};
use crate::letterbox::Size;

/// A box with its class, corners in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledBox {
    /// Class of the object.
    pub class: u8,
    /// Left, top, right, bottom.
    pub xyxy: [f32; 4],
}

impl LabelledBox {
    /// A label row on an image of size `image`, moved by `offset` (x, y).
    pub fn from_row(row: &Row, image: Size, offset: [f32; 2]) -> LabelledBox {
        let (width, height) = (image.width as f32, image.height as f32);
        let [dx, dy] = offset;
        let xyxy = [
            width * (row.cx - row.w / 2.0) + dx,
            height * (row.cy - row.h / 2.0) + dy,
            width * (row.cx + row.w / 2.0) + dx,
            height * (row.cy + row.h / 2.0) + dy,
        ];
        LabelledBox {
            class: row.class,
            xyxy,
        }
    }

    /// A label row of a mosaic's tile, cut at the canvas; `None` if nothing is left of it.
    pub fn on_tile(row: &Row, tile: &Tile<'_>, canvas: Size) -> Option<LabelledBox> {
        let [dx, dy] = tile.offset();
        let placed =
            LabelledBox::from_row(row, Size::of(tile.image()), [dx as f32, dy as f32]).clipped(canvas);
        (placed.width() > 0.0 && placed.height() > 0.0).then_some(placed)
    }

    /// Width in pixels.
    pub fn width(&self) -> f32 {
        self.xyxy[2] - self.xyxy[0]
    }

    /// Height in pixels.
    pub fn height(&self) -> f32 {
        self.xyxy[3] - self.xyxy[1]
    }

    /// The part inside an image of that size.
    pub fn clipped(self, size: Size) -> LabelledBox {
        let (width, height) = (size.width as f32, size.height as f32);
        let [x1, y1, x2, y2] = self.xyxy;
        let xyxy = [
            x1.clamp(0.0, width),
            y1.clamp(0.0, height),
            x2.clamp(0.0, width),
            y2.clamp(0.0, height),
        ];
        LabelledBox { xyxy, ..self }
    }
}

/// Maps source pixels to output pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix {
    cells: [[f32; 3]; 3],
    scale: f32,
}

impl Matrix {
    /// The transform of a source of size `source` to a square output of side `imgsz`.
    pub fn new(affine: &Affine, source: Size, imgsz: usize) -> Matrix {
        let centre = [
            [1.0, 0.0, -(source.width as f32) / 2.0],
            [0.0, 1.0, -(source.height as f32) / 2.0],
            [0.0, 0.0, 1.0],
        ];
        let [px, py] = affine.perspective.map(|p| p as f32);
        let perspective = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [px, py, 1.0]];
        let (sin, cos) = affine.angle.to_radians().sin_cos();
        let (sin, cos) = ((affine.scale * sin) as f32, (affine.scale * cos) as f32);
        let rotation = [[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]];
        let [sx, sy] = affine.shear.map(|degrees| degrees.to_radians().tan() as f32);
        let shear = [[1.0, sx, 0.0], [sy, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let [tx, ty] = affine.translate.map(|share| (share * imgsz as f64) as f32);
        let translation = [[1.0, 0.0, tx], [0.0, 1.0, ty], [0.0, 0.0, 1.0]];
        let cells = [shear, rotation, perspective, centre]
            .iter()
            .fold(translation, product);
        Matrix {
            cells,
            scale: affine.scale as f32,
        }
    }

    /// The inverse, or `None` if the source collapses into a line or a point.
    pub fn inverse(&self) -> Option<[[f64; 3]; 3]> {
        let [[a, b, c], [d, e, f], [g, h, i]] = self.cells.map(|row| row.map(f64::from));
        let minors = [e * i - f * h, f * g - d * i, d * h - e * g];
        let determinant = a * minors[0] + b * minors[1] + c * minors[2];
        if determinant == 0.0 || !determinant.is_finite() {
            return None;
        }
        let adjugate = [
            [minors[0], c * h - b * i, b * f - c * e],
            [minors[1], a * i - c * g, c * d - a * f],
            [minors[2], b * g - a * h, a * e - b * d],
        ];
        Some(adjugate.map(|row| row.map(|cell| cell / determinant)))
    }

    /// The bounds of the transformed box within the output; `None` if too little of it is left ([`is_kept`]).
    pub fn transform(&self, source: &LabelledBox, imgsz: usize) -> Option<LabelledBox> {
        let [x1, y1, x2, y2] = source.xyxy;
        let corners = [[x1, y1], [x2, y2], [x1, y2], [x2, y1]].map(|corner| self.point(corner));
        let [xs, ys] = [0, 1].map(|axis| corners.map(|corner| corner[axis]));
        let least = |values: [f32; 4]| values.into_iter().fold(f32::INFINITY, f32::min);
        let most = |values: [f32; 4]| values.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let moved = LabelledBox {
            class: source.class,
            xyxy: [least(xs), least(ys), most(xs), most(ys)],
        };
        let cut = moved.clipped(Size::square(imgsz));
        let before = [source.width() * self.scale, source.height() * self.scale];
        is_kept(before, [cut.width(), cut.height()]).then_some(cut)
    }

    fn point(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [px, py, depth] = self.cells.map(|[a, b, c]| a * x + b * y + c);
        let [.., [g, h, _]] = self.cells;
        if g == 0.0 && h == 0.0 {
            [px, py]
        } else {
            [px / depth, py / depth]
        }
    }
}

fn product(left: [[f32; 3]; 3], right: &[[f32; 3]; 3]) -> [[f32; 3]; 3] {
    let [top, middle, bottom] = right;
    left.map(|[a, b, c]| std::array::from_fn(|j| a * top[j] + b * middle[j] + c * bottom[j]))
}

/// Whether enough of a box is left for training: both sides above 2 pixels, above a tenth of the area, and no sliver.
/// Sizes are (width, height); `before` is already zoomed.
pub fn is_kept(before: [f32; 2], after: [f32; 2]) -> bool {
    const EPSILON: f32 = 1e-16;
    let ([w1, h1], [w2, h2]) = (before, after);
    let aspect = (w2 / (h2 + EPSILON)).max(h2 / (w2 + EPSILON));
    w2 > 2.0 && h2 > 2.0 && w2 * h2 / (w1 * h1 + EPSILON) > 0.10 && aspect < 100.0
}
