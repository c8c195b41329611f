//! Drawn scenes for the demo: fruit on a table, with exact boxes.
//!
//! A scene is a function of (seed, index) and nothing else, so the demo needs no download and every run has the same
//! images. Six classes that differ by shape; colours overlap between them (a green apple, a green pear, green grapes).
//! Sizes, rotations, overlaps, tables, lights and image shapes vary. A box encloses what is visible of its fruit, and
//! no fruit is mostly hidden or mostly outside, so there is no box that nobody could find and no fruit without one.
//! The same bits come out on machines whose `f32` sine and cosine agree.

mod fruit;
mod paint;
mod table;

use annotation::{ClassList, Label, Row};
use dataset::rng::{self, Purpose};
use image::ImageEncoder;
use image::codecs::jpeg::JpegEncoder;
use rand_chacha::ChaCha8Rng;
use std::{fs, io, path::Path};

use fruit::{Fruit, Kind};
use paint::Canvas;
use table::{Light, Table};

/// Width and height of the images: about 640 x 480, in several shapes.
const SIZES: [(usize, usize); 6] = [
    (640, 480),
    (480, 640),
    (640, 400),
    (560, 560),
    (720, 480),
    (512, 384),
];
const FEWEST: u64 = 3;
const MOST: u64 = 8;
/// Radius of a fruit, as a part of the image's shorter side.
const RADII: (f32, f32) = (0.085, 0.19);
/// Attempts to find a place for one fruit.
const ATTEMPTS: usize = 24;
/// The least part of a fruit that stays inside the image and in front of the others.
const VISIBLE: f32 = 0.6;
const JPEG_QUALITY: u8 = 90;

/// The class list of the scenes, as the text of `classes.json`.
pub const CLASSES_JSON: &str = r##"[
  {"Id": 0, "Name": "Apple", "ShortName": "APL", "Color": "#d62728"},
  {"Id": 1, "Name": "Banana", "ShortName": "BAN", "Color": "#e6b800"},
  {"Id": 2, "Name": "Pear", "ShortName": "PEA", "Color": "#2ca02c"},
  {"Id": 3, "Name": "Grapes", "ShortName": "GRP", "Color": "#9467bd"},
  {"Id": 4, "Name": "Starfruit", "ShortName": "STR", "Color": "#ff7f0e"},
  {"Id": 5, "Name": "Melon", "ShortName": "MEL", "Color": "#17becf"}
]
"##;

/// One drawn image with its boxes.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height` rows of `width` RGB triples.
    pub rgb: Vec<u8>,
    /// The box of each fruit, in the order in which they were laid down.
    pub label: Label,
}

impl Scene {
    /// The image as a JPEG file.
    pub fn jpeg(&self) -> Result<Vec<u8>, image::ImageError> {
        let mut bytes = Vec::with_capacity(self.rgb.len() / 8);
        JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(
            &self.rgb,
            self.width as u32,
            self.height as u32,
            image::ExtendedColorType::Rgb8,
        )?;
        Ok(bytes)
    }
}

/// Draws `count` scenes into `folder` as images/ and labels/, which are made: `s00.jpg`, `s00.txt` and so on.
///
/// # Errors
/// A file cannot be written.
pub fn draw_into(folder: &Path, seed: u64, count: u64) -> io::Result<()> {
    for sub in ["images", "labels"] {
        fs::create_dir_all(folder.join(sub))?;
    }
    for index in 0..count {
        let scene = scene(seed, index);
        let jpeg = scene.jpeg().map_err(io::Error::other)?;
        fs::write(folder.join(format!("images/s{index:02}.jpg")), jpeg)?;
        fs::write(
            folder.join(format!("labels/s{index:02}.txt")),
            scene.label.to_string(),
        )?;
    }
    Ok(())
}

/// The class list of the scenes.
pub fn classes() -> Result<ClassList, annotation::ClassError> {
    ClassList::parse(CLASSES_JSON)
}

