//! A made-up run, for looking at the page: `cargo run -p report --example sample -- OUT [VARIANT] [PHOTOS]`.
//!
//! Writes OUT/<variant>.html for `full` (three classes), `many` (80 classes, 1000 epochs), `early` (two epochs, one of
//! them NaN) or `empty`; all four if none is named. PHOTOS is a folder with images/ and labels/; without it the sheet
//! shows drawn shapes. OUT/drawn.png shows what `draw_boxes` makes of the first image.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use report::{
    BoundingBox, ClassRow, Color, Confusion, Curve, EpochRow, Fact, LabelStats, Picture, Progress, RunReport,
    Scores, SheetImage, Split, class_color, draw_boxes, render,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let out = PathBuf::from(args.next().ok_or("usage: sample OUT [VARIANT] [PHOTOS]")?);
    let wanted = args.next().unwrap_or_else(|| "all".to_owned());
    let photos = args.next().map(PathBuf::from);
    fs::create_dir_all(&out)?;
    for (name, run) in [
        ("full", full as fn(&mut Dice) -> Result<RunReport>),
        ("many", many),
        ("early", early),
    ] {
        if wanted != "all" && wanted != name {
            continue;
        }
        let mut dice = Dice(7);
        let mut report = run(&mut dice)?;
        if name == "full" {
            let scenes = scenes(photos.as_deref(), &mut dice)?;
            drawing(&scenes, &out.join("drawn.png"))?;
            report.sheet = scenes.into_iter().map(Scene::shown).collect::<Result<_>>()?;
        }
        fs::write(out.join(format!("{name}.html")), render(&report))?;
    }
    if wanted == "all" || wanted == "empty" {
        fs::write(
            out.join("empty.html"),
            render(&RunReport {
                title: "azaion-empty".into(),
                ..RunReport::default()
            }),
        )?;
    }
    Ok(())
}

/// A small generator: the sample must look the same each time, and good randomness is not needed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1_u64 << 24) as f64
    }

    fn around(&mut self, spread: f64) -> f64 {
        (self.roll() + self.roll() - 1.0) * spread
    }
}

fn history(epochs: u32, dice: &mut Dice) -> Vec<EpochRow> {
    let rows = (1..=epochs).map(|epoch| {
        let done = f64::from(epoch) / f64::from(epochs);
        let learnt = 1.0 - (-6.0 * done).exp();
        let mut loss =
            |from: f64, to: f64, noise: f64| to + (from - to) * (1.0 - learnt) + dice.around(noise);
        EpochRow {
            epoch,
            time_s: f64::from(epoch) * 71.3,
            train: [
                loss(2.1, 0.82, 0.02),
                loss(3.4, 0.41, 0.03),
                loss(0.9, 0.31, 0.01),
            ],
            val: [
                loss(2.0, 0.97, 0.05),
                loss(3.0, 0.58, 0.07),
                loss(0.85, 0.36, 0.02),
            ],
            precision: 0.87 * learnt + dice.around(0.03) * (1.2 - done),
            recall: 0.84 * learnt + dice.around(0.04) * (1.2 - done),
            map50: 0.91 * learnt + dice.around(0.02) * (1.2 - done),
            map50_95: 0.63 * learnt + dice.around(0.015) * (1.2 - done),
            lr: {
                let rate = 0.01 * (done * 20.0).min(1.0) * (1.01 - done);
                vec![rate, rate, 0.5 * rate]
            },
        }
    });
    rows.collect()
}

fn best(history: &[EpochRow]) -> Option<u32> {
    history
        .iter()
        .max_by(|a, b| a.map50_95.total_cmp(&b.map50_95))
        .map(|row| row.epoch)
}

fn pr(ap: f64, dice: &mut Dice) -> Vec<(f64, f64)> {
    let sharp = 1.0 / (1.0 - ap).max(0.02);
    let points = (0..=1000).map(|i| f64::from(i) / 1000.0);
    points
        .map(|r| (r, (1.0 - r.powf(sharp) + dice.around(0.004)).clamp(0.0, 1.0)))
        .collect()
}

