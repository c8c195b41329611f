//! Training augmentation: mosaic, affine, mixup, HSV and flips, as the detector's reference does them.
//!
//! Split in two, so that tests can inject what was drawn: [`Draws::sample`] takes every random value of one sample
//! from its own stateless generator, in a fixed order, and [`apply`] is a pure function of draws and source images.
//! The pixels of a sample are made in one pass: each output pixel is mapped back through flip, affine and mosaic
//! straight into the source images, so no canvas of twice the size is ever built. The result is within one grey
//! level of building it (tests/augment.rs keeps that version).

mod apply;
mod canvas;
mod geometry;
mod hsv;
mod warp;

use rand::Rng;

use crate::rng::{below, uniform, unit};

pub use apply::{Scratch, Source, apply};
pub use canvas::{Canvas, Tile};
pub use geometry::{LabelledBox, Matrix, is_kept};
pub use hsv::HsvShift;
pub use warp::{Flips, warp};

/// Strength of the augmentation; names, meaning and defaults are the reference's.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Probability of putting four images together.
    pub mosaic: f64,
    /// Rotation by up to this many degrees, either way.
    pub degrees: f64,
    /// Translation by up to this share of the output, either way.
    pub translate: f64,
    /// Zoom by a factor within `1 - scale..1 + scale`.
    pub scale: f64,
    /// Shear by up to this many degrees, either way, on each axis.
    pub shear: f64,
    /// Perspective terms of up to this size (useful values are below 0.001).
    pub perspective: f64,
    /// Probability of blending with a second sample.
    pub mixup: f64,
    /// Hue shift of up to this share of the circle.
    pub hsv_h: f64,
    /// Saturation factor within `1 - hsv_s..1 + hsv_s`.
    pub hsv_s: f64,
    /// Brightness factor within `1 - hsv_v..1 + hsv_v`.
    pub hsv_v: f64,
    /// Probability of turning the image upside down.
    pub flipud: f64,
    /// Probability of mirroring the image.
    pub fliplr: f64,
}

impl Default for Augment {
    fn default() -> Augment {
        Augment {
            mosaic: 1.0,
            degrees: 0.0,
            translate: 0.1,
            scale: 0.5,
            shear: 0.0,
            perspective: 0.0,
            mixup: 0.0,
            hsv_h: 0.015,
            hsv_s: 0.7,
            hsv_v: 0.4,
            flipud: 0.0,
            fliplr: 0.5,
        }
    }
}

/// A hyper-parameter outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("augmentation: {name} = {value} is outside {least} to {most}")]
pub struct OutOfRange {
    /// Name of the hyper-parameter.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// The least that is allowed.
    pub least: f64,
    /// The most that is allowed.
    pub most: f64,
}

impl Augment {
    /// Nothing random at all: samples are the images, centred.
    pub fn none() -> Augment {
        Augment {
            mosaic: 0.0,
            degrees: 0.0,
            translate: 0.0,
            scale: 0.0,
            shear: 0.0,
            perspective: 0.0,
            mixup: 0.0,
            hsv_h: 0.0,
            hsv_s: 0.0,
            hsv_v: 0.0,
            flipud: 0.0,
            fliplr: 0.0,
        }
    }

    /// Checks every value's range, which also refuses what is not a number.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let ranges = [
            ("mosaic", self.mosaic, 1.0),
            ("degrees", self.degrees, 180.0),
            ("translate", self.translate, 1.0),
            ("scale", self.scale, 0.99),
            ("shear", self.shear, 89.0),
            ("perspective", self.perspective, 0.01),
            ("mixup", self.mixup, 1.0),
            ("hsv_h", self.hsv_h, 1.0),
            ("hsv_s", self.hsv_s, 1.0),
            ("hsv_v", self.hsv_v, 1.0),
            ("flipud", self.flipud, 1.0),
            ("fliplr", self.fliplr, 1.0),
        ];
        for (name, value, most) in ranges {
            if !(0.0..=most).contains(&value) {
                return Err(OutOfRange {
                    name,
                    value,
                    least: 0.0,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// Four images around a centre on a canvas of twice the output's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mosaic {
    /// Items that stand top right, bottom left and bottom right; the sample's own item stands top left.
    pub partners: [usize; 3],
    /// Column where the four meet, in canvas pixels.
    pub centre_x: usize,
    /// Row where the four meet, in canvas pixels.
    pub centre_y: usize,
}

/// The parameters of the affine (or perspective) transform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Perspective terms of x and y.
    pub perspective: [f64; 2],
    /// Rotation in degrees, counter-clockwise.
    pub angle: f64,
    /// Zoom factor.
    pub scale: f64,
    /// Shear of x and y in degrees.
    pub shear: [f64; 2],
    /// Where the source's centre goes, as a share of the output; 0.5 is its centre.
    pub translate: [f64; 2],
}

impl Affine {
    /// The transform that only centres the source.
    pub const CENTRED: Affine = Affine {
        perspective: [0.0; 2],
        angle: 0.0,
        scale: 1.0,
        shear: [0.0; 2],
        translate: [0.5; 2],
    };
}

/// What decides where pixels come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// The mosaic, if the sample is one.
    pub mosaic: Option<Mosaic>,
    /// The transform that follows.
    pub affine: Affine,
}

/// A second sample, blended in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixup {
    /// The second sample's own item.
    pub partner: usize,
    /// Its mosaic and transform.
    pub geometry: Geometry,
    /// Weight of the first sample.
    pub lambda: f64,
}

