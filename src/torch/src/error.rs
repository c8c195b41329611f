//! Errors of libtorch, with the operation they come from, sorted by what a caller can do about them.

use tch::TchError;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Memory of the device or the host ran out: a smaller batch or image may work (ALR-5).
    OutOfMemory,
    /// Anything else: the call itself was wrong, or libtorch is broken.
    Other,
}

/// An operation that libtorch refused.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {text}{}", advice(*.class))]
pub struct Error {
    operation: &'static str,
    class: ErrorClass,
    text: String,
}

fn advice(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::OutOfMemory => "; use a smaller batch or image size",
        ErrorClass::Other => "",
    }
}

impl Error {
    /// An error of `operation`, classed by libtorch's `text`. Only the text's first part is kept: what follows is a C++ stack.
    pub fn new(operation: &'static str, text: &str) -> Self {
        let text = text
            .split("\nException raised from")
            .next()
            .unwrap_or(text)
            .trim_end();
        Self {
            operation,
            class: classify(text),
            text: text.to_owned(),
        }
    }

    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The operation that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }
}

/// The words by which libtorch, oneDNN and the CUDA libraries say that memory ran out; there is no code to go by.
const OUT_OF_MEMORY: [&str; 9] = [
    "out of memory",
    "out_of_memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
    "cusolver_status_alloc_failed",
];

fn classify(text: &str) -> ErrorClass {
    let text = text.to_ascii_lowercase();
    if OUT_OF_MEMORY.iter().any(|words| text.contains(words)) {
        ErrorClass::OutOfMemory
    } else {
        ErrorClass::Other
    }
}

/// Names the operation of a fallible tch call.
pub trait During<T> {
    /// The value, or an [`Error`] of `operation`.
    fn during(self, operation: &'static str) -> Result<T, Error>;
}

impl<T> During<T> for Result<T, TchError> {
    fn during(self, operation: &'static str) -> Result<T, Error> {
        self.map_err(|error| match error {
            TchError::Torch(text) => Error::new(operation, &text),
            other => Error::new(operation, &other.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn an_allocation_beyond_any_memory_is_out_of_memory() {
        let error = Tensor::f_empty([1 << 46], (Kind::Float, Device::Cpu))
            .during("empty")
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::OutOfMemory, "{error}");
        assert_eq!(error.operation(), "empty");
        assert!(error.to_string().contains("smaller batch"), "{error}");
    }

    #[test]
    fn wrong_shapes_are_an_error_without_a_cpp_stack() {
        let (a, b) = (
            Tensor::ones([2, 3], (Kind::Float, Device::Cpu)),
            Tensor::ones([4, 5], (Kind::Float, Device::Cpu)),
        );
        let error = a.f_matmul(&b).during("matmul").unwrap_err();
        assert_eq!(error.class(), ErrorClass::Other);
        let text = error.to_string();
        assert!(text.starts_with("matmul: ") && text.contains("2x3"), "{text}");
        assert!(!text.contains("frame #"), "{text}");
    }

    #[test]
    fn the_texts_of_cuda_are_known() {
        for text in [
            "CUDA out of memory. Tried to allocate 2.00 GiB.",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "std::bad_alloc",
        ] {
            assert_eq!(
                Error::new("conv2d", text).class(),
                ErrorClass::OutOfMemory,
                "{text}"
            );
        }
        assert_eq!(
            Error::new("conv2d", "CUDA error: device-side assert triggered").class(),
            ErrorClass::Other
        );
    }
}
