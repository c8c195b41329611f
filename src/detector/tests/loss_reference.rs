//! The branch loss against the reference package.
//!
//! The numbers in `fixtures/loss.safetensors` were made by `tests/reference/loss_cases.py`, which runs
//! ultralytics 8.4.190 on torch 2.13.0 (CPU, float32) as a black box on made-up predictions: items and gradients from
//! the branch's loss, assignment from its assigner, CIoU at ties from its overlap function. All but the
//! items, which are summed in 64 bits here, are the same to the bit where libtorch has vectors of 512 bits.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken fixture fails the test"
)]

mod fixture;

use std::num::NonZeroUsize;

use detector::loss::{Assigner, Criterion, Gradients, Grid, Predictions, Targets, ciou};
use fixture::Fixture;

const CASES: [&str; 6] = ["random", "crowded", "tiny", "extreme", "empty", "equal"];
const BRANCHES: [(&str, Assigner); 2] = [
    ("one2many", Assigner::ONE_TO_MANY),
    ("one2one", Assigner::ONE_TO_ONE),
];

fn fixture() -> Fixture {
    Fixture::load("loss.safetensors")
}

struct Case {
    grid: Grid,
    images: usize,
    classes: usize,
    targets: Targets,
    boxes: Vec<f32>,
    logits: Vec<f32>,
}

impl Case {
    fn read(fixture: &Fixture, name: &str) -> Self {
        let [height, width, classes, images] = fixture.i64s(&format!("{name}.size"))[..] else {
            panic!("{name}.size")
        };
        let objects = fixture.objects(&format!("{name}.targets"));
        Self {
            grid: Grid::for_input(width as usize, height as usize).unwrap(),
            images: images as usize,
            classes: classes as usize,
            targets: Targets::new(images as usize, &objects).unwrap(),
            boxes: fixture.f32s(&format!("{name}.boxes")),
            logits: fixture.f32s(&format!("{name}.logits")),
        }
    }

    fn predictions(&self) -> Predictions<'_> {
        Predictions {
            boxes: &self.boxes,
            logits: &self.logits,
            images: self.images,
            classes: self.classes,
        }
    }

    fn gradients(&self, criterion: Criterion, weight: f64) -> ([f64; 3], Vec<f32>, Vec<f32>) {
        // Not zeros: every element must be overwritten.
        let (mut boxes, mut logits) = (
            vec![f32::NAN; self.boxes.len()],
            vec![f32::NAN; self.logits.len()],
        );
        let out = Gradients {
            boxes: &mut boxes,
            logits: &mut logits,
        };
        let loss = criterion
            .gradients(&self.grid, self.predictions(), &self.targets, weight, out)
            .unwrap();
        (loss.items, boxes, logits)
    }
}

fn criterion(assigner: Assigner, threads: usize) -> Criterion {
    Criterion::new(assigner, NonZeroUsize::new(threads).unwrap())
}

/// To the bit on a processor like the one of the recording; elsewhere libtorch's vectors are shorter, and each element
/// is within 1e-5 of itself or 1e-6 of the largest.
fn assert_same(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = if is_x86_feature_detected!("avx512f") {
            found.to_bits() == expected.to_bits()
        } else {
            (found - expected).abs() <= 1e-5 * expected.abs() + 1e-6 * largest
        };
        assert!(same, "{what}[{index}]: {found:e} for {expected:e}");
    }
}

