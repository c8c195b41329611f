//! The device's optimiser, on tensors of the CPU, against the host's.

use super::{super::CLIP_NORM, *};
use crate::{
    hyper::{Hyper, OptimizerChoice},
    optim::Optimizer,
};
use torch::MemoryFormat;

const CHOICES: [OptimizerChoice; 3] = [
    OptimizerChoice::AdamW,
    OptimizerChoice::SGD,
    OptimizerChoice::MuSGD,
];
const STEPS: i64 = 20;

/// Two epochs of ten batches; the first ten batches warm up.
fn schedule(optimizer: OptimizerChoice) -> Schedule {
    let hyper = Hyper {
        epochs: 2,
        batch: 8,
        nbs: 8,
        warmup_epochs: 1.0,
        optimizer,
        ..Hyper::default()
    };
    Schedule::new(&hyper, 80, 3)
}

fn filled(shape: &[i64], salt: i64) -> Tensor {
    let len: i64 = shape.iter().product();
    let values: Vec<f32> = (0..len)
        .map(|i| (((i + 31 * salt) * 7919) % 1009) as f32 / 504.5 - 1.0)
        .collect();
    torch::from_f32(&values, shape).unwrap()
}

/// Every kind of parameter, kernels of equal width and unequal height, and a boosted class branch.
fn parameters() -> Vec<(String, Tensor)> {
    [
        ("model.0.conv.weight", vec![8, 3, 3, 3]),
        ("model.0.bn.weight", vec![8]),
        ("model.0.bn.bias", vec![8]),
        ("model.1.conv.weight", vec![5, 3, 3, 3]),
        ("model.2.conv.weight", vec![40, 8, 1, 1]),
        ("model.23.cv3.0.2.weight", vec![3, 8, 1, 1]),
        ("model.23.cv3.0.2.bias", vec![3]),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, (name, shape))| (name.to_owned(), filled(&shape, i as i64).set_requires_grad(true)))
    .collect()
}

/// Gradients of step `step`: of the first steps so large that they are clipped.
fn give_gradients(parameters: &[(String, Tensor)], step: i64, scale: f64) {
    let size = if step < 10 { 3.0 } else { 0.01 };
    for (i, (_, p)) in parameters.iter().enumerate() {
        let gradient = filled(&p.size(), 100 + 17 * step + i as i64) * (size * scale);
        torch::backward(&[(p, &gradient)]).unwrap();
    }
}

fn share((name, tensor): &(String, Tensor)) -> (String, Tensor) {
    (name.clone(), tensor.shallow_clone())
}

fn host(choice: OptimizerChoice, parameters: &[(String, Tensor)]) -> Optimizer {
    Optimizer::new(&schedule(choice), parameters.iter().map(share).collect())
}

fn device(choice: OptimizerChoice, parameters: &[(String, Tensor)]) -> DeviceOptimizer {
    DeviceOptimizer::new(&schedule(choice), parameters.iter().map(share).collect()).unwrap()
}

/// Largest difference between two lists of values, as a share of the largest value.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(f32::MIN_POSITIVE, |max, v| max.max(v.abs()));
    let difference = a
        .iter()
        .zip(b)
        .fold(0.0_f32, |max, (x, y)| max.max((x - y).abs()));
    f64::from(difference / largest)
}

/// One part in a million. An orthogonalised update is rounded to bfloat16, where the last bit of its input may decide
/// between two neighbours (0.4 % of an update that is itself a small part of the weight).
fn tolerance(choice: OptimizerChoice) -> f64 {
    if choice == OptimizerChoice::MuSGD {
        2e-5
    } else {
        1e-6
    }
}

fn assert_equal(choice: OptimizerChoice, ours: &[(String, Tensor)], theirs: &[(String, Tensor)]) {
    for ((name, a), (_, b)) in ours.iter().zip(theirs) {
        let apart = apart(&torch::to_vec_f32(a).unwrap(), &torch::to_vec_f32(b).unwrap());
        assert!(apart <= tolerance(choice), "{choice:?} {name}: {apart}");
    }
}

#[test]
fn twenty_steps_equal_the_hosts_through_warm_up_and_clipping() {
    for choice in CHOICES {
        let (on_host, on_device) = (parameters(), parameters());
        let (mut theirs, mut ours) = (host(choice, &on_host), device(choice, &on_device));
        let mut clipped = 0;
        for step in 0..STEPS {
            give_gradients(&on_host, step, 1.0);
            give_gradients(&on_device, step, 1.0);
            let settings = schedule(choice).at(step as u64);
            let expected = theirs.step_scaled(&settings, 1.0).unwrap();
            let report = ours.step_scaled(&settings, 1.0).unwrap();
            assert!(report.applied && expected.applied);
            assert!((report.grad_norm / expected.grad_norm - 1.0).abs() < 1e-6);
            clipped += i32::from(report.grad_norm > f64::from(CLIP_NORM));
        }
        assert_eq!(clipped, 10, "both sides of the threshold are tried");
        assert_equal(choice, &on_device, &on_host);
        assert!(
            apart(
                &torch::to_vec_f32(&on_device[0].1).unwrap(),
                &torch::to_vec_f32(&parameters()[0].1).unwrap()
            ) > 1e-3,
            "{choice:?}: the steps are no small ones"
        );
        for ((name, values), (expected_name, expected)) in ours.state().unwrap().iter().zip(theirs.state()) {
            assert_eq!(*name, expected_name);
            assert!(apart(values, expected) <= tolerance(choice), "{choice:?} {name}");
        }
        assert_eq!(ours.groups(), theirs.groups());
    }
}

