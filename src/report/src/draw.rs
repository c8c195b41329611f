//! Boxes and their labels drawn into the pixels of an RGB image, for people who look at files.
//!
//! Line width and letter size follow the size of the image, so that a drawing of any resolution looks the same when it
//! fills the screen. Everything is cut off at the border; boxes that are not on the image or not made of numbers
//! are left out. Labels are drawn after all boxes, the surest last: a line never crosses a name.

use crate::font;
use crate::model::BoundingBox;
use crate::palette::Color;
use crate::picture::PictureError;

/// Draws boxes onto an image given as RGB bytes, row by row, 3 bytes a pixel.
///
/// # Errors
/// [`PictureError::Size`] if the buffer is not an image of this size; nothing is drawn then.
pub fn draw_boxes(
    rgb: &mut [u8],
    width: u32,
    height: u32,
    boxes: &[BoundingBox],
) -> Result<(), PictureError> {
    let bytes = rgb.len();
    let size = || PictureError::Size { width, height, bytes };
    if bytes as u128 != u128::from(width) * u128::from(height) * 3 {
        return Err(size());
    }
    let mut canvas = Canvas {
        rgb,
        width: width as usize,
        height: height as usize,
    };
    let mut placed: Vec<(&BoundingBox, Area)> = boxes
        .iter()
        .filter_map(|b| Some((b, canvas.area_of(b)?)))
        .collect();
    placed.sort_by(|a, b| a.0.sure().unwrap_or(0.0).total_cmp(&b.0.sure().unwrap_or(0.0)));
    let side = (u64::from(width) + u64::from(height)) as f32 / 2.0;
    let line = ((side / 300.0).round() as usize).max(1);
    let zoom = ((side / 320.0).round() as usize).max(1);
    for (b, area) in &placed {
        canvas.outline(*area, line, b.color);
    }
    for (b, area) in &placed {
        canvas.label(*area, zoom, &text(b), b.color);
    }
    Ok(())
}

fn text(b: &BoundingBox) -> String {
    match b.sure() {
        Some(score) if b.label.is_empty() => format!("{score:.2}"),
        Some(score) => format!("{} {score:.2}", b.label),
        None => b.label.clone(),
    }
}

/// Whole pixels, the right and lower sides excluded.
#[derive(Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

/// The pixels; `rgb` holds `width * height * 3` bytes.
struct Canvas<'a> {
    rgb: &'a mut [u8],
    width: usize,
    height: usize,
}

