//! Weights in and out of files and networks: round trips, strict loading, fine-tuning, and what is refused.

mod common;
#[path = "common/nets.rs"]
mod nets;

use common::difference;
use detector::weights::{self, FusedModel, Meta, Model, WeightMap, WeightsError};
use detector::{Detector, Head, Scale};
use nets::{all_equal, fresh, images, named, rng, worn};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_model_survives_its_file() {
    let detector = worn(3);
    let meta = Meta::new(detector.config(), names(&["apple", "pear", "plum"]), Some(640)).unwrap();
    let bytes = Model {
        detector,
        meta: meta.clone(),
    }
    .to_bytes()
    .unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(model.meta, meta);
    assert!(all_equal(&model.detector, &worn(3)));
    assert!(
        model
            .detector
            .state()
            .parameters()
            .all(|entry| entry.tensor().requires_grad())
    );
    let fused = FusedModel::from_bytes(&bytes, Head::One2One).unwrap();
    assert_eq!((fused.detector.head(), &fused.meta), (Head::One2One, &meta));
}

#[test]
fn a_model_survives_its_pt_file() {
    let detector = worn(3);
    let meta = Meta::new(detector.config(), names(&["apple", "pear", "plum"]), Some(640)).unwrap();
    let bytes = Model {
        detector,
        meta: meta.clone(),
    }
    .to_pt_bytes()
    .unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(model.meta, meta);
    assert!(all_equal(&model.detector, &worn(3)));
    assert!(Model::from_bytes(&bytes[..bytes.len() / 2]).is_err());
}

#[test]
fn a_fused_file_answers_through_its_head_only() {
    let detector = worn(3);
    let fused = detector.fused(Head::One2One).unwrap();
    let expected = fused.forward(&images()).unwrap();
    let meta = Meta::new(detector.config(), names(&["apple", "pear", "plum"]), None).unwrap();
    let bytes = FusedModel {
        detector: fused,
        meta,
    }
    .to_bytes()
    .unwrap();
    let again = FusedModel::from_bytes(&bytes, Head::One2One).unwrap();
    assert!(
        again
            .detector
            .forward(&images())
            .unwrap()
            .scores
            .equal(&expected.scores)
    );
    assert!(matches!(
        FusedModel::from_bytes(&bytes, Head::One2Many),
        Err(WeightsError::Head { .. })
    ));
    let refused = Model::from_bytes(&bytes).err().unwrap().to_string();
    assert!(
        refused.contains("fused") && refused.contains("not be trained"),
        "{refused}"
    );
}

#[test]
fn half_precision_is_read_as_float32() {
    let detector = worn(3);
    let kept = WeightMap::of(detector.state()).unwrap();
    for kind in [Kind::Half, Kind::BFloat16] {
        let mut coarse = WeightMap::default();
        for (name, tensor) in kept.iter() {
            let tensor = if tensor.kind() == Kind::Float {
                tensor.to_kind(kind)
            } else {
                tensor.shallow_clone()
            };
            coarse.insert(name.to_owned(), tensor).unwrap();
        }
        let read = Detector::from_weights(&coarse).unwrap();
        let (got, exact) = (
            named(&read, "model.5.conv.weight"),
            named(&detector, "model.5.conv.weight"),
        );
        let worst = difference(&got, &exact);
        assert!(worst > 0.0 && worst < 4e-3, "{worst}");
    }
}

#[test]
fn loading_names_what_does_not_fit_and_writes_nothing() {
    let mut detector = worn(3);
    let other = WeightMap::of(fresh(Scale::N, 2).state()).unwrap();
    let text = detector.load(&other).unwrap_err().to_string();
    assert!(
        text.contains("'model.23.cv3.0.2.weight' has sizes [2, 64, 1, 1], expected [3, 64, 1, 1]"),
        "{text}"
    );
    assert!(all_equal(&detector, &worn(3)));

    let mut short = WeightMap::default();
    for (name, tensor) in WeightMap::of(detector.state())
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "model.4.cv1.bn.bias")
    {
        short.insert(name.to_owned(), tensor.shallow_clone()).unwrap();
    }
    short
        .insert(
            "model.99.weight".to_owned(),
            Tensor::zeros([1], (Kind::Float, Device::Cpu)),
        )
        .unwrap();
    let text = detector.load(&short).unwrap_err().to_string();
    assert!(
        text.contains("'model.4.cv1.bn.bias' is missing") && text.contains("'model.99.weight' is not part"),
        "{text}"
    );
    assert!(
        Detector::from_weights(&WeightMap::default())
            .unwrap_err()
            .to_string()
            .contains("model.0.conv.weight")
    );
}

