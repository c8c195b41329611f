//! Which code a run was trained by.

use serde::{Deserialize, Serialize};

/// The code of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Its version.
    pub version: String,
    /// What it was built from, where the build said so with `AZAION_REVISION`: a commit (`cargo xtask dist`), or the name of the
    /// sources in Nix's store.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_stands_behind_the_version_where_there_is_one() {
        let mut code = Code::of_this_build();
        code.revision = None;
        assert_eq!(code.to_string(), env!("CARGO_PKG_VERSION"));
        code.revision = Some("2f1c".into());
        assert_eq!(code.to_string(), concat!(env!("CARGO_PKG_VERSION"), " (2f1c)"));
    }
}
