//! The way of an image: JPEGs decoded, letterbox, and training samples made from the very draws that the reference's
//! samples had.

use crate::table::{Bound, Gap, Row};
use annotation::Row as LabelRow;
use anyhow::Context;
use dataset::{
    augment::{Affine, Draws, Flips, Geometry, LabelledBox, Mixup, Mosaic, Scratch, Source, apply},
    batch::Target,
    decode::{Detail, Image, decode_detail, decode_strict},
    letterbox::{Fit, Letterbox, Size, loaded_size},
    resize::{self, resize},
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// Grey levels of one operation.
const PIXELS: Bound = Bound::Absolute(1.0);
/// Grey levels after warp and colours: the second operation widens a level that the first was off.
const CHAIN: Bound = Bound::Absolute(6.0);
/// Share of the values that may be off by more than one level.
const BEYOND_ONE: Bound = Bound::Relative(1e-4);
/// Grey levels of two JPEG decoders: transforms and colours are each rounded in their own ways, chroma is upsampled too.
const JPEG: Bound = Bound::Absolute(8.0);
const JPEG_MEAN: Bound = Bound::Absolute(0.5);
/// Shares of the image's sides.
const BOXES: Bound = Bound::Absolute(1e-4);

/// The case that has all operations one after another.
const CHAINED: &str = "default";

/// samples.json, written by tests/reference/image_samples.py.
#[derive(Deserialize)]
struct Listing {
    side: usize,
    /// Rows of (class, cx, cy, w, h) of every source image.
    sources: Vec<Vec<[f64; 5]>>,
    letterboxes: Vec<Boxed>,
    jpegs: Vec<Jpeg>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Boxed {
    source: usize,
    scaleup: bool,
    auto: bool,
    output: String,
}

#[derive(Deserialize)]
struct Jpeg {
    /// Subsampling of chroma, as 4:2:0.
    sampling: String,
    /// By how much the file is larger than the output.
    divisor: f64,
    /// Whether both sides of the file are multiples of it.
    even: bool,
    file: String,
    /// Long side of the output; 0 for the whole image.
    side: usize,
    output: String,
}

#[derive(Deserialize)]
struct Sample {
    case: String,
    source: usize,
    output: String,
    /// Class, cx, cy, w, h as shares of the sides.
    boxes: Vec<[f64; 5]>,
    #[serde(flatten)]
    geometry: Placed,
    mixup: Option<Mixed>,
    hsv: Option<[f64; 3]>,
    /// Vertical, horizontal.
    flips: [bool; 2],
}

#[derive(Deserialize)]
struct Placed {
    mosaic: Option<Joined>,
    /// Perspective x, y, angle, scale, shear x, y, translation x, y.
    affine: [f64; 8],
}

#[derive(Deserialize)]
struct Mixed {
    partner: usize,
    #[serde(flatten)]
    geometry: Placed,
    ratio: f64,
}

#[derive(Deserialize)]
struct Joined {
    partners: [usize; 3],
    centre: [usize; 2],
}

pub fn compare(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let folder = folder.join("images");
    let path = folder.join("samples.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}; run `cargo xtask parity`", path.display()))?;
    let listing: Listing = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let pictures = (0..listing.sources.len())
        .map(|i| picture(&folder.join(format!("source{i}.png"))))
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = jpegs(&folder, &listing.jpegs)?;
    rows.push(letterboxes(&folder, &listing, &pictures)?);
    let loaded = listing
        .sources
        .iter()
        .zip(&pictures)
        .map(|(labels, image)| Loaded::new(image, labels, listing.side))
        .collect::<Result<Vec<_>, _>>()?;
    let mut cases: BTreeMap<&str, (Gap, Gap, usize)> = BTreeMap::new();
    for sample in &listing.samples {
        let expected = picture(&folder.join(&sample.output))?;
        let (pixels, boxes) = sample.ours(&loaded, listing.side)?;
        let (all, found, far) = cases.entry(&sample.case).or_insert((Gap::NONE, Gap::NONE, 0));
        *all = all.and(levels(&pixels, expected.pixels()));
        *found = found.and(box_gap(&boxes, &sample.boxes, listing.side));
        *far += beyond_one(&pixels, expected.pixels());
    }
    for (case, (pixels, boxes, far)) in cases {
        let row = |item, gap, bound| Row {
            item,
            case: case.to_owned(),
            gap,
            bound,
        };
        let bound = if case == CHAINED { CHAIN } else { PIXELS };
        rows.push(row("sample: grey levels", pixels, bound));
        let far = Gap::count(pixels.values, far as f64);
        rows.push(row("sample: values beyond one level", far, BEYOND_ONE));
        rows.push(row("sample: boxes", boxes, BOXES));
    }
    Ok(rows)
}

fn picture(path: &Path) -> anyhow::Result<Image> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    decode_strict(&bytes).with_context(|| path.display().to_string())
}

