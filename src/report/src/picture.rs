//! An image of the sheet: scaled down and compressed as soon as it comes in.
//!
//! A run's validation images are large and its report must stay small, in memory and on disk: a [`Picture`] holds a
//! JPEG of at most [`MAX_WIDTH`] x [`MAX_HEIGHT`] pixels, and remembers the size that boxes are given in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ImageBuffer, ImageError, Rgb, RgbImage};

/// The widest image that a report holds.
pub(crate) const MAX_WIDTH: u32 = 480;
/// The tallest one: twice the width, for portraits.
const MAX_HEIGHT: u32 = 960;
/// JPEG quality: no artefact is seen at the shown size, about 30 KB an image.
const QUALITY: u8 = 80;

/// A small JPEG of an image.
#[derive(Clone)]
pub struct Picture {
    width: u32,
    height: u32,
    jpeg: Vec<u8>,
}

/// Pixels that do not make a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The buffer's length is not that of the size.
    #[error(
        "an RGB image of {width} x {height} has {} bytes, not {bytes}: pass 3 bytes a pixel, rows without gaps",
        u128::from(*width) * u128::from(*height) * 3
    )]
    Size {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// What came.
        bytes: usize,
    },
    /// The image has no pixels.
    #[error("an image of {width} x {height} has no pixels: leave it out")]
    Empty {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The JPEG encoder refused.
    #[error("the picture could not be written as a JPEG: {0}")]
    Encode(#[from] ImageError),
}

impl Picture {
    /// Scales and compresses an image given as RGB bytes, row by row, 3 bytes a pixel.
    pub fn from_rgb(rgb: &[u8], width: u32, height: u32) -> Result<Self, PictureError> {
        if width == 0 || height == 0 {
            return Err(PictureError::Empty { width, height });
        }
        let wrong_size = PictureError::Size {
            width,
            height,
            bytes: rgb.len(),
        };
        if rgb.len() as u128 != u128::from(width) * u128::from(height) * 3 {
            return Err(wrong_size);
        }
        let full = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width, height, rgb).ok_or(wrong_size)?;
        let mut jpeg = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
        match scaled_size(width, height) {
            Some((w, h)) => {
                let small: RgbImage = resize(&full, w, h, FilterType::Triangle);
                small.write_with_encoder(encoder)?;
            }
            None => full.write_with_encoder(encoder)?,
        }
        Ok(Self { width, height, jpeg })
    }

    /// The width of the image that it was made from, in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The height of the image that it was made from, in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The JPEG's bytes.
    #[must_use]
    pub fn jpeg(&self) -> &[u8] {
        &self.jpeg
    }

    pub(crate) fn data_uri(&self) -> String {
        let mut uri = String::from("data:image/jpeg;base64,");
        STANDARD.encode_string(&self.jpeg, &mut uri);
        uri
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Picture({} x {}, {} bytes)",
            self.width,
            self.height,
            self.jpeg.len()
        )
    }
}

/// The size to scale down to; none if it is small enough.
fn scaled_size(width: u32, height: u32) -> Option<(u32, u32)> {
    let gain = (f64::from(MAX_WIDTH) / f64::from(width)).min(f64::from(MAX_HEIGHT) / f64::from(height));
    let fit = |side: u32| ((f64::from(side) * gain).round() as u32).max(1);
    (gain < 1.0).then(|| (fit(width), fit(height)))
}

#[cfg(test)]
mod tests {
    use super::{MAX_HEIGHT, MAX_WIDTH, Picture, PictureError, scaled_size};

    #[test]
    fn a_large_image_is_scaled_and_keeps_the_size_its_boxes_are_in() {
        let picture = Picture::from_rgb(&vec![120; 1000 * 500 * 3], 1000, 500).unwrap();
        assert_eq!((picture.width(), picture.height()), (1000, 500));
        let decoded = image::load_from_memory(picture.jpeg()).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (480, 240));
    }

    #[test]
    fn a_small_image_keeps_its_pixels() {
        let picture = Picture::from_rgb(&[200, 10, 10], 1, 1).unwrap();
        let decoded = image::load_from_memory(picture.jpeg()).unwrap().to_rgb8();
        assert_eq!(decoded.dimensions(), (1, 1));
        assert!(decoded.get_pixel(0, 0).0[0] > 150);
        assert!(picture.data_uri().starts_with("data:image/jpeg;base64,/9j/"));
    }

    #[test]
    fn every_shape_fits() {
        for (width, height) in [
            (481, 1),
            (1, 961),
            (4000, 3000),
            (3000, 4000),
            (10_000, 2),
            (2, 10_000),
        ] {
            let (w, h) = scaled_size(width, height).unwrap();
            assert!(
                (1..=MAX_WIDTH).contains(&w) && (1..=MAX_HEIGHT).contains(&h),
                "{width}x{height}: {w}x{h}"
            );
        }
        assert_eq!(scaled_size(480, 960), None);
    }

    #[test]
    fn a_buffer_of_the_wrong_length_is_refused_with_the_right_one() {
        let error = Picture::from_rgb(&[0; 10], 2, 2).unwrap_err();
        assert!(error.to_string().contains("12 bytes, not 10"), "{error}");
        assert!(matches!(
            Picture::from_rgb(&[], 0, 7),
            Err(PictureError::Empty { .. })
        ));
        assert!(matches!(
            Picture::from_rgb(&[], u32::MAX, u32::MAX),
            Err(PictureError::Size { .. })
        ));
    }
}
