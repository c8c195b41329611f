//! From a run to its page, finished or not: curves, tables and sheets of images.

use crate::{Error, Summary, session::Session, validate::Measured};
use detector::{
    Detection,
    metrics::{Metrics, Truth},
};
use report::{
    BoundingBox, ClassRow, Color, Confusion, Curve, Fact, LabelStats, Picture, Progress, RunReport, Scores,
    SheetImage, Split, class_color,
};
use std::collections::BTreeMap;

/// Images on the sheet.
const SHEET: usize = 12;
/// Boxes are shown from this score on.
const SHOWN: f32 = 0.25;
/// A detection matches a true box of its class from this overlap on.
const OVERLAP: f32 = 0.5;

/// Validation images with what was found on them, to choose the sheet from.
#[derive(Default)]
pub struct Sheet {
    images: Vec<Shown>,
}

struct Shown {
    item: usize,
    missed: usize,
    invented: usize,
    /// Share of boxes that are right, 0..1.
    quality: f64,
    predicted: Vec<Detection>,
    truths: Vec<Truth>,
}

impl Sheet {
    /// Keeps what will be shown of an image: boxes in pixels of the original.
    pub fn note(&mut self, image: Measured<'_>) {
        let found: Vec<Detection> = image
            .detections
            .iter()
            .copied()
            .filter(|d| d.score >= SHOWN)
            .collect();
        let matched = matches(&found, image.truths);
        let (missed, invented) = (image.truths.len() - matched, found.len() - matched);
        let all = matched + missed + invented;
        let quality = if all == 0 {
            1.0
        } else {
            matched as f64 / all as f64
        };
        let back = |xyxy| image.placement.to_original(xyxy);
        self.images.push(Shown {
            item: image.item,
            missed,
            invented,
            quality,
            predicted: found
                .into_iter()
                .map(|d| Detection {
                    xyxy: back(d.xyxy),
                    ..d
                })
                .collect(),
            truths: image
                .truths
                .iter()
                .map(|t| Truth {
                    xyxy: back(t.xyxy),
                    ..*t
                })
                .collect(),
        });
    }

    /// The worst images first, then evenly up to the best.
    fn choose(mut self) -> Vec<Shown> {
        self.images
            .sort_by(|a, b| a.quality.total_cmp(&b.quality).then(a.item.cmp(&b.item)));
        let (count, wanted) = (self.images.len(), SHEET.min(self.images.len()));
        let mut place = 0;
        let chosen: Vec<usize> = (0..wanted)
            .map(|i| i * (count - 1) / (wanted - 1).max(1))
            .collect();
        self.images.retain(|_| {
            place += 1;
            chosen.contains(&(place - 1))
        });
        self.images
    }
}

/// How many detections, best first, each find an unclaimed true box of their class.
fn matches(found: &[Detection], truths: &[Truth]) -> usize {
    let mut claimed = vec![false; truths.len()];
    found
        .iter()
        .filter(|d| {
            let best = truths
                .iter()
                .enumerate()
                .filter(|(i, t)| !claimed[*i] && t.class == d.class)
                .map(|(i, t)| (i, iou(d.xyxy, t.xyxy)))
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .filter(|&(_, overlap)| overlap >= OVERLAP);
            if let Some((i, _)) = best {
                claimed[i] = true;
            }
            best.is_some()
        })
        .count()
}

fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |r: [f32; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both + 1e-7)
}

/// The page of a finished run.
pub fn finished(session: &Session<'_>, summary: &Summary, sheet: Sheet) -> Result<String, Error> {
    let hyper = session.hyper();
    let scores = [
        ("one-to-many head + NMS", &summary.one2many),
        ("one-to-one head", &summary.one2one),
    ]
    .map(|(head, v)| Scores {
        head: head.to_owned(),
        precision: v.metrics.precision,
        recall: v.metrics.recall,
        map50: v.metrics.map50,
        map50_95: v.metrics.map50_95,
    });
    let report = RunReport {
        progress: if summary.epochs == hyper.epochs {
            Progress::Finished
        } else {
            Progress::Stopped(format!("no better model for {} epochs", hyper.patience))
        },
        scores: scores.to_vec(),
        ..shown(session, &summary.one2many.metrics, pictures(session, sheet)?)?
    };
    Ok(report::render(&report))
}

