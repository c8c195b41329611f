//! The network against the reference package, run as a black box by tests/reference/detector_forward.py (libtorch
//! 2.13.0, CPU, one thread, float32, contiguous).
//!
//! `fixtures/forward.safetensors` holds a sample of its outputs for weights and inputs that a formula gives; they are
//! compared with a tolerance, for kernels differ between CPUs. Whole outputs, gradients, batch statistics and folded
//! weights are compared to the bit when AZAION_REFERENCE_DIR names a directory that the script filled on this machine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken set-up fails the test")]

mod common;

use common::{difference, formula_weights, mixed, unit};
use detector::decode::{EndToEnd, Raw, end_to_end};
use detector::loss::Grid;
use detector::nms::{Labels, Nms};
use detector::weights::{self, WeightMap};
use detector::{Config, Detection, Detector, HeadOutput, Heads, Scale};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;
use tch::Tensor;

const HEIGHT: usize = 64;
const WIDTH: usize = 96;
const BATCH: i64 = 2;
const SAMPLES: usize = 24;

/// Values in -1..1.
fn signed(name: &str, sizes: &[i64]) -> Tensor {
    unit(name, sizes) * 2.0 - 1.0
}

/// A few values of a tensor, at places that both sides compute.
fn sample(name: &str, tensor: &Tensor, count: usize) -> Vec<f32> {
    let values = torch::to_vec_f32(tensor).unwrap();
    mixed(&format!("sample.{name}"), count)
        .map(|x| values[x as usize % values.len()])
        .collect()
}

fn fixture() -> WeightMap {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/forward.safetensors");
    weights::read(&std::fs::read(path).unwrap()).unwrap().weights
}

fn values(map: &WeightMap, name: &str) -> Vec<f32> {
    torch::to_vec_f32(
        map.get(name)
            .unwrap_or_else(|| panic!("the reference has no '{name}'")),
    )
    .unwrap()
}

