//! The page as a reader's browser gets it: whole, well-formed, harmless and small, whatever the run looks like.

#![expect(clippy::unwrap_used, clippy::panic, reason = "functions that only tests call")]

use std::fmt::Write as _;

use proptest::prelude::*;
use report::{
    BoundingBox, ClassRow, Confusion, Curve, EpochRow, Fact, LabelStats, Picture, Progress, RunReport,
    Scores, SheetImage, Split, class_color, render,
};

/// Checks that every tag is closed by its own name in the right order, that attributes are quoted and given once, and
/// that no bare `<`, `>` or `&` is left in a text. Style sheets are skipped. Says what is wrong and where.
fn well_formed(html: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!doctype html>").ok_or("no doctype")?;
    while let Some(at) = rest.find('<') {
        text_is_escaped(&rest[..at])?;
        let end = rest[at..].find('>').ok_or("an unfinished tag")? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let expected = open.pop();
            if expected != Some(name) {
                return Err(format!("</{name}> closes {expected:?}, before {:.60}", rest));
            }
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!("a tag named {name:?}"));
        }
        attributes_are_sound(attributes).map_err(|why| format!("<{tag}>: {why}"))?;
        if name == "style" {
            rest = rest.split_once("</style>").ok_or("an unfinished style sheet")?.1;
        } else if !closed {
            open.push(name);
        }
    }
    text_is_escaped(rest)?;
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("left open: {open:?}"))
    }
}

fn attributes_are_sound(mut attributes: &str) -> Result<(), String> {
    let mut seen = Vec::new();
    while !attributes.trim().is_empty() {
        let (name, rest) = attributes
            .trim_start()
            .split_once("=\"")
            .ok_or(format!("unquoted: {attributes}"))?;
        let (value, rest) = rest.split_once('"').ok_or(format!("unfinished: {attributes}"))?;
        if seen.contains(&name) || name.contains(|c: char| c.is_whitespace() || c == '"') {
            return Err(format!("attribute {name:?} twice or malformed"));
        }
        text_is_escaped(value)?;
        seen.push(name);
        attributes = rest;
    }
    Ok(())
}

fn text_is_escaped(text: &str) -> Result<(), String> {
    let entity = |rest: &str| {
        ["amp;", "lt;", "gt;", "quot;", "#39;"]
            .iter()
            .any(|e| rest.starts_with(e))
    };
    let bare = text.contains(['<', '>']) || text.split('&').skip(1).any(|rest| !entity(rest));
    if bare {
        Err(format!("not escaped: {text:?}"))
    } else {
        Ok(())
    }
}

/// What must hold for every page.
fn check(report: &RunReport) -> String {
    let html = render(report);
    well_formed(&html).unwrap_or_else(|why| panic!("{why}"));
    for number in ["NaN", "nan%", "\"nan", "inf%", "\"inf", "∞"] {
        assert!(!html.contains(number), "{number} reached the page");
    }
    for foreign in [
        "<script", "<link", "src=", "http:", "https:", "url(", "@import", "onload",
    ] {
        assert!(!html.contains(foreign), "{foreign} on a page that asks nobody");
    }
    html
}

fn epoch(epoch: u32, value: f64) -> EpochRow {
    EpochRow {
        epoch,
        time_s: value * 100.0,
        train: [value; 3],
        val: [value; 3],
        precision: value,
        recall: value,
        map50: value,
        map50_95: value,
        lr: vec![value; 3],
    }
}

fn bbox(label: &str, score: Option<f32>, xyxy: [f32; 4]) -> BoundingBox {
    BoundingBox {
        xyxy,
        label: label.into(),
        score,
        color: class_color(2),
    }
}

fn sheet_image(side: u32, caption: &str) -> SheetImage {
    let rgb: Vec<u8> = (0..side * side * 3)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    SheetImage {
        picture: Picture::from_rgb(&rgb, side, side).unwrap(),
        caption: caption.into(),
        truth: vec![bbox(caption, None, [1.0, 1.0, 20.0, 20.0])],
        predicted: vec![bbox(caption, Some(0.876), [2.0, 2.0, 21.0, 22.0])],
    }
}

