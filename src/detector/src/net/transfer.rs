//! Weights into a network: all of them, strictly, or what fits of another network's (fine-tuning).

use super::detector::refuse_fused;
use super::state::State;
use super::{Config, Detector, Head, Scale};
use crate::weights::WeightMap;
use crate::{Error, Result};
use rand::Rng;
use std::collections::HashMap;
use tch::Tensor;
use torch::During;

/// Problems listed in one error.
const LISTED: usize = 8;

/// What fine-tuning took from the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Tensors copied whole.
    pub copied: usize,
    /// Names of tensors that keep their fresh values (apart from class rows below).
    pub fresh: Vec<String>,
    /// Names in the source that the network has no place for.
    pub unused: Vec<String>,
    /// Classes whose rows were copied by name: index in the source, index here.
    pub classes: Vec<(usize, usize)>,
}

/// Scale, class count and branch width of the network that these weights make up.
pub(super) fn config_of(operation: &'static str, weights: &WeightMap) -> Result<Config> {
    let missing = |name: &str| Error::mismatch(operation, format!("a tensor '{name}'"), "weights without it");
    let stem = "model.0.conv.weight";
    let width = weights
        .get(stem)
        .and_then(|tensor| tensor.size().first().copied())
        .ok_or_else(|| missing(stem))?;
    let deep = weights.get("model.2.m.1.cv1.conv.weight").is_some();
    let scale = match (width, deep) {
        (16, false) => Scale::N,
        (32, false) => Scale::S,
        (64, false) => Scale::M,
        (64, true) => Scale::L,
        (96, true) => Scale::X,
        _ => {
            let got = format!(
                "{width} channels, {} blocks in layer 2",
                if deep { "two" } else { "one" }
            );
            return Err(Error::mismatch(
                operation,
                "the first layers of a YOLO26 n, s, m, l or x",
                got,
            ));
        }
    };
    let branches = [Head::One2Many, Head::One2One].map(|head| head.branch_names()[1]);
    let last = |branch: &str| weights.get(&format!("model.23.{branch}.0.2.weight"));
    let branch = branches
        .into_iter()
        .find(|branch| last(branch).is_some())
        .unwrap_or(branches[0]);
    match last(branch).map(Tensor::size).as_deref() {
        Some(&[nc, hidden, 1, 1]) => {
            // Square, unlike the last one: a hidden width that the file does not pay for with bytes would make a
            // network of any size of a small file.
            let middle = format!("model.23.{branch}.0.1.1.conv.weight");
            match weights.get(&middle).map(Tensor::size).as_deref() {
                Some(&[out, into, 1, 1]) if (out, into) == (hidden, hidden) => {}
                Some(other) => {
                    let expected = format!("'{middle}' of sizes {:?}", [hidden, hidden, 1, 1]);
                    return Err(Error::mismatch(operation, expected, format!("{other:?}")));
                }
                None => return Err(missing(&middle)),
            }
            Config::with_class_hidden(scale, usize::try_from(nc).unwrap_or(0), hidden)
        }
        Some(other) => Err(Error::mismatch(
            operation,
            "a 1x1 convolution at the end of the class branch",
            format!("{other:?}"),
        )),
        None => Err(missing("model.23.cv3.0.2.weight")),
    }
}

/// Copies every tensor, or none: names and shapes must be the network's own.
pub(super) fn load_all(config: Config, state: &State, weights: &WeightMap) -> Result<()> {
    if state.get("model.0.conv.bias").is_none() {
        refuse_fused("load", weights)?;
    }
    let mut problems: Vec<String> = Vec::new();
    for entry in state.entries() {
        match weights.get(entry.name()) {
            // Counts of batches take no part in computing, and some writers leave them out.
            None if entry.name().ends_with("num_batches_tracked") => {}
            None => problems.push(format!("'{}' is missing", entry.name())),
            Some(tensor) if tensor.size() != entry.tensor().size() => problems.push(format!(
                "'{}' has sizes {:?}, expected {:?}",
                entry.name(),
                tensor.size(),
                entry.tensor().size()
            )),
            Some(_) => {}
        }
    }
    problems.extend(
        weights
            .names()
            .filter(|name| state.get(name).is_none())
            .map(|name| format!("'{}' is not part of it", pt::shown(name))),
    );
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(LISTED);
        problems.truncate(LISTED);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        let problems = problems.join(", ");
        return Err(Error::Weights {
            scale: config.scale().letter(),
            nc: config.nc(),
            problems,
        });
    }
    for entry in state.entries() {
        if let Some(values) = weights.get(entry.name()) {
            state.fill(entry.name(), values)?;
        }
    }
    Ok(())
}

