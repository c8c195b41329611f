//! The network by itself: sizes, names, initial values, passes, copies and folding. Counts and names are facts of the
//! public model.

mod common;
#[path = "common/nets.rs"]
mod nets;

use common::difference;
use detector::loss::Grid;
use detector::net::{Role, from_rgb};
use detector::{Config, Detector, Head, Scale};
use nets::{all_equal, fresh, images, named, rng, worn};
use tch::{Device, Kind, Tensor};
use torch::{MemoryFormat, Precision, to_vec_f32};

#[test]
fn parameters_and_entries_count_as_the_public_model() {
    let table = [
        (Scale::N, 80, 2_572_280, 366, 708),
        (Scale::N, 3, 2_504_970, 366, 708),
        (Scale::S, 80, 10_009_784, 366, 708),
        (Scale::M, 80, 21_896_248, 396, 768),
        (Scale::L, 80, 26_299_704, 558, 1092),
        (Scale::X, 80, 58_993_368, 558, 1092),
    ];
    for (scale, nc, values, parameters, entries) in table {
        let detector = fresh(scale, nc);
        let state = detector.state();
        let counts = (
            state.parameter_count(),
            state.parameters().count(),
            state.entries().len(),
        );
        assert_eq!(counts, (values, parameters, entries), "{scale} {nc}");
    }
}

#[test]
fn folding_leaves_one_head_and_no_normalisation() {
    let table = [
        (Scale::N, 80, 2_408_932, 204),
        (Scale::N, 3, 2_375_421, 204),
        (Scale::M, 80, 20_411_132, 224),
    ];
    for (scale, nc, values, entries) in table {
        let detector = fresh(scale, nc);
        for head in [Head::One2Many, Head::One2One] {
            let fused = detector.fused(head).unwrap();
            assert_eq!(
                (fused.state().parameter_count(), fused.state().entries().len()),
                (values, entries)
            );
            assert!(
                fused
                    .state()
                    .entries()
                    .iter()
                    .all(|entry| !entry.name().contains("bn."))
            );
            let prefix = "model.23.one2one_";
            let kept = fused
                .state()
                .entries()
                .iter()
                .any(|entry| entry.name().starts_with(prefix));
            assert_eq!(kept, head == Head::One2One);
        }
    }
}

#[test]
fn tensors_come_in_the_references_order_with_its_shapes() {
    let detector = fresh(Scale::N, 3);
    let state = detector.state();
    let first: Vec<&str> = state.entries().iter().take(7).map(|entry| entry.name()).collect();
    let block = [
        "conv.weight",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
    ];
    assert_eq!(first[..6], block.map(|part| format!("model.0.{part}")));
    assert_eq!(first[6], "model.1.conv.weight");
    let at = |name: &str| {
        state
            .entries()
            .iter()
            .position(|entry| entry.name() == name)
            .unwrap()
    };
    for ordered in [
        [
            "model.2.cv1.conv.weight",
            "model.2.cv2.conv.weight",
            "model.2.m.0.cv1.conv.weight",
        ],
        [
            "model.6.m.0.cv3.conv.weight",
            "model.6.m.0.m.0.cv1.conv.weight",
            "model.8.cv1.conv.weight",
        ],
        [
            "model.10.m.0.attn.qkv.conv.weight",
            "model.10.m.0.attn.proj.conv.weight",
            "model.10.m.0.attn.pe.conv.weight",
        ],
        [
            "model.22.m.0.0.cv1.conv.weight",
            "model.22.m.0.1.attn.pe.conv.weight",
            "model.22.m.0.1.ffn.1.conv.weight",
        ],
        [
            "model.23.cv2.2.2.bias",
            "model.23.cv3.0.0.0.conv.weight",
            "model.23.one2one_cv2.0.0.conv.weight",
        ],
    ] {
        assert!(ordered.map(at).is_sorted(), "{ordered:?}");
    }
    for (name, sizes) in [
        ("model.10.m.0.attn.qkv.conv.weight", &[256, 128, 1, 1][..]),
        ("model.10.m.0.attn.pe.conv.weight", &[128, 1, 3, 3]),
        ("model.23.cv3.0.0.0.conv.weight", &[64, 1, 3, 3]),
        ("model.23.cv3.0.0.1.conv.weight", &[64, 64, 1, 1]),
        ("model.23.cv2.2.0.conv.weight", &[16, 256, 3, 3]),
        ("model.0.bn.num_batches_tracked", &[]),
    ] {
        assert_eq!(state.get(name).unwrap().size(), sizes, "{name}");
    }
    assert!(state.parameters().all(|entry| entry.tensor().requires_grad()));
    let buffers = state
        .entries()
        .iter()
        .filter(|entry| entry.role() == Role::Buffer);
    assert!(
        buffers
            .map(|entry| entry.tensor())
            .all(|tensor| !tensor.requires_grad())
    );
}

