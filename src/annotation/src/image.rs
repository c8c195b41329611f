//! What kind of image a byte string is, from its first bytes alone.
//!
//! A cheap gate for foreign bytes (QUE-7): it says that something is not an image, never that an image is whole.

use std::fmt;

/// The image formats that the system takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageKind {
    /// JPEG (ISO/IEC 10918-1).
    Jpeg,
    /// PNG (ISO/IEC 15948).
    Png,
    /// Windows bitmap.
    Bmp,
    /// WebP in its RIFF container.
    Webp,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Bmp => "BMP",
            Self::Webp => "WebP",
        })
    }
}

/// The kind that the magic bytes of `bytes` tell, if any.
pub fn sniff_image(bytes: &[u8]) -> Option<ImageKind> {
    if bytes.starts_with(b"\xff\xd8\xff") {
        Some(ImageKind::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(ImageKind::Png)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(ImageKind::Webp)
    } else if is_bmp(bytes) {
        Some(ImageKind::Bmp)
    } else {
        None
    }
}

/// "BM" alone begins too much plain text, so the size of the second header must be one that exists.
fn is_bmp(bytes: &[u8]) -> bool {
    let header_size = bytes
        .get(14..18)
        .and_then(|field| <[u8; 4]>::try_from(field).ok())
        .map(u32::from_le_bytes);
    bytes.starts_with(b"BM") && matches!(header_size, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_kinds_are_told_by_their_first_bytes() {
        assert_eq!(
            sniff_image(b"\xff\xd8\xff\xe0\x00\x10JFIF"),
            Some(ImageKind::Jpeg)
        );
        assert_eq!(
            sniff_image(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
            Some(ImageKind::Png)
        );
        assert_eq!(sniff_image(b"RIFF\x24\0\0\0WEBPVP8 "), Some(ImageKind::Webp));
        let mut bmp = *b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0";
        assert_eq!(sniff_image(&bmp), Some(ImageKind::Bmp));
        bmp[14] = 41;
        assert_eq!(sniff_image(&bmp), None);
    }

    #[test]
    fn anything_else_is_not_an_image() {
        for bytes in [
            &b""[..],
            b"\xff\xd8",
            b"BM",
            b"BMW is a car, no bitmap",
            b"RIFF\x24\0\0\0WAVE",
            b"GIF89a",
            b"<svg>",
        ] {
            assert_eq!(sniff_image(bytes), None, "{bytes:?}");
        }
    }
}