#[test]
fn scaled_gradients_make_the_same_steps_on_both() {
    for choice in CHOICES {
        for scale in [65_536.0, 1.0 / 1024.0] {
            let (plain, on_host, on_device) = (parameters(), parameters(), parameters());
            let mut unscaled = host(choice, &plain);
            let (mut theirs, mut ours) = (host(choice, &on_host), device(choice, &on_device));
            for step in 8..12 {
                give_gradients(&plain, step, 1.0);
                give_gradients(&on_host, step, scale);
                give_gradients(&on_device, step, scale);
                let settings = schedule(choice).at(step as u64);
                let expected = unscaled.step(&settings).unwrap().grad_norm;
                for norm in [
                    theirs.step_scaled(&settings, scale).unwrap().grad_norm,
                    ours.step_scaled(&settings, scale).unwrap().grad_norm,
                ] {
                    assert!((norm / expected - 1.0).abs() < 1e-6, "the true norm is reported");
                }
            }
            assert_equal(choice, &on_host, &plain);
            assert_equal(choice, &on_device, &plain);
        }
    }
}

#[test]
fn gradients_that_are_not_finite_change_nothing_and_are_cleared() {
    for choice in CHOICES {
        for bad in [f64::NAN, f64::INFINITY] {
            let p = parameters();
            let mut ours = device(choice, &p);
            give_gradients(&p, 0, 1.0);
            torch::backward(&[(&p[2].1, &(p[2].1.ones_like() * bad))]).unwrap();
            assert!(!ours.step_scaled(&schedule(choice).at(3), 1.0).unwrap().applied);
            assert_equal(choice, &p, &parameters());
            assert_eq!(ours.steps(), 0);
            assert!(p.iter().all(|(_, p)| torch::gradient(p).unwrap().is_none()));
            for (name, values) in ours.state().unwrap() {
                assert!(values.iter().all(|&v| v == 0.0), "{name}");
            }
        }
    }
}

#[test]
fn a_parameter_without_a_gradient_stays_as_it_is() {
    for choice in CHOICES {
        let (on_host, on_device) = (parameters(), parameters());
        let (mut theirs, mut ours) = (host(choice, &on_host), device(choice, &on_device));
        give_gradients(&on_host[1..4], 0, 1.0);
        give_gradients(&on_device[1..4], 0, 1.0);
        let settings = schedule(choice).at(12);
        theirs.step_scaled(&settings, 1.0).unwrap();
        ours.step_scaled(&settings, 1.0).unwrap();
        assert_equal(choice, &on_device, &on_host);
        assert_eq!(on_device[0].1, parameters()[0].1);
    }
}

#[test]
fn a_run_goes_on_on_the_other_side() {
    for choice in CHOICES {
        let (whole, moved) = (parameters(), parameters());
        let mut stays = host(choice, &whole);
        let step = |parameters: &[(String, Tensor)], step: i64| {
            give_gradients(parameters, step, 1.0);
            schedule(choice).at(step as u64)
        };
        for at in 0..9 {
            let settings = step(&whole, at);
            stays.step(&settings).unwrap();
        }
        let mut on_host = host(choice, &moved);
        for at in 0..3 {
            on_host.step(&step(&moved, at)).unwrap();
        }
        let saved = on_host
            .state()
            .into_iter()
            .map(|(n, v)| (n, v.to_vec()))
            .collect();
        let mut on_device = device(choice, &moved);
        on_device.restore(&saved, on_host.steps()).unwrap();
        for at in 3..6 {
            on_device.step_scaled(&step(&moved, at), 1.0).unwrap();
        }
        let saved = on_device.state().unwrap().into_iter().collect();
        let mut on_host = host(choice, &moved);
        on_host.restore(&saved, on_device.steps()).unwrap();
        for at in 6..9 {
            on_host.step(&step(&moved, at)).unwrap();
        }
        assert_equal(choice, &moved, &whole);
        assert_eq!(on_host.steps(), stays.steps());
    }
}

#[test]
fn kernels_in_channels_last_memory_make_the_same_steps_and_the_same_state() {
    for choice in CHOICES {
        let (planes, pixels) = (parameters(), parameters());
        for (_, p) in &pixels {
            if p.dim() == 4 {
                let moved = torch::no_grad(|| MemoryFormat::ChannelsLast.apply(p)).unwrap();
                p.shallow_clone().set_data(&moved.detach());
            }
        }
        assert!(!MemoryFormat::Contiguous.is_of(&pixels[0].1).unwrap());
        let (mut theirs, mut ours) = (device(choice, &planes), device(choice, &pixels));
        for step in 0..5 {
            give_gradients(&planes, step, 1.0);
            give_gradients(&pixels, step, 1.0);
            let settings = schedule(choice).at(step as u64);
            theirs.step_scaled(&settings, 1.0).unwrap();
            ours.step_scaled(&settings, 1.0).unwrap();
        }
        assert_equal(choice, &pixels, &planes);
        for ((name, a), (_, b)) in ours.state().unwrap().iter().zip(theirs.state().unwrap()) {
            assert!(apart(a, &b) <= tolerance(choice), "{choice:?} {name}");
        }
    }
}

#[test]
fn state_of_another_model_is_refused_by_name() {
    let mut ours = device(OptimizerChoice::AdamW, &parameters());
    let error = ours.restore(&BTreeMap::new(), 0).unwrap_err();
    assert!(error.to_string().contains("first/model.0.conv.weight"), "{error}");
    let mut short: BTreeMap<_, _> = ours.state().unwrap().into_iter().collect();
    short.insert("second/model.0.bn.bias".into(), vec![0.0; 7]);
    let error = ours.restore(&short, 0).unwrap_err().to_string();
    assert!(error.contains("7 values, expected 8"), "{error}");
}
