//! What a run shows of itself after every epoch: TensorBoard's events, and the page.
//!
//! Nothing here is part of the training: it reads what was trained and measured, draws no random number and changes no
//! state, so that a run ends in the same bits with it or without. What it costs is bounded: numbers are written after every
//! epoch, pictures and page only when [`SHARE`] times as long has passed as they took the last time, and at the end. What cannot be shown is
//! a warning and ends nothing.

use crate::{
    Error, Event, Observer, REPORT,
    events::EventLog,
    run_report::{self, Sheet, augmented, name, pictures},
    session::Session,
    validate::Validation,
};
use dataset::batch::Batch;
use report::{ContactSheet, EpochRow, Picture, SheetImage, events::Value, results};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// The page takes at most so many parts of the time: one in a hundred.
const SHARE: u32 = 100;
/// Images kept of either kind of augmentation.
const SEEN: usize = 8;
/// Pictures are in the events of about so many epochs of a run: they are large.
const PICTURED: u32 = 30;
/// Points of a curve in the events.
const POINTS: usize = 101;
/// Images in a row of a sheet.
const COLUMNS: u32 = 4;

/// What this process has shown, and will show.
pub(crate) struct Pages {
    events: EventLog,
    seen: Vec<Seen>,
    /// When the last page was done, and how long it took.
    last: Option<(Instant, Duration)>,
}

/// An image as it was trained on.
pub(crate) struct Seen {
    epoch: u32,
    mosaic: bool,
    picture: Picture,
    /// Class, and box as a share of the image.
    targets: Vec<(u8, [f32; 4])>,
}

impl Pages {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            events: EventLog::new(folder),
            seen: Vec::new(),
            last: None,
        }
    }

    /// Keeps the first images that come, of those with mosaic and of those without.
    pub(crate) fn see(&mut self, epoch: u32, mosaic: bool, batch: &Batch) {
        let kept = self.seen.iter().filter(|seen| seen.mosaic == mosaic).count();
        let size = batch.width * batch.height * 3;
        if kept >= SEEN || size == 0 {
            return;
        }
        let images = batch.pixels.chunks_exact(size).enumerate();
        for (image, pixels) in images.take(SEEN - kept) {
            match Picture::from_rgb(pixels, batch.width as u32, batch.height as u32) {
                Ok(picture) => self.seen.push(Seen::new(epoch, mosaic, picture, image, batch)),
                Err(error) => tracing::warn!(%error, "a training image cannot be shown"),
            }
        }
    }

    /// What was kept.
    pub(crate) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    fn is_due(&self) -> bool {
        self.last
            .is_none_or(|(done, cost)| done.elapsed() >= cost * SHARE)
    }
}

impl Seen {
    fn new(epoch: u32, mosaic: bool, picture: Picture, image: usize, batch: &Batch) -> Self {
        let targets = batch
            .targets
            .iter()
            .filter(|target| target.image as usize == image);
        Self {
            epoch,
            mosaic,
            picture,
            targets: targets.map(|t| (t.class, [t.cx, t.cy, t.w, t.h])).collect(),
        }
    }

    /// Its pixels.
    pub(crate) fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Said below it.
    pub(crate) fn caption(&self) -> String {
        let how = if self.mosaic { "mosaic" } else { "without mosaic" };
        format!("epoch {}, {how}", self.epoch)
    }

    /// Classes and boxes, in pixels.
    pub(crate) fn boxes(&self) -> impl Iterator<Item = (u16, [f32; 4])> {
        let [width, height] = [self.picture.width(), self.picture.height()].map(|side| side as f32);
        self.targets.iter().map(move |&(class, [x, y, w, h])| {
            let corners = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
            let [x0, y0, x1, y1] = corners;
            (class.into(), [x0 * width, y0 * height, x1 * width, y1 * height])
        })
    }
}

impl Session<'_> {
    /// Shows the epoch that was just measured and is the last of the history.
    pub(crate) fn page(&mut self, validation: &Validation, sheet: Sheet, observer: &mut dyn Observer) {
        if let Err(error) = self.show(validation, sheet) {
            observer.on(Event::Warning(&format!("the epoch cannot be shown: {error}")));
        }
    }

    fn show(&mut self, validation: &Validation, sheet: Sheet) -> Result<(), Error> {
        let Some(row) = self.position.history.last() else {
            return Ok(());
        };
        let mut values = scalars(row);
        let epoch = row.epoch;
        let begun = Instant::now();
        let due = self.pages.is_due() || self.is_done();
        if due {
            let images = pictures(self, sheet)?;
            // The last page is the finished run's.
            if !self.is_done() {
                let html = run_report::running(self, &validation.metrics, &images)?;
                store::atomic::replace_unsynced(&self.options.folder.join(REPORT), html.as_bytes())?;
            }
            if epoch == 1 || self.is_done() || epoch.is_multiple_of((self.hyper().epochs / PICTURED).max(1)) {
                values.extend(drawn("sheets/validation", &images)?);
                values.extend(drawn("sheets/training", &augmented(self))?);
                values.extend(curves(&self.train.names, validation));
            }
        }
        self.pages.events.write(epoch, &values)?;
        if due {
            self.pages.last = Some((Instant::now(), begun.elapsed()));
            tracing::debug!(duration_ms = begun.elapsed().as_millis() as u64, "page written");
        }
        Ok(())
    }
}

