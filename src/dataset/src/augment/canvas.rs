//! The plane that the affine transform reads from: one image, or a mosaic of four. Never built as pixels: it only
//! knows which part of which image lies where. Everything else is background.

use std::ops::Range;

use super::Mosaic;
use crate::decode::Image;
use crate::letterbox::{BACKGROUND, Size};

/// A part of an image on the canvas. Tiles of a canvas never overlap.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    image: &'a Image,
    /// Canvas minus source coordinates; negative where the canvas cuts the image.
    dx: i64,
    dy: i64,
    /// The part of the canvas that it covers.
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

impl<'a> Tile<'a> {
    /// `image` with its top left corner at (`dx`, `dy`), cut at the canvas.
    fn new(image: &'a Image, dx: i64, dy: i64, canvas: Size) -> Tile<'a> {
        let right = (dx + image.width() as i64).min(canvas.width as i64);
        let bottom = (dy + image.height() as i64).min(canvas.height as i64);
        Tile {
            image,
            dx,
            dy,
            left: dx.max(0),
            top: dy.max(0),
            right,
            bottom,
        }
    }

    /// The image that the tile shows a part of.
    pub fn image(&self) -> &'a Image {
        self.image
    }

    /// Where the image's corner lies on the canvas (x, y); may be negative.
    pub fn offset(&self) -> [i64; 2] {
        [self.dx, self.dy]
    }

    /// Canvas columns covered.
    pub fn columns(&self) -> Range<i64> {
        self.left..self.right
    }

    /// Canvas rows covered.
    pub fn rows(&self) -> Range<i64> {
        self.top..self.bottom
    }

    /// Samples of canvas row `y`, columns `from..to`, all of which the tile covers.
    pub(super) fn span(&self, y: i64, from: i64, to: i64) -> &'a [u8] {
        debug_assert!(self.rows().contains(&y) && self.left <= from && to <= self.right);
        let row = self.image.row((y - self.dy) as usize);
        &row[(from - self.dx) as usize * 3..(to - self.dx) as usize * 3]
    }
}

/// Up to four tiles on a background.
#[derive(Debug, Clone)]
pub struct Canvas<'a> {
    tiles: Vec<Tile<'a>>,
    size: Size,
}

impl<'a> Canvas<'a> {
    /// A canvas that is the image.
    pub fn single(image: &'a Image) -> Canvas<'a> {
        let size = Size::of(image);
        Canvas {
            tiles: vec![Tile::new(image, 0, 0, size)],
            size,
        }
    }

    /// Four images around the mosaic's centre: top left, top right, bottom left, bottom right. The canvas is
    /// twice `imgsz` wide and high.
    pub fn mosaic(images: [&'a Image; 4], mosaic: &Mosaic, imgsz: usize) -> Canvas<'a> {
        let size = Size::square(2 * imgsz);
        let (xc, yc) = (mosaic.centre_x as i64, mosaic.centre_y as i64);
        let tiles = images.iter().enumerate().map(|(place, image)| {
            let dx = if place % 2 == 0 {
                xc - image.width() as i64
            } else {
                xc
            };
            let dy = if place < 2 { yc - image.height() as i64 } else { yc };
            Tile::new(image, dx, dy, size)
        });
        Canvas {
            tiles: tiles.collect(),
            size,
        }
    }

    /// The tiles in the order of their images.
    pub fn tiles(&self) -> &[Tile<'a>] {
        &self.tiles
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The pixel at (`x`, `y`), anywhere on the infinite plane.
    pub fn pixel(&self, x: i64, y: i64) -> [u8; 3] {
        let tile = self
            .tiles
            .iter()
            .find(|tile| tile.columns().contains(&x) && tile.rows().contains(&y));
        let samples = tile.and_then(|tile| tile.span(y, x, x + 1).first_chunk::<3>());
        samples.copied().unwrap_or([BACKGROUND; 3])
    }

    /// Columns between the outermost tiles' edges.
    pub(super) fn content_columns(&self) -> Range<i64> {
        hull(self.tiles.iter().map(Tile::columns))
    }
}

fn hull(ranges: impl Iterator<Item = Range<i64>>) -> Range<i64> {
    ranges
        .filter(|r| !r.is_empty())
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or(0..0)
}
