//! Image files (JPEG, PNG, BMP, WebP) to 8-bit RGB.
//!
//! What comes out is what the detector's reference trains on: EXIF orientation applied, 16-bit samples cut to their
//! high byte, alpha dropped, grey spread over three channels, CMYK converted. Foreign bytes can't make it panic or
//! allocate without bound: sizes are checked against [`MAX_SIDE`] and [`MAX_PIXELS`] from the header, before any
//! pixel is decoded.
//!
//! [`decode`] takes what a damaged JPEG still holds; [`decode_strict`] refuses one that is cut short or whose data
//! break the format. Bytes lost or changed inside the compressed data may still decode to something: no checksum tells.
//!
//! Where an image is wanted much smaller than its file has it, [`decode_detail`] spares most of a JPEG's decoding.

mod scaled;

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// The longest side that is decoded, in pixels (what a JPEG can express).
pub const MAX_SIDE: usize = 65_535;
/// The most pixels that are decoded: 134 megapixels, 403 MB as RGB.
pub const MAX_PIXELS: usize = 1 << 27;
/// What the image crate's decoders may allocate beside the output.
const MAX_DECODER_BYTES: u64 = 2 << 30;

/// An 8-bit RGB image: interleaved, rows from the top, no padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// An image of `width * height * 3` bytes; `None` if there are fewer or more, or a side is 0.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Image> {
        let expected = width.checked_mul(height)?.checked_mul(3)?;
        (expected > 0 && pixels.len() == expected).then_some(Image {
            width,
            height,
            pixels,
        })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All samples: `height` rows of `width` RGB triples.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The samples of row `y`, which must be below the height.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// Bytes of memory that the samples take.
    pub fn held_bytes(&self) -> usize {
        self.pixels.capacity()
    }

    /// Gives the buffer back, for reuse.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

/// How much of an image is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every pixel.
    Full,
    /// Enough for a long side of so many pixels: a JPEG may come out at a half, a quarter or an eighth of its size
    /// while its long side stays at least that long. A pixel is then the mean of those it stands for, within rounding
    /// and the upsampling of chroma; sides are rounded up. All else is as with `Full`: orientation, limits, errors,
    /// and what a damaged file gives.
    LongSide(usize),
}

/// An image at the detail that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The pixels.
    pub image: Image,
    /// Width and height with every pixel.
    pub full: (usize, usize),
}

/// Why bytes are not a usable image.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The first bytes are those of no format that is read.
    #[error("not a JPEG, PNG, BMP or WebP image (by its first bytes); convert it to one of these")]
    UnknownFormat,
    /// The header promises more pixels than are decoded.
    #[error(
        "{width} x {height} pixels are more than the {MAX_PIXELS} (or {MAX_SIDE} a side) that are decoded"
    )]
    TooLarge {
        /// Width by the header.
        width: usize,
        /// Height by the header.
        height: usize,
    },
    /// A JPEG without its end marker: the file was cut short.
    #[error("the JPEG is cut short: its end marker is missing after {length} bytes; copy the file again")]
    Truncated {
        /// Length of the file in bytes.
        length: usize,
    },
    /// The decoder of the format refused the bytes.
    #[error("the {format} image is damaged or of an unsupported kind: {reason}")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

/// Decodes an image; a damaged JPEG gives the part that can be read.
pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    Ok(decode_as(bytes, false, Detail::Full, Vec::new())?.image)
}

/// Decodes an image and refuses a JPEG that is cut short or that breaks the format.
pub fn decode_strict(bytes: &[u8]) -> Result<Image, DecodeError> {
    if is_jpeg(bytes) && !jpeg_has_end(bytes) {
        return Err(DecodeError::Truncated { length: bytes.len() });
    }
    Ok(decode_as(bytes, true, Detail::Full, Vec::new())?.image)
}

/// [`decode`] at the detail that is wanted, into a buffer that was used before; its contents don't matter, its capacity
/// is kept.
pub fn decode_detail(bytes: &[u8], detail: Detail, buffer: Vec<u8>) -> Result<Decoded, DecodeError> {
    decode_as(bytes, false, detail, buffer)
}

/// Width and height as [`decode`] would give them, read from the headers alone.
pub fn dimensions(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    let ((width, height), orientation) = if is_jpeg(bytes) {
        let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), jpeg_options(false));
        (jpeg_headers(&mut decoder)?, jpeg_orientation(&decoder))
    } else {
        let (format, mut decoder) = other_decoder(bytes)?;
        let orientation = decoder.orientation().map_err(|e| damaged(format, e))?;
        (other_size(decoder.as_ref())?, orientation)
    };
    Ok(seen((width, height), orientation))
}