fn parts(heads: &Heads) -> [(&'static str, &Tensor); 4] {
    [
        ("one2many.boxes", &heads.one2many.boxes),
        ("one2many.scores", &heads.one2many.scores),
        ("one2one.boxes", &heads.one2one.boxes),
        ("one2one.scores", &heads.one2one.scores),
    ]
}

/// Backward from the seeds of the script.
fn backward(heads: &Heads) {
    let seeds: Vec<Tensor> = parts(heads)
        .iter()
        .map(|(name, out)| signed(&format!("seed.{name}"), &out.size()))
        .collect();
    let pairs: Vec<_> = parts(heads)
        .into_iter()
        .zip(&seeds)
        .map(|((_, out), seed)| (out, seed))
        .collect();
    torch::backward(&pairs).unwrap();
}

/// What `decode` makes of both images of a batch.
fn decoded<T>(out: &HeadOutput, decode: impl Fn(&Raw<'_>) -> Vec<T>) -> Vec<Vec<T>> {
    let grid = Grid::for_input(WIDTH, HEIGHT).unwrap();
    out.images(&grid).unwrap().iter().map(decode).collect()
}

fn table(out: &HeadOutput, nc: usize) -> Tensor {
    let values: Vec<f32> = decoded(out, |raw| raw.table()).concat();
    torch::from_f32(
        &values,
        &[
            BATCH,
            4 + nc as i64,
            values.len() as i64 / BATCH / (4 + nc as i64),
        ],
    )
    .unwrap()
}

fn fixture_case(scale: Scale, nc: usize) {
    torch::set_threads(1).unwrap();
    let expected = fixture();
    let case = format!("{scale}{nc}.");
    let mut detector =
        Detector::new(Config::new(scale, nc).unwrap(), &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    detector.load(&formula_weights(&detector)).unwrap();
    let images = unit("input", &[BATCH, 3, HEIGHT as i64, WIDTH as i64]);

    let compare = |name: &str, got: &[f32]| {
        let worst = difference(got, &values(&expected, &format!("{case}{name}")));
        assert!(worst < 2e-4, "{case}{name}: off by {worst:e}");
    };
    let eval = detector.forward_eval_both(&images).unwrap();
    for (name, out) in parts(&eval) {
        compare(
            &format!("eval.{name}"),
            &sample(&format!("{case}eval.{name}"), out, SAMPLES),
        );
    }
    let eval_table = table(&eval.one2many, nc);
    compare("table", &sample(&format!("{case}table"), &eval_table, SAMPLES));
    if scale == Scale::N {
        compare_end_to_end(&eval.one2one, &expected, &case);
        compare_nms(&eval.one2many, &expected, &case);
    }

    let train = detector.forward_train(&images).unwrap();
    backward(&train);
    for (name, out) in parts(&train) {
        compare(
            &format!("train.{name}"),
            &sample(&format!("{case}train.{name}"), out, SAMPLES),
        );
    }
    let running = detector
        .state()
        .entries()
        .iter()
        .filter(|entry| entry.name().contains("running"));
    compare(
        "running",
        &running
            .flat_map(|entry| sample(entry.name(), entry.tensor(), 1))
            .collect::<Vec<_>>(),
    );
    let gradients = detector.state().parameters().flat_map(|entry| {
        let gradient = torch::gradient(entry.tensor())
            .unwrap()
            .unwrap_or_else(|| panic!("{}", entry.name()));
        sample(entry.name(), &gradient, 1)
    });
    compare("gradients", &gradients.collect::<Vec<_>>());
}

/// Rows of the reference are in descending score; ours must be the same detections, in the same order but for scores
/// that are equal in the digits that a CPU's kernels leave certain.
fn compare_rows(what: &str, got: &[Detection], expected: &[Vec<f32>]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    assert!(
        got.windows(2).all(|pair| pair[0].score >= pair[1].score),
        "{what}"
    );
    for (rank, theirs) in expected.iter().enumerate() {
        let around = got.iter().skip(rank.saturating_sub(2)).take(5);
        let same = |ours: &&Detection| {
            f32::from(ours.class) == theirs[5]
                && (ours.score - theirs[4]).abs() < 2e-6
                && ours.xyxy.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-3)
        };
        assert_eq!(
            around.filter(same).count(),
            1,
            "{what}, row {rank}: {theirs:?}, ours {:?}",
            got[rank]
        );
    }
}

fn compare_end_to_end(out: &HeadOutput, expected: &WeightMap, case: &str) {
    let rows = values(expected, &format!("{case}end2end"));
    let found = decoded(out, |raw| {
        end_to_end(
            raw,
            &EndToEnd {
                confidence: 0.0,
                max_det: 300,
            },
        )
    });
    let rows: Vec<Vec<f32>> = rows.chunks(6).map(<[f32]>::to_vec).collect();
    for (index, (found, rows)) in found
        .iter()
        .zip(rows.chunks(rows.len() / BATCH as usize))
        .enumerate()
    {
        // The reference answers with as many rows as anchors even where the pairs are not above a threshold.
        compare_rows(
            &format!("{case}end2end image {index}"),
            &found[..rows.len()],
            rows,
        );
    }
}

fn compare_nms(out: &HeadOutput, expected: &WeightMap, case: &str) {
    let rows = values(expected, &format!("{case}nms"));
    let nms = Nms {
        confidence: 0.05,
        iou: 0.5,
        labels: Labels::Every,
        ..Nms::validate()
    };
    let found = decoded(out, |raw| nms.detect(raw));
    for (index, found) in found.iter().enumerate() {
        let rows: Vec<Vec<f32>> = rows
            .chunks(7)
            .filter(|row| row[0] == index as f32)
            .map(|row| row[1..].to_vec())
            .collect();
        assert!(!rows.is_empty());
        compare_rows(&format!("{case}nms image {index}"), found, &rows);
    }
}

#[test]
fn nano_with_3_classes_answers_as_the_reference() {
    fixture_case(Scale::N, 3);
}

#[test]
fn nano_with_80_classes_answers_as_the_reference() {
    fixture_case(Scale::N, 80);
}

#[test]
fn small_answers_as_the_reference() {
    fixture_case(Scale::S, 3);
}

#[test]
fn medium_answers_as_the_reference() {
    fixture_case(Scale::M, 80);
}

#[test]
fn large_answers_as_the_reference() {
    fixture_case(Scale::L, 2);
}
