//! `azaion detect`: a model's boxes on images, as numbers or as pictures.

use crate::args::{DetectArgs, HeadArg};
use anyhow::{Context, Result, bail};
use dataset::{
    decode::{self, Image},
    letterbox::{Fit, Letterbox, Size},
    resize::Scratch,
};
use detector::{
    Detection, FusedDetector, Head,
    decode::{EndToEnd, Placement, Raw, end_to_end},
    loss::Grid,
    net::from_rgb,
    nms::Nms,
    weights::{self, FusedModel},
};
use report::{BoundingBox, class_color, draw_boxes};
use serde_json::json;
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tch::Device;

/// Image size for models that do not say what they were trained at.
const DEFAULT_IMGSZ: usize = 640;
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

impl From<HeadArg> for Head {
    fn from(head: HeadArg) -> Self {
        match head {
            HeadArg::One2one => Self::One2One,
            HeadArg::One2many => Self::One2Many,
        }
    }
}

/// A model that answers.
pub struct Finder {
    network: FusedDetector,
    device: Device,
    /// Class names by index.
    pub names: Vec<String>,
    imgsz: usize,
    head: Head,
    nms: Nms,
    scratch: Scratch,
}

/// The network of a model file, folded to answer through `head`.
pub fn read_model(path: &Path, head: Head) -> Result<FusedModel> {
    weights::read_file(path)
        .and_then(|bytes| FusedModel::from_bytes(&bytes, head))
        .with_context(|| format!("cannot use the model {}", path.display()))
}

impl Finder {
    /// Opens a model file.
    pub fn open(
        path: &Path,
        device: Device,
        head: Head,
        imgsz: Option<usize>,
        conf: f32,
        iou: f32,
    ) -> Result<Self> {
        for (flag, value) in [("--conf", conf), ("--iou", iou)] {
            if !(0.0..=1.0).contains(&value) {
                bail!("{flag} {value}: give a number from 0 to 1");
            }
        }
        let model = read_model(path, head)?;
        let trained_at = model.meta.imgsz.map(|size| size as usize);
        let imgsz = imgsz.or(trained_at).unwrap_or(DEFAULT_IMGSZ);
        if !(32..=8192).contains(&imgsz) {
            bail!("--imgsz {imgsz}: give a size from 32 to 8192");
        }
        let mut network = model.detector;
        network.to_device(device)?;
        network.to_channels_last()?;
        Ok(Self {
            network,
            device,
            names: model.meta.names,
            imgsz: imgsz.next_multiple_of(32),
            head,
            nms: Nms {
                confidence: conf,
                iou,
                ..Nms::predict()
            },
            scratch: Scratch::default(),
        })
    }

    /// What is on an image, best first, in its own pixels.
    pub fn find(&mut self, image: &Image) -> Result<Vec<Detection>> {
        let place = Letterbox::new(Size::of(image), Size::square(self.imgsz), Fit::Rectangle);
        let mut pixels = vec![0; place.canvas.bytes()];
        place.render(image, &mut pixels, &mut self.scratch);
        let Size { width, height } = place.canvas;
        let input = from_rgb(&pixels, 1, height, width, self.device)?;
        let output = self.network.forward(&input)?.to_host()?;
        let grid = Grid::for_input(width, height)?;
        let (boxes, logits) = (
            torch::slice_f32(&output.boxes)?,
            torch::slice_f32(&output.scores)?,
        );
        let raw = Raw::new(&grid, self.names.len(), boxes, logits)?;
        let found = match self.head {
            Head::One2Many => self.nms.detect(&raw),
            Head::One2One => end_to_end(
                &raw,
                &EndToEnd {
                    confidence: self.nms.confidence,
                    ..EndToEnd::default()
                },
            ),
        };
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let back = Placement {
            gain: [
                place.content.width as f32 / image.width() as f32,
                place.content.height as f32 / image.height() as f32,
            ],
            pad: [place.left as f32, place.top as f32],
            original: [side(image.width()), side(image.height())],
        };
        Ok(found
            .into_iter()
            .map(|d| Detection {
                xyxy: back.to_original(d.xyxy),
                ..d
            })
            .collect())
    }

