//! The rules of matching and counting, one by one.

use proptest::prelude::*;

use super::*;

fn detection(class: u16, score: f32, xyxy: [f32; 4]) -> Detection {
    Detection { xyxy, score, class }
}

fn truth(class: u16, xyxy: [f32; 4]) -> Truth {
    Truth { xyxy, class }
}

/// A box of 100 x 100 px, shifted to the right.
fn shifted(by: f32) -> [f32; 4] {
    [by, 0.0, by + 100.0, 100.0]
}

fn evaluated(classes: usize, images: &[(&[Detection], &[Truth])]) -> Metrics {
    let mut evaluator = Evaluator::new(classes);
    for (predictions, truths) in images {
        evaluator.add_image(predictions, truths).unwrap();
    }
    evaluator.finish()
}

fn hits(predictions: &[Detection], truths: &[Truth]) -> Vec<u16> {
    matching::outcomes(predictions, truths)
        .iter()
        .map(|o| o.hits)
        .collect()
}

#[test]
fn thresholds_are_those_of_single_precision_steps() {
    let bits = [
        1056964608, 1057803469, 1058642330, 1059481190, 1060320051, 1061158912, 1061997773, 1062836634,
        1063675494, 1064514355,
    ];
    assert_eq!(THRESHOLDS.map(f32::to_bits), bits);
}

#[test]
fn a_perfect_set_scores_995_thousandths() {
    let (p, t) = ([detection(0, 0.9, shifted(0.0))], [truth(0, shifted(0.0))]);
    let metrics = evaluated(1, &[(&p, &t)]);
    assert!((metrics.map50 - 0.995).abs() < 1e-12 && (metrics.map50_95 - 0.995).abs() < 1e-12);
    assert_eq!((metrics.precision, metrics.recall), (1.0, 1.0));
    assert_eq!((metrics.images, metrics.instances), (1, 1));
}

#[test]
fn no_ground_truth_gives_zeros() {
    let p = [detection(0, 0.9, shifted(0.0))];
    for metrics in [
        evaluated(2, &[(&p, &[])]),
        evaluated(2, &[]),
        evaluated(0, &[(&[], &[])]),
    ] {
        assert_eq!(
            (metrics.precision, metrics.recall, metrics.map50, metrics.map50_95),
            (0.0, 0.0, 0.0, 0.0)
        );
        assert!(metrics.per_class.is_empty());
        assert_eq!(metrics.curves.f1, vec![0.0; CURVE_POINTS]);
    }
}

#[test]
fn an_object_is_claimed_once_by_the_surest_prediction() {
    let p = [detection(0, 0.9, shifted(20.0)), detection(0, 0.8, shifted(0.0))];
    let found = hits(&p, &[truth(0, shifted(0.0))]);
    // IoU of the first is 80 / 120: it claims at 0.5 to 0.65; above, the object is free for the better box.
    assert_eq!(found, [0b00_0000_1111, 0b11_1111_0000]);
}

#[test]
fn a_prediction_takes_the_nearest_free_object_of_its_class() {
    let truths = [
        truth(0, shifted(10.0)),
        truth(0, shifted(0.0)),
        truth(1, shifted(1.0)),
    ];
    let p = [
        detection(0, 0.9, shifted(1.0)),
        detection(0, 0.8, shifted(1.0)),
        detection(0, 0.7, shifted(1.0)),
    ];
    let found = hits(&p, &truths);
    // 99/101 with the second object, 91/109 with the first, none is left for the third prediction.
    assert_eq!(found, [0b11_1111_1111, 0b00_0111_1111, 0]);
}

#[test]
fn classes_count_instances_and_images_apart() {
    let truths = [
        truth(1, shifted(0.0)),
        truth(1, shifted(200.0)),
        truth(2, shifted(400.0)),
    ];
    let metrics = evaluated(4, &[(&[], &truths), (&[], &truths[..1])]);
    let counts: Vec<_> = metrics
        .per_class
        .iter()
        .map(|c| (c.class, c.instances, c.images))
        .collect();
    assert_eq!(counts, [(1, 3, 2), (2, 1, 1)]);
}

#[test]
fn confusion_pairs_by_place_and_counts_the_rest_as_background() {
    let truths = [
        truth(0, shifted(0.0)),
        truth(1, shifted(200.0)),
        truth(1, shifted(400.0)),
    ];
    let p = [
        detection(0, 0.9, shifted(1.0)),
        // The right place, another class; then the same box once more with the right one.
        detection(2, 0.8, shifted(200.0)),
        detection(1, 0.6, shifted(200.0)),
        // Not sure enough.
        detection(1, 0.25, shifted(400.0)),
        detection(2, 0.5, shifted(900.0)),
    ];
    let confusion = evaluated(3, &[(&p, &truths)]).confusion;
    let background = confusion.background();
    assert_eq!(confusion.count(0, 0), 1);
    assert_eq!(confusion.count(2, 1), 1);
    assert_eq!(confusion.count(background, 1), 1);
    assert_eq!(confusion.count(1, background), 1);
    assert_eq!(confusion.count(2, background), 1);
    let total: u64 = (0..4)
        .flat_map(|p| (0..4).map(move |a| (p, a)))
        .map(|(p, a)| confusion.count(p, a))
        .sum();
    assert_eq!(total, 5);
    assert_eq!(confusion.count(4, 0), 0);
}