fn decode_as(bytes: &[u8], strict: bool, detail: Detail, buffer: Vec<u8>) -> Result<Decoded, DecodeError> {
    let (Decoded { image, full }, orientation) = if is_jpeg(bytes) {
        decode_jpeg(bytes, strict, detail, buffer)?
    } else {
        decode_other(bytes, buffer)?
    };
    Ok(Decoded {
        image: oriented(image, orientation),
        full: seen(full, orientation),
    })
}

// ---- JPEG ---------------------------------------------------------------------------------------------------------

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8, 0xff])
}

fn jpeg_options(strict: bool) -> DecoderOptions {
    DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB)
}

type Jpeg<'a> = JpegDecoder<Cursor<&'a [u8]>>;

fn jpeg_headers(decoder: &mut Jpeg<'_>) -> Result<(usize, usize), DecodeError> {
    decoder.decode_headers().map_err(|e| damaged("JPEG", e))?;
    let (width, height) = decoder
        .dimensions()
        .ok_or_else(|| damaged("JPEG", "no frame header"))?;
    checked_size(width, height)
}

fn jpeg_orientation(decoder: &Jpeg<'_>) -> Orientation {
    decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms)
}

fn decode_jpeg(
    bytes: &[u8],
    strict: bool,
    detail: Detail,
    mut buffer: Vec<u8>,
) -> Result<(Decoded, Orientation), DecodeError> {
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), jpeg_options(strict));
    let full = jpeg_headers(&mut decoder)?;
    let orientation = jpeg_orientation(&decoder);
    let scale = match detail {
        Detail::LongSide(side) => scaled::Scale::between(full.0.max(full.1), side),
        Detail::Full => None,
    };
    // Which colours the file holds is for one decoder to say.
    let plain = matches!(
        decoder.input_colorspace(),
        Some(ColorSpace::YCbCr | ColorSpace::Luma)
    );
    let smaller = scale.filter(|_| plain);
    let (width, height) = match smaller.and_then(|scale| scaled::decode(bytes, scale, &mut buffer)) {
        Some(size) => size,
        None => {
            decode_whole_jpeg(&mut decoder, full, &mut buffer)?;
            full
        }
    };
    let image = Image::new(width, height, buffer).ok_or_else(|| damaged("JPEG", "no pixels"))?;
    Ok((Decoded { image, full }, orientation))
}

fn decode_whole_jpeg(
    decoder: &mut Jpeg<'_>,
    (width, height): (usize, usize),
    buffer: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let length = width * height * 3;
    if decoder.output_buffer_size() != Some(length) {
        return Err(damaged("JPEG", "its colours can't be converted to RGB"));
    }
    buffer.resize(length, 0);
    decoder.decode_into(buffer).map_err(|e| damaged("JPEG", e))
}

/// Whether the end marker follows the last scan. Segments are skipped by their length (an EXIF thumbnail has an end
/// marker of its own), entropy-coded data up to the next marker; bytes behind the end don't matter.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some(at) = rest.iter().position(|&b| b == 0xff) {
        let (Some(&code), Some(after)) = (rest.get(at + 1), rest.get(at + 2..)) else {
            return false;
        };
        rest = match code {
            0xd9 => return true,
            // A stuffed zero, a restart marker or another that stands alone.
            0x00 | 0x01 | 0xd0..=0xd8 => after,
            // Fill bytes: the marker's code follows the last of them.
            0xff => rest.get(at + 1..).unwrap_or_default(),
            _ => {
                let Some(&[high, low]) = after.first_chunk::<2>() else {
                    return false;
                };
                after
                    .get(usize::from(u16::from_be_bytes([high, low]))..)
                    .unwrap_or_default()
            }
        };
    }
    false
}

// ---- the other formats --------------------------------------------------------------------------------------------

type Other<'a> = Box<dyn ImageDecoder + 'a>;

fn other_decoder(bytes: &[u8]) -> Result<(&'static str, Other<'_>), DecodeError> {
    let source = Cursor::new(bytes);
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        let decoder = image::codecs::png::PngDecoder::with_limits(source, limits);
        Ok(("PNG", Box::new(decoder.map_err(|e| damaged("PNG", e))?)))
    } else if bytes.starts_with(b"BM") {
        let decoder = image::codecs::bmp::BmpDecoder::new(source);
        Ok(("BMP", Box::new(decoder.map_err(|e| damaged("BMP", e))?)))
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        let decoder = image::codecs::webp::WebPDecoder::new(source);
        Ok(("WebP", Box::new(decoder.map_err(|e| damaged("WebP", e))?)))
    } else {
        Err(DecodeError::UnknownFormat)
    }
}

