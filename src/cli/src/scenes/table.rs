//! What the fruit lies on, and the light that falls on it.

use std::f32::consts::TAU;

use super::Draw;
use super::paint::{Canvas, mix, smooth_step};

/// A table top: two colours in a pattern, roughened by noise.
pub(super) struct Table {
    pattern: Pattern,
    light: [f32; 3],
    dark: [f32; 3],
    /// Direction of the pattern.
    along: [f32; 2],
    /// Pixels of one repetition.
    period: f32,
    roughness: f32,
    noise: u32,
}

#[derive(Clone, Copy)]
enum Pattern {
    /// One colour fading into the other.
    Gradient,
    /// Planks with a grain.
    Wood,
    /// A woven cloth of squares.
    Cloth,
    /// Stripes.
    Stripes,
    /// Speckled stone.
    Stone,
}

impl Pattern {
    /// Size of its unevenness, in pixels.
    const fn grain(self) -> f32 {
        match self {
            Self::Gradient => 60.0,
            Self::Wood => 7.0,
            Self::Cloth | Self::Stripes | Self::Stone => 45.0,
        }
    }
}

const PATTERNS: [Pattern; 5] = [
    Pattern::Gradient,
    Pattern::Wood,
    Pattern::Cloth,
    Pattern::Stripes,
    Pattern::Stone,
];

/// Light and dark of a table.
const COLOURS: [([f32; 3], [f32; 3]); 8] = [
    ([0.80, 0.64, 0.46], [0.62, 0.45, 0.29]), // oak
    ([0.55, 0.40, 0.28], [0.36, 0.24, 0.16]), // walnut
    ([0.90, 0.88, 0.84], [0.74, 0.72, 0.70]), // plaster
    ([0.93, 0.93, 0.95], [0.60, 0.70, 0.84]), // blue cloth
    ([0.95, 0.92, 0.88], [0.80, 0.52, 0.50]), // red cloth
    ([0.62, 0.64, 0.66], [0.42, 0.44, 0.47]), // slate
    ([0.50, 0.58, 0.60], [0.30, 0.38, 0.42]), // dark teal
    ([0.88, 0.82, 0.72], [0.70, 0.62, 0.52]), // linen
];

impl Table {
    pub fn draw(draw: &mut Draw) -> Self {
        let (light, dark) = *draw.pick(&COLOURS);
        let angle = draw.real(0.0, TAU);
        Self {
            pattern: *draw.pick(&PATTERNS),
            light: draw.colour(light, 0.05),
            dark: draw.colour(dark, 0.05),
            along: [angle.cos(), angle.sin()],
            period: draw.real(34.0, 110.0),
            roughness: draw.real(0.03, 0.10),
            noise: draw.whole(0, u64::from(u32::MAX)) as u32,
        }
    }

    pub fn paint(&self, canvas: &mut Canvas) {
        let width = canvas.width;
        let diagonal = (canvas.width.pow(2) as f32 + canvas.height.pow(2) as f32).sqrt();
        let mut roughness = Cloud::new(14.0, self.noise);
        let mut grain = Cloud::new(self.pattern.grain(), !self.noise);
        for (index, colour) in canvas.colours.iter_mut().enumerate() {
            let (x, y) = ((index % width) as f32, (index / width) as f32);
            let u = x * self.along[0] + y * self.along[1];
            let v = y * self.along[0] - x * self.along[1];
            let t = self.shade(u, v, diagonal, &mut grain);
            let rough = 1.0 + self.roughness * (2.0 * roughness.at(x, y) - 1.0);
            *colour = mix(self.light, self.dark, t.clamp(0.0, 1.0)).map(|channel| channel * rough);
        }
    }

    /// How dark the pattern is at (u, v), from 0 to 1.
    fn shade(&self, u: f32, v: f32, diagonal: f32, grain: &mut Cloud) -> f32 {
        let wave = |x: f32| 0.5 - 0.5 * (x / self.period * TAU).cos();
        match self.pattern {
            Pattern::Gradient => 0.5 + u / diagonal + 0.15 * (grain.at(u, v) - 0.5),
            Pattern::Wood => {
                let across = v / self.period;
                let plank = across.floor();
                let gap = 1.0 - smooth_step(0.0, 0.035, (across - plank).min(plank + 1.0 - across));
                let tone = hash(plank as i32, 7, self.noise);
                0.15 + 0.55 * grain.at(u * 0.06 + plank * 37.0, v * 0.9) + 0.25 * tone + 0.7 * gap
            }
            Pattern::Cloth => {
                let step = |x: f32| smooth_step(0.42, 0.58, wave(x));
                0.45 * step(u) + 0.45 * step(v)
            }
            Pattern::Stripes => smooth_step(0.35, 0.65, wave(v)) * 0.8,
            Pattern::Stone => {
                let speckle = hash(u as i32 / 2, v as i32 / 2, self.noise);
                0.9 * grain.at(u, v) + if speckle > 0.93 { 0.35 } else { 0.0 }
            }
        }
    }
}