#[test]
fn unknown_classes_are_refused_and_leave_nothing_behind() {
    let mut evaluator = Evaluator::new(2);
    let good = [detection(1, 0.9, shifted(0.0))];
    let error = evaluator
        .add_image(&good, &[truth(0, shifted(0.0)), truth(2, shifted(0.0))])
        .unwrap_err();
    assert_eq!(
        error,
        MetricsError::Class {
            what: "ground truth",
            index: 1,
            class: 2,
            classes: 2
        }
    );
    assert!(
        evaluator
            .add_image(&[detection(2, 0.9, shifted(0.0))], &[])
            .is_err()
    );
    assert_eq!(evaluator.finish().images, 0);
}

#[test]
fn values_that_are_not_numbers_do_no_harm() {
    let p = [
        detection(0, f32::NAN, shifted(0.0)),
        detection(0, 0.9, [f32::NAN; 4]),
        detection(0, 0.8, [0.0, 0.0, f32::INFINITY, 100.0]),
        detection(0, 0.7, shifted(0.0)),
    ];
    let metrics = evaluated(
        1,
        &[(&p, &[truth(0, shifted(0.0)), truth(0, [f32::NAN, 0.0, 1.0, 1.0])])],
    );
    assert_eq!(metrics.dropped, 1);
    let values = [metrics.precision, metrics.recall, metrics.map50, metrics.map50_95];
    assert!(values.iter().all(|v| (0.0..=1.0).contains(v)), "{values:?}");
    assert!(metrics.map50 > 0.0);
}

prop_compose! {
    fn corners()(x in 0u8..40, y in 0u8..40, w in 1u8..30, h in 1u8..30) -> [f32; 4] {
        [x, y, x + w, y + h].map(f32::from)
    }
}

/// Matching as it is worded: for each threshold over all objects.
fn restated(predictions: &[Detection], truths: &[Truth]) -> Vec<u16> {
    let mut hits = vec![0; predictions.len()];
    for (bit, &threshold) in THRESHOLDS.iter().enumerate() {
        let mut free = vec![true; truths.len()];
        for (hit, p) in hits.iter_mut().zip(predictions) {
            let mut best: Option<usize> = None;
            for t in (0..truths.len()).filter(|&t| free[t] && truths[t].class == p.class) {
                if best.is_none_or(|b| iou(truths[t].xyxy, p.xyxy) > iou(truths[b].xyxy, p.xyxy)) {
                    best = Some(t);
                }
            }
            if let Some(t) = best.filter(|&t| iou(truths[t].xyxy, p.xyxy) >= threshold) {
                free[t] = false;
                *hit |= 1 << bit;
            }
        }
    }
    hits
}

proptest! {
    #[test]
    fn matching_follows_its_definition(
        predictions in prop::collection::vec((0u16..2, corners()), 0..20),
        truths in prop::collection::vec((0u16..2, corners()), 0..12),
    ) {
        let p: Vec<_> = predictions.into_iter().map(|(class, xyxy)| detection(class, 0.5, xyxy)).collect();
        let t: Vec<_> = truths.into_iter().map(|(class, xyxy)| truth(class, xyxy)).collect();
        prop_assert_eq!(hits(&p, &t), restated(&p, &t));
    }

    #[test]
    fn metrics_stay_within_zero_and_one(
        outcomes in prop::collection::vec((0f32..1.0, 0u16..3, 0u16..1024), 0..60),
        truths in prop::collection::vec(0u16..3, 0..40),
    ) {
        let mut evaluator = Evaluator::new(3);
        // As many hits as there are objects at most, as matching gives them.
        let mut free = [0; 3];
        truths.iter().for_each(|&class| free[usize::from(class)] += 1);
        let outcomes: Vec<_> = outcomes.into_iter().map(|(score, class, hits)| {
            let left = &mut free[usize::from(class)];
            let hits = if *left > 0 { *left -= 1; hits } else { 0 };
            Outcome { score, class, hits }
        }).collect();
        evaluator.add_matched(&outcomes, &truths).unwrap();
        let metrics = evaluator.finish();
        let all = [&metrics.curves.precision, &metrics.curves.recall, &metrics.curves.f1, &metrics.curves.pr];
        for value in all.into_iter().flatten().chain([&metrics.map50, &metrics.map50_95, &metrics.precision, &metrics.recall]) {
            prop_assert!((0.0..=1.0 + 1e-12).contains(value), "{}", value);
        }
    }
}