    fn name(&self, class: u16) -> String {
        self.names
            .get(usize::from(class))
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }
}

/// Runs the command.
pub fn run(args: &DetectArgs) -> Result<ExitCode> {
    torch::set_threads(threads(args.threads).get())?;
    let mut finder = Finder::open(
        &args.model,
        args.device.resolve()?,
        args.head.into(),
        args.imgsz,
        args.conf,
        args.iou,
    )?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    }
    let paths = images(&args.images)?;
    let (mut all, mut failed) = (Vec::new(), 0);
    for path in &paths {
        match one(&mut finder, path, args) {
            Ok(boxes) => all.push(json!({ "image": path, "boxes": boxes })),
            Err(error) => {
                failed += 1;
                eprintln!("azaion: {}: {error:#}", path.display());
            }
        }
    }
    if args.json {
        println!("{}", serde_json::Value::Array(all));
    }
    if failed > 0 {
        eprintln!("azaion: {failed} of {} images could not be used", paths.len());
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Boxes of one image as [x1, y1, x2, y2, score, class].
fn one(finder: &mut Finder, path: &Path, args: &DetectArgs) -> Result<Vec<serde_json::Value>> {
    let bytes = std::fs::read(path).context("cannot be read")?;
    let image = decode::decode(&bytes)?;
    let found = finder.find(&image)?;
    if !args.json {
        let count = if found.is_empty() {
            "nothing found".to_owned()
        } else {
            format!("{} found", found.len())
        };
        println!("{}: {count}", path.display());
        for d in &found {
            let [x1, y1, x2, y2] = d.xyxy;
            println!(
                "  {:<20} {:.3}  [{x1:.1}, {y1:.1}, {x2:.1}, {y2:.1}]",
                finder.name(d.class),
                d.score
            );
        }
    }
    if let Some(out) = &args.out {
        draw(
            finder,
            &image,
            &found,
            &out.join(path.file_name().unwrap_or_default())
                .with_extension("jpg"),
        )?;
    }
    let row = |d: &Detection| {
        let [x1, y1, x2, y2] = d.xyxy;
        json!([x1, y1, x2, y2, d.score, d.class])
    };
    Ok(found.iter().map(row).collect())
}

fn draw(finder: &Finder, image: &Image, found: &[Detection], to: &Path) -> Result<()> {
    let (width, height) = (u32::try_from(image.width())?, u32::try_from(image.height())?);
    let boxes: Vec<BoundingBox> = found
        .iter()
        .map(|d| BoundingBox {
            xyxy: d.xyxy,
            label: finder.name(d.class),
            score: Some(d.score),
            color: class_color(d.class.into()),
        })
        .collect();
    let mut pixels = image.pixels().to_vec();
    draw_boxes(&mut pixels, width, height, &boxes)?;
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90).encode(
        &pixels,
        width,
        height,
        image::ExtendedColorType::Rgb8,
    )?;
    std::fs::write(to, jpeg).with_context(|| format!("cannot write {}", to.display()))
}

/// The images named, and those in the folders named, in order.
fn images(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in given {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
        let mut inside = entries
            .map(|e| e.map(|e| e.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        inside.retain(|p| {
            let extension = p
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .to_ascii_lowercase();
            EXTENSIONS.contains(&extension.as_str())
        });
        if inside.is_empty() {
            bail!("{} holds no image ({})", path.display(), EXTENSIONS.join(", "));
        }
        inside.sort();
        all.append(&mut inside);
    }
    Ok(all)
}

/// Threads asked for, or all cores.
pub fn threads(asked: Option<usize>) -> NonZeroUsize {
    asked
        .and_then(NonZeroUsize::new)
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}