/// Every section filled; every text is `text`.
fn full(text: &str, classes: usize, epochs: u32) -> RunReport {
    let name = |i: usize| format!("{text}{i}");
    let curve = |color| Curve {
        name: text.into(),
        color,
        points: vec![(0.0, 1.0), (0.5, 0.8), (1.0, 0.0)],
    };
    let curves: Vec<_> = std::iter::once(None)
        .chain((0..classes).map(|i| Some(class_color(i))))
        .map(curve)
        .collect();
    let mut confusion = Confusion::new((0..classes).map(name).collect());
    for class in 0..classes {
        confusion.add(Some(class), Some(class)).unwrap();
        confusion.add(Some(class), Some((class + 1) % classes)).unwrap();
        confusion.add(Some(class), None).unwrap();
    }
    let mut labels = LabelStats::default();
    labels.splits.push(Split {
        name: text.into(),
        images: 1000,
        background: 1,
        boxes: 12_345,
    });
    labels.add(0.5, 0.5, 0.1, 0.2);
    let scores = Scores {
        head: text.into(),
        precision: 0.9,
        recall: 0.8,
        map50: 0.85,
        map50_95: 0.6,
    };
    let class = |i: usize| ClassRow {
        name: name(i),
        color: class_color(i),
        instances: 5,
        precision: 0.9,
        recall: 0.8,
        ap50: 0.7,
        ap50_95: 0.5,
    };
    RunReport {
        title: text.into(),
        progress: Progress::Stopped(text.into()),
        planned_epochs: epochs,
        facts: vec![Fact::new(text, text)],
        history: (1..=epochs)
            .map(|i| epoch(i, 1.0 - 1.0 / f64::from(i + 1)))
            .collect(),
        best_epoch: Some(epochs),
        scores: vec![scores.clone(), scores],
        classes: (0..classes).map(class).collect(),
        pr: curves.clone(),
        f1: curves,
        confusion: Some(confusion),
        sheet: vec![sheet_image(64, text)],
        augmented: vec![sheet_image(64, text)],
        left_s: Some(90.0),
        labels: Some(labels),
        warnings: vec![text.into()],
        notes: vec![text.into()],
        paths: vec![Fact::new(text, text)],
    }
}

#[test]
fn every_text_from_outside_is_escaped() {
    let html = check(&full("<b id=\"x\">R&D's", 3, 5));
    assert!(html.contains("&lt;b"), "{html:.200}");
    assert!(!html.contains("<b id"));
}

#[test]
fn an_empty_run_is_a_short_page_without_sections() {
    let html = check(&RunReport {
        title: "first".into(),
        ..RunReport::default()
    });
    assert!(html.contains("Nothing has been measured yet."));
    for section in ["<section", "<svg", "<table", "<h2", "<footer", "<dl"] {
        assert!(!html.contains(section), "{section}");
    }
}

#[test]
fn a_full_run_has_every_section_once() {
    let html = check(&full("cone", 3, 20));
    for heading in [
        "Training",
        "Validation",
        "Confusion",
        "Images",
        "Training images as augmented",
        "Dataset",
        "Notes",
    ] {
        assert_eq!(
            html.matches(&format!("<h2>{heading}</h2>")).count(),
            1,
            "{heading}"
        );
    }
    for (what, tag) in [
        ("charts", "figure class=\"card chart\""),
        ("images", "data:image/jpeg;base64,"),
    ] {
        assert_eq!(
            html.matches(tag).count(),
            if what == "charts" { 6 + 2 + 2 } else { 2 },
            "{what}"
        );
    }
    assert!(html.contains("cone 0.88"), "the detection's label");
}

#[test]
fn every_image_and_every_chart_says_in_words_what_it_shows() {
    let html = check(&full("cone", 3, 20));
    for figure in html.split("role=\"img\" aria-label=\"").skip(1) {
        let words = figure.split('"').next().unwrap_or_default();
        assert!(words.len() > 10, "{words:?}");
    }
    assert!(html.matches("role=\"img\"").count() >= 11);
    assert!(html.contains("mAP50-95: 0.500 in epoch 1, 0.952 in epoch 20."));
    let cells = html.matches("<th").count() - html.matches("<thead").count();
    assert_eq!(
        html.matches("scope=").count(),
        cells,
        "each header cell says what it heads"
    );
}

#[test]
fn a_single_epoch_is_shown_as_dots() {
    let html = check(&full("cone", 2, 1));
    assert!(html.contains("<circle"));
    assert!(html.contains(">best: 1<"));
}

