//! A sheet of images as one picture, for those who show pictures and no pages.

use crate::draw::draw_boxes;
use crate::model::{BoundingBox, SheetImage};
use crate::palette::Color;
use crate::picture::PictureError;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage};

/// The side of a place on the sheet, in pixels.
const CELL: u32 = 320;
const GAP: u32 = 4;
const QUALITY: u8 = 80;
const GROUND: Rgb<u8> = Rgb([32, 34, 38]);
const TRUTH: Color = Color::new(255, 255, 255);

/// Several images in rows, with their boxes drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactSheet {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The picture as JPEG.
    pub jpeg: Vec<u8>,
}

impl ContactSheet {
    /// Puts the images side by side, so many in a row; none of no images.
    ///
    /// # Errors
    /// An image cannot be decoded, or the sheet not encoded.
    pub fn new(images: &[SheetImage], columns: u32) -> Result<Option<Self>, PictureError> {
        let columns = columns.clamp(1, images.len().max(1) as u32);
        let rows = (images.len() as u32).div_ceil(columns);
        if rows == 0 {
            return Ok(None);
        }
        let side = |count: u32| count * (CELL + GAP) + GAP;
        let mut sheet = RgbImage::from_pixel(side(columns), side(rows), GROUND);
        for (place, image) in (0..).zip(images) {
            let cell = cell(image)?;
            let at = |index: u32, size: u32| i64::from(side(index) + (CELL - size) / 2);
            let (x, y) = (
                at(place % columns, cell.width()),
                at(place / columns, cell.height()),
            );
            image::imageops::replace(&mut sheet, &cell, x, y);
        }
        let mut jpeg = Vec::new();
        sheet.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))?;
        Ok(Some(Self {
            width: sheet.width(),
            height: sheet.height(),
            jpeg,
        }))
    }
}

/// An image in the size of its place, boxes drawn: the labelled ones white, below the found ones.
fn cell(image: &SheetImage) -> Result<RgbImage, PictureError> {
    let picture = &image.picture;
    let decoded = image::load_from_memory_with_format(picture.jpeg(), ImageFormat::Jpeg)?.to_rgb8();
    let gain = f64::from(CELL) / f64::from(decoded.width().max(decoded.height()).max(1));
    let fit = |size: u32| ((f64::from(size) * gain).round() as u32).clamp(1, CELL);
    let mut cell = resize(
        &decoded,
        fit(decoded.width()),
        fit(decoded.height()),
        FilterType::Triangle,
    );
    let (width, height) = cell.dimensions();
    let shares = [
        width as f32 / picture.width() as f32,
        height as f32 / picture.height() as f32,
    ];
    let placed = |found: &BoundingBox| {
        let [x0, y0, x1, y1] = found.xyxy;
        BoundingBox {
            xyxy: [x0 * shares[0], y0 * shares[1], x1 * shares[0], y1 * shares[1]],
            ..found.clone()
        }
    };
    let truth = image.truth.iter().map(|truth| BoundingBox {
        color: TRUTH,
        label: String::new(),
        ..placed(truth)
    });
    let boxes: Vec<BoundingBox> = truth.chain(image.predicted.iter().map(placed)).collect();
    draw_boxes(&mut cell, width, height, &boxes)?;
    Ok(cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Picture;

    fn shown(width: u32, height: u32, color: Color) -> SheetImage {
        let grey = vec![90; (width * height * 3) as usize];
        SheetImage {
            picture: Picture::from_rgb(&grey, width, height).unwrap(),
            caption: String::new(),
            truth: Vec::new(),
            predicted: vec![BoundingBox {
                xyxy: [0.0, 0.0, width as f32, height as f32],
                label: String::new(),
                score: None,
                color,
            }],
        }
    }

    #[test]
    fn images_stand_in_rows_and_their_boxes_are_where_they_are_on_the_image() {
        let red = Color::new(255, 0, 0);
        let images = [shown(640, 320, red), shown(320, 640, red), shown(64, 64, red)];
        let sheet = ContactSheet::new(&images, 2).unwrap().unwrap();
        assert_eq!((sheet.width, sheet.height), (652, 652));
        let pixels = image::load_from_memory(&sheet.jpeg).unwrap().to_rgb8();
        assert_eq!(pixels.dimensions(), (652, 652));
        let is_red = |x, y| {
            let Rgb([r, g, _]) = *pixels.get_pixel(x, y);
            r > 120 && g < 90
        };
        // The first is 320 x 160, in the middle of its place.
        assert!(is_red(100, 84) && !is_red(100, 40) && !is_red(100, 160));
        assert!(is_red(488, 4), "the second is 160 x 320");
        assert!(is_red(4, 500), "the third is enlarged");
        assert!(!is_red(500, 500), "the last place is empty");
    }

    #[test]
    fn no_images_are_no_sheet() {
        assert_eq!(ContactSheet::new(&[], 4).unwrap(), None);
    }
}