fn f1(top: f64) -> Vec<(f64, f64)> {
    let points = (0..=1000).map(|i| f64::from(i) / 1000.0);
    points
        .map(|c| {
            (
                c,
                top * (1.0 - (-c * 14.0).exp()) * (1.0 - c.powf(4.0 + 4.0 * top)),
            )
        })
        .collect()
}

fn facts(pairs: &[(&str, &str)]) -> Vec<Fact> {
    pairs
        .iter()
        .map(|(name, value)| Fact::new(*name, value))
        .collect()
}

fn full(dice: &mut Dice) -> Result<RunReport> {
    let history = history(120, dice);
    let colors = [
        Color::parse("#d62728")?,
        Color::parse("#1f77b4")?,
        Color::parse("#2ca02c")?,
    ];
    let names = ["Red cell", "White cell", "Platelet"];
    let classes: Vec<ClassRow> = [(967, 0.86, 0.60), (87, 0.978, 0.79), (92, 0.842, 0.46)]
        .into_iter()
        .zip(names.iter().zip(colors))
        .map(|((instances, ap50, ap50_95), (name, color))| {
            let (precision, recall) = (ap50 - 0.02, ap50 - 0.06);
            ClassRow {
                name: (*name).to_owned(),
                color,
                instances,
                precision,
                recall,
                ap50,
                ap50_95,
            }
        })
        .collect();
    let curve = |name: &str, color, points| Curve {
        name: name.to_owned(),
        color,
        points,
    };
    let mut pr_curves = vec![curve("all classes", None, pr(0.893, dice))];
    let mut f1_curves = vec![curve("all classes", None, f1(0.85))];
    for class in &classes {
        pr_curves.push(curve(&class.name, Some(class.color), pr(class.ap50, dice)));
        f1_curves.push(curve(&class.name, Some(class.color), f1(class.ap50 - 0.03)));
    }
    let counts = vec![812, 3, 2, 150, 1, 85, 0, 1, 4, 0, 76, 12, 121, 2, 19, 0];
    let mut labels = LabelStats::default();
    for (name, images, background, boxes) in [
        ("train", 254, 0, 2914),
        ("valid", 73, 1, 1146),
        ("test", 37, 0, 828),
    ] {
        labels.splits.push(Split {
            name: name.to_owned(),
            images,
            background,
            boxes,
        });
    }
    for _ in 0..4888 {
        let (w, h) = (0.16 + dice.around(0.07), 0.2 + dice.around(0.08));
        labels.add(
            dice.roll() as f32,
            (0.5 + dice.around(0.5)) as f32,
            w as f32,
            h as f32,
        );
    }
    Ok(RunReport {
        title: "azaion-2026-03-28".to_owned(),
        progress: Progress::Finished,
        planned_epochs: 120,
        left_s: None,
        augmented: Vec::new(),
        facts: facts(&[
            ("Model", "YOLO26 n, 2.5 M parameters"),
            ("Image size", "640 px"),
            ("Epochs", "120"),
            ("Batch", "16"),
            ("Images", "254 train, 73 valid, 37 test"),
            ("Duration", "2 h 22 min"),
            ("Device", "CPU, 2 threads, bfloat16"),
            ("Seed", "0"),
            ("Optimiser", "MuSGD, lr 0.01"),
            ("Start", "yolo26n.pt"),
            ("Dataset", "azaion-2026-03-28"),
            ("Version", "azaion 0.1.0"),
        ]),
        best_epoch: best(&history),
        scores: vec![
            Scores {
                head: "one2many + NMS".into(),
                precision: 0.874,
                recall: 0.838,
                map50: 0.893,
                map50_95: 0.617,
            },
            Scores {
                head: "one2one, no NMS".into(),
                precision: 0.869,
                recall: 0.831,
                map50: 0.887,
                map50_95: 0.612,
            },
        ],
        history,
        classes,
        pr: pr_curves,
        f1: f1_curves,
        confusion: Some(Confusion::from_counts(names.map(str::to_owned).to_vec(), counts)?),
        sheet: vec![],
        labels: Some(labels),
        warnings: vec!["Two label files were invalid and are in data-corrupted.".to_owned()],
        notes: vec![
            "Validation used images that the training never saw; the test part is untouched.".to_owned(),
        ],
        paths: facts(&[
            ("Run", "/azaion/models/azaion-2026-03-28"),
            ("Best weights", "/azaion/models/azaion-2026-03-28/best.pt"),
            ("Numbers", "/azaion/models/azaion-2026-03-28/results.csv"),
        ]),
    })
}