#[test]
fn numbers_that_are_none_are_dashes_and_gaps() {
    let mut report = full("cone", 2, 3);
    report.history = vec![epoch(1, 0.5), epoch(2, f64::NAN), epoch(3, f64::INFINITY)];
    report.scores[0] = Scores {
        head: "one2one".into(),
        precision: f64::NAN,
        recall: f64::INFINITY,
        map50: 0.1,
        map50_95: -0.0,
    };
    report.classes[0].ap50 = f64::NAN;
    report.pr[0].points = vec![(f64::NAN, f64::NAN); 4];
    report.f1[0].points = vec![(0.1, f64::NAN), (0.2, 0.5)];
    report.sheet[0].predicted = vec![
        bbox("nan", Some(f32::NAN), [1.0, 1.0, 5.0, 5.0]),
        bbox("away", Some(0.5), [f32::NAN; 4]),
        bbox("huge", Some(0.5), [f32::NEG_INFINITY, -1e30, f32::INFINITY, 1e30]),
    ];
    let html = check(&report);
    assert!(html.contains("The training loss was not a finite number in 2 epochs, first in epoch 2."));
    assert!(html.contains("<dt>Precision</dt><dd>–"));
}

#[test]
fn a_running_training_shows_how_far_it_is() {
    let mut report = full("cone", 2, 30);
    report.progress = Progress::Running;
    report.planned_epochs = 120;
    assert!(check(&report).contains("30 of 120 epochs"));
}

#[test]
fn eighty_classes_and_a_thousand_epochs_stay_small() {
    let html = check(&full("class ", 80, 1000));
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
    assert!(html.contains("results.csv has all 1000"));
    assert!(html.contains("80 classes, thin"));
}

#[test]
fn a_large_sheet_is_cut_and_says_so() {
    let mut report = full("cone", 2, 2);
    report.sheet = vec![sheet_image(600, "noise"); 64];
    report.augmented.clear();
    let html = check(&report);
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 60);
    assert!(html.contains("4 more images are not shown."));
    // Noise is the worst that can be asked of a JPEG; photographs take a quarter of it.
    assert!(html.len() < 60 * 400_000, "{} bytes", html.len());
}

#[test]
fn the_same_run_is_the_same_page() {
    assert_eq!(render(&full("cone", 5, 50)), render(&full("cone", 5, 50)));
}

#[test]
fn the_check_itself_finds_what_is_broken() {
    let page = |body: &str| format!("<!doctype html><html>{body}</html>");
    assert_eq!(well_formed(&page("<p class=\"a\">x &amp; y<br/></p>")), Ok(()));
    for broken in [
        "<p>",
        "</p>",
        "<p><b></p></b>",
        "a & b",
        "<p class=a></p>",
        "<p a=\"1\" a=\"2\"></p>",
        "a > b",
    ] {
        assert!(well_formed(&page(broken)).is_err(), "{broken}");
    }
}

prop_compose! {
    fn any_history()(values in prop::collection::vec((any::<u32>(), prop::array::uniform8(any::<f64>())), 0..30))
        -> Vec<EpochRow> {
        values.into_iter().map(|(epoch, v)| EpochRow {
            epoch, time_s: v[0], train: [v[1], v[2], v[3]], val: [v[4], v[5], v[6]],
            precision: v[7], recall: v[0], map50: v[1], map50_95: v[2], lr: vec![v[3], v[4]],
        }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_numbers_and_any_texts_make_a_sound_page(
        history in any_history(),
        best in prop::option::of(any::<u32>()),
        text in "\\PC{0,30}",
        boxes in prop::collection::vec((any::<[f32; 4]>(), prop::option::of(any::<f32>())), 0..20),
    ) {
        // Words that `check` looks for are not the page's own here.
        let mut safe = String::new();
        for c in text.chars().filter(|c| !c.is_ascii_alphabetic() && *c != '∞') {
            write!(safe, "{c}").unwrap();
        }
        let mut report = full(&safe, 2, 2);
        report.history = history;
        report.best_epoch = best;
        report.sheet[0].predicted = boxes.into_iter().map(|(xyxy, score)| bbox(&safe, score, xyxy)).collect();
        let html = render(&report);
        prop_assert_eq!(well_formed(&html), Ok(()));
    }
}