#[test]
fn a_fresh_network_has_the_prescribed_initial_values() {
    let detector = fresh(Scale::N, 3);
    for (level, bias) in [-8.2532, -6.8669, -5.4806].into_iter().enumerate() {
        for head in ["cv3", "one2one_cv3"] {
            let got = named(&detector, &format!("model.23.{head}.{level}.2.bias"));
            assert!(got.iter().all(|value| (value - bias).abs() < 1e-4), "{got:?}");
        }
        assert_eq!(
            named(&detector, &format!("model.23.cv2.{level}.2.bias")),
            [2.0; 4]
        );
    }
    assert_eq!(named(&detector, "model.5.bn.weight"), [1.0; 128]);
    assert_eq!(named(&detector, "model.5.bn.running_var"), [1.0; 128]);
    assert_eq!(named(&detector, "model.5.bn.running_mean"), [0.0; 128]);
    // 147456 values uniform in -b..b, b = 1 / sqrt(128 * 9).
    let weights = named(&detector, "model.5.conv.weight");
    let bound = 1.0 / (128.0f32 * 9.0).sqrt();
    let most = weights.iter().fold(0f32, |most, value| most.max(value.abs()));
    assert!(most <= bound && most > 0.999 * bound, "{most} {bound}");
    let variance = weights.iter().map(|value| f64::from(value * value)).sum::<f64>() / weights.len() as f64;
    assert!(
        (variance / f64::from(bound * bound) - 1.0 / 3.0).abs() < 0.01,
        "{variance}"
    );
    assert_eq!(
        named(&detector, "model.23.cv2.1.0.conv.weight"),
        named(&detector, "model.23.one2one_cv2.1.0.conv.weight"),
        "both heads start equal"
    );
}

#[test]
fn the_same_seed_gives_the_same_network() {
    let make = |seed| Detector::new(Config::new(Scale::N, 3).unwrap(), &mut rng(seed)).unwrap();
    assert!(all_equal(&make(1), &make(1)));
    assert!(!all_equal(&make(1), &make(2)));
}

#[test]
fn training_moves_statistics_and_validation_does_not() {
    let detector = worn(3);
    let before = named(&detector, "model.3.bn.running_mean");
    let _ = detector.forward_eval(&images(), Head::One2Many).unwrap();
    assert_eq!(named(&detector, "model.3.bn.running_mean"), before);
    assert_eq!(named(&detector, "model.3.bn.num_batches_tracked"), [0.0]);
    let _ = detector.forward_train(&images()).unwrap();
    assert_ne!(named(&detector, "model.3.bn.running_mean"), before);
    let counts = detector
        .state()
        .entries()
        .iter()
        .filter(|entry| entry.name().ends_with("num_batches_tracked"));
    assert!(
        counts
            .map(|entry| to_vec_f32(entry.tensor()).unwrap())
            .all(|count| count == [1.0])
    );
}