/// Soft noise from 0 to 1: three octaves of random values on grids, smoothly between.
struct Cloud {
    octaves: [Octave; 3],
}

/// One grid, with the cell that was looked at last: neighbouring pixels mostly share it.
struct Octave {
    scale: f32,
    weight: f32,
    seed: u32,
    cell: [i32; 2],
    corners: [f32; 4],
}

impl Cloud {
    /// The coarsest grid has cells of `size` pixels, each further one half of that.
    fn new(size: f32, seed: u32) -> Self {
        let octave = |n: u32, weight| Octave {
            scale: (1u32 << n) as f32 / size,
            weight,
            seed: seed ^ n,
            cell: [i32::MIN; 2],
            corners: [0.0; 4],
        };
        Self {
            octaves: [octave(0, 0.57), octave(1, 0.29), octave(2, 0.14)],
        }
    }

    fn at(&mut self, x: f32, y: f32) -> f32 {
        self.octaves
            .iter_mut()
            .map(|octave| octave.weight * octave.at(x, y))
            .sum()
    }
}

impl Octave {
    fn at(&mut self, x: f32, y: f32) -> f32 {
        // Shifted to be positive, where cutting off the fraction is rounding down.
        const SHIFT: f32 = 4096.0;
        let (x, y) = (x * self.scale + SHIFT, y * self.scale + SHIFT);
        let cell = [x as i32, y as i32];
        if cell != self.cell {
            let [cx, cy] = cell;
            self.cell = cell;
            self.corners = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| hash(cx + dx, cy + dy, self.seed));
        }
        let [a, b, c, d] = self.corners;
        let (tx, ty) = (
            smooth_step(0.0, 1.0, x - cell[0] as f32),
            smooth_step(0.0, 1.0, y - cell[1] as f32),
        );
        let (top, bottom) = (a + (b - a) * tx, c + (d - c) * tx);
        top + (bottom - top) * ty
    }
}

/// A number from 0 to 1 that looks random, for a point of a grid.
pub(super) fn hash(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77) ^ seed;
    // The finaliser of MurmurHash3.
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    (h >> 8) as f32 / (1u32 << 24) as f32
}

/// Where the light comes from and what the camera makes of it.
#[derive(Clone, Copy)]
pub(super) struct Light {
    /// Unit vector towards the light; z is towards the camera, y downwards.
    pub direction: [f32; 3],
    exposure: f32,
    /// Warm or cold.
    tint: [f32; 3],
    vignette: f32,
    grain: f32,
}

impl Light {
    pub fn draw(draw: &mut Draw) -> Self {
        let (angle, height) = (draw.real(0.0, TAU), draw.real(0.55, 0.9));
        let flat = (1.0 - height * height).sqrt();
        let warmth = draw.real(-0.07, 0.07);
        Self {
            direction: [angle.cos() * flat, angle.sin() * flat, height],
            exposure: draw.real(0.72, 1.12),
            tint: [1.0 + warmth, 1.0, 1.0 - warmth],
            vignette: draw.real(0.0, 0.4),
            grain: draw.real(0.0, 0.025),
        }
    }

    /// The photograph: exposure, tint, dark corners, grain, 8 bits.
    pub fn develop(&self, canvas: &Canvas, draw: &mut Draw) -> Vec<u8> {
        let seed = draw.whole(0, u64::from(u32::MAX)) as u32;
        let (half_width, half_height) = (canvas.width as f32 / 2.0, canvas.height as f32 / 2.0);
        let mut rgb = Vec::with_capacity(canvas.colours.len() * 3);
        for (index, colour) in canvas.colours.iter().enumerate() {
            let (x, y) = (index % canvas.width, index / canvas.width);
            let (dx, dy) = (x as f32 / half_width - 1.0, y as f32 / half_height - 1.0);
            let light = self.exposure * (1.0 - self.vignette * (dx * dx + dy * dy) / 2.0);
            let grain = self.grain * (hash(x as i32, y as i32, seed) * 2.0 - 1.0);
            rgb.extend((0..3).map(|i| ((colour[i] * self.tint[i] * light + grain) * 255.0 + 0.5) as u8));
        }
        rgb
    }
}
