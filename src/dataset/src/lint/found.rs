//! What linting tells.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It cannot be learned from, or is not what it was.
    Invalid,
    /// It can be, and may do harm.
    Smell,
}

/// What a finding is about, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The manifest cannot be used.
    Manifest,
    /// The manifest lists it, and it is gone.
    Vanished,
    /// It is not what the manifest says.
    Changed,
    /// It is there, and the manifest does not list it.
    Unlisted,
    /// The label is invalid (LBL-1).
    Label,
    /// The image does not decode to its end.
    Image,
    /// An image without a label, a label without an image, or a file that is neither.
    Alone,
    /// Images that belong together are on several sides of the division.
    Leakage,
    /// Two images have the same bytes.
    Duplicate,
    /// Two boxes are in one place.
    DoubleBox,
    /// A box is hardly there.
    TinyBox,
    /// A class that is judged and never learned, or learned and never judged.
    OneSided,
    /// A class with few boxes beside another with many.
    Imbalance,
}

impl Kind {
    /// How bad that is.
    #[must_use]
    pub fn grade(self) -> Grade {
        match self {
            Self::Manifest
            | Self::Vanished
            | Self::Changed
            | Self::Unlisted
            | Self::Label
            | Self::Image
            | Self::Alone => Grade::Invalid,
            Self::Leakage
            | Self::Duplicate
            | Self::DoubleBox
            | Self::TinyBox
            | Self::OneSided
            | Self::Imbalance => Grade::Smell,
        }
    }

    /// In words.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Manifest => "manifest that cannot be used",
            Self::Vanished => "vanished",
            Self::Changed => "changed since the dataset was formed",
            Self::Unlisted => "not in the manifest",
            Self::Label => "invalid label",
            Self::Image => "image that does not decode",
            Self::Alone => "image or label alone, or another file",
            Self::Leakage => "leakage between splits",
            Self::Duplicate => "same image twice",
            Self::DoubleBox => "boxes in one place",
            Self::TinyBox => "tiny boxes",
            Self::OneSided => "class on one side",
            Self::Imbalance => "class imbalance",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub kind: Kind,
    /// Where: an annotation's name, a file, a class.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl Finding {
    pub(super) fn new(kind: Kind, place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self {
            kind,
            place: place.to_string(),
            what: what.to_string(),
        }
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
pub struct Linted {
    /// What was looked at.
    pub place: PathBuf,
    /// Annotations with image and label.
    pub images: usize,
    /// Boxes in their labels.
    pub boxes: usize,
    /// How many findings there are of each kind.
    pub counts: BTreeMap<Kind, usize>,
    /// The findings, the worst kind first.
    pub findings: Vec<Finding>,
}
