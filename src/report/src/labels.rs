//! What the dataset's labels look like: how many, where on the image, how large.
//!
//! Two maps tell a labelling mistake at a glance: boxes piled up in one corner, or none below a certain size.

use std::fmt::{self, Display as _};

use crate::chart::{Axis, Frame};
use crate::confusion::{SHADES, shade};
use crate::html::Esc;
use crate::number::Count;
use crate::scale::Range;

/// Cells along each side of a map.
const CELLS: usize = 32;

/// Counts and places of labelled boxes, collected one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelStats {
    /// The parts of the dataset.
    pub splits: Vec<Split>,
    centres: Map,
    sizes: Map,
}

/// One part of the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// For example `train`.
    pub name: String,
    /// Images in it, background ones included.
    pub images: u64,
    /// Images without a box.
    pub background: u64,
    /// Boxes.
    pub boxes: u64,
}

impl LabelStats {
    /// Counts a box given as centre and size, relative to its image (0..1). What lies outside is counted at the
    /// border, what is not a number is not counted.
    pub fn add(&mut self, cx: f32, cy: f32, w: f32, h: f32) {
        self.centres.add(cx, cy);
        self.sizes.add(spread(w), spread(h));
    }
}

/// Most boxes are small: areas rather than lengths are spread evenly over the map of sizes.
fn spread(length: f32) -> f32 {
    length.max(0.0).sqrt()
}

/// Counts in a square of cells, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Map(Vec<u64>);

impl Default for Map {
    fn default() -> Self {
        Self(vec![0; CELLS * CELLS])
    }
}

impl Map {
    fn add(&mut self, x: f32, y: f32) {
        if x.is_nan() || y.is_nan() {
            return;
        }
        // A cast saturates: what lies below 0 goes to cell 0.
        let cell = |v: f32| ((v * CELLS as f32) as usize).min(CELLS - 1);
        if let Some(count) = self.0.get_mut(cell(y) * CELLS + cell(x)) {
            *count += 1;
        }
    }

    fn most(&self) -> u64 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}

/// A map as one path for each shade.
struct Cells<'a> {
    map: &'a Map,
    /// Whether y grows upwards, as it does for sizes and does not for places on an image.
    upwards: bool,
}

impl fmt::Display for Cells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.map.most().max(1) as f64;
        // The root lets single boxes be seen beside the crowd.
        let shades: Vec<u8> = self
            .map
            .0
            .iter()
            .map(|&n| {
                if n == 0 {
                    0
                } else {
                    shade((n as f64 / most).sqrt())
                }
            })
            .collect();
        write!(
            f,
            "<svg class=\"cells\" viewBox=\"0 0 {CELLS} {CELLS}\" preserveAspectRatio=\"none\">"
        )?;
        for wanted in 1..=SHADES as u8 {
            let cells = shades.iter().enumerate().filter(|(_, shade)| **shade == wanted);
            let mut cells = cells.map(|(i, _)| (i % CELLS, i / CELLS)).peekable();
            if cells.peek().is_none() {
                continue;
            }
            write!(f, "<path class=\"s{wanted}\" d=\"")?;
            for (x, y) in cells {
                let y = if self.upwards { CELLS - 1 - y } else { y };
                write!(f, "M{x} {y}h1v1h-1z")?;
            }
            f.write_str("\"/>")?;
        }
        f.write_str("</svg>")
    }
}

/// The section.
pub(crate) struct Labels<'a>(pub &'a LabelStats);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LabelStats {
            splits,
            centres,
            sizes,
        } = self.0;
        if splits.is_empty() && centres.most() == 0 {
            return Ok(());
        }
        f.write_str("<section><h2>Dataset</h2><div class=\"grid3\">")?;
        if !splits.is_empty() {
            split_table(f, splits)?;
        }
        if centres.most() > 0 {
            place_map(f, centres)?;
        }
        if sizes.most() > 0 {
            size_map(f, sizes)?;
        }
        f.write_str("</div></section>")
    }
}

fn split_table(f: &mut fmt::Formatter<'_>, splits: &[Split]) -> fmt::Result {
    f.write_str(
        "<div class=\"card wide\"><table class=\"numbers\"><caption>Images and boxes</caption><thead><tr>\
         <th scope=\"col\">part</th><th scope=\"col\">images</th><th scope=\"col\">without a box</th>\
         <th scope=\"col\">boxes</th></tr></thead><tbody>",
    )?;
    for split in splits {
        write!(f, "<tr><th scope=\"row\">{}</th>", Esc(&split.name))?;
        for count in [split.images, split.background, split.boxes] {
            write!(f, "<td>{}</td>", Count(count))?;
        }
        f.write_str("</tr>")?;
    }
    f.write_str("</tbody></table></div>")
}

fn place_map(f: &mut fmt::Formatter<'_>, map: &Map) -> fmt::Result {
    let ticks = || ["0", "0.5", "1"].into_iter().zip([0.0, 0.5, 1.0]);
    let x = Axis {
        name: "across the image",
        range: Range::UNIT,
        ticks: ticks().map(|(t, v)| (v, t.to_owned())).collect(),
    };
    let y = Axis {
        name: "",
        range: Range::UNIT,
        ticks: ticks().map(|(t, v)| (1.0 - v, t.to_owned())).collect(),
    };
    let frame = Frame {
        title: "Where the boxes are",
        note: "Centres on the image, its top at the top.".to_owned(),
        alt: "Map of box centres over the image area; darker cells hold more boxes.".to_owned(),
        legend: vec![],
        x: &x,
        y: &y,
        body: Cells { map, upwards: false },
    };
    frame.fmt(f)
}

fn size_map(f: &mut fmt::Formatter<'_>, map: &Map) -> fmt::Result {
    let tick = |(length, text): (f32, &str)| (f64::from(spread(length)), text.to_owned());
    let ticks = || {
        [(0.01, "1 %"), (0.1, "10 %"), (0.3, "30 %"), (1.0, "100 %")]
            .into_iter()
            .map(tick)
            .collect()
    };
    let x = Axis {
        name: "box width of image width",
        range: Range::UNIT,
        ticks: ticks(),
    };
    let y = Axis {
        name: "",
        range: Range::UNIT,
        ticks: ticks(),
    };
    let frame = Frame {
        title: "How large the boxes are",
        note: "Width across, height upwards.".to_owned(),
        alt: "Map of box widths and heights relative to the image; darker cells hold more boxes.".to_owned(),
        legend: vec![],
        x: &x,
        y: &y,
        body: Cells { map, upwards: true },
    };
    frame.fmt(f)
}

#[cfg(test)]
mod tests {
    use super::{CELLS, LabelStats, Labels};

    #[test]
    fn boxes_land_in_their_cells_and_outliers_at_the_border() {
        let mut stats = LabelStats::default();
        stats.add(0.0, 0.0, 1.0, 1.0);
        stats.add(9.0, -9.0, 0.25, 0.25);
        stats.add(f32::NAN, 0.5, 0.1, 0.1);
        assert_eq!(stats.centres.0[0], 1);
        assert_eq!(stats.centres.0[CELLS - 1], 1, "top right");
        assert_eq!(stats.centres.0.iter().sum::<u64>(), 2, "NaN is not counted");
        assert_eq!(
            stats.sizes.0[16 * CELLS + 16],
            1,
            "a quarter of the length is half of the axis"
        );
    }

    #[test]
    fn no_labels_no_section() {
        assert_eq!(Labels(&LabelStats::default()).to_string(), "");
    }
}
