//! Which tree a verb is about.

use anyhow::{Result, bail};
use clap::Args;
use service::Config;
use std::path::PathBuf;

/// Where the tree is.
#[derive(Debug, Clone, Args)]
pub struct TreeArgs {
    /// The configuration, which says where the tree is.
    #[arg(long, value_name = "FILE", default_value = queue::verbs::CONFIG, conflicts_with = "root")]
    pub config: PathBuf,
    /// The root of the tree; no configuration is needed then.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

impl TreeArgs {
    /// Its root, which must be a folder.
    ///
    /// # Errors
    /// The configuration cannot be used, or there is no such folder.
    pub fn root(&self) -> Result<PathBuf> {
        let root = match &self.root {
            Some(root) => root.clone(),
            None => Config::load(&self.config)?.root_dir,
        };
        if !root.is_dir() {
            bail!(
                "there is no tree in {}: name it with --root, or in the configuration",
                root.display()
            );
        }
        Ok(root)
    }
}