fn many(dice: &mut Dice) -> Result<RunReport> {
    let history = history(1000, dice);
    let names: Vec<String> = (0..80).map(|i| format!("Traffic sign {i}")).collect();
    let mut report = RunReport {
        title: "eighty-classes".to_owned(),
        progress: Progress::Stopped("no gain for 100 epochs".to_owned()),
        planned_epochs: 1200,
        left_s: None,
        augmented: Vec::new(),
        best_epoch: best(&history),
        history,
        pr: vec![Curve {
            name: "all classes".into(),
            color: None,
            points: pr(0.8, dice),
        }],
        f1: vec![Curve {
            name: "all classes".into(),
            color: None,
            points: f1(0.8),
        }],
        ..RunReport::default()
    };
    let mut confusion = Confusion::new(names.clone());
    for (i, name) in names.into_iter().enumerate() {
        let (ap, color) = (0.4 + 0.55 * dice.roll(), class_color(i));
        let instances = if i % 9 == 8 {
            0
        } else {
            (dice.roll() * 400.0) as u64 + 1
        };
        report.pr.push(Curve {
            name: name.clone(),
            color: Some(color),
            points: pr(ap, dice),
        });
        report.f1.push(Curve {
            name: name.clone(),
            color: Some(color),
            points: f1(ap),
        });
        for _ in 0..instances {
            let said = if dice.roll() < ap {
                Some(i)
            } else {
                Some((dice.roll() * 95.0) as usize).filter(|c| *c < 80)
            };
            confusion.add(Some(i), said)?;
        }
        let (precision, recall, ap50, ap50_95) = (ap, ap - 0.1, ap, ap * 0.7);
        report.classes.push(ClassRow {
            name,
            color,
            instances,
            precision,
            recall,
            ap50,
            ap50_95,
        });
    }
    report.confusion = Some(confusion);
    Ok(report)
}

fn early(dice: &mut Dice) -> Result<RunReport> {
    let mut history = history(120, dice);
    history.truncate(3);
    history[1].train = [f64::NAN; 3];
    history[1].val[0] = f64::INFINITY;
    Ok(RunReport {
        title: "azaion-2026-03-29 <early & torn>".to_owned(),
        planned_epochs: 120,
        left_s: None,
        augmented: Vec::new(),
        best_epoch: Some(3),
        history,
        facts: facts(&[
            ("Model", "YOLO26 m"),
            ("Image size", "1280 px"),
            ("Device", "CUDA 0"),
        ]),
        ..RunReport::default()
    })
}

/// An image with its true and its predicted boxes.
struct Scene {
    caption: String,
    rgb: image::RgbImage,
    truth: Vec<BoundingBox>,
    predicted: Vec<BoundingBox>,
}

impl Scene {
    fn shown(self) -> Result<SheetImage> {
        let picture = Picture::from_rgb(self.rgb.as_raw(), self.rgb.width(), self.rgb.height())?;
        Ok(SheetImage {
            picture,
            caption: self.caption,
            truth: self.truth,
            predicted: self.predicted,
        })
    }
}

