//! A machine made of a few small files: two wheels, a recipe for them, and a python3 whose pip copies from a folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use xtask::digest;
use xtask::libtorch::SetupError;
use xtask::libtorch::pins::{Keep, Recipe, Wheel};
use xtask::libtorch::setup::{Ready, Setup, Wheels};
use zip::write::SimpleFileOptions;

pub const TORCH: &str = "torch-2.13.0-any.whl";
pub const RUNTIME: &str = "runtime-13.0-any.whl";

/// A machine of its own: a cache, a workspace's link, a folder of wheels, and programs on PATH.
pub struct Machine {
    folder: tempfile::TempDir,
    pub recipe: Recipe,
}

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["index", "bin"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let header = "#pragma once\n".repeat(1000);
        let files = [
            ("torch/include/ATen/ATen.h", header.as_str()),
            ("torch/lib/libtorch.so", "t"),
            ("torch/version.py", "x"),
        ];
        let torch = wheel(&folder.path().join("index").join(TORCH), &files);
        let runtime = wheel(
            &folder.path().join("index").join(RUNTIME),
            &[("nvidia/libcudart.so.13", "cuda")],
        );
        // What `find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` gives in the right tree.
        let lines: String = [
            ("build-version", "2.13.0\n"),
            ("include/ATen/ATen.h", &header),
            ("lib/libcudart.so.13", "cuda"),
            ("lib/libtorch.so", "t"),
        ]
        .iter()
        .map(|(path, text)| format!("{}  {path}\n", digest::of_bytes(text.as_bytes())))
        .collect();
        let recipe = Recipe {
            version: "2.13.0".into(),
            wheels: vec![
                Wheel {
                    project: "runtime".into(),
                    version: "13.0".into(),
                    file: RUNTIME.into(),
                    bytes: 1,
                    sha256: runtime,
                    keep: vec![Keep::File {
                        from: "nvidia/libcudart.so.13",
                        to: "lib/libcudart.so.13",
                    }],
                },
                Wheel {
                    project: "torch".into(),
                    version: "2.13.0".into(),
                    file: TORCH.into(),
                    bytes: 1,
                    sha256: torch,
                    keep: vec![
                        Keep::Folder {
                            from: "torch/include/",
                            to: "include/",
                        },
                        Keep::File {
                            from: "torch/lib/libtorch.so",
                            to: "lib/libtorch.so",
                        },
                    ],
                },
            ],
            files: 4,
            bytes: 1,
            digest: digest::of_bytes(lines.as_bytes()),
        };
        let machine = Self { folder, recipe };
        machine.python("");
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn tree(&self) -> PathBuf {
        self.path("cache/libtorch-2.13.0-cpu")
    }

    /// A python3 whose `-m pip download … -d DIR … NAME==VERSION` runs `before`, then copies from the index.
    pub fn python(&self, before: &str) {
        let script = format!(
            r#"#!/bin/sh
[ "$3" = --version ] && exit 0
while [ $# -gt 1 ]; do [ "$1" = -d ] && dir=$2; shift; done
project=${{1%%==*}}
echo "$project" >> '{asked}'
{before}
cp '{index}'/"$project"-* "$dir"/
"#,
            asked = self.path("asked").display(),
            index = self.path("index").display(),
        );
        let python = self.path("bin/python3");
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The projects that pip was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        fs::read_to_string(self.path("asked"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub fn set_up(&self, wheels: Wheels) -> Result<Ready, SetupError> {
        let path = self.path("bin").into_os_string();
        let env = |name: &str| (name == "PATH").then(|| path.clone());
        let (cache, link) = (self.path("cache"), self.path(".libtorch"));
        Setup {
            recipe: &self.recipe,
            cache,
            link,
            wheels,
            env: &env,
        }
        .run()
    }

    pub fn set_up_from_index(&self) -> Result<Ready, SetupError> {
        self.set_up(Wheels::From(self.path("index")))
    }
}

/// A wheel with these files; gives its SHA-256.
pub fn wheel(path: &Path, files: &[(&str, &str)]) -> String {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    zip.add_directory("torch/include/", SimpleFileOptions::default())
        .unwrap();
    for (name, text) in files {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        zip.start_file(*name, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    digest::of_file(path, |_| {}).unwrap()
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn assert_says(error: &SetupError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}