/// The page of a run whose epoch was just measured.
pub(crate) fn running(
    session: &Session<'_>,
    metrics: &Metrics,
    sheet: &[SheetImage],
) -> Result<String, Error> {
    let history = &session.position.history;
    let seconds = history.last().map_or(0.0, |row| row.time_s);
    let left = session.hyper().epochs.saturating_sub(session.position.epoch);
    let report = RunReport {
        progress: Progress::Running,
        left_s: Some(seconds / history.len().max(1) as f64 * f64::from(left)),
        notes: vec!["Curves, classes and images are those of the last validation.".to_owned()],
        ..shown(session, metrics, sheet.to_vec())?
    };
    Ok(report::render(&report))
}

/// What a page shows wherever the run stands.
fn shown(session: &Session<'_>, metrics: &Metrics, sheet: Vec<SheetImage>) -> Result<RunReport, Error> {
    let names = &session.train.names;
    let used = used_classes(session);
    Ok(RunReport {
        title: session
            .options
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        planned_epochs: session.hyper().epochs,
        facts: facts(session),
        history: session.position.history.clone(),
        best_epoch: session.position.best.map(|best| best.epoch),
        classes: metrics
            .per_class
            .iter()
            .map(|c| ClassRow {
                name: name(names, c.class),
                color: used.color(c.class),
                instances: c.instances,
                precision: c.precision,
                recall: c.recall,
                ap50: c.ap50,
                ap50_95: c.ap50_95,
            })
            .collect(),
        pr: curves(names, metrics, &used, |c| &c.pr),
        f1: curves(names, metrics, &used, |c| &c.f1),
        confusion: Some(confusion(names, &used, &metrics.confusion)?),
        sheet,
        augmented: augmented(session),
        labels: Some(labels(session)),
        warnings: warnings(session),
        ..RunReport::default()
    })
}

pub(crate) fn name(names: &[String], class: u16) -> String {
    names
        .get(usize::from(class))
        .cloned()
        .unwrap_or_else(|| format!("Class-{class}"))
}

/// Classes that occur in the labels of either split, with a colour each.
struct UsedClasses(BTreeMap<u16, Color>);

impl UsedClasses {
    fn color(&self, class: u16) -> Color {
        self.0
            .get(&class)
            .copied()
            .unwrap_or_else(|| class_color(class.into()))
    }
}

fn used_classes(session: &Session<'_>) -> UsedClasses {
    let items = session.train.items.iter().chain(&session.valid.items);
    let mut classes: Vec<u16> = items
        .flat_map(|i| i.label.rows.iter().map(|r| r.class.into()))
        .collect();
    classes.sort_unstable();
    classes.dedup();
    UsedClasses(
        classes
            .into_iter()
            .enumerate()
            .map(|(i, class)| (class, class_color(i)))
            .collect(),
    )
}

fn facts(session: &Session<'_>) -> Vec<Fact> {
    let hyper = session.hyper();
    let seconds = session.position.history.last().map_or(0.0, |row| row.time_s);
    let precision = match session.execution.precision {
        torch::Precision::BFloat16 => "bf16 autocast",
        torch::Precision::Float16 => "fp16 autocast, scaled loss",
        torch::Precision::Float32 => "32 bit",
    };
    vec![
        Fact::new("Model", format!("yolo26{}", session.options.scale.letter())),
        Fact::new(
            "Parameters",
            format!(
                "{:.2} million",
                session.detector.state().parameter_count() as f64 / 1e6
            ),
        ),
        Fact::new(
            "Start",
            session
                .options
                .base
                .as_ref()
                .map_or("random weights".into(), |p| p.display().to_string()),
        ),
        Fact::new("Image size", format!("{} px", hyper.imgsz)),
        Fact::new(
            "Images",
            format!(
                "{} train, {} validation",
                session.train.items.len(),
                session.valid.items.len()
            ),
        ),
        Fact::new(
            "Epochs",
            format!("{} of {}", session.position.epoch, hyper.epochs),
        ),
        Fact::new("Batch", hyper.batch),
        Fact::new(
            "Optimiser",
            format!("{:?}, lr {}", session.schedule.optimizer, session.schedule.lr0),
        ),
        Fact::new("Precision", precision),
        Fact::new("Device", session.execution),
        Fact::new("Seed", hyper.seed),
        Fact::new("Duration", format!("{seconds:.0} s")),
        Fact::new(
            "Dataset",
            &session.position.dataset[..12.min(session.position.dataset.len())],
        ),
    ]
}

fn warnings(session: &Session<'_>) -> Vec<String> {
    let skipped = session.train.skipped.iter().chain(&session.valid.skipped);
    skipped
        .map(|s| format!("{} was left out: {}", s.path.display(), s.reason))
        .collect()
}

