//! Safetensors files.

use super::{Elements, File, Foreign, META_KEY, Meta, WeightMap, WeightsError, shape_of};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::collections::HashMap;
use tch::{Kind, Tensor};
use torch::During;

/// Reads a safetensors file; half precision becomes float32.
///
/// # Errors
/// The container is broken, a tensor is of another kind, or our metadata is not understood.
pub fn read(bytes: &[u8]) -> Result<File, WeightsError> {
    refuse_long_header(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let container = SafeTensors::deserialize(bytes)?;
    let mut extra = header.metadata().clone().unwrap_or_default();
    let meta = extra
        .remove(META_KEY)
        .map(|json| Meta::parse(&json))
        .transpose()?;
    let mut weights = WeightMap::default();
    for name in header.offset_keys() {
        let view = container.tensor(&name)?;
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            other => {
                return Err(WeightsError::Kind {
                    name: pt::shown(&name),
                    kind: format!("{other:?}"),
                });
            }
        };
        let sizes: Vec<i64> = view
            .shape()
            .iter()
            .map(|&size| i64::try_from(size).unwrap_or(-1))
            .collect();
        let tensor = torch::from_bytes(view.data(), &sizes, kind)?;
        let tensor = if kind == Kind::Int64 {
            tensor
        } else {
            tensor.f_totype(Kind::Float).during("to float32")?
        };
        weights.insert(name, tensor)?;
    }
    Ok(File {
        weights,
        meta,
        extra,
        foreign: Foreign::default(),
    })
}

/// Parsed, a header takes tens of times its length; the largest network's has well below 1 MB.
fn refuse_long_header(bytes: &[u8]) -> Result<(), WeightsError> {
    const LONGEST: u64 = 8 << 20;
    match bytes.first_chunk() {
        Some(&length) if u64::from_le_bytes(length) > LONGEST => Err(SafeTensorError::HeaderTooLarge.into()),
        _ => Ok(()),
    }
}

/// Writes tensors, their description (if they are a network's) and any further metadata.
///
/// # Errors
/// A tensor is neither float nor int64, or memory ran out.
pub fn write(
    weights: &WeightMap,
    meta: Option<&Meta>,
    extra: &HashMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let mut metadata = extra.clone();
    if let Some(meta) = meta {
        metadata.insert(META_KEY.to_owned(), meta.to_json()?);
    }
    let views = weights
        .iter()
        .map(|(name, tensor)| Ok((name, Outgoing::new(name, tensor)?)));
    let views = views.collect::<Result<Vec<_>, WeightsError>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// A tensor on its way into a file.
struct Outgoing {
    shape: Vec<usize>,
    data: Elements,
}

impl Outgoing {
    fn new(name: &str, tensor: &Tensor) -> Result<Self, WeightsError> {
        Ok(Self {
            shape: shape_of(tensor),
            data: Elements::of(name, tensor)?,
        })
    }
}

impl View for Outgoing {
    fn dtype(&self) -> Dtype {
        match self.data {
            Elements::F32(_) => Dtype::F32,
            Elements::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match &self.data {
            Elements::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Elements::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        match &self.data {
            Elements::F32(values) => size_of_val(values.as_slice()),
            Elements::I64(values) => size_of_val(values.as_slice()),
        }
    }
}