#[test]
fn the_one_to_one_loss_reaches_its_own_branch_only() {
    let detector = worn(3);
    let out = detector.forward_train(&images()).unwrap().one2one;
    torch::backward(&[
        (&out.boxes, &out.boxes.ones_like()),
        (&out.scores, &out.scores.ones_like()),
    ])
    .unwrap();
    for entry in detector.state().parameters() {
        let reached = torch::gradient(entry.tensor()).unwrap().is_some();
        assert_eq!(reached, entry.name().contains("one2one"), "{}", entry.name());
    }
}

#[test]
fn one_head_alone_answers_as_beside_the_other() {
    let detector = worn(3);
    let both = detector.forward_eval_both(&images()).unwrap();
    for (head, expected) in [(Head::One2Many, &both.one2many), (Head::One2One, &both.one2one)] {
        let alone = detector.forward_eval(&images(), head).unwrap();
        assert!(alone.boxes.equal(&expected.boxes) && alone.scores.equal(&expected.scores));
        assert_eq!(
            (alone.boxes.size(), alone.scores.size()),
            (vec![2, 4, 126], vec![2, 3, 126])
        );
    }
    assert!(!both.one2many.scores.equal(&both.one2one.scores));
}

#[test]
fn the_fused_network_answers_as_the_unfused() {
    let detector = worn(80);
    for head in [Head::One2Many, Head::One2One] {
        let whole = detector.forward_eval(&images(), head).unwrap();
        let fused = detector.fused(head).unwrap().forward(&images()).unwrap();
        for (a, b) in [(&fused.boxes, &whole.boxes), (&fused.scores, &whole.scores)] {
            let worst = difference(&to_vec_f32(a).unwrap(), &to_vec_f32(b).unwrap());
            assert!(worst > 0.0 && worst < 1e-5, "{worst:e}");
        }
    }
}

#[test]
fn channels_last_gives_the_same_answers_and_gradients() {
    let run = |format: MemoryFormat| {
        let mut detector = worn(3);
        if format == MemoryFormat::ChannelsLast {
            detector.to_channels_last().unwrap();
        }
        let out = detector
            .forward_train(&format.apply(&images()).unwrap())
            .unwrap()
            .one2many;
        torch::backward(&[
            (&out.boxes, &out.boxes.ones_like()),
            (&out.scores, &out.scores.ones_like()),
        ])
        .unwrap();
        let weight = detector
            .state()
            .get("model.7.conv.weight")
            .unwrap()
            .shallow_clone();
        (
            out.boxes,
            out.scores,
            torch::gradient(&weight).unwrap().unwrap(),
            weight,
        )
    };
    let planes = run(MemoryFormat::Contiguous);
    let pixels = run(MemoryFormat::ChannelsLast);
    assert!(
        MemoryFormat::ChannelsLast.is_of(&pixels.3).unwrap(),
        "the weight's layout"
    );
    assert_eq!(
        pixels.2.stride(),
        pixels.3.stride(),
        "the gradient has its parameter's layout"
    );
    assert!(
        MemoryFormat::Contiguous.is_of(&pixels.0).unwrap(),
        "the output stays contiguous"
    );
    // Normalising by the statistics of a dozen cells amplifies rounding in the gradient.
    for (name, a, b, limit) in [
        ("boxes", &planes.0, &pixels.0, 1e-4),
        ("scores", &planes.1, &pixels.1, 1e-4),
        ("gradient", &planes.2, &pixels.2, 1e-3),
    ] {
        let worst = difference(&to_vec_f32(b).unwrap(), &to_vec_f32(a).unwrap());
        assert!(worst < limit, "{name} {worst:e}");
    }
}

