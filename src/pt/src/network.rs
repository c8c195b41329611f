//! From a checkpoint's values to the network's named tensors.
//!
//! A network is either a dictionary of tensors or an object whose attributes hold parameters, buffers and child
//! modules; names are the path of attributes. Tensors that are plain attributes (strides, cached points) are no part of
//! the network's state and are not collected.

use std::collections::{BTreeMap, HashSet};

use super::tensor::{Storages, Tensor};
use super::value::{Id, Value, Values, shown};
use super::{Limits, PtError, PtFile, Source};

/// Finds the network in the root value and reads its tensors.
pub(super) fn extract<'a>(
    values: &Values<'_>,
    storages: Storages<'a, '_>,
    limits: &Limits,
) -> Result<PtFile<'a>, PtError> {
    let root = values.root();
    let (network, source) = find(values, root)?;
    let mut walk = Walk {
        values,
        storages,
        limits,
        steps: limits.values,
        tensors: Vec::new(),
        names: HashSet::new(),
    };
    match values.get(network) {
        Value::Record { .. } => walk.module(network, "", 0)?,
        _ => walk.group(values.entries(network), "")?,
    }
    let tensors = walk.tensors;

    let attributes = values.entries(network);
    let entry = |entries, key| values.some_entry(entries, key);
    let yaml = entry(attributes, "yaml").map_or(&[][..], |yaml| values.entries(yaml));
    let classes = entry(attributes, "nc").or_else(|| entry(yaml, "nc"));
    Ok(PtFile {
        tensors,
        source,
        names: entry(attributes, "names").and_then(|id| names(values, id)),
        classes: classes
            .and_then(|id| int(values, id))
            .and_then(|n| u32::try_from(n).ok()),
        scale: entry(yaml, "scale").and_then(|id| text(values, id)),
        architecture: entry(yaml, "yaml_file").and_then(|id| text(values, id)),
        imgsz: imgsz(values, root, network),
        epoch: entry(values.entries(root), "epoch").and_then(|id| int(values, id)),
        extra_json: None,
    })
}

/// The averaged network if there is one, else the network, else a dictionary of tensors.
fn find(values: &Values<'_>, root: Id) -> Result<(Id, Source), PtError> {
    let Value::Dict(entries) = values.get(root) else {
        return match values.get(root) {
            Value::Record { .. } => Ok((root, Source::Model)),
            _ => Err(PtError::Content {
                place: "checkpoint".to_owned(),
                expected: "a dictionary or a network",
                found: values.describe(root),
            }),
        };
    };
    for (key, source) in [
        ("ema", Source::Ema),
        ("model", Source::Model),
        ("state_dict", Source::StateDict),
    ] {
        // A tensor of this name is an entry of a plain state dictionary.
        let Some(network) = values.some_entry(entries, key) else {
            continue;
        };
        match values.get(network) {
            Value::Record { .. } => return Ok((network, source)),
            Value::Dict(_) => return Ok((network, Source::StateDict)),
            _ => {}
        }
    }
    Ok((root, Source::StateDict))
}

/// Length of a tensor's full name in bytes; the reference's have 50 at most.
const MAX_NAME: usize = 256;
/// Length of a class's name in bytes, and number of classes.
const MAX_CLASS_NAME: usize = 256;
const MAX_CLASSES: usize = 1 << 14;

struct Walk<'a, 'b, 'v> {
    values: &'v Values<'v>,
    storages: Storages<'a, 'b>,
    limits: &'v Limits,
    /// Dictionary entries that may still be looked at: shared modules can make a small file a huge tree.
    steps: usize,
    tensors: Vec<Tensor<'a>>,
    names: HashSet<String>,
}

