//! Which wheels, and what is kept of them. Everything here is a fact that was measured: the file names and SHA-256 are
//! those of the published wheels, the digest is that of the tree which tch 0.26.0 was built and tested against.
//!
//! `libtorch_cpu.so` of this wheel needs libcudart and libcupti to load even where there is no GPU; hence the two small
//! wheels. `libtorch_cuda.so` is left out on purpose: torch-sys links CUDA as soon as it finds it.

/// A libtorch tree: the wheels it comes from and how it must look in the end.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// libtorch's version; `build-version` in the tree holds it, and torch-sys checks that.
    pub version: String,
    /// In the order in which they are fetched: small ones first, so that a network that does not work shows at once.
    pub wheels: Vec<Wheel>,
    /// Files in the tree, the marker not counted.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// SHA-256 over them all, see [`super::tree::Listing::digest`].
    pub digest: String,
}

/// One wheel and what is kept of it.
#[derive(Debug, Clone)]
pub struct Wheel {
    /// The project's name as pip knows it.
    pub project: String,
    /// Its version.
    pub version: String,
    /// The wheel's file name.
    pub file: String,
    /// The wheel's size in bytes, for the progress line.
    pub bytes: u64,
    /// The wheel's SHA-256, lower-case hex.
    pub sha256: String,
    /// What is kept.
    pub keep: Vec<Keep>,
}

/// A rule that says what of a wheel is kept, and as what.
#[derive(Debug, Clone)]
pub enum Keep {
    /// Every file below `from` (ends with a slash) goes below `to` (likewise).
    Folder {
        /// In the wheel.
        from: &'static str,
        /// In the tree.
        to: &'static str,
    },
    /// One file.
    File {
        /// In the wheel.
        from: &'static str,
        /// In the tree.
        to: &'static str,
    },
}

impl Wheel {
    /// `project==version`, as pip takes it.
    #[must_use]
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.project, self.version)
    }

    /// Where the wheel's file `name` goes in the tree; `None` if it is not kept.
    #[must_use]
    pub fn kept_as(&self, name: &str) -> Option<String> {
        self.keep.iter().find_map(|keep| match keep {
            Keep::Folder { from, to } => name
                .strip_prefix(from)
                .filter(|rest| !rest.is_empty())
                .map(|rest| format!("{to}{rest}")),
            Keep::File { from, to } => (name == *from).then(|| (*to).to_owned()),
        })
    }
}

impl Recipe {
    /// The text of the marker that a complete tree carries: any change of the pins makes another text, so a tree of
    /// other pins is never taken for this one.
    #[must_use]
    pub fn marker(&self) -> String {
        let wheels: String = self
            .wheels
            .iter()
            .map(|w| format!("{} sha256:{}\n", w.requirement(), w.sha256))
            .collect();
        format!(
            "azaion libtorch tree 1\n{wheels}tree sha256:{} files:{}\n",
            self.digest, self.files
        )
    }

    /// Files that are named one by one, the libraries: cheap to look for on every start.
    pub fn named_files(&self) -> impl Iterator<Item = &'static str> {
        self.wheels
            .iter()
            .flat_map(|wheel| &wheel.keep)
            .filter_map(|keep| match keep {
                Keep::File { to, .. } => Some(*to),
                Keep::Folder { .. } => None,
            })
    }

    /// The folder's name under the cache.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("libtorch-{}-cpu", self.version)
    }

    /// libtorch 2.13.0 for the CPU, which tch 0.26.0 needs exactly.
    #[must_use]
    pub fn pinned() -> Self {
        Self {
            version: "2.13.0".into(),
            wheels: vec![
                Wheel {
                    project: "nvidia-cuda-runtime".into(),
                    version: "13.0.96".into(),
                    file:
                        "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
                            .into(),
                    bytes: 2_243_632,
                    sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548".into(),
                    keep: vec![Keep::File {
                        from: "nvidia/cu13/lib/libcudart.so.13",
                        to: "lib/libcudart.so.13",
                    }],
                },
                Wheel {
                    project: "nvidia-cuda-cupti".into(),
                    version: "13.0.85".into(),
                    file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl".into(),
                    bytes: 10_715_597,
                    sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8".into(),
                    keep: vec![Keep::File {
                        from: "nvidia/cu13/lib/libcupti.so.13",
                        to: "lib/libcupti.so.13",
                    }],
                },
                Wheel {
                    project: "torch".into(),
                    version: "2.13.0".into(),
                    file: "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl".into(),
                    bytes: 526_574_961,
                    sha256: "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7".into(),
                    keep: vec![
                        Keep::Folder {
                            from: "torch/include/",
                            to: "include/",
                        },
                        Keep::File {
                            from: "torch/lib/libtorch.so",
                            to: "lib/libtorch.so",
                        },
                        Keep::File {
                            from: "torch/lib/libtorch_cpu.so",
                            to: "lib/libtorch_cpu.so",
                        },
                        Keep::File {
                            from: "torch/lib/libc10.so",
                            to: "lib/libc10.so",
                        },
                        Keep::File {
                            from: "torch/lib/libgomp.so.1",
                            to: "lib/libgomp.so.1",
                        },
                    ],
                },
            ],
            files: 9450,
            bytes: 484_018_613,
            digest: "b165ccdfdeb7a3863ae5c6caf1a5ed136073dd5634518f917bdb018b3d0eb45a".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_wheel_only_what_a_rule_names_is_kept() {
        let recipe = Recipe::pinned();
        let torch = recipe.wheels.iter().find(|w| w.project == "torch").unwrap();
        assert_eq!(
            torch.kept_as("torch/include/ATen/ATen.h").as_deref(),
            Some("include/ATen/ATen.h")
        );
        assert_eq!(
            torch.kept_as("torch/lib/libc10.so").as_deref(),
            Some("lib/libc10.so")
        );
        assert_eq!(
            torch.kept_as("torch/lib/libtorch_cuda.so"),
            None,
            "it would turn CUDA on"
        );
        assert_eq!(torch.kept_as("torch/include/"), None);
        assert_eq!(torch.kept_as("torch/__init__.py"), None);
    }

    #[test]
    fn every_pin_is_a_whole_sha256() {
        let recipe = Recipe::pinned();
        let pins = recipe.wheels.iter().map(|w| &w.sha256).chain([&recipe.digest]);
        assert!(
            pins.into_iter()
                .all(|pin| pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit()))
        );
    }

    #[test]
    fn another_pin_is_another_marker() {
        let one = Recipe::pinned();
        let mut other = one.clone();
        other.wheels[0].sha256 = "0".repeat(64);
        assert_ne!(one.marker(), other.marker());
        assert!(
            one.marker().contains("torch==2.13.0 sha256:60fcdcb2"),
            "the marker names the versions"
        );
    }
}