impl Canvas<'_> {
    /// The pixels that a box touches.
    fn area_of(&self, b: &BoundingBox) -> Option<Area> {
        let [left, top, right, bottom] = b.clipped(self.width as f32, self.height as f32)?;
        Some(Area {
            left: (left.floor() as usize).min(self.width.saturating_sub(1)),
            top: (top.floor() as usize).min(self.height.saturating_sub(1)),
            right: (right.ceil() as usize).min(self.width),
            bottom: (bottom.ceil() as usize).min(self.height),
        })
    }

    /// Fills an area, as far as it lies on the image.
    fn fill(&mut self, area: Area, color: Color) {
        let (left, right) = (area.left.min(self.width), area.right.min(self.width));
        if left >= right {
            return;
        }
        let pixel = [color.r, color.g, color.b];
        for y in area.top..area.bottom.min(self.height) {
            let row = y * self.width;
            let Some(bytes) = self.rgb.get_mut((row + left) * 3..(row + right) * 3) else {
                return;
            };
            bytes.as_chunks_mut::<3>().0.fill(pixel);
        }
    }

    /// A frame that grows inwards, so that the box's outer side is where the box ends.
    fn outline(&mut self, area: Area, line: usize, color: Color) {
        let Area {
            left,
            top,
            right,
            bottom,
        } = area;
        self.fill(
            Area {
                bottom: (top + line).min(bottom),
                ..area
            },
            color,
        );
        self.fill(
            Area {
                top: bottom.saturating_sub(line).max(top),
                ..area
            },
            color,
        );
        self.fill(
            Area {
                right: (left + line).min(right),
                ..area
            },
            color,
        );
        self.fill(
            Area {
                left: right.saturating_sub(line).max(left),
                ..area
            },
            color,
        );
    }

    /// A name on a ground in the box's colour: above the box where there is room, else inside it.
    fn label(&mut self, area: Area, zoom: usize, text: &str, color: Color) {
        if text.is_empty() {
            return;
        }
        // A name of a thousand letters is not drawn a thousand letters long.
        let letters = text.chars().take(self.width / (font::ADVANCE * zoom) + 1);
        let (wide, tall) = (
            (letters.clone().count() * font::ADVANCE + 3) * zoom,
            (font::HEIGHT + 4) * zoom,
        );
        let left = area.left.min(self.width.saturating_sub(wide));
        let top = area.top.checked_sub(tall).unwrap_or(area.top);
        self.fill(
            Area {
                left,
                top,
                right: left + wide,
                bottom: top + tall,
            },
            color,
        );
        let ink = color.text_on();
        for (i, letter) in letters.enumerate() {
            self.glyph(
                left + (2 + i * font::ADVANCE) * zoom,
                top + 2 * zoom,
                zoom,
                font::glyph(letter),
                ink,
            );
        }
    }

    fn glyph(&mut self, left: usize, top: usize, zoom: usize, glyph: font::Glyph, color: Color) {
        for (row, bits) in glyph.into_iter().enumerate() {
            for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                let (x, y) = (left + column * zoom, top + row * zoom);
                self.fill(
                    Area {
                        left: x,
                        top: y,
                        right: x + zoom,
                        bottom: y + zoom,
                    },
                    color,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::draw_boxes;
    use crate::model::BoundingBox;
    use crate::palette::Color;
    use proptest::prelude::*;

    const RED: Color = Color::new(200, 0, 0);

    fn bbox(xyxy: [f32; 4], label: &str, score: Option<f32>) -> BoundingBox {
        BoundingBox {
            xyxy,
            label: label.into(),
            score,
            color: RED,
        }
    }

    /// The image as text: `.` untouched, `#` in the box's colour, `o` anything else.
    fn drawn(width: u32, height: u32, boxes: &[BoundingBox]) -> Vec<String> {
        let mut rgb = vec![0; (width * height * 3) as usize];
        draw_boxes(&mut rgb, width, height, boxes).unwrap();
        let pixel = |p: &[u8]| match p {
            [0, 0, 0] => '.',
            [200, 0, 0] => '#',
            _ => 'o',
        };
        rgb.chunks(width as usize * 3)
            .map(|row| row.chunks(3).map(pixel).collect())
            .collect()
    }

    #[test]
    fn a_box_is_a_frame_on_the_pixels_that_it_touches() {
        let expected = [".......", ".####..", ".#..#..", ".####..", "......."];
        assert_eq!(drawn(7, 5, &[bbox([1.0, 1.2, 4.5, 4.0], "", None)]), expected);
        assert_eq!(
            drawn(7, 5, &[bbox([4.5, 4.0, 1.0, 1.2], "", None)]),
            expected,
            "corners in any order"
        );
    }

    #[test]
    fn a_box_beyond_the_border_is_cut_off() {
        assert_eq!(
            drawn(3, 2, &[bbox([-1e9, -5.0, 1e9, f32::INFINITY], "", None)]),
            ["###", "###"]
        );
        assert_eq!(
            drawn(3, 2, &[bbox([3.0, 0.0, 9.0, 2.0], "", None)]),
            ["...", "..."]
        );
        assert_eq!(
            drawn(3, 2, &[bbox([f32::NAN, 0.0, 2.0, 2.0], "x", Some(0.5))]),
            ["...", "..."]
        );
    }

    #[test]
    fn a_label_stands_above_its_box_in_readable_letters() {
        let image = drawn(40, 30, &[bbox([2.0, 12.0, 30.0, 28.0], "T", None)]);
        assert_eq!(&image[1][..14], "..#########...");
        assert_eq!(&image[3][..14], "..##ooooo##...");
        assert_eq!(&image[4][..14], "..####o####...");
    }

    #[test]
    fn a_label_without_room_above_goes_inside() {
        let image = drawn(40, 30, &[bbox([2.0, 4.0, 30.0, 28.0], "T", None)]);
        assert_eq!(&image[3][..14], "..............");
        assert_eq!(&image[6][..14], "..##ooooo##...");
    }

    #[test]
    fn lines_and_letters_grow_with_the_image() {
        let columns = |width: u32, height: u32| {
            let boxes = [bbox(
                [0.0, height as f32 / 2.0, width as f32, height as f32],
                "",
                None,
            )];
            let image = drawn(width, height, &boxes);
            image[height as usize * 3 / 4]
                .chars()
                .take_while(|c| *c == '#')
                .count()
        };
        assert_eq!(
            (columns(64, 64), columns(640, 480), columns(1280, 1280)),
            (1, 2, 4)
        );
    }

    #[test]
    fn a_buffer_of_the_wrong_size_is_refused() {
        let error = draw_boxes(&mut [0; 5], 2, 1, &[]).unwrap_err();
        assert!(error.to_string().contains("6 bytes, not 5"), "{error}");
        assert!(draw_boxes(&mut [], u32::MAX, u32::MAX, &[]).is_err());
        assert!(
            draw_boxes(&mut [], 0, 9, &[bbox([0.0, 0.0, 1.0, 1.0], "x", None)]).is_ok(),
            "nothing to draw on"
        );
    }

    prop_compose! {
        fn any_box()(xyxy in prop::array::uniform4(prop_oneof![any::<f32>(), -20.0..120.0_f32]),
                     label in "\\PC{0,40}", score in prop::option::of(any::<f32>())) -> BoundingBox {
            bbox(xyxy, &label, score)
        }
    }

    proptest! {
        #[test]
        fn no_box_on_no_image_panics(width in 0..90_u32, height in 0..90_u32,
                                     boxes in prop::collection::vec(any_box(), 0..6)) {
            let mut rgb = vec![7; (width * height * 3) as usize];
            prop_assert!(draw_boxes(&mut rgb, width, height, &boxes).is_ok());
        }

        #[test]
        fn only_pixels_of_the_box_are_touched(x in 0..20_u32, y in 0..20_u32, w in 1..20_u32, h in 1..20_u32) {
            let corners = [x as f32, y as f32, (x + w) as f32, (y + h) as f32];
            let image = drawn(40, 40, &[bbox(corners, "", None)]);
            for (row, line) in (0_u32..).zip(&image) {
                for (column, pixel) in (0_u32..).zip(line.chars()) {
                    let inside = (x..x + w).contains(&column) && (y..y + h).contains(&row);
                    let edge = column == x || row == y || column + 1 == x + w || row + 1 == y + h;
                    prop_assert_eq!(pixel == '#', inside && edge, "at {}, {}", column, row);
                }
            }
        }
    }
}