impl<'v> Walk<'_, '_, 'v> {
    fn module(&mut self, module: Id, prefix: &str, depth: usize) -> Result<(), PtError> {
        if depth > self.limits.depth {
            return Err(PtError::Limit {
                what: "modules within modules",
                limit: self.limits.depth,
            });
        }
        let attributes = self.looked_at(self.values.entries(module))?;
        let group = |key| {
            self.values
                .some_entry(attributes, key)
                .map(|id| self.values.entries(id))
        };
        let (parameters, buffers, modules) = (group("_parameters"), group("_buffers"), group("_modules"));
        let (Some(parameters), Some(modules)) = (parameters, modules) else {
            return Err(self.unexpected(prefix, "a network module", module));
        };
        self.group(parameters, prefix)?;
        self.group(buffers.unwrap_or(&[]), prefix)?;
        for &(key, child) in self.looked_at(modules)? {
            if matches!(self.values.get(child), Value::None) {
                continue;
            }
            let name = self.name(prefix, key)?;
            self.module(child, &format!("{name}."), depth + 1)?;
        }
        Ok(())
    }

    /// The tensors of a dictionary.
    fn group(&mut self, entries: &'v [(Id, Id)], prefix: &str) -> Result<(), PtError> {
        for &(key, id) in self.looked_at(entries)? {
            let name = match self.values.get(id) {
                Value::None => continue,
                _ => self.name(prefix, key)?,
            };
            let Value::Tensor(view) = self.values.get(id) else {
                return Err(self.unexpected(&name, "a tensor", id));
            };
            if self.tensors.len() >= self.limits.tensors {
                return Err(PtError::Limit {
                    what: "tensors",
                    limit: self.limits.tensors,
                });
            }
            if !self.names.insert(name.clone()) {
                return Err(self.unexpected(&name, "one tensor of this name", id));
            }
            let tensor = self.storages.tensor(name, view)?;
            self.tensors.push(tensor);
        }
        Ok(())
    }

    fn looked_at(&mut self, entries: &'v [(Id, Id)]) -> Result<&'v [(Id, Id)], PtError> {
        let left = self.steps.checked_sub(entries.len() + 1);
        self.steps = left.ok_or(PtError::Limit {
            what: "entries of modules",
            limit: self.limits.values,
        })?;
        Ok(entries)
    }

    fn name(&self, prefix: &str, key: Id) -> Result<String, PtError> {
        match self.values.get(key) {
            // Names are copied, and many tensors can share a long one in the pickle.
            Value::Text(text) if prefix.len() + text.len() <= MAX_NAME => Ok(format!("{prefix}{text}")),
            Value::Text(_) => Err(PtError::Limit {
                what: "bytes in a tensor's name",
                limit: MAX_NAME,
            }),
            _ => Err(self.unexpected(prefix, "names of tensors and modules as keys", key)),
        }
    }

    fn unexpected(&self, place: &str, expected: &'static str, found: Id) -> PtError {
        let place = if place.is_empty() { "network" } else { place };
        PtError::Content {
            place: shown(place),
            expected,
            found: self.values.describe(found),
        }
    }
}

fn int(values: &Values<'_>, id: Id) -> Option<i64> {
    match values.get(id) {
        Value::Int(value) => Some(*value),
        _ => None,
    }
}

fn text(values: &Values<'_>, id: Id) -> Option<String> {
    match values.get(id) {
        Value::Text(text) if text.len() <= MAX_CLASS_NAME => Some((*text).to_owned()),
        _ => None,
    }
}

/// From the arguments of the training, which the checkpoint keeps, or those that the network keeps itself.
fn imgsz(values: &Values<'_>, root: Id, network: Id) -> Option<u32> {
    [(root, "train_args"), (network, "args")]
        .into_iter()
        .filter_map(|(holder, arguments)| values.some_entry(values.entries(holder), arguments))
        .filter_map(|arguments| values.some_entry(values.entries(arguments), "imgsz"))
        .find_map(|size| u32::try_from(int(values, size)?).ok())
}

/// Class names, kept as a map from index to name or as a list.
fn names(values: &Values<'_>, id: Id) -> Option<BTreeMap<u32, String>> {
    match values.get(id) {
        Value::Dict(entries) if entries.len() <= MAX_CLASSES => entries
            .iter()
            .map(|&(key, name)| Some((u32::try_from(int(values, key)?).ok()?, text(values, name)?)))
            .collect(),
        Value::List(items) | Value::Tuple(items) if items.len() <= MAX_CLASSES => (0..)
            .zip(items)
            .map(|(index, &name)| Some((index, text(values, name)?)))
            .collect(),
        _ => None,
    }
}