fn levels(found: &[u8], expected: &[u8]) -> Gap {
    let [found, expected] = [found, expected].map(|all| all.iter().map(|&v| v.into()).collect::<Vec<f32>>());
    Gap::of(&found, &expected, 255.0)
}

fn beyond_one(found: &[u8], expected: &[u8]) -> usize {
    let pairs = found.iter().zip(expected);
    pairs.filter(|&(&a, &b)| a.abs_diff(b) > 1).count()
}

/// Levels apart: the most, and in the mean.
#[derive(Clone, Copy)]
struct Levels {
    most: Gap,
    sum: f64,
    whole: bool,
    comparable: bool,
}

fn jpegs(folder: &Path, listed: &[Jpeg]) -> anyhow::Result<Vec<Row>> {
    let mut cases: BTreeMap<String, Levels> = BTreeMap::new();
    for jpeg in listed {
        let expected = picture(&folder.join(&jpeg.output))?;
        let ours = jpeg.ours(&folder.join(&jpeg.file))?;
        let levels = cases.entry(jpeg.case()).or_insert(Levels {
            most: Gap::NONE,
            sum: 0.0,
            whole: jpeg.divisor == 1.0,
            comparable: jpeg.comparable(),
        });
        levels.most = levels.most.and(self::levels(ours.pixels(), expected.pixels()));
        let pairs = ours.pixels().iter().zip(expected.pixels());
        levels.sum += pairs.map(|(&a, &b)| f64::from(a.abs_diff(b))).sum::<f64>();
    }
    let rows = cases.into_iter().flat_map(|(case, levels)| {
        let Levels {
            most,
            sum,
            whole,
            comparable,
        } = levels;
        let row = |item, gap, bound| Row {
            item,
            case: case.clone(),
            gap,
            bound,
        };
        let mean = sum / most.values.max(1) as f64;
        let mean = Gap {
            absolute: mean,
            relative: mean / 255.0,
            ..most
        };
        [
            row("JPEG: grey levels", most, if whole { JPEG } else { Bound::Shown }),
            row(
                "JPEG: grey levels, mean",
                mean,
                if comparable { JPEG_MEAN } else { Bound::Shown },
            ),
        ]
    });
    Ok(rows.collect())
}

impl Jpeg {
    fn case(&self) -> String {
        match self.divisor {
            1.0 => format!("{}, whole", self.sampling),
            2.0 if self.even => format!("{}, at a half", self.sampling),
            2.0 => "odd sides, at about a half".to_owned(),
            more => format!("all kinds, at 1/{more}"),
        }
    }

    /// Whether both sides compute the same, but for rounding and how chroma is upsampled; in the mean, for a half is one
    /// before samples are cut to 0..255 here and after it there.
    fn comparable(&self) -> bool {
        let full_chroma = ["4:4:4", "grey"].contains(&self.sampling.as_str());
        self.divisor == 1.0 || (self.divisor == 2.0 && self.even && full_chroma)
    }

    /// The pixels as training loads them.
    fn ours(&self, file: &Path) -> anyhow::Result<Image> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let detail = match self.side {
            0 => Detail::Full,
            side => Detail::LongSide(side),
        };
        let decoded =
            decode_detail(&bytes, detail, Vec::new()).with_context(|| file.display().to_string())?;
        if self.side == 0 {
            return Ok(decoded.image);
        }
        let (width, height) = decoded.full;
        let size = loaded_size(Size { width, height }, self.side);
        Ok(resize(&decoded.image, size.width, size.height))
    }
}