/// Every random value of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draws {
    /// Mosaic and transform of the sample itself.
    pub geometry: Geometry,
    /// The second sample, if there is one.
    pub mixup: Option<Mixup>,
    /// Shifts of hue, saturation and value, already times the gains; `None` if all gains are 0.
    pub hsv: Option<[f64; 3]>,
    /// Flips that come last.
    pub flips: Flips,
}

impl Draws {
    /// Draws one sample for a dataset of `items` images. `mosaic` is false in the last epochs, when mosaic and mixup
    /// are closed. Mosaic partners come from the whole dataset.
    pub fn sample(rng: &mut impl Rng, augment: &Augment, items: usize, imgsz: usize, mosaic: bool) -> Draws {
        let augment = if mosaic {
            *augment
        } else {
            Augment {
                mosaic: 0.0,
                mixup: 0.0,
                ..*augment
            }
        };
        let geometry = Geometry::sample(rng, &augment, items, imgsz);
        let mixup = (unit(rng) < augment.mixup).then(|| Mixup {
            partner: below(rng, items as u64) as usize,
            geometry: Geometry::sample(rng, &augment, items, imgsz),
            lambda: beta_32_32(rng),
        });
        let shifts = [augment.hsv_h, augment.hsv_s, augment.hsv_v].map(|gain| uniform(rng, -1.0, 1.0) * gain);
        let gains = augment.hsv_h + augment.hsv_s + augment.hsv_v;
        let vertical = unit(rng) < augment.flipud;
        let horizontal = unit(rng) < augment.fliplr;
        Draws {
            geometry,
            mixup,
            hsv: (gains != 0.0).then_some(shifts),
            flips: Flips { vertical, horizontal },
        }
    }

    /// The items whose images and labels [`apply`] wants, in its order, for the sample of item `own`.
    pub fn items(&self, own: usize) -> impl Iterator<Item = usize> {
        let of = |own: usize, geometry: &Geometry| {
            std::iter::once(own).chain(geometry.mosaic.into_iter().flat_map(|mosaic| mosaic.partners))
        };
        of(own, &self.geometry).chain(
            self.mixup
                .into_iter()
                .flat_map(move |m| of(m.partner, &m.geometry)),
        )
    }
}

impl Geometry {
    fn sample(rng: &mut impl Rng, augment: &Augment, items: usize, imgsz: usize) -> Geometry {
        let mosaic = (unit(rng) < augment.mosaic).then(|| {
            let partners = std::array::from_fn(|_| below(rng, items as u64) as usize);
            let (least, most) = (imgsz as f64 / 2.0, imgsz as f64 * 1.5);
            let centre_y = uniform(rng, least, most) as usize;
            let centre_x = uniform(rng, least, most) as usize;
            Mosaic {
                partners,
                centre_x,
                centre_y,
            }
        });
        let mut around = |centre: f64, range: f64| uniform(rng, centre - range, centre + range);
        let perspective = [around(0.0, augment.perspective), around(0.0, augment.perspective)];
        let angle = around(0.0, augment.degrees);
        let scale = around(1.0, augment.scale);
        let shear = [around(0.0, augment.shear), around(0.0, augment.shear)];
        let translate = [around(0.5, augment.translate), around(0.5, augment.translate)];
        Geometry {
            mosaic,
            affine: Affine {
                perspective,
                angle,
                scale,
                shear,
                translate,
            },
        }
    }

    /// How many source images it takes: one, or four for a mosaic.
    pub fn sources(&self) -> usize {
        if self.mosaic.is_some() { 4 } else { 1 }
    }
}

/// Beta(32, 32): the 32nd smallest of 63 uniform numbers.
fn beta_32_32(rng: &mut impl Rng) -> f64 {
    let mut draws: [f64; 63] = std::array::from_fn(|_| unit(rng));
    let (_, median, _) = draws.select_nth_unstable_by(31, f64::total_cmp);
    *median
}
