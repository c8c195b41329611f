//! The sheets: validation images with what is there (dashed, white) and what the model saw (in the class's colour), and
//! training images as augmentation made them, with their boxes (in the class's colour too).
//!
//! The boxes are SVG over the JPEG, not pixels in it: they stay sharp, and hovering one names it. Fonts are not known
//! when the page is written, so every label is told how wide to be and fits its background in any of them.

use std::fmt;

use crate::html::Esc;
use crate::model::{BoundingBox, SheetImage};
use crate::palette::{Color, Hue};
use crate::picture::MAX_WIDTH;

/// More images than this make the file too large to mail (about 40 KB an image).
const MOST_IMAGES: usize = 60;
/// In an image with more detections than this, labels say the score only; colours name the class.
const MOST_NAMED: usize = 12;
/// With more than this, labels would hide the image.
const MOST_LABELLED: usize = 60;
/// The labels' font size on an image shown at [`MAX_WIDTH`].
const FONT_SIZE: f32 = 15.0;

/// A section of images.
pub(crate) enum Sheet<'a> {
    /// Measured ones.
    Validation(&'a [SheetImage]),
    /// Those that were trained on.
    Training(&'a [SheetImage]),
}

impl fmt::Display for Sheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, images) = match self {
            Self::Validation(images) => ("Images", *images),
            Self::Training(images) => ("Training images as augmented", *images),
        };
        if images.is_empty() {
            return Ok(());
        }
        write!(f, "<section><h2>{title}</h2><ul class=\"legend\">")?;
        if let Self::Validation(_) = self {
            f.write_str(
                "<li><i class=\"truth\"></i>labelled</li>\
                 <li><i class=\"seen\"></i>detected, with its score</li>",
            )?;
        }
        classes(f, images)?;
        f.write_str("</ul><div class=\"sheet\">")?;
        for image in images.iter().take(MOST_IMAGES) {
            let alt = match self {
                Self::Validation(_) => format!(
                    "{}: {} labelled, {} detected",
                    image.caption,
                    image.truth.len(),
                    image.predicted.len()
                ),
                Self::Training(_) => format!("{}: {} labelled", image.caption, image.predicted.len()),
            };
            Card { image, alt }.fmt(f)?;
        }
        f.write_str("</div>")?;
        match images.len().saturating_sub(MOST_IMAGES) {
            0 => {}
            more => write!(f, "<p class=\"aside\">{more} more images are not shown.</p>")?,
        }
        f.write_str("</section>")
    }
}

/// The legend's entries of the classes that are drawn in colour.
fn classes(f: &mut fmt::Formatter<'_>, images: &[SheetImage]) -> fmt::Result {
    let mut classes: Vec<(&str, Color)> = Vec::new();
    for found in images.iter().take(MOST_IMAGES).flat_map(|image| &image.predicted) {
        if !classes.iter().any(|(name, _)| *name == found.label) {
            classes.push((&found.label, found.color));
        }
    }
    classes.sort_unstable_by_key(|(name, _)| *name);
    classes.into_iter().try_for_each(|(name, color)| {
        let hue = Hue(color);
        write!(f, "<li><i class=\"hue dot\" {hue}></i>{}</li>", Esc(name))
    })
}

/// One image of a sheet.
struct Card<'a> {
    image: &'a SheetImage,
    alt: String,
}

impl fmt::Display for Card<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SheetImage {
            picture,
            caption,
            truth,
            predicted,
        } = self.image;
        let (width, height) = (picture.width(), picture.height());
        write!(
            f,
            "<figure class=\"card shot\"><svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width} {height}\">\
             <image href=\"{}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\"/>",
            Esc(&self.alt),
            picture.data_uri()
        )?;
        let boxes = Boxes {
            size: [width as f32, height as f32],
        };
        truth.iter().try_for_each(|b| boxes.truth(f, b))?;
        // The surest last, so that nothing covers it.
        let mut ordered: Vec<&BoundingBox> = predicted.iter().collect();
        ordered.sort_by(|a, b| a.sure().unwrap_or(0.0).total_cmp(&b.sure().unwrap_or(0.0)));
        ordered.iter().try_for_each(|b| boxes.predicted(f, b))?;
        if ordered.len() <= MOST_LABELLED {
            let named = ordered.len() <= MOST_NAMED;
            ordered.iter().try_for_each(|b| boxes.label(f, b, named))?;
        }
        write!(f, "</svg><figcaption>{}</figcaption></figure>", Esc(caption))
    }
}