fn other_size(decoder: &dyn ImageDecoder) -> Result<(usize, usize), DecodeError> {
    let (width, height) = decoder.dimensions();
    checked_size(width as usize, height as usize)
}

fn decode_other(bytes: &[u8], mut buffer: Vec<u8>) -> Result<(Decoded, Orientation), DecodeError> {
    let (format, mut decoder) = other_decoder(bytes)?;
    let (width, height) = other_size(decoder.as_ref())?;
    let orientation = decoder.orientation().map_err(|e| damaged(format, e))?;
    let colour = decoder.color_type();
    let length = width * height * usize::from(colour.bytes_per_pixel());
    buffer.resize(length, 0);
    decoder.read_image(&mut buffer).map_err(|e| damaged(format, e))?;
    let pixels = to_rgb8(buffer, colour)
        .ok_or_else(|| damaged(format, format!("pixels of type {colour:?} are not supported")))?;
    let image = Image::new(width, height, pixels).ok_or_else(|| damaged(format, "no pixels"))?;
    let full = (width, height);
    Ok((Decoded { image, full }, orientation))
}

/// Samples in memory order to RGB8. The image crate delivers 16-bit samples in native byte order.
fn to_rgb8(samples: Vec<u8>, colour: ColorType) -> Option<Vec<u8>> {
    const HIGH: usize = if cfg!(target_endian = "big") { 0 } else { 1 };
    let gathered = |size: usize, offsets: [usize; 3]| {
        let mut out = Vec::with_capacity(samples.len() / size * 3);
        out.extend(
            samples
                .chunks_exact(size)
                .flat_map(|pixel| offsets.map(|at| pixel[at])),
        );
        out
    };
    Some(match colour {
        ColorType::Rgb8 => samples,
        ColorType::L8 => gathered(1, [0; 3]),
        ColorType::La8 => gathered(2, [0; 3]),
        ColorType::Rgba8 => gathered(4, [0, 1, 2]),
        ColorType::L16 => gathered(2, [HIGH; 3]),
        ColorType::La16 => gathered(4, [HIGH; 3]),
        ColorType::Rgb16 => gathered(6, [HIGH, 2 + HIGH, 4 + HIGH]),
        ColorType::Rgba16 => gathered(8, [HIGH, 2 + HIGH, 4 + HIGH]),
        _ => return None,
    })
}

// ---- shared -------------------------------------------------------------------------------------------------------

fn damaged(format: &'static str, reason: impl ToString) -> DecodeError {
    DecodeError::Damaged {
        format,
        reason: reason.to_string(),
    }
}

fn checked_size(width: usize, height: usize) -> Result<(usize, usize), DecodeError> {
    if width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS {
        return Err(DecodeError::TooLarge { width, height });
    }
    Ok((width, height))
}

fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Width and height as they are seen.
fn seen((width, height): (usize, usize), orientation: Orientation) -> (usize, usize) {
    if swaps_sides(orientation) {
        (height, width)
    } else {
        (width, height)
    }
}

/// The image as it is meant to be seen.
fn oriented(image: Image, orientation: Orientation) -> Image {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let (width, height) = (image.width, image.height);
    let (out_width, out_height) = seen((width, height), orientation);
    let mut pixels = Vec::with_capacity(image.pixels.len());
    for y in 0..out_height {
        for x in 0..out_width {
            // The stored pixel that is seen at (x, y).
            let (sx, sy) = match orientation {
                Orientation::NoTransforms => (x, y),
                Orientation::FlipHorizontal => (width - 1 - x, y),
                Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
                Orientation::FlipVertical => (x, height - 1 - y),
                Orientation::Rotate90FlipH => (y, x),
                Orientation::Rotate90 => (y, height - 1 - x),
                Orientation::Rotate270FlipH => (width - 1 - y, height - 1 - x),
                Orientation::Rotate270 => (width - 1 - y, x),
            };
            let at = (sy * width + sx) * 3;
            pixels.extend_from_slice(&image.pixels[at..at + 3]);
        }
    }
    Image {
        width: out_width,
        height: out_height,
        pixels,
    }
}