fn drawing(scenes: &[Scene], path: &Path) -> Result<()> {
    let Some(scene) = scenes.first() else {
        return Ok(());
    };
    let (mut rgb, width, height) = (scene.rgb.clone(), scene.rgb.width(), scene.rgb.height());
    draw_boxes(&mut rgb, width, height, &scene.predicted)?;
    Ok(rgb.save(path)?)
}

fn scenes(photos: Option<&Path>, dice: &mut Dice) -> Result<Vec<Scene>> {
    let Some(photos) = photos.filter(|folder| folder.is_dir()) else {
        return Ok((0..6).map(|i| shapes(i, dice)).collect());
    };
    let mut images: Vec<_> = fs::read_dir(photos.join("images"))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    images.sort();
    images
        .iter()
        .step_by(41)
        .take(9)
        .map(|path| photo(photos, path, dice))
        .collect()
}

fn photo(folder: &Path, path: &Path, dice: &mut Dice) -> Result<Scene> {
    let rgb = image::open(path)?.to_rgb8();
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let labels = fs::read_to_string(folder.join("labels").join(format!("{stem}.txt")))?;
    let mut truth = Vec::new();
    for line in labels.lines() {
        let row: Vec<f32> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()?;
        let [class, cx, cy, w, h] = row[..] else { continue };
        let (sx, sy) = (rgb.width() as f32, rgb.height() as f32);
        let xyxy = [
            (cx - w / 2.0) * sx,
            (cy - h / 2.0) * sy,
            (cx + w / 2.0) * sx,
            (cy + h / 2.0) * sy,
        ];
        truth.push(labelled(class as usize, xyxy));
    }
    Ok(scene(&stem, rgb, truth, dice))
}

fn shapes(number: u32, dice: &mut Dice) -> Scene {
    let mut rgb = image::RgbImage::from_fn(640, 480, |x, y| {
        let shade = 90 + ((x * 7 + y * 13) % 40) as u8 + (y / 8) as u8;
        image::Rgb([shade, shade, shade.saturating_add(12)])
    });
    let mut truth = Vec::new();
    for class in 0..3 {
        for _ in 0..=number {
            let (x, y) = ((dice.roll() * 520.0) as u32, (dice.roll() * 380.0) as u32);
            let side = 30 + (dice.roll() * 70.0) as u32;
            for (dx, dy) in (0..side).flat_map(|dx| (0..side).map(move |dy| (dx, dy))) {
                let c = class_color(class + 1);
                rgb.put_pixel(x + dx, y + dy, image::Rgb([c.r, c.g, c.b]));
            }
            truth.push(labelled(class, [x, y, x + side, y + side].map(|v| v as f32)));
        }
    }
    scene(&format!("shapes-{number}"), rgb, truth, dice)
}

fn labelled(class: usize, xyxy: [f32; 4]) -> BoundingBox {
    let names = ["RBC", "WBC", "Platelet"];
    let colors = [
        Color::new(214, 39, 40),
        Color::new(31, 119, 180),
        Color::new(44, 160, 44),
    ];
    BoundingBox {
        xyxy,
        label: names[class % 3].to_owned(),
        score: None,
        color: colors[class % 3],
    }
}

fn scene(name: &str, rgb: image::RgbImage, truth: Vec<BoundingBox>, dice: &mut Dice) -> Scene {
    let mut predicted = Vec::new();
    for b in &truth {
        if dice.roll() > 0.88 {
            continue;
        }
        let size = f64::from(b.xyxy[2] - b.xyxy[0]);
        let xyxy = b.xyxy.map(|v| v + dice.around(0.08 * size) as f32);
        let score = Some((0.97 - dice.roll() * dice.roll() * 0.6) as f32);
        predicted.push(BoundingBox {
            xyxy,
            score,
            ..b.clone()
        });
    }
    let missed = truth.len() - predicted.len();
    Scene {
        caption: format!("{name} · {missed} missed of {}", truth.len()),
        rgb,
        truth,
        predicted,
    }
}
