//! The canvas: colours as real numbers, and to which fruit each pixel belongs.

use super::fruit::Fruit;
use super::table::Light;

/// A picture being painted.
pub(super) struct Canvas {
    pub width: usize,
    pub height: usize,
    /// RGB from 0 to 1, row by row.
    pub colours: Vec<[f32; 3]>,
    /// For each pixel the number of the fruit in front, from 1; 0 for the table.
    pub owners: Vec<u8>,
}

/// The pixels that a fruit would take.
pub(super) struct Outline {
    /// Those inside the canvas.
    pub pixels: Vec<usize>,
    /// Their part of the whole fruit.
    pub inside: f32,
}

/// A box of pixels; right and bottom are one past the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Canvas {
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            colours: vec![[0.0; 3]; width * height],
            owners: vec![0; width * height],
        }
    }

    /// Which pixels the fruit would take.
    pub fn outline(&self, fruit: &Fruit) -> Outline {
        let (mut pixels, mut all) = (Vec::new(), 0usize);
        let [[left, right], [top, bottom]] = fruit.reach();
        for y in top..bottom {
            for x in left..right {
                if fruit.coverage([x as f32 + 0.5, y as f32 + 0.5]) < 0.5 {
                    continue;
                }
                all += 1;
                pixels.extend(self.index(x, y));
            }
        }
        let inside = pixels.len() as f32 / all.max(1) as f32;
        Outline { pixels, inside }
    }

    /// Paints a shadow and the fruit over what is there.
    pub fn paint(&mut self, fruit: &Fruit, light: Light, owner: u8) {
        let [[left, right], [top, bottom]] = fruit.reach();
        for y in top..bottom {
            for x in left..right {
                let Some(index) = self.index(x, y) else { continue };
                let at = [x as f32 + 0.5, y as f32 + 0.5];
                let shade = 1.0 - fruit.shadow(at, light);
                let coverage = fruit.coverage(at);
                let below = self.colours[index].map(|channel| channel * shade);
                self.colours[index] = if coverage > 0.0 {
                    mix(below, fruit.colour(at, light), coverage)
                } else {
                    below
                };
                if coverage >= 0.5 {
                    self.owners[index] = owner;
                }
            }
        }
    }

    /// How many pixels of each of the first `count` fruits are in front.
    pub fn visible(&self, count: usize) -> Vec<usize> {
        let mut visible = vec![0; count];
        for owner in self
            .owners
            .iter()
            .filter_map(|&owner| usize::from(owner).checked_sub(1))
        {
            if let Some(pixels) = visible.get_mut(owner) {
                *pixels += 1;
            }
        }
        visible
    }

    /// The box around the visible pixels of each of the first `count` fruits.
    pub fn bounds(&self, count: usize) -> Vec<Bounds> {
        let nothing = Bounds {
            left: usize::MAX,
            top: usize::MAX,
            right: 0,
            bottom: 0,
        };
        let mut all = vec![nothing; count];
        for (index, &owner) in self.owners.iter().enumerate() {
            let Some(bounds) = usize::from(owner)
                .checked_sub(1)
                .and_then(|owner| all.get_mut(owner))
            else {
                continue;
            };
            let (x, y) = (index % self.width, index / self.width);
            bounds.left = bounds.left.min(x);
            bounds.top = bounds.top.min(y);
            bounds.right = bounds.right.max(x + 1);
            bounds.bottom = bounds.bottom.max(y + 1);
        }
        all
    }

    fn index(&self, x: i32, y: i32) -> Option<usize> {
        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
        (x < self.width && y < self.height).then(|| y * self.width + x)
    }
}

/// `a` where `t` is 0, `b` where it is 1.
pub(super) fn mix(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// 0 up to `low`, 1 from `high` on, a smooth curve between.
pub(super) fn smooth_step(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
