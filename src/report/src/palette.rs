//! Colours: the classes' own, the default ones, and what can be read on them.
//!
//! A class brings its colour from `classes.json`, where nobody asked whether it can be seen on a white or a black
//! page: [`Color::visible_on`] moves it along its own hue until it can. The defaults ([`class_color`]) begin with the
//! eight colours of Okabe and Ito (2008), which stay apart for colour-blind eyes; further turns are lighter and
//! darker versions of them. Luminance and contrast are those of WCAG 2.

use std::fmt;

/// An sRGB colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Color {
    /// Red, 0..255.
    pub r: u8,
    /// Green, 0..255.
    pub g: u8,
    /// Blue, 0..255.
    pub b: u8,
}

/// A text that is no colour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a colour: write it as \"#rrggbb\"")]
pub struct ColorError(String);

/// The page's surfaces in both schemes, as in style.css.
pub(crate) const LIGHT_SURFACE: Color = Color::new(255, 255, 255);
pub(crate) const DARK_SURFACE: Color = Color::new(23, 27, 34);

/// WCAG asks for 3:1 between a graphical object and what it lies on.
const GRAPHICS_CONTRAST: f32 = 3.0;

const WHITE: Color = Color::new(255, 255, 255);
const BLACK: Color = Color::new(0, 0, 0);

/// Okabe and Ito's eight, blue first; their black is a grey here, because the page's ink is the mean's colour.
const BASE: [Color; 8] = [
    Color::new(0, 114, 178),
    Color::new(213, 94, 0),
    Color::new(0, 158, 115),
    Color::new(204, 121, 167),
    Color::new(230, 159, 0),
    Color::new(86, 180, 233),
    Color::new(120, 120, 120),
    Color::new(240, 228, 66),
];

/// The default colour of a class, by its index. The first eight are safe for colour-blind eyes; after 40 they repeat.
#[must_use]
pub fn class_color(index: usize) -> Color {
    let base = BASE.get(index % BASE.len()).copied().unwrap_or_default();
    match index / BASE.len() % 5 {
        0 => base,
        1 => base.mix(WHITE, 0.45),
        2 => base.mix(BLACK, 0.40),
        3 => base.mix(WHITE, 0.65),
        _ => base.mix(BLACK, 0.60),
    }
}

impl Color {
    /// A colour from its channels.
    #[must_use]
    pub const fn new(r: u8, g: u8, b: u8) -> Self {
        Self { r, g, b }
    }

    /// Reads `#rrggbb`.
    pub fn parse(text: &str) -> Result<Self, ColorError> {
        let channels = text
            .strip_prefix('#')
            .filter(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .ok_or_else(|| ColorError(text.to_owned()))?;
        let [_, r, g, b] = channels.to_be_bytes();
        Ok(Self { r, g, b })
    }

    /// Black or white, whichever reads better on this colour (never below 4.5:1).
    #[must_use]
    pub fn text_on(self) -> Self {
        if self.contrast(WHITE) >= self.contrast(BLACK) {
            WHITE
        } else {
            BLACK
        }
    }

    /// This colour, moved towards black or white until a line of it is seen on `surface`.
    #[must_use]
    pub fn visible_on(self, surface: Self) -> Self {
        let towards = surface.text_on();
        (0..=20_u8)
            .map(|step| self.mix(towards, f32::from(step) / 20.0))
            .find(|candidate| candidate.contrast(surface) >= GRAPHICS_CONTRAST)
            .unwrap_or(towards)
    }

    /// WCAG's contrast ratio, 1..21.
    fn contrast(self, other: Self) -> f32 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn luminance(self) -> f32 {
        let linear = |channel: u8| {
            let c = f32::from(channel) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(self.r) + 0.7152 * linear(self.g) + 0.0722 * linear(self.b)
    }

    fn mix(self, other: Self, share: f32) -> Self {
        let blend = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * share).round() as u8;
        Self {
            r: blend(self.r, other.r),
            g: blend(self.g, other.g),
            b: blend(self.b, other.b),
        }
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }
}

/// The attributes that give an element its colour in both schemes: style.css makes `var(--c)` of them.
pub(crate) struct Hue(pub Color);

impl fmt::Display for Hue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (light, dark) = (self.0.visible_on(LIGHT_SURFACE), self.0.visible_on(DARK_SURFACE));
        write!(f, "style=\"--l:{light};--d:{dark}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{BASE, Color, DARK_SURFACE, GRAPHICS_CONTRAST, LIGHT_SURFACE, class_color};
    use proptest::prelude::*;

    #[test]
    fn colors_are_read_and_written_as_in_classes_json() {
        assert_eq!(Color::parse("#D62728"), Ok(Color::new(0xd6, 0x27, 0x28)));
        assert_eq!(Color::new(1, 2, 255).to_string(), "#0102ff");
    }

    #[test]
    fn what_is_not_rrggbb_is_refused_and_named() {
        for bad in [
            "", "#", "red", "#fff", "#12345", "#1234567", "123456", "#12345g", "#+12345", "#ééé",
        ] {
            let error = Color::parse(bad).unwrap_err().to_string();
            assert!(
                error.contains("#rrggbb") && error.contains(&format!("{bad:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn the_first_forty_classes_have_forty_colors() {
        let mut seen: Vec<_> = (0..5 * BASE.len())
            .map(class_color)
            .map(|c| (c.r, c.g, c.b))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 40);
    }

    #[test]
    fn a_color_that_can_be_seen_stays_as_it_is() {
        let blue = class_color(0);
        assert_eq!(blue.visible_on(LIGHT_SURFACE), blue);
    }

    /// The values of a variable in style.css: light, then dark.
    fn in_style(name: &str) -> [Color; 2] {
        let wanted = format!("--{name}: ");
        let values = include_str!("style.css").split(wanted.as_str()).skip(1);
        let colors: Vec<Color> = values
            .filter_map(|rest| Color::parse(rest.get(..7)?).ok())
            .collect();
        colors
            .try_into()
            .unwrap_or_else(|found| panic!("--{name} is not set once a scheme: {found:?}"))
    }

    #[test]
    fn the_page_has_the_surfaces_that_colors_are_made_visible_on() {
        assert_eq!(in_style("surface"), [LIGHT_SURFACE, DARK_SURFACE]);
    }

    #[test]
    fn every_text_of_the_page_can_be_read() {
        for text in ["ink", "ink2", "ink3", "accent", "second", "warn"] {
            for (text, surface) in in_style(text).into_iter().zip(in_style("surface")) {
                assert!(text.contrast(surface) >= 4.5, "{text} on {surface}");
            }
        }
        for shade in 1..=9 {
            let ink = if shade <= 5 { "on-low" } else { "on-high" };
            for (text, back) in in_style(ink).into_iter().zip(in_style(&format!("s{shade}"))) {
                assert!(text.contrast(back) >= 4.5, "{text} on s{shade} {back}");
            }
        }
    }

    proptest! {
        #[test]
        fn text_reads_on_every_color_and_lines_are_seen_on_both_surfaces(r: u8, g: u8, b: u8) {
            let color = Color::new(r, g, b);
            prop_assert!(color.contrast(color.text_on()) >= 4.5);
            for surface in [LIGHT_SURFACE, DARK_SURFACE] {
                prop_assert!(color.visible_on(surface).contrast(surface) >= GRAPHICS_CONTRAST);
            }
        }
    }
}
