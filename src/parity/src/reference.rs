//! The files that the scripts wrote, tensor by tensor.

use anyhow::{Context, anyhow, bail};
use detector::weights::WeightMap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::{Path, PathBuf};

/// The bytes of one file.
pub struct Bytes {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Bytes {
    /// Reads `path`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read {}; run `cargo xtask parity`", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
        })
    }

    /// Its tensors.
    pub fn tensors(&self) -> anyhow::Result<Tensors<'_>> {
        let tensors = SafeTensors::deserialize(&self.bytes)
            .with_context(|| format!("{} is not a safetensors file", self.path.display()))?;
        Ok(Tensors {
            path: &self.path,
            tensors,
        })
    }
}

/// The files in `folder` with the ending `.safetensors`, sorted.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}; run `cargo xtask parity`", folder.display()))?;
    let mut files = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "safetensors"));
    files.sort();
    Ok(files)
}

/// The tensors of one file.
pub struct Tensors<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl Tensors<'_> {
    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Names that begin with `prefix`, without it.
    pub fn names<'s>(&'s self, prefix: &str) -> Vec<&'s str> {
        self.tensors
            .names()
            .into_iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .collect()
    }

    fn view(&self, name: &str, kind: Dtype) -> anyhow::Result<TensorView<'_>> {
        let view = self
            .tensors
            .tensor(name)
            .map_err(|_| anyhow!("{} has no tensor '{name}'", self.path.display()))?;
        if view.dtype() != kind {
            bail!(
                "{}: '{name}' is {:?}, expected {kind:?}",
                self.path.display(),
                view.dtype()
            );
        }
        Ok(view)
    }

    fn read<const N: usize, T>(
        &self,
        name: &str,
        kind: Dtype,
        of: fn([u8; N]) -> T,
    ) -> anyhow::Result<Vec<T>> {
        let view = self.view(name, kind)?;
        Ok(view.data().as_chunks().0.iter().map(|b| of(*b)).collect())
    }

    /// 32-bit floats.
    pub fn f32(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        self.read(name, Dtype::F32, f32::from_le_bytes)
    }

    /// 64-bit floats.
    pub fn f64(&self, name: &str) -> anyhow::Result<Vec<f64>> {
        self.read(name, Dtype::F64, f64::from_le_bytes)
    }

    /// 64-bit integers.
    pub fn i64(&self, name: &str) -> anyhow::Result<Vec<i64>> {
        self.read(name, Dtype::I64, i64::from_le_bytes)
    }

    /// 32-bit integers.
    pub fn i32(&self, name: &str) -> anyhow::Result<Vec<i32>> {
        self.read(name, Dtype::I32, i32::from_le_bytes)
    }

    /// 16-bit integers.
    pub fn i16(&self, name: &str) -> anyhow::Result<Vec<i16>> {
        self.read(name, Dtype::I16, i16::from_le_bytes)
    }

    /// Bytes.
    pub fn u8(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.view(name, Dtype::U8)?.data().to_vec())
    }

    /// Sizes of a tensor.
    pub fn sizes(&self, name: &str) -> anyhow::Result<Vec<i64>> {
        let view = self.tensors.tensor(name)?;
        Ok(view.shape().iter().map(|&s| s as i64).collect())
    }

    /// A tensor of 32-bit floats or 64-bit integers.
    pub fn tensor(&self, name: &str) -> anyhow::Result<tch::Tensor> {
        let sizes = self.sizes(name)?;
        if self.tensors.tensor(name)?.dtype() == Dtype::I64 {
            Ok(tch::Tensor::f_from_slice(&self.i64(name)?)?.f_reshape(&sizes)?)
        } else {
            Ok(torch::from_f32(&self.f32(name)?, &sizes)?)
        }
    }

    /// All tensors whose names begin with `prefix`, by the rest of the name.
    pub fn weights(&self, prefix: &str) -> anyhow::Result<WeightMap> {
        let mut weights = WeightMap::default();
        for name in self.names(prefix) {
            weights.insert(name.to_owned(), self.tensor(&format!("{prefix}{name}"))?)?;
        }
        Ok(weights)
    }
}