impl Detector {
    /// A network for the classes `names`, grown from the weights of another one of the same scale, which has the
    /// classes `source_names` (none: unknown).
    ///
    /// Every tensor of equal name and shape is copied. The class branches keep the source's width, so that only their
    /// last convolutions are new where the class count differs; of those, rows of classes that both have (names compared
    /// trimmed and in lower case) are copied too.
    ///
    /// # Errors
    /// The weights are fused or not of this family, `names` is empty, or memory ran out.
    pub fn fine_tune(
        weights: &WeightMap,
        source_names: &[String],
        names: &[String],
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<(Self, Transfer)> {
        refuse_fused("fine_tune", weights)?;
        let source = config_of("fine_tune", weights)?;
        let config = Config::with_class_hidden(source.scale(), names.len(), source.class_hidden())?;
        let detector = Self::new(config, rng)?;
        let classes = shared_classes(source_names, names, source.nc());
        let mut report = Transfer {
            classes,
            ..Transfer::default()
        };
        for entry in detector.state().entries() {
            match weights.get(entry.name()) {
                Some(values) if is_class_output(entry.name()) && !report.classes.is_empty() => {
                    copy_rows(entry.tensor(), values, &report.classes)?;
                    report.fresh.push(entry.name().to_owned());
                }
                Some(values) if values.size() == entry.tensor().size() => {
                    detector.state().fill(entry.name(), values)?;
                    report.copied += 1;
                }
                _ => report.fresh.push(entry.name().to_owned()),
            }
        }
        let unused = weights
            .names()
            .filter(|name| detector.state().get(name).is_none());
        report.unused = unused.map(str::to_owned).collect();
        Ok((detector, report))
    }
}

/// The last convolution of a class branch: one row a class.
fn is_class_output(name: &str) -> bool {
    let Some(path) = name.strip_prefix("model.23.") else {
        return false;
    };
    let [_, one2many] = Head::One2Many.branch_names();
    let [_, one2one] = Head::One2One.branch_names();
    matches!(path.split('.').collect::<Vec<_>>().as_slice(),
        [branch, _, "2", "weight" | "bias"] if *branch == one2many || *branch == one2one)
}

/// Pairs of class indices with the same name, source first; empty if rows need no mapping: nothing in common, names that
/// are mere numbers, or the very same list.
fn shared_classes(source: &[String], target: &[String], source_count: usize) -> Vec<(usize, usize)> {
    let key = |name: &String| name.trim().to_lowercase();
    let (source, target): (Vec<_>, Vec<_>) =
        (source.iter().map(key).collect(), target.iter().map(key).collect());
    let placeholders = |names: &[String]| names.iter().enumerate().all(|(at, name)| *name == at.to_string());
    if source.len() != source_count || source == target || placeholders(&source) || placeholders(&target) {
        return Vec::new();
    }
    // Of equal names the first counts.
    let rows: HashMap<&String, usize> = source
        .iter()
        .enumerate()
        .rev()
        .map(|(at, name)| (name, at))
        .collect();
    target
        .iter()
        .enumerate()
        .filter_map(|(to, name)| Some((*rows.get(name)?, to)))
        .collect()
}

fn copy_rows(target: &Tensor, values: &Tensor, classes: &[(usize, usize)]) -> Result<()> {
    if target.size().get(1..) != values.size().get(1..) {
        let (expected, got) = (
            format!("rows of {:?}", target.size().get(1..)),
            format!("{:?}", values.size()),
        );
        return Err(Error::mismatch("fine_tune", expected, got));
    }
    torch::no_grad(|| {
        for &(from, to) in classes {
            let mut row = target.f_select(0, to as i64).during("select")?;
            row.f_copy_(&values.f_select(0, from as i64).during("select")?)
                .during("copy_")?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn classes_are_matched_by_trimmed_lower_case_name() {
        let (source, target) = (
            names(&["Apple", " pear ", "plum"]),
            names(&["PLUM", "fig", "pear"]),
        );
        assert_eq!(shared_classes(&source, &target, 3), [(2, 0), (1, 2)]);
    }

    #[test]
    fn no_rows_are_mapped_where_names_say_nothing() {
        let fruit = names(&["apple", "pear"]);
        assert_eq!(shared_classes(&fruit, &fruit, 2), []);
        assert_eq!(shared_classes(&names(&["0", "1"]), &names(&["1", "0"]), 2), []);
        assert_eq!(shared_classes(&[], &fruit, 2), []);
        assert_eq!(shared_classes(&fruit, &names(&["fig"]), 2), []);
        assert_eq!(
            shared_classes(&fruit, &names(&["pear"]), 80),
            [],
            "the list does not describe the tensors"
        );
    }

    #[test]
    fn class_outputs_are_told_by_name() {
        for name in ["model.23.cv3.0.2.weight", "model.23.one2one_cv3.2.2.bias"] {
            assert!(is_class_output(name), "{name}");
        }
        for name in [
            "model.23.cv2.0.2.weight",
            "model.23.cv3.0.1.0.conv.weight",
            "model.2.cv3.0.2.weight",
        ] {
            assert!(!is_class_output(name), "{name}");
        }
    }
}
