//! `.pt` files as weights.

use super::{Elements, File, Foreign, Meta, WeightMap, WeightsError, shape_of};
use pt::{Data, Entry, Limits};
use std::collections::{BTreeMap, HashMap};
use tch::Tensor;
use torch::During;

/// Reads a `.pt` file without executing anything in it; floats of any width become float32, integers int64.
///
/// # Errors
/// The file is broken or holds no network, or our metadata is not understood.
pub fn read_pt(bytes: &[u8]) -> Result<File, WeightsError> {
    let file = pt::read(bytes, &Limits::default())?;
    let meta = file.extra_json.map(Meta::parse).transpose()?;
    let foreign = Foreign {
        names: file.names.as_ref().map(names_by_index).unwrap_or_default(),
        imgsz: file.imgsz,
        architecture: file.architecture.clone(),
    };
    let mut weights = WeightMap::default();
    for tensor in &file.tensors {
        let sizes: Vec<i64> = tensor
            .shape
            .iter()
            .map(|&size| i64::try_from(size).unwrap_or(-1))
            .collect();
        let values = if tensor.dtype.is_float() {
            torch::from_f32(&tensor.to_f32().unwrap_or_default(), &sizes)?
        } else {
            let integers = tensor.to_i64().unwrap_or_default();
            Tensor::f_from_slice(&integers)
                .and_then(|flat| flat.f_view(sizes.as_slice()))
                .during("from integers")?
        };
        weights.insert(tensor.name.clone(), values)?;
    }
    Ok(File {
        weights,
        meta,
        extra: HashMap::new(),
        foreign,
    })
}

/// Names as a list, if they number the classes from 0 without a gap; else none, for a gap has no name.
fn names_by_index(names: &BTreeMap<u32, String>) -> Vec<String> {
    if names.keys().copied().eq(0..names.len() as u32) {
        names.values().cloned().collect()
    } else {
        Vec::new()
    }
}

/// Writes a state dictionary that PyTorch loads without executing anything, with our description beside it.
///
/// # Errors
/// A tensor is neither float nor int64, or memory ran out.
pub fn write_pt(weights: &WeightMap, meta: &Meta) -> Result<Vec<u8>, WeightsError> {
    let owned = weights
        .iter()
        .map(|(name, tensor)| Ok((name, shape_of(tensor), Elements::of(name, tensor)?)));
    let owned = owned.collect::<Result<Vec<_>, WeightsError>>()?;
    let entries: Vec<Entry<'_>> = owned
        .iter()
        .map(|(name, shape, elements)| {
            let data = match elements {
                Elements::F32(values) => Data::F32(values),
                Elements::I64(values) => Data::I64(values),
            };
            Entry { name, shape, data }
        })
        .collect();
    Ok(pt::write(&entries, &meta.to_json()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_without_gaps_make_a_list() {
        let names = |keys: &[u32]| {
            keys.iter()
                .map(|&key| (key, format!("fruit {key}")))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(names_by_index(&names(&[1, 0])), ["fruit 0", "fruit 1"]);
        assert!(names_by_index(&names(&[0, 2])).is_empty());
        assert!(names_by_index(&names(&[1, 2])).is_empty());
    }
}