#[test]
fn bfloat16_answers_in_float32_close_to_float32() {
    let mut detector = worn(3);
    detector.to_channels_last().unwrap();
    let exact = detector.forward_eval(&images(), Head::One2Many).unwrap();
    let coarse = torch::with_autocast(Device::Cpu, Precision::BFloat16, || {
        detector.forward_eval(&images(), Head::One2Many)
    });
    let coarse = coarse.unwrap().unwrap();
    assert_eq!(
        (coarse.boxes.kind(), coarse.scores.kind()),
        (Kind::Float, Kind::Float)
    );
    let worst = difference(
        &to_vec_f32(&coarse.scores).unwrap(),
        &to_vec_f32(&exact.scores).unwrap(),
    );
    assert!(worst > 1e-5 && worst < 0.05, "{worst:e}");
    let train = torch::with_autocast(Device::Cpu, Precision::BFloat16, || {
        detector.forward_train(&images())
    });
    let out = train.unwrap().unwrap().one2many;
    torch::backward(&[
        (&out.boxes, &out.boxes.ones_like()),
        (&out.scores, &out.scores.ones_like()),
    ])
    .unwrap();
    let gradient = torch::gradient(detector.state().get("model.0.conv.weight").unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(gradient.kind(), Kind::Float);
    assert!(
        to_vec_f32(&gradient)
            .unwrap()
            .iter()
            .all(|value| value.is_finite())
    );
}

#[test]
fn a_duplicate_is_deep_and_does_not_train() {
    let mut detector = worn(3);
    detector.to_channels_last().unwrap();
    let copy = detector.duplicate().unwrap();
    assert!(all_equal(&detector, &copy));
    assert!(
        copy.state()
            .parameters()
            .all(|entry| !entry.tensor().requires_grad())
    );
    let weight = copy.state().get("model.7.conv.weight").unwrap();
    assert_eq!(
        weight.stride(),
        detector.state().get("model.7.conv.weight").unwrap().stride()
    );
    torch::update_f32(weight, |values| values.fill(0.0)).unwrap();
    assert!(
        named(&detector, "model.7.conv.weight")
            .iter()
            .any(|&value| value != 0.0)
    );
    let same = copy.forward_eval(&images(), Head::One2One).unwrap();
    assert!(
        !same
            .scores
            .equal(&detector.forward_eval(&images(), Head::One2One).unwrap().scores)
    );
}

#[test]
fn a_change_in_the_state_is_what_the_next_pass_uses() {
    let mut detector = worn(3);
    let before = detector.forward_eval(&images(), Head::One2Many).unwrap();
    let handle = detector
        .state()
        .get("model.23.cv2.0.2.bias")
        .unwrap()
        .shallow_clone();
    detector.to_channels_last().unwrap();
    torch::update_f32(&handle, |values| {
        values.iter_mut().for_each(|value| *value += 1.0)
    })
    .unwrap();
    let after = detector.forward_eval(&images(), Head::One2Many).unwrap();
    let fine = (&after.boxes - &before.boxes)
        .narrow(2, 0, 96)
        .mean(Kind::Float)
        .double_value(&[]);
    assert!((fine - 1.0).abs() < 1e-3, "{fine}");
}

#[test]
fn outputs_are_decoded_on_the_grid_of_their_input_only() {
    let out = worn(3).forward_eval(&images(), Head::One2Many).unwrap();
    let grid = Grid::for_input(96, 64).unwrap();
    let views = out.images(&grid).unwrap();
    assert_eq!((views.len(), views[0].anchors(), views[0].classes()), (2, 126, 3));
    let other = Grid::for_input(64, 64).unwrap();
    let error = out.images(&other).err().unwrap();
    assert!(
        error.to_string().contains("B x K x 84") && error.to_string().contains("[2, 3, 126]"),
        "{error}"
    );
    assert!(out.to_host().unwrap().images(&grid).is_ok());
}

#[test]
fn wrong_images_are_refused_by_name() {
    let detector = worn(3);
    let odd = Tensor::zeros([1, 3, 60, 64], (Kind::Float, Device::Cpu));
    for error in [
        detector.forward_train(&odd).err().unwrap(),
        detector.forward_eval(&odd, Head::One2Many).err().unwrap(),
        detector
            .fused(Head::One2Many)
            .unwrap()
            .forward(&odd)
            .err()
            .unwrap(),
    ] {
        assert!(error.to_string().contains("[1, 3, 60, 64]"), "{error}");
    }
    assert!(from_rgb(&[0; 7], 1, 32, 32, Device::Cpu).is_err());
}