fn letterboxes(folder: &Path, listing: &Listing, pictures: &[Image]) -> anyhow::Result<Row> {
    let mut gap = Gap::NONE;
    for boxed in &listing.letterboxes {
        let image = pictures.get(boxed.source).context("a letterbox has no source")?;
        let fit = match (boxed.scaleup, boxed.auto) {
            (false, _) => Fit::Shrink,
            (true, false) => Fit::Scale,
            (true, true) => Fit::Rectangle,
        };
        let place = Letterbox::new(Size::of(image), Size::square(listing.side), fit);
        let mut out = vec![0; place.canvas.bytes()];
        place.render(image, &mut out, &mut resize::Scratch::default());
        gap = gap.and(levels(&out, picture(&folder.join(&boxed.output))?.pixels()));
    }
    Ok(Row {
        item: "letterbox: grey levels",
        case: format!("{} images", listing.letterboxes.len()),
        gap,
        bound: PIXELS,
    })
}

/// A source at its loaded size.
struct Loaded {
    image: Image,
    rows: Vec<LabelRow>,
}

impl Loaded {
    fn new(image: &Image, labels: &[[f64; 5]], side: usize) -> anyhow::Result<Self> {
        let size = loaded_size(Size::of(image), side);
        let rows = labels
            .iter()
            .map(|&[class, cx, cy, w, h]| {
                LabelRow::new(class as u8, cx as f32, cy as f32, w as f32, h as f32)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            image: resize(image, size.width, size.height),
            rows,
        })
    }
}

impl Placed {
    fn drawn(&self) -> Geometry {
        let [px, py, angle, scale, shear_x, shear_y, tx, ty] = self.affine;
        Geometry {
            mosaic: self.mosaic.as_ref().map(|joined| Mosaic {
                partners: joined.partners,
                centre_x: joined.centre[0],
                centre_y: joined.centre[1],
            }),
            affine: Affine {
                perspective: [px, py],
                angle,
                scale,
                shear: [shear_x, shear_y],
                translate: [tx, ty],
            },
        }
    }
}

impl Sample {
    fn draws(&self) -> Draws {
        let mixup = self.mixup.as_ref().map(|mixed| Mixup {
            partner: mixed.partner,
            geometry: mixed.geometry.drawn(),
            lambda: mixed.ratio,
        });
        Draws {
            geometry: self.geometry.drawn(),
            mixup,
            hsv: self.hsv,
            flips: Flips {
                vertical: self.flips[0],
                horizontal: self.flips[1],
            },
        }
    }

    fn ours(&self, loaded: &[Loaded], side: usize) -> anyhow::Result<(Vec<u8>, Vec<LabelledBox>)> {
        let draws = self.draws();
        let sources = draws
            .items(self.source)
            .map(|item| loaded.get(item))
            .map(|found| {
                found.map(|l| Source {
                    image: &l.image,
                    rows: &l.rows,
                })
            })
            .collect::<Option<Vec<_>>>()
            .with_context(|| format!("{} has a source that is not there", self.output))?;
        let (mut pixels, mut boxes) = (vec![0; side * side * 3], Vec::new());
        apply(
            &draws,
            &sources,
            side,
            &mut pixels,
            &mut boxes,
            &mut Scratch::default(),
        );
        Ok((pixels, boxes))
    }
}

/// Class and place of every box, in order.
fn box_gap(found: &[LabelledBox], expected: &[[f64; 5]], side: usize) -> Gap {
    let found: Vec<f64> = found
        .iter()
        .map(|b| Target::from_corners(0, b.class, b.xyxy, side, side))
        .flat_map(|t| [t.class.into(), t.cx.into(), t.cy.into(), t.w.into(), t.h.into()])
        .collect();
    Gap::of_f64(&found, expected.as_flattened(), 1.0)
}
