//! The optimisers against libtorch's own, and the promises that resuming rests on.

use super::*;
use crate::hyper::{Hyper, OptimizerChoice};
use tch::{Kind, nn, nn::OptimizerConfig};

const CONSTANT: Settings = Settings {
    accumulate: 1,
    lr_factor: 1.0,
    bias_base: 0.0,
    bias_blend: 1.0,
    epoch_factor: 1.0,
    momentum: 0.9,
};

fn schedule(optimizer: OptimizerChoice) -> Schedule {
    let hyper = Hyper {
        epochs: 1,
        batch: 64,
        optimizer,
        lr0: 0.01,
        momentum: 0.9,
        ..Hyper::default()
    };
    Schedule::new(&hyper, 64, 3)
}

fn filled(shape: &[i64], salt: i64) -> Tensor {
    let len: i64 = shape.iter().product();
    let values: Vec<f32> = (0..len)
        .map(|i| (((i + salt) * 7919) % 1009) as f32 / 504.5 - 1.0)
        .collect();
    Tensor::from_slice(&values).view(shape)
}

/// A kernel, a norm scale and a bias, as the network names them.
fn parameters() -> Vec<(String, Tensor)> {
    [
        ("model.0.conv.weight", vec![8, 3, 3, 3]),
        ("model.0.bn.weight", vec![8]),
        ("model.0.bn.bias", vec![8]),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, (name, shape))| (name.to_owned(), filled(&shape, i as i64).set_requires_grad(true)))
    .collect()
}

fn give_gradients(parameters: &[(String, Tensor)], step: i64) {
    for (i, (_, p)) in parameters.iter().enumerate() {
        let g = filled(&p.size(), 100 + step * 17 + i as i64) * 0.05;
        (p * g).sum(Kind::Float).backward();
    }
}

fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// Runs ours on all three kinds of parameter and libtorch's on copies, decaying only what ours decays.
fn assert_equals_libtorch<C: OptimizerConfig>(choice: OptimizerChoice, make: impl Fn(f64) -> C) {
    let ours = parameters();
    let mut optimizer = Optimizer::new(&schedule(choice), ours.iter().map(share).collect());
    let mut peers: Vec<(Tensor, nn::Optimizer)> = ours
        .iter()
        .map(|(name, p)| {
            let store = nn::VarStore::new(tch::Device::Cpu);
            let mut copy = store.root().zeros("p", &p.size());
            tch::no_grad(|| copy.copy_(p));
            let decay = if name.contains("conv") { 0.0005 } else { 0.0 };
            (copy, make(decay).build(&store, 0.01).unwrap())
        })
        .collect();
    for step in 0..10 {
        give_gradients(&ours, step);
        let copies: Vec<_> = peers
            .iter()
            .map(|(p, _)| (String::new(), p.shallow_clone()))
            .collect();
        give_gradients(&copies, step);
        optimizer.step(&CONSTANT).unwrap();
        for (_, peer) in &mut peers {
            peer.step();
            peer.zero_grad();
        }
    }
    for ((name, p), (peer, _)) in ours.iter().zip(&peers) {
        let difference = max_difference(p, peer);
        assert!(difference < 1e-6, "{name}: {difference}");
    }
}

fn share((name, tensor): &(String, Tensor)) -> (String, Tensor) {
    (name.clone(), tensor.shallow_clone())
}

#[test]
fn adamw_takes_the_steps_of_libtorch() {
    assert_equals_libtorch(OptimizerChoice::AdamW, |wd| nn::AdamW {
        wd,
        beta1: 0.9,
        ..nn::AdamW::default()
    });
}

#[test]
fn sgd_takes_the_steps_of_libtorch() {
    assert_equals_libtorch(OptimizerChoice::SGD, |wd| nn::Sgd {
        momentum: 0.9,
        dampening: 0.0,
        wd,
        nesterov: true,
    });
}

#[test]
fn large_gradients_are_scaled_to_norm_ten() {
    let run = |factor: f64| {
        let p = parameters();
        let mut optimizer = Optimizer::new(&schedule(OptimizerChoice::SGD), p.iter().map(share).collect());
        for (_, p) in &p {
            (p * filled(&p.size(), 5) * factor).sum(Kind::Float).backward();
        }
        let report = optimizer.step(&CONSTANT).unwrap();
        (report.grad_norm, p)
    };
    let (norm, small) = run(1e3);
    let (_, large) = run(1e5);
    assert!(norm > 10.0);
    for ((_, a), (_, b)) in small.iter().zip(&large) {
        assert!(max_difference(a, b) < 1e-6);
    }
}

#[test]
fn gradients_that_are_not_finite_change_nothing() {
    let p = parameters();
    let before = p[0].1.copy();
    let mut optimizer = Optimizer::new(&schedule(OptimizerChoice::MuSGD), p.iter().map(share).collect());
    (&p[0].1 * f64::NAN).sum(Kind::Float).backward();
    let report = optimizer.step(&CONSTANT).unwrap();
    assert!(!report.applied);
    assert_eq!(max_difference(&p[0].1, &before), 0.0);
    assert_eq!(optimizer.steps(), 0);
}

#[test]
fn restored_state_continues_to_the_bit() {
    for choice in [
        OptimizerChoice::AdamW,
        OptimizerChoice::SGD,
        OptimizerChoice::MuSGD,
    ] {
        let run = |interrupt: bool| {
            let p = parameters();
            let mut optimizer = Optimizer::new(&schedule(choice), p.iter().map(share).collect());
            for step in 0..6 {
                if interrupt && step == 3 {
                    let saved = optimizer
                        .state()
                        .into_iter()
                        .map(|(n, v)| (n, v.to_vec()))
                        .collect();
                    let steps = optimizer.steps();
                    optimizer = Optimizer::new(&schedule(choice), p.iter().map(share).collect());
                    optimizer.restore(&saved, steps).unwrap();
                }
                give_gradients(&p, step);
                optimizer.step(&CONSTANT).unwrap();
            }
            p
        };
        for ((name, a), (_, b)) in run(false).iter().zip(&run(true)) {
            assert_eq!(max_difference(a, b), 0.0, "{choice:?} {name}");
        }
    }
}

#[test]
fn state_of_another_model_is_refused_by_name() {
    let mut optimizer = Optimizer::new(&schedule(OptimizerChoice::AdamW), parameters());
    let error = optimizer.restore(&BTreeMap::new(), 0).unwrap_err();
    assert!(error.to_string().contains("first/model.0.conv.weight"), "{error}");
}