/// The epoch's numbers, by the names of the columns of `results.csv`.
fn scalars(row: &EpochRow) -> Vec<Value> {
    results::named(row)
        .filter(|(tag, _)| tag != "time")
        .map(|(tag, value)| Value::Scalar { tag, value })
        .collect()
}

fn drawn(tag: &str, images: &[SheetImage]) -> Result<Option<Value>, Error> {
    let sheet = ContactSheet::new(images, COLUMNS)?;
    Ok(sheet.map(|sheet| Value::Image {
        tag: tag.to_owned(),
        width: sheet.width,
        height: sheet.height,
        jpeg: sheet.jpeg,
    }))
}

/// Precision over recall: of all classes, and of each.
fn curves(names: &[String], validation: &Validation) -> Vec<Value> {
    let metrics = &validation.metrics;
    let curve = |name: &str, instances, curves: &detector::metrics::Curves| Value::PrCurve {
        tag: format!("pr/{name}"),
        instances,
        points: sampled(&curves.precision, &curves.recall),
    };
    let classes = metrics
        .per_class
        .iter()
        .map(|class| curve(&name(names, class.class), class.instances, &class.curves));
    std::iter::once(curve("all classes", metrics.instances, &metrics.curves))
        .chain(classes)
        .collect()
}

/// Precision and recall at thresholds from 0 to 1.
fn sampled(precision: &[f64], recall: &[f64]) -> Vec<(f64, f64)> {
    let last = precision.len().min(recall.len()).saturating_sub(1);
    (0..POINTS)
        .filter_map(|point| {
            let place = point * last / (POINTS - 1);
            Some((*precision.get(place)?, *recall.get(place)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataset::batch::Target;

    fn batch(images: usize) -> Batch {
        let target = |image, class| Target {
            image,
            class,
            cx: 0.5,
            cy: 0.25,
            w: 0.5,
            h: 0.5,
        };
        Batch {
            pixels: vec![7; images * 8 * 4 * 3].into(),
            width: 8,
            height: 4,
            targets: vec![target(0, 3), target(1, 5)],
            items: (0..images).collect(),
            placements: Vec::new(),
        }
    }

    #[test]
    fn the_first_images_of_either_kind_are_kept_and_no_more() {
        let mut pages = Pages::new(Path::new("unused"));
        for epoch in 1..5 {
            pages.see(epoch, epoch < 3, &batch(5));
        }
        let captions: Vec<String> = pages.seen().iter().map(Seen::caption).collect();
        assert_eq!(captions.len(), 2 * SEEN);
        assert_eq!(captions[0], "epoch 1, mosaic");
        assert_eq!(captions[5], "epoch 2, mosaic");
        assert_eq!(captions[15], "epoch 4, without mosaic");
        let boxes: Vec<_> = pages.seen()[1].boxes().collect();
        assert_eq!(boxes, [(5, [2.0, 0.0, 6.0, 2.0])]);
        assert_eq!(pages.seen()[2].boxes().count(), 0);
    }

    #[test]
    fn a_page_waits_a_hundred_times_as_long_as_the_last_one_took() {
        let mut pages = Pages::new(Path::new("unused"));
        assert!(pages.is_due());
        let took = |seconds| {
            Some((
                Instant::now() - Duration::from_secs(50),
                Duration::from_millis(seconds),
            ))
        };
        pages.last = took(490);
        assert!(pages.is_due());
        pages.last = took(510);
        assert!(!pages.is_due());
    }

    #[test]
    fn a_curve_keeps_its_ends() {
        let line: Vec<f64> = (0..1000).map(|i| f64::from(i) / 999.0).collect();
        let points = sampled(&line, &line);
        assert_eq!(points.len(), POINTS);
        assert!(points[0].0.abs() < 1e-12 && (points[100].1 - 1.0).abs() < 1e-12);
        assert!(sampled(&[], &[]).is_empty());
    }
}
