//! A Python interpreter with `rstream`, the client of RabbitMQ Streams that producers in Python use: the one that
//! RSTREAM_PYTHON names, or a virtual environment in the user's cache. The tests of the broker publish with it
//! (tests/broker/), the benchmarks of the queue read with it.

use std::path::PathBuf;

use crate::python::{Environment, PythonError};
use crate::workspace::Env;

static RSTREAM: Environment = Environment {
    what: "Python's rstream",
    folder: "rstream",
    variable: "RSTREAM_PYTHON",
    packages: &[("rstream", "1.1.1"), ("msgpack", "1.2.4")],
    size: "about 20 MB",
};

/// The interpreter; makes the environment where it is missing, with lines of progress on stderr.
///
/// # Errors
/// [`PythonError`].
pub fn interpreter(env: Env<'_>) -> Result<PathBuf, PythonError> {
    RSTREAM.interpreter(env)
}

/// The interpreter if it is there already: nothing is made.
#[must_use]
pub fn find(env: Env<'_>) -> Option<PathBuf> {
    RSTREAM.find(env)
}
