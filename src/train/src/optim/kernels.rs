//! The element-wise updates, each one pass over memory. Products and sums are fused (`mul_add`) where the reference's
//! tensor library fuses them, so that both take the same steps up to the last bits.

use super::Part;

/// What a pass needs to know of its group and iteration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub lr: f64,
    pub weight_decay: f64,
    pub momentum: f64,
    /// Factor on the gradient.
    pub clip: f32,
}

/// SGD with Nesterov momentum: d = g + wd p; s = beta s + d; p -= lr (d + beta s).
pub(super) fn nesterov(parameter: &mut [f32], gradient: &[f32], momentum: &mut [f32], rates: Rates) {
    let (lr, decay, beta) = (rates.lr as f32, rates.weight_decay as f32, rates.momentum as f32);
    for ((p, &g), s) in parameter.iter_mut().zip(gradient).zip(momentum) {
        let d = decay.mul_add(*p, g * rates.clip);
        *s = *s * beta + d;
        *p = (-lr).mul_add(beta.mul_add(*s, d), *p);
    }
}

const BETA2: f64 = 0.999;

/// The moments of AdamW with betas (`beta1`, 0.999).
pub(super) fn adamw_moments(part: &mut Part<'_>, beta1: f64) {
    let (blend1, blend2) = ((1.0 - beta1) as f32, (1.0 - BETA2) as f32);
    let beta2 = BETA2 as f32;
    let moments = part.first.iter_mut().zip(&mut *part.second);
    for ((m, v), &g) in moments.zip(part.gradient) {
        let g = g * part.rates.clip;
        *m = blend1.mul_add(g - *m, *m);
        *v = (blend2 * g).mul_add(g, *v * beta2);
    }
}

/// The update of AdamW with eps 1e-8, decay decoupled; `roots` are those of the second moments, `steps` counts from 1.
pub(super) fn adamw(part: Part<'_>, roots: &[f32], beta1: f64, steps: u64) {
    const EPS: f32 = 1e-8;
    let exponent = steps.min(i32::MAX as u64) as i32;
    let correction1 = 1.0 - beta1.powi(exponent);
    let root2 = (1.0 - BETA2.powi(exponent)).sqrt() as f32;
    let step_size = (-part.rates.lr / correction1) as f32;
    let keep = (1.0 - part.rates.lr * part.rates.weight_decay) as f32;
    for ((p, m), root) in part.parameter.iter_mut().zip(&*part.first).zip(roots) {
        *p = *p * keep + step_size * *m / (root / root2 + EPS);
    }
}

/// `average += share * (value - average)`, as libtorch's `lerp` rounds it for shares below one half.
pub(crate) fn lerp(average: &mut [f32], value: &[f32], share: f32) {
    if share < 0.5 {
        for (a, &v) in average.iter_mut().zip(value) {
            *a = share.mul_add(v - *a, *a);
        }
    } else {
        for (a, &v) in average.iter_mut().zip(value) {
            *a = (-(v - *a)).mul_add(1.0 - share, v);
        }
    }
}
