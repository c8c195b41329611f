//! Average precision, precision and recall against the reference package.
//!
//! The numbers in `fixtures/metrics.safetensors` were made by `tests/reference/metrics_cases.py`, which calls
//! `ap_per_class` of ultralytics 8.4.190 as a black box on random arrays.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

use detector::metrics::{Evaluator, Metrics, Outcome};
use safetensors::SafeTensors;

const CASES: [&str; 4] = ["random", "poor", "lone", "perfect"];

struct Fixture(Vec<u8>);

impl Fixture {
    fn load() -> Self {
        Self(
            std::fs::read(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/metrics.safetensors"
            ))
            .unwrap(),
        )
    }

    fn numbers<const N: usize, T>(&self, name: &str, read: fn([u8; N]) -> T) -> Vec<T> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors
            .tensor(name)
            .unwrap()
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|b| read(*b))
            .collect()
    }

    fn i32s(&self, name: &str) -> Vec<i32> {
        self.numbers(name, i32::from_le_bytes)
    }

    fn f32s(&self, name: &str) -> Vec<f32> {
        self.numbers(name, f32::from_le_bytes)
    }

    fn f64s(&self, name: &str) -> Vec<f64> {
        self.numbers(name, f64::from_le_bytes)
    }

    fn metrics(&self, case: &str) -> Metrics {
        let outcomes: Vec<Outcome> = self
            .f32s(&format!("{case}.confidence"))
            .into_iter()
            .zip(self.i32s(&format!("{case}.predicted")))
            .zip(self.i32s(&format!("{case}.hits")))
            .map(|((score, class), hits)| Outcome {
                score,
                class: class as u16,
                hits: hits as u16,
            })
            .collect();
        let truths: Vec<u16> = self
            .i32s(&format!("{case}.true"))
            .into_iter()
            .map(|c| c as u16)
            .collect();
        let mut evaluator = Evaluator::new(8);
        evaluator.add_matched(&outcomes, &truths).unwrap();
        evaluator.finish()
    }
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
    let fixture = Fixture::load();
    for case in CASES {
        let metrics = fixture.metrics(case);
        let classes: Vec<i32> = metrics.per_class.iter().map(|c| c.class.into()).collect();
        assert_eq!(classes, fixture.i32s(&format!("{case}.classes")));
        let found: Vec<f64> = metrics.per_class.iter().flat_map(|c| c.ap).collect();
        assert_close(case, &found, &fixture.f64s(&format!("{case}.ap")), 1e-12);
    }
}

#[test]
fn precision_and_recall_at_the_best_f1_are_the_references() {
    let fixture = Fixture::load();
    for case in CASES {
        let metrics = fixture.metrics(case);
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
    let fixture = Fixture::load();
    for case in CASES {
        let curves = fixture.metrics(case).curves;
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
