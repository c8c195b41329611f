//! The fruit: each a shape given by its signed distance, with colours and a rounded look.
//!
//! A shape lives in its own coordinates, about -1 to 1, y downwards; its distance is negative inside. From the
//! distance come the anti-aliased edge, the shadow, and (by its slope) how the surface is turned to the light.

use std::f32::consts::{PI, TAU};

use super::Draw;
use super::paint::{mix, smooth_step};
use super::table::{Light, hash};

type Colour = [f32; 3];
type Point = [f32; 2];

/// The classes, numbered as in the class list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Apple,
    Banana,
    Pear,
    Grapes,
    Starfruit,
    Melon,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Apple,
        Self::Banana,
        Self::Pear,
        Self::Grapes,
        Self::Starfruit,
        Self::Melon,
    ];

    /// The colours that it comes in.
    const fn colours(self) -> [Colour; 4] {
        match self {
            Self::Apple => [
                [0.78, 0.12, 0.12],
                [0.70, 0.16, 0.14],
                [0.52, 0.72, 0.20],
                [0.88, 0.68, 0.20],
            ],
            Self::Banana => [
                [0.95, 0.82, 0.22],
                [0.93, 0.77, 0.18],
                [0.66, 0.78, 0.24],
                [0.90, 0.78, 0.36],
            ],
            Self::Pear => [
                [0.70, 0.76, 0.26],
                [0.58, 0.70, 0.24],
                [0.86, 0.74, 0.30],
                [0.72, 0.46, 0.22],
            ],
            Self::Grapes => [
                [0.38, 0.16, 0.46],
                [0.28, 0.14, 0.38],
                [0.58, 0.70, 0.30],
                [0.60, 0.16, 0.24],
            ],
            Self::Starfruit => [
                [0.94, 0.78, 0.16],
                [0.92, 0.62, 0.14],
                [0.76, 0.80, 0.24],
                [0.96, 0.86, 0.40],
            ],
            Self::Melon => [
                [0.90, 0.26, 0.28],
                [0.88, 0.32, 0.30],
                [0.94, 0.56, 0.32],
                [0.94, 0.80, 0.40],
            ],
        }
    }

    /// How far it may be turned from upright.
    const fn turn(self) -> f32 {
        match self {
            Self::Banana | Self::Starfruit => PI,
            Self::Apple | Self::Pear | Self::Grapes | Self::Melon => 0.7,
        }
    }
}

/// One fruit at its place.
pub(super) struct Fruit {
    kind: Kind,
    place: Point,
    /// Pixels of one unit, across and along.
    scale: Point,
    /// Cosine and sine of its turn.
    turn: Point,
    base: Colour,
    speckles: u32,
}

impl Fruit {
    pub fn draw(kind: Kind, place: Point, radius: f32, draw: &mut Draw) -> Self {
        let angle = draw.real(-kind.turn(), kind.turn());
        let colour = *draw.pick(&kind.colours());
        Self {
            kind,
            place,
            scale: [radius * draw.real(0.9, 1.1), radius * draw.real(0.9, 1.1)],
            turn: [angle.cos(), angle.sin()],
            base: draw.colour(colour, 0.05),
            speckles: draw.whole(0, u64::from(u32::MAX)) as u32,
        }
    }

    /// The columns and the rows that it and its shadow may touch, also outside the image.
    pub fn reach(&self) -> [[i32; 2]; 2] {
        let far = self.scale[0].max(self.scale[1]) * 1.6;
        self.place
            .map(|at| [(at - far).floor() as i32, (at + far).ceil() as i32])
    }

    /// How much of the pixel around `at` it covers, from 0 to 1.
    pub fn coverage(&self, at: Point) -> f32 {
        let pixels = self.distance(self.local(at)) * self.scale[0].min(self.scale[1]);
        (0.5 - pixels).clamp(0.0, 1.0)
    }

    /// How dark its shadow is at `at`, from 0 to 1.
    pub fn shadow(&self, at: Point, light: Light) -> f32 {
        const LENGTH: f32 = 0.28;
        let radius = self.scale[0].min(self.scale[1]);
        let [lx, ly, _] = light.direction;
        let caster = [at[0] + lx * LENGTH * radius, at[1] + ly * LENGTH * radius];
        0.42 * (1.0 - smooth_step(-0.18, 0.22, self.body(self.local(caster))))
    }

