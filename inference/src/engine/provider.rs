//! What a network runs on in ONNX Runtime: an execution provider with its settings.

use std::{fmt, path::PathBuf, str::FromStr};

use ort::ep::{self, ArenaExtendStrategy, ExecutionProviderDispatch};

/// An execution provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Memory that was used once is kept for the next run where `arena` is set.
    Cpu {
        arena: bool,
    },
    Cuda(Cuda),
    TensorRt(TensorRt),
}

/// CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuda {
    /// The GPU's number.
    pub gpu: u32,
    /// Most bytes that one network's arena takes; no bound where `None`.
    pub memory_limit: Option<u64>,
    pub search: ConvSearch,
}

/// TensorRT, which compiles a network for one kind of GPU; what it does not know runs on CUDA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRt {
    pub cuda: Cuda,
    /// Folder of compiled networks. It is one GPU's, one driver's and one TensorRT's: what another compiled is not found.
    pub cache: PathBuf,
}

/// How cuDNN chooses an algorithm for each new shape of a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvSearch {
    /// By rules: milliseconds a shape. Over 16 shapes 31 ms, where an exhaustive search took 10 s (PaddleX, pull 5057).
    #[default]
    Heuristic,
    /// By trying all: seconds a shape, and memory for each.
    Exhaustive,
    /// The same for every shape.
    Default,
}

impl ConvSearch {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Heuristic, "heuristic"), (Self::Exhaustive, "exhaustive"), (Self::Default, "default")];
}

impl FromStr for ConvSearch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(search, _)| search);
        named.ok_or_else(|| "the search is heuristic, exhaustive or default".to_owned())
    }
}

impl fmt::Display for ConvSearch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(search, _)| search == self).map_or("", |(_, name)| name);
        formatter.write_str(name)
    }
}

impl Provider {
    /// As ONNX Runtime names it, and its records do.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Cpu { .. } => "CPUExecutionProvider",
            Self::Cuda(_) => "CUDAExecutionProvider",
            Self::TensorRt(_) => "TensorrtExecutionProvider",
        }
    }

    /// The arena that a run may be told to shrink.
    pub(super) fn arena(&self) -> String {
        match self {
            Self::Cpu { .. } => "cpu:0".to_owned(),
            Self::Cuda(cuda) | Self::TensorRt(TensorRt { cuda, .. }) => format!("gpu:{}", cuda.gpu),
        }
    }

    /// What ONNX Runtime is to try, in order; each fails aloud where it cannot be set up, instead of leaving the work to the
    /// CPU in silence.
    pub(super) fn dispatch(&self) -> Vec<ExecutionProviderDispatch> {
        match self {
            Self::Cpu { arena } => vec![ep::CPU::default().with_arena_allocator(*arena).build().error_on_failure()],
            Self::Cuda(cuda) => vec![cuda.dispatch()],
            Self::TensorRt(TensorRt { cuda, cache }) => {
                let folder = cache.display().to_string();
                let tensorrt = ep::TensorRT::default()
                    .with_device_id(cuda.device_id())
                    .with_int8(true)
                    .with_fp16(true)
                    .with_engine_cache(true)
                    .with_engine_cache_path(&folder)
                    .with_timing_cache(true)
                    .with_timing_cache_path(&folder);
                vec![tensorrt.build().error_on_failure(), cuda.dispatch()]
            }
        }
    }
}

impl Cuda {
    fn device_id(self) -> i32 {
        i32::try_from(self.gpu).unwrap_or(i32::MAX)
    }

    fn dispatch(self) -> ExecutionProviderDispatch {
        let search = match self.search {
            ConvSearch::Heuristic => ep::cuda::ConvAlgorithmSearch::Heuristic,
            ConvSearch::Exhaustive => ep::cuda::ConvAlgorithmSearch::Exhaustive,
            ConvSearch::Default => ep::cuda::ConvAlgorithmSearch::Default,
        };
        // Doubling, which is the default, keeps up to half of the GPU for nothing.
        let cuda = ep::CUDA::default()
            .with_device_id(self.device_id())
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_conv_algorithm_search(search);
        let limit = self.memory_limit.and_then(|bytes| usize::try_from(bytes).ok());
        match limit {
            Some(bytes) => cuda.with_memory_limit(bytes),
            None => cuda,
        }
        .build()
        .error_on_failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_read_as_it_is_written() {
        for name in ["heuristic", "exhaustive", "default"] {
            assert_eq!(name.parse::<ConvSearch>().unwrap().to_string(), name);
        }
        assert!("fast".parse::<ConvSearch>().is_err());
    }
}