/// The mean curve, then each class's.
fn curves(
    names: &[String],
    metrics: &Metrics,
    used: &UsedClasses,
    which: impl Fn(&detector::metrics::Curves) -> &Vec<f64>,
) -> Vec<Curve> {
    let points = |values: &[f64]| {
        let last = values.len().saturating_sub(1).max(1) as f64;
        values
            .iter()
            .enumerate()
            .map(|(i, &y)| (i as f64 / last, y))
            .collect()
    };
    let mean = Curve {
        name: "all classes".into(),
        color: None,
        points: points(which(&metrics.curves)),
    };
    let classes = metrics.per_class.iter().map(|c| Curve {
        name: name(names, c.class),
        color: Some(used.color(c.class)),
        points: points(which(&c.curves)),
    });
    std::iter::once(mean).chain(classes).collect()
}

/// The matrix of the classes that occur, background last; detections of other classes count as background.
fn confusion(
    names: &[String],
    used: &UsedClasses,
    counts: &detector::metrics::Confusion,
) -> Result<Confusion, Error> {
    let background = counts.background();
    let shown: Vec<usize> = used.0.keys().map(|&c| c.into()).chain([background]).collect();
    let place = |class: usize| shown.iter().position(|&s| s == class).unwrap_or(shown.len() - 1);
    let mut table = vec![0_u64; shown.len() * shown.len()];
    for truth in 0..=background {
        for predicted in 0..=background {
            table[place(truth) * shown.len() + place(predicted)] += counts.count(predicted, truth);
        }
    }
    let names = used.0.keys().map(|&c| name(names, c)).collect();
    Ok(Confusion::from_counts(names, table)?)
}

/// The chosen validation images, worst first.
pub(crate) fn pictures(session: &Session<'_>, sheet: Sheet) -> Result<Vec<SheetImage>, Error> {
    let used = used_classes(session);
    let boxed = |xyxy, class, score| BoundingBox {
        xyxy,
        label: name(&session.train.names, class),
        score,
        color: used.color(class),
    };
    sheet
        .choose()
        .into_iter()
        .filter_map(|shown| Some((session.valid.items.get(shown.item)?, shown)))
        .map(|(item, shown)| {
            let bytes = std::fs::read(&item.image).map_err(|source| Error::Read {
                path: item.image.clone(),
                source,
            })?;
            let image = dataset::decode::decode(&bytes).map_err(|source| Error::Image {
                path: item.image.clone(),
                source,
            })?;
            let name = item.image.file_stem().unwrap_or_default().to_string_lossy();
            Ok(SheetImage {
                picture: Picture::from_rgb(image.pixels(), image.width() as u32, image.height() as u32)?,
                caption: format!("{name}: {} missed, {} invented", shown.missed, shown.invented),
                truth: shown
                    .truths
                    .iter()
                    .map(|t| boxed(t.xyxy, t.class, None))
                    .collect(),
                predicted: shown
                    .predicted
                    .iter()
                    .map(|d| boxed(d.xyxy, d.class, Some(d.score)))
                    .collect(),
            })
        })
        .collect()
}

/// The first images that this process trained on, with mosaic and without.
pub(crate) fn augmented(session: &Session<'_>) -> Vec<SheetImage> {
    let used = used_classes(session);
    let seen = session.pages.seen().iter();
    seen.map(|seen| SheetImage {
        picture: seen.picture().clone(),
        caption: seen.caption(),
        truth: Vec::new(),
        predicted: seen
            .boxes()
            .map(|(class, xyxy)| BoundingBox {
                xyxy,
                label: name(&session.train.names, class),
                score: None,
                color: used.color(class),
            })
            .collect(),
    })
    .collect()
}

fn labels(session: &Session<'_>) -> LabelStats {
    let mut stats = LabelStats::default();
    for (name, dataset) in [("train", &session.train), ("valid", &session.valid)] {
        stats.splits.push(Split {
            name: name.to_owned(),
            images: dataset.items.len() as u64,
            background: dataset.items.iter().filter(|i| i.label.rows.is_empty()).count() as u64,
            boxes: dataset.items.iter().map(|i| i.label.rows.len() as u64).sum(),
        });
        for row in dataset.items.iter().flat_map(|i| &i.label.rows) {
            stats.add(row.cx, row.cy, row.w, row.h);
        }
    }
    stats
}