    /// Its colour at a point that it covers.
    pub fn colour(&self, at: Point, light: Light) -> Colour {
        let local = self.local(at);
        if self.body(local) > 0.02 {
            let is_leaf = self.kind == Kind::Apple && leaf(local) < stem(local, APPLE_STEM);
            return if is_leaf {
                [0.28, 0.46, 0.16]
            } else {
                [0.34, 0.24, 0.14]
            };
        }
        let speckle =
            1.0 + 0.10 * (hash((local[0] * 24.0) as i32, (local[1] * 24.0) as i32, self.speckles) - 0.5);
        let skin = self.skin(local).map(|channel| channel * speckle);
        if self.kind == Kind::Melon {
            return skin;
        }
        let [nx, ny, nz] = self.normal(local);
        // The light in the fruit's own coordinates.
        let [lx, ly, lz] = light.direction;
        let [c, s] = self.turn;
        let facing = nx * (lx * c + ly * s) + ny * (ly * c - lx * s) + nz * lz;
        let shine = 0.45 * facing.max(0.0).powi(24);
        skin.map(|channel| channel * (0.42 + 0.68 * facing.max(0.0)) + shine)
    }

    /// The skin without light.
    fn skin(&self, p: Point) -> Colour {
        match self.kind {
            Kind::Apple => {
                let blush = smooth_step(0.2, 0.9, distance(p, [0.35, 0.25]));
                mix(self.base, mix(self.base, [0.92, 0.80, 0.36], 0.45), blush * 0.6)
            }
            Kind::Banana => mix(self.base, [0.30, 0.22, 0.12], smooth_step(0.80, 0.92, p[0].abs())),
            Kind::Pear => mix(
                self.base,
                [0.80, 0.42, 0.24],
                0.5 * smooth_step(0.2, 0.9, p[0] + 0.4 * p[1]),
            ),
            Kind::Grapes => self.base,
            Kind::Starfruit => {
                // A ridge along each arm.
                let fold = fold_to_arm(p);
                mix(
                    self.base,
                    [0.99, 0.94, 0.66],
                    0.55 * (1.0 - smooth_step(0.0, 0.10, fold[1])),
                )
            }
            Kind::Melon => self.slice(p),
        }
    }

    /// Flesh, pale rim, rind and seeds of a slice.
    fn slice(&self, p: Point) -> Colour {
        let from_centre = distance(p, MELON_CENTRE);
        let seeds = (0..5).map(|i| {
            let angle = PI * (0.14 + 0.18 * i as f32);
            let reach = if i % 2 == 0 { 0.52 } else { 0.40 };
            distance(p, [angle.cos() * reach, MELON_CENTRE[1] + angle.sin() * reach])
        });
        let seed = seeds.fold(f32::MAX, f32::min);
        let flesh = mix(
            self.base,
            [0.20, 0.10, 0.08],
            1.0 - smooth_step(0.045, 0.065, seed),
        );
        let rim = mix(flesh, [0.90, 0.93, 0.78], smooth_step(0.76, 0.80, from_centre));
        mix(rim, [0.18, 0.42, 0.18], smooth_step(0.86, 0.89, from_centre))
    }

    /// The signed distance to the whole of it.
    fn distance(&self, p: Point) -> f32 {
        match self.kind {
            Kind::Apple => self.body(p).min(stem(p, APPLE_STEM)).min(leaf(p)),
            Kind::Pear => self.body(p).min(stem(p, PEAR_STEM)),
            _ => self.body(p),
        }
    }

    /// The signed distance without stem and leaf.
    fn body(&self, p: Point) -> f32 {
        match self.kind {
            Kind::Apple => {
                let halves = smooth_min(
                    circle(p, [-0.28, 0.06], 0.60),
                    circle(p, [0.28, 0.06], 0.60),
                    0.22,
                );
                smooth_max(halves, -circle(p, [0.0, -0.86], 0.30), 0.18)
            }
            Kind::Banana => smooth_max(circle(p, [0.0, -0.42], 1.0), -circle(p, [0.0, -0.98], 1.16), 0.10),
            Kind::Pear => smooth_min(circle(p, [0.0, 0.34], 0.58), circle(p, [0.0, -0.40], 0.30), 0.42),
            Kind::Grapes => {
                let (berry, _) = nearest_berry(p);
                berry
            }
            Kind::Starfruit => star(p),
            Kind::Melon => smooth_max(circle(p, MELON_CENTRE, 0.95), MELON_CENTRE[1] - p[1], 0.05),
        }
    }

