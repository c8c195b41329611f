//! Colour augmentation: RGB to 8-bit HSV, hue turned, saturation and value scaled, and back.
//!
//! The way there is exact integer arithmetic (hue 0..=179), the new values are cut to integers, the way back is f32 and
//! truncates: all as the reference does it with look-up tables and OpenCV's vector code. It agrees to one level, and
//! exactly in 999 of 1000 samples (tests/augment.rs).
//!
//! There are no tables here and no branches, only arithmetic on planes of pixels, which the compiler turns into vector
//! code. With S the saturation and V the value (0..=1) a channel is V (1 - S (1 - w)), where its weight w depends on
//! the hue alone: 1 within a sixth of a turn of the channel's own hue, falling to 0 over the next sixth.

use multiversion::multiversion;

/// What happens to hue, saturation and value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HsvShift {
    /// Added to the hue; 0..=179.
    turn: i32,
    saturation: f32,
    value: f32,
}

/// Pixels handled at a time: few enough to stay in the first-level cache, enough for long vectors.
const BLOCK: usize = 128;
/// Hues go from 0 to 179.
const HUES: i32 = 180;

impl HsvShift {
    /// Shifts of hue, saturation and value as drawn, in -1..=1.
    pub fn new([hue, saturation, value]: [f64; 3]) -> HsvShift {
        let turn = (hue * f64::from(HUES)).rem_euclid(f64::from(HUES)) as i32;
        HsvShift {
            turn,
            saturation: (1.0 + saturation) as f32,
            value: (1.0 + value) as f32,
        }
    }

    /// Changes a row (or any run) of RGB pixels in place.
    pub fn apply(&self, pixels: &mut [u8]) {
        shift_all(*self, pixels);
    }

    #[inline(always)]
    fn shifted(self, rgb: [u8; 3]) -> [u8; 3] {
        let [r, g, b] = rgb.map(i32::from);
        let most = r.max(g).max(b);
        let spread = most - r.min(g).min(b);
        // Where a divisor would be 0 the dividend is 0 as well.
        let saturation = (spread * reciprocal(255 << 12, most.max(1)) + 2048) >> 12;
        let of_blue = r - g + 4 * spread;
        let of_green = if most == g { b - r + 2 * spread } else { of_blue };
        let angle = if most == r { g - b } else { of_green };
        let hue = (angle * reciprocal(30 << 12, spread.max(1)) + 2048) >> 12;

        let turned = (if hue < 0 { hue + HUES } else { hue }) + self.turn;
        let hue = if turned >= HUES { turned - HUES } else { turned };
        let saturation = truncated((saturation as f32 * self.saturation).min(255.0)) * (1.0 / 255.0);
        let value = truncated((most as f32 * self.value).min(255.0)) * (1.0 / 255.0);

        // In sixths of a turn: red is 0, green 2, blue 4, red again 6.
        let sixths = hue as f32 * (6.0f32 / 180.0);
        let red = ((sixths - 3.0).abs() - 1.0).clamp(0.0, 1.0);
        let green = (2.0 - (sixths - 2.0).abs()).clamp(0.0, 1.0);
        let blue = (2.0 - (sixths - 4.0).abs()).clamp(0.0, 1.0);
        [red, green, blue].map(|weight| {
            let channel = value * (1.0 - saturation * (1.0 - weight)) * 255.0;
            (truncated(channel) + MAGIC).to_bits() as u8
        })
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn shift_all(shift: HsvShift, pixels: &mut [u8]) {
    let mut planes = [[0u8; BLOCK]; 3];
    for block in pixels.chunks_mut(BLOCK * 3) {
        let (block, _) = block.as_chunks_mut::<3>();
        let [reds, greens, blues] = &mut planes;
        for (((pixel, r), g), b) in block.iter().zip(&mut *reds).zip(&mut *greens).zip(&mut *blues) {
            [*r, *g, *b] = *pixel;
        }
        for ((r, g), b) in reds.iter_mut().zip(&mut *greens).zip(&mut *blues) {
            [*r, *g, *b] = shift.shifted([*r, *g, *b]);
        }
        for (((pixel, r), g), b) in block.iter_mut().zip(&*reds).zip(&*greens).zip(&*blues) {
            *pixel = [*r, *g, *b];
        }
    }
}

/// 1.5 * 2^23. Adding it to a number of less than 2^22 rounds that to an integer, which then lies in the low bits.
/// Casts would do the same, but their range checks keep the compiler from making vectors.
const MAGIC: f32 = 12_582_912.0;

/// The integer part of a number of 0..2^22.
#[inline(always)]
fn truncated(x: f32) -> f32 {
    let nearest = (x + MAGIC) - MAGIC;
    if nearest > x { nearest - 1.0 } else { nearest }
}

/// `numerator / divisor` to the nearest integer, for the two numerators above and divisors of 1..=255, where f32 gives
/// the exact result.
#[inline(always)]
fn reciprocal(numerator: i32, divisor: i32) -> i32 {
    (numerator as f32 / divisor as f32 + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reciprocals_equal_the_integer_tables_they_replace() {
        for numerator in [255 << 12, 30 << 12] {
            for divisor in 1..=255 {
                let table = (f64::from(numerator) / f64::from(divisor)).round_ties_even() as i32;
                assert_eq!(reciprocal(numerator, divisor), table, "{numerator} / {divisor}");
            }
        }
    }

    #[test]
    fn truncation_is_exact_on_and_beside_integers() {
        for whole in 0..=255u16 {
            let whole = f32::from(whole);
            assert_eq!(truncated(whole), whole);
            assert_eq!(truncated(whole.next_up()), whole);
            assert_eq!(truncated((whole + 1.0).next_down()), whole);
            assert_eq!(truncated(whole + 0.5), whole);
        }
    }

    #[test]
    fn grey_stays_as_it_is_without_a_shift() {
        let greys: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
        let mut changed = greys.clone();
        HsvShift::new([0.0; 3]).apply(&mut changed);
        assert_eq!(changed, greys);
    }
}
