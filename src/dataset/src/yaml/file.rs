//! The file itself: reading it, resolving its folders, writing ours.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use annotation::MAX_CLASS;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{YamlError, key};
use crate::manifest::Split;

/// A `data.yaml` with its folders resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataYaml {
    /// The file it was read from.
    pub file: PathBuf,
    /// Name of each class.
    pub names: Vec<String>,
    train: Vec<PathBuf>,
    valid: Vec<PathBuf>,
    test: Vec<PathBuf>,
}

impl DataYaml {
    /// Reads a `data.yaml`. Every folder that it names must exist.
    pub fn read(file: &Path) -> Result<Self, YamlError> {
        let text = std::fs::read_to_string(file).map_err(|error| YamlError::Io {
            path: file.to_owned(),
            error,
        })?;
        let raw: Raw = serde_saphyr::from_str(&text).map_err(|error| YamlError::Syntax {
            file: file.to_owned(),
            detail: error.to_string(),
        })?;
        let names = class_names(raw.names, raw.nc).map_err(|problem| YamlError::Classes {
            file: file.to_owned(),
            problem,
        })?;
        let root = Root::of(file, raw.path.as_deref());
        let resolve = |split, paths: Paths| root.resolve(file, key(split), paths.0);
        Ok(Self {
            file: file.to_owned(),
            names,
            train: resolve(Split::Train, raw.train)?,
            valid: resolve(Split::Valid, raw.val)?,
            test: resolve(Split::Test, raw.test)?,
        })
    }

    /// The folders or list files of a split; `None` if the file does not have that split.
    pub fn sources(&self, split: Split) -> Option<&[PathBuf]> {
        let sources = match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
            Split::Test => &self.test,
        };
        (!sources.is_empty()).then_some(sources)
    }

    /// The text of the `data.yaml` of a formed dataset that lies in `path` (absolute: the reference package resolves a
    /// relative one against a folder of its own settings).
    pub(crate) fn text(path: &Path, names: &[String]) -> Result<String, String> {
        #[derive(Serialize)]
        struct Ours<'a> {
            path: &'a str,
            train: &'a str,
            val: &'a str,
            test: &'a str,
            nc: usize,
            names: BTreeMap<usize, &'a String>,
        }
        let path = path.to_str().ok_or("the path is not UTF-8")?;
        let ours = Ours {
            path,
            train: "train/images",
            val: "valid/images",
            test: "test/images",
            nc: names.len(),
            names: names.iter().enumerate().collect(),
        };
        serde_saphyr::to_string(&ours).map_err(|error| error.to_string())
    }
}

#[derive(Deserialize)]
struct Raw {
    path: Option<PathBuf>,
    #[serde(default)]
    train: Paths,
    #[serde(default, alias = "valid")]
    val: Paths,
    #[serde(default)]
    test: Paths,
    nc: Option<usize>,
    names: Option<Names>,
}

/// Where relative folders are looked for.
struct Root(Vec<PathBuf>);

impl Root {
    /// `path` in the file, relative to the file's folder; and that folder itself, where a dataset that was moved
    /// (whose absolute `path` no longer exists) is found again.
    fn of(file: &Path, path: Option<&Path>) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut roots: Vec<PathBuf> = path.map(|path| folder.join(path)).into_iter().collect();
        roots.push(folder.to_owned());
        Self(roots)
    }

    fn resolve(
        &self,
        file: &Path,
        key: &'static str,
        paths: Vec<PathBuf>,
    ) -> Result<Vec<PathBuf>, YamlError> {
        paths
            .into_iter()
            .map(|path| {
                self.find(&path).ok_or_else(|| {
                    let path = self.0.first().map_or(path.clone(), |root| root.join(&path));
                    YamlError::Missing {
                        file: file.to_owned(),
                        key,
                        path,
                    }
                })
            })
            .collect()
    }

    /// A well-known exporter writes `../train/images` for folders that lie beside the file.
    fn find(&self, path: &Path) -> Option<PathBuf> {
        let beside = path.strip_prefix("..").ok();
        let candidates = self
            .0
            .iter()
            .flat_map(|root| std::iter::once(root.join(path)).chain(beside.map(|path| root.join(path))));
        candidates.into_iter().find(|candidate| candidate.exists())
    }
}

/// One path or a list of them.
#[derive(Default)]
struct Paths(Vec<PathBuf>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Paths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E>(self, path: &str) -> Result<Paths, E> {
                Ok(Paths(if path.is_empty() {
                    Vec::new()
                } else {
                    vec![path.into()]
                }))
            }

            fn visit_unit<E>(self) -> Result<Paths, E> {
                Ok(Paths::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = list.next_element::<String>()? {
                    paths.push(path.into());
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// Class names as a list or as a map from their numbers. Elements are asked for as text, so that a class named `yes`
/// or `007` keeps its name.
enum Names {
    List(Vec<String>),
    Map(BTreeMap<usize, String>),
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrMap;
        impl<'de> Visitor<'de> for ListOrMap {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of class names, or a map from class numbers to names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names::List(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = BTreeMap::new();
                while let Some((number, name)) = map.next_entry()? {
                    names.insert(number, name);
                }
                Ok(Names::Map(names))
            }
        }
        deserializer.deserialize_any(ListOrMap)
    }
}

fn class_names(names: Option<Names>, nc: Option<usize>) -> Result<Vec<String>, String> {
    const MOST: usize = MAX_CLASS as usize + 1;
    let names = match (names, nc) {
        (Some(Names::List(names)), _) => names,
        (Some(Names::Map(names)), _) => {
            if let Some((gap, (number, _))) = names.iter().enumerate().find(|(i, (number, _))| i != *number) {
                return Err(format!("class {number} is named but class {gap} is not"));
            }
            names.into_values().collect()
        }
        (None, Some(nc)) if nc <= MOST => (0..nc).map(|class| format!("Class-{class}")).collect(),
        (None, Some(nc)) => return Err(format!("nc is {nc}, but at most {MOST} classes are possible")),
        (None, None) => return Err("neither `names` nor `nc` is there".into()),
    };
    match nc {
        _ if names.is_empty() => Err("there is none".into()),
        _ if names.len() > MOST => Err(format!(
            "{} are named, but at most {MOST} are possible",
            names.len()
        )),
        Some(nc) if nc != names.len() => Err(format!("nc is {nc}, but {} are named", names.len())),
        _ => Ok(names),
    }
}
