//! Stateless randomness: a random choice is a function of (seed, purpose, epoch, index) and of nothing else.
//!
//! No generator is kept between choices, so there is no generator state to save: a run resumed at epoch 40, on
//! another number of threads, draws what the uninterrupted run would have drawn.
//!
//! Guarantee: the mapping is stable for ever. The key is SHA-256 over a version tag and the four values, the stream
//! is ChaCha8 from that key, and the derived draws ([`below`], [`unit()`], [`shuffle`]) are written out here instead of
//! taken from a library whose algorithms may change between releases. Golden values in the tests hold it.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// What a stream of random numbers is for. Numbers are part of the mapping: never renumber, only add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// Which item of a dataset goes to train, valid or test.
    Split = 1,
    /// The order of the items in an epoch.
    Shuffle = 2,
    /// Augmentation of one sample.
    Augment = 3,
    /// Initial weights of a network.
    Init = 4,
    /// A generated scene of the demo.
    Scene = 5,
    /// Choice of items to show in a report.
    Report = 6,
    /// Tests and benchmarks.
    Test = 7,
}

/// The stream of random numbers that belongs to one choice.
pub fn stream(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = Sha256::new();
    key.update(b"azaion-rng-1");
    key.update((purpose as u32).to_le_bytes());
    key.update(seed.to_le_bytes());
    key.update(epoch.to_le_bytes());
    key.update(index.to_le_bytes());
    ChaCha8Rng::from_seed(key.finalize().into())
}

/// A uniform integer in `0..n` without bias (Lemire's multiplication with rejection); 0 if `n` is 0.
pub fn below(rng: &mut impl Rng, n: u64) -> u64 {
    if n == 0 {
        return 0;
    }
    // Of the 2^64 values, the first 2^64 mod n low halves would make some results likelier than others.
    let reject_below = n.wrapping_neg() % n;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        if product as u64 >= reject_below {
            return (product >> 64) as u64;
        }
    }
}

/// A uniform number in `[0, 1)` with 53 random bits.
pub fn unit(rng: &mut impl Rng) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    (rng.next_u64() >> 11) as f64 * STEP
}

/// A uniform number in `[low, high)`.
pub fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

/// Shuffles in place (Fisher-Yates from the end).
pub fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = below(rng, last as u64 + 1) as usize;
        items.swap(last, other);
    }
}

/// The permutation of `0..n` that belongs to (seed, purpose, epoch).
pub fn permutation(n: usize, seed: u64, purpose: Purpose, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(&mut stream(seed, purpose, epoch, 0), &mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_stable_for_ever() {
        // If this test fails, the code is wrong, not the numbers: they come from a second implementation, in Python
        // (hashlib for the key, ChaCha8 with a 64-bit counter from zero, Lemire, Fisher-Yates from the end).
        let mut rng = stream(7, Purpose::Augment, 3, 11);
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, GOLDEN_STREAM);
        assert_eq!(permutation(10, 42, Purpose::Split, 0), GOLDEN_PERMUTATION);
    }

    const GOLDEN_STREAM: [u64; 4] = [
        7860724034642333427,
        3971617566333620531,
        2213257523137850988,
        16977631397381026504,
    ];
    const GOLDEN_PERMUTATION: [usize; 10] = [3, 2, 5, 4, 9, 6, 7, 8, 1, 0];
    const GOLDEN_KEY: &str = "59f7a846a7ba2f41b3776eb9448d95643902ced69f6a7f6f780e55513043437e";

    #[test]
    fn the_key_is_sha256_of_the_documented_bytes() {
        let rng = stream(7, Purpose::Augment, 3, 11);
        let hex: String = rng.get_seed().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN_KEY);
    }

    #[test]
    fn each_of_the_four_values_changes_the_stream() {
        let draw = |seed, purpose, epoch, index| stream(seed, purpose, epoch, index).next_u64();
        let base = draw(1, Purpose::Shuffle, 1, 1);
        assert_eq!(base, draw(1, Purpose::Shuffle, 1, 1));
        for other in [
            draw(2, Purpose::Shuffle, 1, 1),
            draw(1, Purpose::Augment, 1, 1),
            draw(1, Purpose::Shuffle, 2, 1),
            draw(1, Purpose::Shuffle, 1, 2),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn below_is_in_range_and_reaches_every_value() {
        let mut rng = stream(0, Purpose::Test, 0, 0);
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[below(&mut rng, 7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(below(&mut rng, 0), 0);
        assert_eq!(below(&mut rng, 1), 0);
    }

    #[test]
    fn unit_is_in_zero_to_one_with_mean_one_half() {
        let mut rng = stream(0, Purpose::Test, 0, 1);
        let draws: Vec<f64> = (0..10_000).map(|_| unit(&mut rng)).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    proptest::proptest! {
        #[test]
        fn a_permutation_holds_every_index_once(n in 0usize..300, seed: u64, epoch: u64) {
            let mut order = permutation(n, seed, Purpose::Shuffle, epoch);
            order.sort_unstable();
            proptest::prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }
}
