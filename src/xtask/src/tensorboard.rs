//! A Python interpreter with TensorBoard in it, which reads the events of a run: the one that TENSORBOARD_PYTHON names, or a
//! virtual environment in the user's cache. Every package that comes with it is pinned.

use std::path::PathBuf;

use crate::python::{Environment, PythonError};
use crate::workspace::Env;

static TENSORBOARD: Environment = Environment {
    what: "TensorBoard",
    folder: "tensorboard",
    variable: "TENSORBOARD_PYTHON",
    packages: &[
        ("tensorboard", "2.21.0"),
        ("numpy", "2.4.6"),
        ("protobuf", "7.36.2"),
        ("pillow", "13.0.0"),
        ("grpcio", "1.85.3"),
        ("absl-py", "2.5.1"),
        ("Markdown", "3.11.3"),
        ("MarkupSafe", "3.0.4"),
        ("packaging", "26.4"),
        ("tensorboard-data-server", "0.7.2"),
        ("typing_extensions", "4.16.0"),
        ("Werkzeug", "3.1.9"),
    ],
    size: "about 180 MB",
};

/// The interpreter; makes the environment where it is missing, with lines of progress on stderr.
///
/// # Errors
/// [`PythonError`].
pub fn interpreter(env: Env<'_>) -> Result<PathBuf, PythonError> {
    TENSORBOARD.interpreter(env)
}

/// The interpreter if it is there already: nothing is made.
#[must_use]
pub fn find(env: Env<'_>) -> Option<PathBuf> {
    TENSORBOARD.find(env)
}