    /// How the surface is turned at a point: across, down, towards the camera.
    fn normal(&self, p: Point) -> [f32; 3] {
        if self.kind == Kind::Grapes {
            let (_, centre) = nearest_berry(p);
            let [x, y] = [(p[0] - centre[0]) / BERRY, (p[1] - centre[1]) / BERRY];
            return [x, y, (1.0 - x * x - y * y).max(0.0).sqrt()];
        }
        const STEP: f32 = 0.02;
        const ROUND: f32 = 0.55;
        let here = self.body(p);
        let slope = [
            (self.body([p[0] + STEP, p[1]]) - here) / STEP,
            (self.body([p[0], p[1] + STEP]) - here) / STEP,
        ];
        // At the edge the surface is seen from its side, and from ROUND inwards it faces the camera.
        let side = 1.0 - (-here / ROUND).clamp(0.0, 1.0);
        [
            slope[0] * side,
            slope[1] * side,
            (1.0 - side * side).max(0.0).sqrt(),
        ]
    }

    /// A point of the image in the fruit's own coordinates.
    fn local(&self, at: Point) -> Point {
        let [x, y] = [at[0] - self.place[0], at[1] - self.place[1]];
        let [c, s] = self.turn;
        [(x * c + y * s) / self.scale[0], (y * c - x * s) / self.scale[1]]
    }
}

/// Where the stems leave the body.
const APPLE_STEM: f32 = -0.62;
const PEAR_STEM: f32 = -0.68;
const MELON_CENTRE: Point = [0.0, -0.42];
const BERRY: f32 = 0.27;
/// Rows of berries from the top: height, and how many.
const BERRY_ROWS: [(f32, i32); 4] = [(-0.62, 4), (-0.22, 3), (0.18, 2), (0.58, 1)];

fn nearest_berry(p: Point) -> (f32, Point) {
    let mut best = (f32::MAX, [0.0; 2]);
    for (y, count) in BERRY_ROWS {
        for i in 0..count {
            let centre = [(i as f32 - (count - 1) as f32 / 2.0) * 0.44, y];
            let berry = circle(p, centre, BERRY);
            if berry < best.0 {
                best = (berry, centre);
            }
        }
    }
    best
}

/// The point mirrored and turned into the half of one arm: the arm's ridge is the x axis, y is not negative.
fn fold_to_arm(p: Point) -> Point {
    const ARM: f32 = TAU / 5.0;
    let angle = p[0].atan2(-p[1]);
    let folded = (angle - (angle / ARM).round() * ARM).abs();
    let reach = length(p[0], p[1]);
    [reach * folded.cos(), reach * folded.sin()]
}

/// A star of five arms, slightly rounded.
fn star(p: Point) -> f32 {
    const TIP: Point = [0.92, 0.0];
    const ROUNDED: f32 = 0.06;
    // The notch between two arms, 0.46 from the centre.
    const NOTCH: Point = [0.372_15, 0.270_38];
    let q = fold_to_arm(p);
    let edge = [NOTCH[0] - TIP[0], NOTCH[1] - TIP[1]];
    let to = [q[0] - TIP[0], q[1] - TIP[1]];
    let along =
        ((to[0] * edge[0] + to[1] * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1])).clamp(0.0, 1.0);
    let away = length(to[0] - edge[0] * along, to[1] - edge[1] * along);
    let outside = edge[0] * to[1] - edge[1] * to[0] < 0.0;
    (if outside { away } else { -away }) - ROUNDED
}

fn stem(p: Point, top: f32) -> f32 {
    const LENGTH: f32 = 0.30;
    let along = ((top - p[1]) / LENGTH).clamp(0.0, 1.0);
    distance(p, [0.05 * along, top - LENGTH * along]) - 0.05
}

/// A leaf to the right of the stem: where two circles overlap.
fn leaf(p: Point) -> f32 {
    smooth_max(
        circle(p, [0.09, -1.02], 0.30),
        circle(p, [0.35, -0.70], 0.30),
        0.03,
    )
}

fn circle(p: Point, centre: Point, radius: f32) -> f32 {
    distance(p, centre) - radius
}

fn distance(a: Point, b: Point) -> f32 {
    length(a[0] - b[0], a[1] - b[1])
}

/// Not `hypot`, which is slower and differs between mathematical libraries.
fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// The lesser of two distances, blended where they are within `k` of each other.
fn smooth_min(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k / 4.0
}

fn smooth_max(a: f32, b: f32, k: f32) -> f32 {
    -smooth_min(-a, -b, k)
}
