//! Average precision, precision and recall against the reference package.
//!
//! The numbers in `fixtures/metrics.safetensors` were made by `tests/reference/metrics_cases.py`, which calls
//! `ap_per_class` of ultralytics 8.4.190 as a black box on random arrays, and its validator on boxes and objects.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

mod fixture;

use detector::Detection;
use detector::loss::Grid;
use detector::metrics::{Evaluator, Metrics, Outcome, Truth};
use fixture::Fixture;

const CASES: [&str; 4] = ["random", "poor", "lone", "perfect"];

fn fixture() -> Fixture {
    Fixture::load("metrics.safetensors")
}

fn metrics(fixture: &Fixture, case: &str) -> Metrics {
    let outcomes: Vec<Outcome> = fixture
        .f32s(&format!("{case}.confidence"))
        .into_iter()
        .zip(fixture.i32s(&format!("{case}.predicted")))
        .zip(fixture.i32s(&format!("{case}.hits")))
        .map(|((score, class), hits)| Outcome {
            score,
            class: class as u16,
            hits: hits as u16,
        })
        .collect();
    let truths: Vec<u16> = fixture
        .i32s(&format!("{case}.true"))
        .into_iter()
        .map(|c| c as u16)
        .collect();
    let mut evaluator = Evaluator::new(8);
    evaluator.add_matched(&outcomes, &truths).unwrap();
    evaluator.finish()
}

fn assert_close(what: &str, found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= bound,
            "{what}[{index}]: {found} for {expected}"
        );
    }
}

#[test]
fn average_precision_of_every_class_and_threshold_is_the_references() {
    let fixture = fixture();
    for case in CASES {
        let metrics = metrics(&fixture, case);
        let classes: Vec<i32> = metrics.per_class.iter().map(|c| c.class.into()).collect();
        assert_eq!(classes, fixture.i32s(&format!("{case}.classes")));
        let found: Vec<f64> = metrics.per_class.iter().flat_map(|c| c.ap).collect();
        assert_close(case, &found, &fixture.f64s(&format!("{case}.ap")), 1e-12);
    }
}

#[test]
fn precision_and_recall_at_the_best_f1_are_the_references() {
    let fixture = fixture();
    for case in CASES {
        let metrics = metrics(&fixture, case);
        let precision: Vec<f64> = metrics.per_class.iter().map(|c| c.precision).collect();
        let recall: Vec<f64> = metrics.per_class.iter().map(|c| c.recall).collect();
        assert_close(
            case,
            &precision,
            &fixture.f64s(&format!("{case}.precision")),
            1e-12,
        );
        assert_close(case, &recall, &fixture.f64s(&format!("{case}.recall")), 1e-12);
    }
}

#[test]
fn mean_curves_are_the_references() {
    let fixture = fixture();
    for case in CASES {
        let curves = metrics(&fixture, case).curves;
        let all = [
            ("precision", curves.precision),
            ("recall", curves.recall),
            ("f1", curves.f1),
            ("pr", curves.pr),
        ];
        for (name, found) in all {
            let expected: Vec<f64> = fixture
                .f32s(&format!("{case}.{name}_curve"))
                .into_iter()
                .map(f64::from)
                .collect();
            assert_close(&format!("{case}.{name}"), &found, &expected, 1e-6);
        }
    }
}

#[test]
fn boxes_and_objects_are_matched_and_measured_as_the_reference_does() {
    let fixture = fixture();
    let size = fixture.i32s("pictured.size");
    let (side, classes, images) = (size[0] as usize, size[1] as usize, size[2] as usize);
    let grid = Grid::for_input(side, side).unwrap();
    let (boxes, objects) = (
        fixture.f32s("pictured.boxes"),
        fixture.objects("pictured.objects"),
    );
    let mut evaluator = Evaluator::new(classes);
    for image in 0..images {
        let rows = boxes.as_chunks::<7>().0.iter();
        let found: Vec<Detection> = rows
            .filter(|row| row[0] as usize == image)
            .map(|&[_, left, top, right, bottom, score, class]| Detection {
                xyxy: [left, top, right, bottom],
                score,
                class: class as u16,
            })
            .collect();
        let shown: Vec<Truth> = objects
            .iter()
            .filter(|(of, _)| *of == image)
            .map(|(_, object)| Truth {
                xyxy: object.xyxy(&grid),
                class: object.class,
            })
            .collect();
        evaluator.add_image(&found, &shown).unwrap();
    }
    let metrics = evaluator.finish();
    let means = [metrics.precision, metrics.recall, metrics.map50, metrics.map50_95];
    assert_close("means", &means, &fixture.f64s("pictured.means"), 1e-12);
    let ap: Vec<f64> = metrics.per_class.iter().flat_map(|c| c.ap).collect();
    assert_close("ap", &ap, &fixture.f64s("pictured.ap"), 1e-12);
    let precision: Vec<f64> = metrics.per_class.iter().map(|c| c.precision).collect();
    assert_close(
        "precision",
        &precision,
        &fixture.f64s("pictured.precision"),
        1e-12,
    );
    let recall: Vec<f64> = metrics.per_class.iter().map(|c| c.recall).collect();
    assert_close("recall", &recall, &fixture.f64s("pictured.recall"), 1e-12);
}
