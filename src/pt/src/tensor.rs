//! Tensors of a file: element types, and elements brought into order.

use std::borrow::Cow;

use half::{bf16, f16};

use super::PtError;
use super::archive::{Archive, problem};
use super::value::{View, shown};

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE half.
    F16,
    /// The upper half of a single.
    BF16,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// 64-bit signed.
    I64,
    /// 32-bit signed.
    I32,
    /// 16-bit signed.
    I16,
    /// 8-bit signed.
    I8,
    /// 8-bit unsigned.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl Dtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether elements have a fraction.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// By the name of PyTorch's storage class.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }
}

/// A named tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Name as in the state dictionary.
    pub name: String,
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Elements in row-major order, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl Tensor<'_> {
    /// The elements of a floating-point tensor, in single precision; none of any other.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        Some(match self.dtype {
            Dtype::F16 => self.map(|b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => self.map(|b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F32 => self.map(f32::from_le_bytes),
            Dtype::F64 => self.map(|b| f64::from_le_bytes(b) as f32),
            _ => return None,
        })
    }

    /// The elements of an integer tensor; none of any other.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        Some(match self.dtype {
            Dtype::I64 => self.map(i64::from_le_bytes),
            Dtype::I32 => self.map(|b| i32::from_le_bytes(b).into()),
            Dtype::I16 => self.map(|b| i16::from_le_bytes(b).into()),
            Dtype::I8 => self.map(|b| i8::from_le_bytes(b).into()),
            Dtype::U8 | Dtype::Bool => self.map(|[b]| b.into()),
            _ => return None,
        })
    }

    fn map<const N: usize, T>(&self, read: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.bytes
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| read(bytes))
            .collect()
    }
}

/// Reads tensors out of the archive's storages.
pub(super) struct Storages<'a, 'b> {
    archive: &'b Archive<'a>,
    big_endian: bool,
    /// Bytes that tensors may still have: a storage viewed many times over must not fill the memory of whoever copies
    /// the tensors.
    budget: usize,
}

impl<'a, 'b> Storages<'a, 'b> {
    pub(super) fn new(archive: &'b Archive<'a>, budget: usize) -> Result<Self, PtError> {
        let big_endian = match archive.member("byteorder") {
            None | Some(b"little") => false,
            Some(b"big") => true,
            Some(_) => return Err(problem("byteorder", "neither `little` nor `big`")),
        };
        Ok(Self {
            archive,
            big_endian,
            budget,
        })
    }

    /// The tensor of a view.
    pub(super) fn tensor(&mut self, name: String, view: &View<'_>) -> Result<Tensor<'a>, PtError> {
        let member = format!("data/{}", view.storage.key);
        let storage = self.archive.required(&member)?;
        let dtype = view.storage.dtype;
        let size = dtype.size();
        if view.storage.elements.checked_mul(size) != Some(storage.len()) {
            return Err(problem(
                &member,
                "its length is not that of its elements: damaged",
            ));
        }
        let content = |expected: &'static str| PtError::Content {
            place: shown(&name),
            expected,
            found: format!(
                "shape {:?}, strides {:?}, offset {} in {} elements",
                view.shape, view.strides, view.offset, view.storage.elements
            ),
        };
        let count = extent(view).ok_or_else(|| content("a tensor within its storage"))?;
        let length = count.checked_mul(size).filter(|&length| length <= self.budget);
        self.budget -= length.ok_or_else(|| content("tensors no larger than the file"))?;
        let bytes = if count == 0 {
            Cow::Borrowed(&storage[..0])
        } else if is_contiguous(view) && !self.big_endian {
            // Within the storage, as `extent` has said.
            Cow::Borrowed(&storage[view.offset * size..(view.offset + count) * size])
        } else {
            Cow::Owned(gathered(view, storage, size, count, self.big_endian))
        };
        Ok(Tensor {
            name,
            shape: view.shape.clone(),
            dtype,
            bytes,
        })
    }
}

/// The number of elements, if all lie within the storage.
fn extent(view: &View<'_>) -> Option<usize> {
    let count = view.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
    if view.shape.contains(&0) {
        return Some(0);
    }
    let mut steps = view
        .shape
        .iter()
        .zip(&view.strides)
        .map(|(&side, &stride)| (side - 1).checked_mul(stride));
    let last = steps.try_fold(view.offset, |at, step| at.checked_add(step?))?;
    count.filter(|_| last < view.storage.elements)
}

fn is_contiguous(view: &View<'_>) -> bool {
    let mut expected = 1usize;
    view.shape
        .iter()
        .zip(&view.strides)
        .rev()
        .all(|(&side, &stride)| {
            let fits = side == 1 || stride == expected;
            expected = expected.saturating_mul(side);
            fits
        })
}

/// Elements in row-major order. All indices lie within the storage: `extent` has said so.
fn gathered(view: &View<'_>, storage: &[u8], size: usize, count: usize, big_endian: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * size);
    let mut index = vec![0; view.shape.len()];
    let mut at = view.offset;
    for _ in 0..count {
        let element = storage.get(at * size..(at + 1) * size).unwrap_or(&[]);
        if big_endian {
            bytes.extend(element.iter().rev());
        } else {
            bytes.extend_from_slice(element);
        }
        // Count up like an odometer, the last axis fastest.
        for axis in (0..index.len()).rev() {
            if index[axis] + 1 < view.shape[axis] {
                index[axis] += 1;
                at += view.strides[axis];
                break;
            }
            at -= index[axis] * view.strides[axis];
            index[axis] = 0;
        }
    }
    bytes
}
