//! A Python interpreter with the reference package in it: the one that REFERENCE_PYTHON names, or a virtual environment
//! in the user's cache that is made when it is first needed. The package is run, never read (docs/CLEANROOM.md).

use std::path::PathBuf;

use crate::python::{Environment, PythonError};
use crate::workspace::Env;

/// What has to be installed. OpenCV because its versions round differently.
static REFERENCE: Environment = Environment {
    what: "the reference package",
    folder: "reference",
    variable: "REFERENCE_PYTHON",
    packages: &[
        ("ultralytics", "8.4.190"),
        ("torch", "2.13.0"),
        ("opencv-python", "5.0.0.93"),
        ("safetensors", ""),
        ("onnx", ""),
        ("onnxruntime", ""),
    ],
    size: "about 6 GB",
};

/// The interpreter; makes the environment where it is missing, with lines of progress on stderr.
///
/// # Errors
/// [`PythonError`].
pub fn interpreter(env: Env<'_>) -> Result<PathBuf, PythonError> {
    REFERENCE.interpreter(env)
}

/// The interpreter if it is there already: nothing is made.
#[must_use]
pub fn find(env: Env<'_>) -> Option<PathBuf> {
    REFERENCE.find(env)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    use crate::python::COMPLETE;

    /// A shell script in the place of Python.
    fn python(script: &str) -> (tempfile::TempDir, Result<PathBuf, PythonError>) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("python");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = interpreter(&|name| (name == "REFERENCE_PYTHON").then(|| program.clone().into()));
        (dir, found)
    }

    #[test]
    fn a_named_interpreter_with_the_right_versions_is_taken() {
        let (_dir, found) = python("printf '8.4.190\\n2.13.0+cu130\\n5.0.0.93\\n0.6\\n1.22\\n1.30\\n'");
        assert!(found.unwrap().ends_with("python"));
    }

    #[test]
    fn another_version_is_named_with_the_one_that_is_needed() {
        let (_dir, found) = python("printf '8.4.190\\n2.12.1\\n5.0.0.93\\n0.6\\n1.22\\n1.30\\n'");
        let text = found.unwrap_err().to_string();
        assert!(text.contains("torch 2.12.1, 2.13.0 is needed"), "{text}");
    }

    #[test]
    fn an_interpreter_without_the_package_says_what_it_said() {
        let (_dir, found) = python("echo 'PackageNotFoundError: ultralytics' >&2; exit 1");
        let text = found.unwrap_err().to_string();
        assert!(
            text.contains("PackageNotFoundError") && text.contains("ultralytics==8.4.190"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_interpreter_is_an_error_that_names_it() {
        let text = interpreter(&|_| Some("/nowhere/python".into()))
            .unwrap_err()
            .to_string();
        assert!(text.contains("REFERENCE_PYTHON=/nowhere/python"), "{text}");
    }

    #[test]
    fn an_unfinished_environment_is_not_taken() {
        let cache = tempfile::tempdir().unwrap();
        let bin = cache.path().join("reference/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("python"), "").unwrap();
        let env = |name: &str| (name == "AZAION_CACHE").then(|| cache.path().as_os_str().to_owned());
        // Without a PATH nothing can be made, so it is an error and no half environment.
        assert!(matches!(interpreter(&env), Err(PythonError::Tool(_))));
        std::fs::write(
            cache.path().join("reference").join(COMPLETE),
            REFERENCE.wanted().join("\n"),
        )
        .unwrap();
        assert_eq!(interpreter(&env).unwrap(), bin.join("python"));
    }
}
