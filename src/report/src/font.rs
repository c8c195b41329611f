//! A bitmap font of our own: printable ASCII in 5 x 7 pixels, for labels on images.
//!
//! The glyphs are drawn in `font.txt`, sixteen a band from the space on, and read from there by the compiler: a
//! misdrawn sheet does not build. The last cell is what stands in for every character that the font does not have.

/// Pixels in a glyph's row.
pub(crate) const WIDTH: usize = 5;
/// Rows of a glyph.
pub(crate) const HEIGHT: usize = 7;
/// From one glyph's left side to the next one's.
pub(crate) const ADVANCE: usize = WIDTH + 1;

const FIRST: u32 = ' ' as u32;
const GLYPHS: usize = 96;
const PER_BAND: usize = 16;

/// A glyph: rows from the top, in each the leftmost pixel in bit 4.
pub(crate) type Glyph = [u8; HEIGHT];

static FONT: [Glyph; GLYPHS] = read(include_bytes!("font.txt"));

/// The glyph of a character; a hollow box where there is none.
pub(crate) fn glyph(c: char) -> Glyph {
    let index = u32::from(c).checked_sub(FIRST).map_or(GLYPHS - 1, |i| i as usize);
    FONT.get(index)
        .or_else(|| FONT.last())
        .copied()
        .unwrap_or_default()
}

/// Reads bands of `HEIGHT` lines and one empty line; evaluated by the compiler, where an index beyond the sheet is an
/// error.
#[expect(clippy::panic, reason = "it stops the compiler, never a program")]
const fn read(sheet: &[u8]) -> [Glyph; GLYPHS] {
    let line = PER_BAND * ADVANCE;
    let band = HEIGHT * line + 1;
    let mut font = [[0; HEIGHT]; GLYPHS];
    let mut at = 0;
    while at < GLYPHS * HEIGHT * WIDTH {
        let (glyph, row, column) = (at / (HEIGHT * WIDTH), at / WIDTH % HEIGHT, at % WIDTH);
        let start = glyph / PER_BAND * band + row * line + glyph % PER_BAND * ADVANCE;
        match sheet[start + column] {
            b'#' => font[glyph][row] |= 1 << (WIDTH - 1 - column),
            b'.' => {}
            _ => panic!("font.txt: a glyph is drawn with '#' and '.' in cells of 5 x 7"),
        }
        at += 1;
    }
    font
}

#[cfg(test)]
mod tests {
    use super::{FONT, HEIGHT, glyph};

    #[test]
    fn letters_are_where_they_belong() {
        assert_eq!(
            glyph('T'),
            [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100]
        );
        assert_eq!(glyph('.'), [0, 0, 0, 0, 0, 0b01100, 0b01100]);
        assert_eq!(glyph(' '), [0; HEIGHT]);
    }

    #[test]
    fn no_two_characters_look_alike() {
        let mut seen = FONT.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), FONT.len());
    }

    #[test]
    fn what_the_font_does_not_have_is_a_hollow_box() {
        for c in ['\u{7f}', 'ж', '\n', '\u{10ffff}'] {
            assert_eq!(glyph(c), [31, 17, 17, 17, 17, 17, 31], "{c:?}");
        }
    }
}
