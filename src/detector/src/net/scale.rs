//! The five sizes of the network, and the widths and repeats that follow from them.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Size of the network: nano, small, medium, large, extra large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// 2.6 M parameters with 80 classes.
    N,
    /// 10.0 M parameters.
    S,
    /// 21.9 M parameters.
    M,
    /// 26.3 M parameters.
    L,
    /// 59.0 M parameters.
    X,
}

impl Scale {
    /// All scales, smallest first.
    pub const ALL: [Self; 5] = [Self::N, Self::S, Self::M, Self::L, Self::X];

    /// The letter that names it in `yolo26n`.
    pub fn letter(self) -> &'static str {
        match self {
            Self::N => "n",
            Self::S => "s",
            Self::M => "m",
            Self::L => "l",
            Self::X => "x",
        }
    }

    /// Channels of a layer that the generic description gives `generic` channels: capped, scaled, up to a multiple of 8.
    pub(super) fn channels(self, generic: i64) -> i64 {
        // The width factor in quarters keeps the arithmetic exact.
        let (quarters, cap) = match self {
            Self::N => (1, 1024),
            Self::S => (2, 1024),
            Self::M | Self::L => (4, 512),
            Self::X => (6, 512),
        };
        (generic.min(cap) * quarters + 31) / 32 * 8
    }

    /// Blocks where the generic description has two.
    pub(super) fn repeats(self) -> usize {
        match self {
            Self::N | Self::S | Self::M => 1,
            Self::L | Self::X => 2,
        }
    }

    /// Whether the two early stages take C3k blocks too, as the later ones do at every scale.
    pub(super) fn nests_early(self) -> bool {
        matches!(self, Self::M | Self::L | Self::X)
    }

    /// Channels of the head's three inputs (layers 16, 19, 22).
    pub(super) fn head_channels(self) -> [i64; 3] {
        [256, 512, 1024].map(|generic| self.channels(generic))
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

impl FromStr for Scale {
    type Err = Error;

    /// Reads `n` as well as `yolo26n`.
    fn from_str(text: &str) -> Result<Self> {
        let letter = text.strip_prefix("yolo26").unwrap_or(text);
        Self::ALL
            .into_iter()
            .find(|scale| scale.letter() == letter)
            .ok_or_else(|| Error::mismatch("scale", "one of n, s, m, l, x", format!("'{text}'")))
    }
}

/// What determines the shapes of all tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    scale: Scale,
    nc: i64,
    class_hidden: i64,
}

impl Config {
    /// A network of its own: the width of the class branches follows from scale and class count.
    ///
    /// # Errors
    /// No class, or more than 65535.
    pub fn new(scale: Scale, nc: usize) -> Result<Self> {
        let classes = i64::from(u16::try_from(nc).unwrap_or(0));
        let [narrowest, ..] = scale.head_channels();
        Self::checked(scale, classes, narrowest.max(classes.min(100)))
            .map_err(|_| Error::mismatch("config", "1 to 65535 classes", nc.to_string()))
    }

    /// A network with the class-branch width `class_hidden`: weights keep that of the network they grew from, so it is
    /// read from the tensors.
    ///
    /// # Errors
    /// A class count or a width out of range.
    pub fn with_class_hidden(scale: Scale, nc: usize, class_hidden: i64) -> Result<Self> {
        let classes = i64::from(u16::try_from(nc).unwrap_or(0));
        Self::checked(scale, classes, class_hidden)
    }

    fn checked(scale: Scale, nc: i64, class_hidden: i64) -> Result<Self> {
        if nc < 1 || !(1..=65_536).contains(&class_hidden) {
            return Err(Error::mismatch(
                "config",
                "1 to 65535 classes and a class branch of 1 to 65536 channels",
                format!("{nc} and {class_hidden}"),
            ));
        }
        Ok(Self {
            scale,
            nc,
            class_hidden,
        })
    }

    /// Size of the network.
    pub fn scale(self) -> Scale {
        self.scale
    }

    /// Number of classes.
    pub fn nc(self) -> usize {
        self.nc as usize
    }

    /// Channels inside the class branches.
    pub fn class_hidden(self) -> i64 {
        self.class_hidden
    }

    pub(super) fn classes(self) -> i64 {
        self.nc
    }

    /// Channels inside the box branches.
    pub(super) fn box_hidden(self) -> i64 {
        let [narrowest, ..] = self.scale.head_channels();
        (narrowest / 4).max(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_widths_resolve_as_the_table_says() {
        let generic = [64, 128, 256, 512, 1024];
        let table = [
            (Scale::N, [16, 32, 64, 128, 256]),
            (Scale::S, [32, 64, 128, 256, 512]),
            (Scale::M, [64, 128, 256, 512, 512]),
            (Scale::L, [64, 128, 256, 512, 512]),
            (Scale::X, [96, 192, 384, 768, 768]),
        ];
        for (scale, expected) in table {
            assert_eq!(
                generic.map(|channels| scale.channels(channels)),
                expected,
                "{scale}"
            );
        }
    }

    #[test]
    fn only_nano_widens_its_class_branch_with_the_class_count() {
        let hidden = |scale, nc| Config::new(scale, nc).unwrap().class_hidden();
        assert_eq!(
            (hidden(Scale::N, 3), hidden(Scale::N, 80), hidden(Scale::N, 500)),
            (64, 80, 100)
        );
        assert_eq!((hidden(Scale::S, 3), hidden(Scale::S, 80)), (128, 128));
        assert_eq!((hidden(Scale::M, 80), hidden(Scale::X, 80)), (256, 384));
    }

    #[test]
    fn class_counts_out_of_range_are_refused() {
        for nc in [0, 65_536, usize::MAX] {
            assert!(
                Config::new(Scale::N, nc)
                    .unwrap_err()
                    .to_string()
                    .contains(&nc.to_string())
            );
        }
        assert!(Config::with_class_hidden(Scale::N, 3, 0).is_err());
    }

    #[test]
    fn scales_read_with_and_without_the_family_name() {
        assert_eq!("m".parse::<Scale>().unwrap(), Scale::M);
        assert_eq!("yolo26x".parse::<Scale>().unwrap(), Scale::X);
        assert!(
            "yolo26q"
                .parse::<Scale>()
                .unwrap_err()
                .to_string()
                .contains("yolo26q")
        );
    }
}