#[test]
fn fine_tuning_keeps_the_sources_branch_width() {
    let source = worn(80);
    let weights = WeightMap::of(source.state()).unwrap();
    let (grown, report) =
        Detector::fine_tune(&weights, &[], &names(&["apple", "pear", "plum"]), &mut rng(3)).unwrap();
    assert_eq!((grown.config().nc(), grown.config().class_hidden()), (3, 80));
    assert_eq!(grown.state().parameter_count(), 2_534_858);
    assert_eq!(
        (report.fresh.len(), report.copied, report.unused.len()),
        (12, 708 - 12, 0)
    );
    assert!(
        report
            .fresh
            .iter()
            .all(|name| name.contains("cv3.") && name.contains(".2.")),
        "{:?}",
        report.fresh
    );
    assert_eq!(
        named(&grown, "model.23.cv3.1.1.1.conv.weight"),
        named(&source, "model.23.cv3.1.1.1.conv.weight")
    );
    let bias = named(&grown, "model.23.cv3.0.2.bias");
    assert!(bias.iter().all(|value| (value + 8.2532).abs() < 1e-4), "{bias:?}");
    assert!(
        grown
            .state()
            .parameters()
            .all(|entry| entry.tensor().requires_grad())
    );
}

#[test]
fn fine_tuning_copies_the_rows_of_classes_both_know() {
    let source = worn(3);
    let weights = WeightMap::of(source.state()).unwrap();
    let known = names(&["apple", "pear", "plum"]);
    let (grown, report) = Detector::fine_tune(
        &weights,
        &known,
        &names(&["fig", "Plum", "apple", "kiwi"]),
        &mut rng(3),
    )
    .unwrap();
    assert_eq!(report.classes, [(2, 1), (0, 2)]);
    for head in ["cv3", "one2one_cv3"] {
        let name = format!("model.23.{head}.1.2.weight");
        let (old, new) = (named(&source, &name), named(&grown, &name));
        assert_eq!((&new[64..128], &new[128..192]), (&old[128..192], &old[..64]));
        assert!(
            new[..64].iter().all(|value| value.abs() <= 0.125),
            "a new class keeps fresh values"
        );
        let name = format!("model.23.{head}.1.2.bias");
        let (old, new) = (named(&source, &name), named(&grown, &name));
        assert_eq!((new[1], new[2]), (old[2], old[0]));
    }
    let (same, report) = Detector::fine_tune(&weights, &known, &known, &mut rng(3)).unwrap();
    assert!(all_equal(&same, &source) && report.fresh.is_empty() && report.copied == 708);
}

#[test]
fn fused_weights_do_not_fine_tune() {
    let fused = worn(3).fused(Head::One2Many).unwrap();
    let weights = WeightMap::of(fused.state()).unwrap();
    let error = Detector::fine_tune(&weights, &[], &names(&["apple"]), &mut rng(0)).unwrap_err();
    assert!(error.to_string().contains("fused"), "{error}");
}

#[test]
fn metadata_must_agree_with_the_tensors_and_be_of_a_known_format() {
    let detector = worn(3);
    let config = detector.config();
    assert!(Meta::new(config, names(&["apple"]), None).is_err());
    let weights = WeightMap::of(detector.state()).unwrap();
    let file = |json: &str| {
        let extra = HashMap::from([("azaion".to_owned(), json.to_owned())]);
        Model::from_bytes(&weights::write(&weights, None, &extra).unwrap())
            .err()
            .map(|error| error.to_string())
    };
    let json = |scale: &str, nc: usize, format: usize| {
        format!(
            r#"{{"format":{format},"scale":"{scale}","nc":{nc},"names":["a","b","c"],"created_by":"test"}}"#
        )
    };
    assert_eq!(file(&json("n", 3, 1)), None);
    for (text, says) in [
        (json("n", 3, 2), "newer program"),
        (
            json("m", 3, 1),
            "yolo26m with 3 classes, the tensors are yolo26n with 3",
        ),
        (json("n", 4, 1), "3 names for 4 classes"),
        (json("q", 3, 1), "unknown variant"),
        ("{}".to_owned(), "no format number"),
        ("[".to_owned(), "metadata 'azaion'"),
    ] {
        assert!(
            file(&text).is_some_and(|error| error.contains(says)),
            "{text}: {:?}",
            file(&text)
        );
    }
}

#[test]
fn weights_without_a_description_are_numbered() {
    let detector = worn(3);
    let bytes = weights::write(&WeightMap::of(detector.state()).unwrap(), None, &HashMap::new()).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(
        (model.meta.names, model.meta.scale),
        (names(&["0", "1", "2"]), Scale::N)
    );
}

#[test]
fn foreign_bytes_are_errors() {
    let bytes = weights::write(&WeightMap::of(worn(3).state()).unwrap(), None, &HashMap::new()).unwrap();
    assert!(Model::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Model::from_bytes(&bytes[..100]).is_err());
    for other in [&b""[..], b"PNG", b"{\"a\":1}           ", &[0xff; 64]] {
        assert!(Model::from_bytes(other).is_err(), "{other:?}");
    }
    let mut ints = WeightMap::default();
    ints.insert("a".to_owned(), Tensor::from_slice(&[1i32])).unwrap();
    assert!(matches!(
        weights::write(&ints, None, &HashMap::new()),
        Err(WeightsError::Kind { .. })
    ));
    assert!(matches!(
        ints.insert("a".to_owned(), Tensor::from_slice(&[1i32])),
        Err(WeightsError::Duplicate(_))
    ));
}