/// Scene number `index` of the world that belongs to `seed`.
pub fn scene(seed: u64, index: u64) -> Scene {
    let mut draw = Draw(rng::stream(seed, Purpose::Scene, 0, index));
    let (width, height) = *draw.pick(&SIZES);
    let light = Light::draw(&mut draw);
    let mut canvas = Canvas::new(width, height);
    Table::draw(&mut draw).paint(&mut canvas);
    let mut laid = Vec::new();
    for _ in 0..draw.whole(FEWEST, MOST) {
        lay(&mut canvas, &mut laid, light, &mut draw);
    }
    let label = Label {
        rows: boxes(&canvas, &laid),
    };
    Scene {
        width,
        height,
        rgb: light.develop(&canvas, &mut draw),
        label,
    }
}

/// Puts one more fruit on the table, where there is a place for it.
fn lay(canvas: &mut Canvas, laid: &mut Vec<Laid>, light: Light, draw: &mut Draw) {
    let kind = *draw.pick(&Kind::ALL);
    let short = canvas.width.min(canvas.height) as f32;
    for _ in 0..ATTEMPTS {
        let radius = short * draw.real(RADII.0, RADII.1);
        let place = [
            draw.real(0.0, canvas.width as f32),
            draw.real(0.0, canvas.height as f32),
        ];
        let fruit = Fruit::draw(kind, place, radius, draw);
        let outline = canvas.outline(&fruit);
        if outline.inside < VISIBLE || hides_another(canvas, laid, &outline.pixels) {
            continue;
        }
        canvas.paint(&fruit, light, laid.len() as u8 + 1);
        laid.push(Laid {
            kind,
            pixels: outline.pixels.len(),
        });
        return;
    }
}

/// A fruit on the table: its class and how many pixels of it lie inside the image.
struct Laid {
    kind: Kind,
    pixels: usize,
}

/// Whether painting these pixels would leave too little of a fruit that lies there.
fn hides_another(canvas: &Canvas, laid: &[Laid], pixels: &[usize]) -> bool {
    let mut hidden = vec![0usize; laid.len()];
    for owner in pixels
        .iter()
        .filter_map(|&pixel| usize::from(canvas.owners[pixel]).checked_sub(1))
    {
        hidden[owner] += 1;
    }
    let visible = canvas.visible(laid.len());
    hidden
        .iter()
        .zip(visible)
        .zip(laid)
        .any(|((hidden, visible), laid)| {
            *hidden > 0 && ((visible - hidden) as f32) < VISIBLE * laid.pixels as f32
        })
}

fn boxes(canvas: &Canvas, laid: &[Laid]) -> Vec<Row> {
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let row = |(laid, bounds): (&Laid, paint::Bounds)| {
        let (x0, x1) = (bounds.left as f32 / width, bounds.right as f32 / width);
        let (y0, y1) = (bounds.top as f32 / height, bounds.bottom as f32 / height);
        Row::new(
            laid.kind as u8,
            (x0 + x1) / 2.0,
            (y0 + y1) / 2.0,
            x1 - x0,
            y1 - y0,
        )
        .ok()
    };
    // Every fruit is visible in part, so every row is valid.
    laid.iter()
        .zip(canvas.bounds(laid.len()))
        .filter_map(row)
        .collect()
}

/// Random choices of a scene.
struct Draw(ChaCha8Rng);

impl Draw {
    /// A number in `[low, high)`.
    fn real(&mut self, low: f32, high: f32) -> f32 {
        rng::uniform(&mut self.0, f64::from(low), f64::from(high)) as f32
    }

    /// A whole number from `low` to `high`, both included.
    fn whole(&mut self, low: u64, high: u64) -> u64 {
        low + rng::below(&mut self.0, high - low + 1)
    }

