//! Why a network could not be opened or run, by what to do about it.

use std::path::PathBuf;

/// Why a network could not be opened or run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The native library is not there or does not fit.
    #[error("cannot load ONNX Runtime from {path}: {cause}; run `make assets`, or name the library with --onnxruntime")]
    Library { path: PathBuf, cause: String },
    /// A model file could not be opened.
    #[error("cannot open the model {path}: {}; copy the whole bundle again", .cause.trim_end_matches('.'))]
    Open { path: PathBuf, cause: String },
    /// The execution provider could not be set up: a library of it is missing, or the driver refuses.
    #[error(
        "{provider} cannot be used: {}; use an image whose libraries fit the node's driver",
        .cause.trim_end_matches('.')
    )]
    Provider { provider: &'static str, cause: String },
    /// Memory ran out, of the GPU or of the machine.
    #[error(
        "the network {network} ran out of memory: {}; raise the memory limit, or set a smaller model",
        .cause.trim_end_matches('.')
    )]
    OutOfMemory { network: &'static str, cause: String },
    /// The GPU does not answer any more.
    #[error(
        "the GPU failed under the network {network}: {}; look into the driver's log on the node",
        .cause.trim_end_matches('.')
    )]
    DeviceLost { network: &'static str, cause: String },
    /// The network failed on an input.
    #[error("the network {network} failed: {cause}")]
    Run { network: &'static str, cause: String },
    /// The network answered with something else than its manifest says.
    #[error("the network {network} answered with {found}, expected {expected}")]
    Output { network: &'static str, expected: String, found: String },
    /// The threads are gone: the server is shutting down, or a thread panicked.
    #[error("the engine is not running")]
    Closed,
    /// More work waits than the lane holds.
    #[error("the engine's queue holds {capacity} items and is full")]
    Full { capacity: usize },
    /// Nobody waits for the result any more.
    #[error("the run was stopped")]
    Stopped,
}

/// What ONNX Runtime says where memory ran out: its arena (`bfc_arena.cc`), CUDA and its libraries (`cuda_call.cc` prints
/// the name of the code), the C++ allocator.
const OUT_OF_MEMORY: [&str; 7] = [
    "Failed to allocate memory for requested buffer",
    "is smaller than requested bytes",
    "CUDA failure 2:",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "bad_alloc",
];

/// What it says where CUDA itself failed, for another reason.
const DEVICE_LOST: [&str; 2] = ["CUDA failure", "CUDA error"];

impl EngineError {
    /// A failed run, by what ONNX Runtime said of it.
    pub(super) fn of_run(network: &'static str, cause: String) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
        if says(&OUT_OF_MEMORY) {
            Self::OutOfMemory { network, cause }
        } else if says(&DEVICE_LOST) {
            Self::DeviceLost { network, cause }
        } else {
            Self::Run { network, cause }
        }
    }

    /// Whether another strategy may do what this one could not; it may have been left already.
    #[must_use]
    pub const fn is_of_the_strategy(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. } | Self::DeviceLost { .. } | Self::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_is_told_by_what_to_do_about_it() {
        let class = |cause: &str| match EngineError::of_run("recognise", cause.to_owned()) {
            EngineError::OutOfMemory { .. } => "memory",
            EngineError::DeviceLost { .. } => "device",
            EngineError::Run { .. } => "run",
            _ => "other",
        };
        let rows = [
            ("Failed to allocate memory for requested buffer of size 268435456", "memory"),
            ("Available memory of 12582912 is smaller than requested bytes of 33554432", "memory"),
            ("CUDA failure 2: out of memory ; GPU=0 ; hostname=pod ; file=cuda_allocator.cc", "memory"),
            ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", "memory"),
            ("CUDNN failure 2000: CUDNN_STATUS_ALLOC_FAILED", "memory"),
            ("std::bad_alloc", "memory"),
            ("CUDA failure 100: no CUDA-capable device is detected ; GPU=0", "device"),
            ("CUDA failure 719: unspecified launch failure", "device"),
            ("CUDA error cudaErrorIllegalAddress: an illegal memory access was encountered", "device"),
            ("Non-zero status code returned while running Concat node", "run"),
        ];
        for (cause, expected) in rows {
            assert_eq!(class(cause), expected, "{cause}");
        }
    }
}
