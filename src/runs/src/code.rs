//! Which code a run was trained by.

use serde::{Deserialize, Serialize};

/// The code of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Its version.
    pub version: String,
    /// The commit it was built from, where the build knew: Nix and CI tell it as `AZAION_REVISION`.
    pub revision: Option<String>,
}

impl Code {
    /// That of this program.
    pub fn of_this_build() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: option_env!("AZAION_REVISION").map(str::to_owned),
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.version)?;
        match &self.revision {
            Some(revision) => write!(f, " ({revision})"),
            None => Ok(()),
        }
    }
}