/// Draws boxes on an image of this size; what is not on it is left out.
struct Boxes {
    size: [f32; 2],
}

impl Boxes {
    fn truth(&self, f: &mut fmt::Formatter<'_>, truth: &BoundingBox) -> fmt::Result {
        let [width, height] = self.size;
        let Some(rect) = truth.clipped(width, height).map(Rect) else {
            return Ok(());
        };
        // A dark line below the white dashes: one of the two is seen on every image.
        let name = Esc(&truth.label);
        write!(
            f,
            "<g class=\"truth\"><title>labelled: {name}</title><rect {rect}/><rect {rect}/></g>"
        )
    }

    fn predicted(&self, f: &mut fmt::Formatter<'_>, found: &BoundingBox) -> fmt::Result {
        let [width, height] = self.size;
        let Some(rect) = found.clipped(width, height).map(Rect) else {
            return Ok(());
        };
        let title = Esc(caption(found, true));
        write!(
            f,
            "<rect class=\"found\" stroke=\"{}\" {rect}><title>{title}</title></rect>",
            found.color
        )
    }

    fn label(&self, f: &mut fmt::Formatter<'_>, found: &BoundingBox, named: bool) -> fmt::Result {
        let [width, height] = self.size;
        let Some([x, y, ..]) = found.clipped(width, height) else {
            return Ok(());
        };
        let text = caption(found, named);
        if text.is_empty() {
            return Ok(());
        }
        let font = FONT_SIZE * width / MAX_WIDTH as f32;
        let (text_width, tall) = (text.chars().map(breadth).sum::<f32>() * font, font * 1.25);
        let wide = text_width + 0.6 * font;
        // Above the box where there is room, else inside it; never beyond the right border.
        let top = if y >= tall { y - tall } else { y };
        let left = x.min(width - wide).max(0.0);
        let (text_x, base) = (left + 0.3 * font, top + 0.94 * font);
        let (color, ink) = (found.color, found.color.text_on());
        write!(
            f,
            "<rect fill=\"{color}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>\
             <text fill=\"{ink}\" x=\"{text_x:.1}\" y=\"{base:.1}\" font-size=\"{font:.1}\" \
             textLength=\"{text_width:.1}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
            Esc(text)
        )
    }
}

/// `name 0.93`, or `.93` where there is no room for more.
fn caption(found: &BoundingBox, named: bool) -> String {
    match (found.sure(), named) {
        (Some(score), true) => format!("{} {score:.2}", found.label),
        (Some(score), false) if score < 0.995 => format!("{score:.2}").trim_start_matches('0').to_owned(),
        (Some(score), false) => format!("{score:.0}"),
        (None, true) => found.label.clone(),
        (None, false) => String::new(),
    }
}

/// How wide a bold sans-serif letter is, in font sizes: about as it is in all of them.
fn breadth(letter: char) -> f32 {
    match letter {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.32,
        'f' | 't' | 'r' | ' ' | '-' | '(' | ')' => 0.4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.9,
        'A'..='Z' => 0.7,
        letter if letter.is_ascii() => 0.6,
        letter if u32::from(letter) < 0x1100 => 0.66,
        _ => 1.0,
    }
}

/// A rectangle's attributes.
struct Rect([f32; 4]);

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x0, y0, x1, y1] = self.0;
        write!(
            f,
            "x=\"{x0:.1}\" y=\"{y0:.1}\" width=\"{:.1}\" height=\"{:.1}\"",
            x1 - x0,
            y1 - y0
        )
    }
}