    fn pick<'a, T, const N: usize>(&mut self, from: &'a [T; N]) -> &'a T {
        const { assert!(N > 0) };
        &from[rng::below(&mut self.0, N as u64) as usize]
    }

    /// A colour near `around`: each channel off by at most `by`.
    fn colour(&mut self, around: [f32; 3], by: f32) -> [f32; 3] {
        around.map(|channel| (channel + self.real(-by, by)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_scene_depends_on_seed_and_index_alone() {
        let (a, b) = (scene(1, 5), scene(1, 5));
        assert_eq!((a.rgb == b.rgb, &a.label), (true, &b.label));
        assert_eq!(a.jpeg().unwrap(), b.jpeg().unwrap());
        assert_ne!(scene(2, 5).rgb, a.rgb);
        assert_ne!(scene(1, 6).rgb, a.rgb);
    }

    #[test]
    fn every_scene_has_boxes_of_a_findable_size_and_all_classes_occur() {
        let mut classes = BTreeSet::new();
        let mut sizes = BTreeSet::new();
        let mut boxes = 0;
        for index in 0..24 {
            let scene = scene(0, index);
            assert_eq!(scene.rgb.len(), scene.width * scene.height * 3);
            assert!(
                (1..=MOST as usize).contains(&scene.label.rows.len()),
                "scene {index}"
            );
            for row in &scene.label.rows {
                let (w, h) = (row.w * scene.width as f32, row.h * scene.height as f32);
                assert!(w >= 16.0 && h >= 16.0, "scene {index}: {w} x {h}");
                assert!(row.cx - row.w / 2.0 >= -1e-6 && row.cx + row.w / 2.0 <= 1.0 + 1e-6);
                classes.insert(row.class);
            }
            boxes += scene.label.rows.len();
            sizes.insert((scene.width, scene.height));
        }
        assert_eq!(classes, (0..6).collect());
        assert!(sizes.len() >= 4, "{sizes:?}");
        assert!((72..=192).contains(&boxes), "{boxes} boxes in 24 scenes");
    }

    #[test]
    fn a_box_is_tight_around_what_is_visible_of_its_fruit() {
        let mut draw = Draw(rng::stream(0, Purpose::Test, 0, 0));
        let mut canvas = Canvas::new(200, 100);
        let fruit = Fruit::draw(Kind::Melon, [100.0, 50.0], 30.0, &mut draw);
        canvas.paint(&fruit, Light::draw(&mut draw), 1);
        let bounds = canvas.bounds(1)[0];
        let owned = |x: usize, y: usize| canvas.owners[y * 200 + x] == 1;
        assert!((bounds.top..bounds.bottom).any(|y| owned(bounds.left, y)));
        assert!((bounds.top..bounds.bottom).any(|y| owned(bounds.right - 1, y)));
        assert!((bounds.left..bounds.right).any(|x| owned(x, bounds.top)));
        assert!((bounds.left..bounds.right).any(|x| owned(x, bounds.bottom - 1)));
        let inside = |i: &usize| {
            (bounds.left..bounds.right).contains(&(i % 200))
                && (bounds.top..bounds.bottom).contains(&(i / 200))
        };
        assert!(
            (0..canvas.owners.len())
                .filter(|&i| canvas.owners[i] == 1)
                .all(|i| inside(&i))
        );
        assert!((45..=75).contains(&(bounds.right - bounds.left)), "{bounds:?}");
    }

    #[test]
    fn no_fruit_is_mostly_hidden() {
        for index in 0..20 {
            let mut draw = Draw(rng::stream(3, Purpose::Scene, 1, index));
            let mut canvas = Canvas::new(320, 240);
            let mut laid = Vec::new();
            let light = Light::draw(&mut draw);
            (0..10).for_each(|_| lay(&mut canvas, &mut laid, light, &mut draw));
            for (visible, laid) in canvas.visible(laid.len()).into_iter().zip(&laid) {
                assert!(visible as f32 >= VISIBLE * laid.pixels as f32);
            }
        }
    }

    #[test]
    fn the_class_list_names_every_kind() {
        let names: Vec<String> = classes()
            .unwrap()
            .iter()
            .map(|class| class.name.clone())
            .collect();
        assert_eq!(names, Kind::ALL.map(|kind| format!("{kind:?}")));
    }

    #[test]
    fn the_jpeg_decodes_to_nearly_the_scene() {
        let scene = scene(0, 0);
        let image = dataset::decode::decode_strict(&scene.jpeg().unwrap()).unwrap();
        assert_eq!((image.width(), image.height()), (scene.width, scene.height));
        let off: u64 = image
            .pixels()
            .iter()
            .zip(&scene.rgb)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        assert!(
            off < 6 * scene.rgb.len() as u64,
            "mean error {}",
            off as f64 / scene.rgb.len() as f64
        );
    }
}