#[test]
fn the_assignment_is_the_references() {
    let fixture = fixture();
    for name in CASES {
        let case = Case::read(&fixture, name);
        for (branch, assigner) in BRANCHES {
            let prefix = format!("{name}.{branch}");
            let (anchors, scores) = (
                fixture.i16s(&format!("{prefix}.assigned")),
                fixture.f32s(&format!("{prefix}.scores")),
            );
            let mut found_anchors = vec![-1; anchors.len()];
            let mut found_scores = vec![0.0; anchors.len()];
            let assigned = criterion(assigner, 1).assign(&case.grid, case.predictions(), &case.targets);
            for (image, positives) in assigned.unwrap().into_iter().enumerate() {
                for positive in positives {
                    let index = image * case.grid.anchors() + positive.anchor;
                    found_anchors[index] = positive.truth as i16;
                    found_scores[index] = positive.score;
                }
            }
            for index in 0..anchors.len() {
                // Which anchors of alignment 0 fill a list is up to the reference's kernel; their score is 0.
                if scores[index] > 0.0 || found_scores[index] > 0.0 {
                    assert_eq!(found_anchors[index], anchors[index], "{prefix} anchor {index}");
                }
            }
            assert_same(&format!("{prefix} scores"), &found_scores, &scores);
            let count = |list: &[i16]| list.iter().filter(|&&g| g >= 0).count();
            println!(
                "{prefix}: foreground {} for {}",
                count(&found_anchors),
                count(&anchors)
            );
            // From 640 anchors on libtorch fills its lists from the first topk anchors, as we do.
            if case.grid.anchors() >= 640 {
                assert_eq!(found_anchors, anchors, "{prefix}");
            }
        }
    }
}

#[test]
fn items_and_gradients_are_the_references() {
    let fixture = fixture();
    for name in CASES {
        let case = Case::read(&fixture, name);
        for (branch, assigner) in BRANCHES {
            let prefix = format!("{name}.{branch}");
            let (items, boxes, logits) = case.gradients(criterion(assigner, 2), 1.0);
            for (term, (found, expected)) in items
                .iter()
                .zip(fixture.f32s(&format!("{prefix}.items")))
                .enumerate()
            {
                // Below 1 absolute: the reference takes 1 - CIoU in f32, which for good boxes cancels.
                let (expected, bound) = (f64::from(expected), 1e-6 * f64::from(expected.max(1.0)));
                assert!(
                    (found - expected).abs() <= bound,
                    "{prefix} {term}: {found} for {expected}"
                );
            }
            assert_same(
                &format!("{prefix} boxes"),
                &boxes,
                &fixture.f32s(&format!("{prefix}.grad_boxes")),
            );
            assert_same(
                &format!("{prefix} logits"),
                &logits,
                &fixture.f32s(&format!("{prefix}.grad_logits")),
            );
        }
    }
}

#[test]
fn ties_of_edges_split_the_gradient_as_autograd_does() {
    let fixture = fixture();
    let boxes = |name: &str| fixture.f32s(name).as_chunks::<4>().0.to_vec();
    let (a, c, gradients) = (boxes("ties.a"), boxes("ties.c"), boxes("ties.grad"));
    for (i, value) in fixture.f32s("ties.ciou").into_iter().enumerate() {
        let found = ciou(a[i], c[i]).unwrap();
        assert_same("value", &[found.value], &[value]);
        assert_same(&format!("gradient of pair {i}"), &found.gradient, &gradients[i]);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let fixture = fixture();
    for name in CASES {
        let case = Case::read(&fixture, name);
        for (_, assigner) in BRANCHES {
            let alone = case.gradients(criterion(assigner, 1), 0.3);
            for threads in [2, 3, 8] {
                assert!(
                    alone == case.gradients(criterion(assigner, threads), 0.3),
                    "{name}: {threads} threads"
                );
            }
        }
    }
}

#[test]
fn evaluation_gives_the_items_of_training() {
    let fixture = fixture();
    for name in CASES {
        let case = Case::read(&fixture, name);
        for (_, assigner) in BRANCHES {
            let criterion = criterion(assigner, 2);
            let alone = criterion
                .evaluate(&case.grid, case.predictions(), &case.targets)
                .unwrap();
            assert_eq!(alone.items, case.gradients(criterion, 0.8).0);
        }
    }
}

#[test]
fn the_weight_of_the_branch_scales_the_gradients_alone() {
    let case = Case::read(&fixture(), "random");
    let criterion = criterion(Assigner::ONE_TO_ONE, 1);
    let (items, boxes, logits) = case.gradients(criterion, 1.0);
    let (half_items, half_boxes, half_logits) = case.gradients(criterion, 0.5);
    assert_eq!(items, half_items);
    assert_eq!(boxes.iter().map(|g| g * 0.5).collect::<Vec<_>>(), half_boxes);
    assert_eq!(logits.iter().map(|g| g * 0.5).collect::<Vec<_>>(), half_logits);
}
