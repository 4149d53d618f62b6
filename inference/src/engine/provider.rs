//! What a network runs on in ONNX Runtime: an execution provider with its settings.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use ort::ep::{self, ArenaExtendStrategy, ExecutionProviderDispatch};

use super::EngineError;

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
    pub arena_growth: ArenaGrowth,
    pub search: ConvSearch,
}

/// TensorRT, which compiles a network for one kind of GPU; what it does not know runs on CUDA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRt {
    pub cuda: Cuda,
    /// Folder of compiled networks: one for each kind of GPU, driver, version of ours and bundle. ONNX Runtime names a file
    /// by the network's file name, the names of its tensors and the versions of CUDA, TensorRT and itself, but not by its
    /// weights: in one folder for all, a network with other weights or scales would be run as it was before.
    pub cache: PathBuf,
}

/// How CUDA's arena asks the GPU for more memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArenaGrowth {
    /// As much as is needed: other processes find what is left.
    #[default]
    SameAsRequested,
    /// Twice what it asked for the last time, which is ONNX Runtime's default: fewer requests, and up to half of the GPU's
    /// memory taken for nothing.
    PowerOfTwo,
}

impl ArenaGrowth {
    const ALL: [(Self, &'static str); 2] =
        [(Self::SameAsRequested, "same-as-requested"), (Self::PowerOfTwo, "power-of-two")];
}

impl FromStr for ArenaGrowth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(growth, _)| growth);
        named.ok_or_else(|| "the arena grows same-as-requested or power-of-two".to_owned())
    }
}

impl fmt::Display for ArenaGrowth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(growth, _)| growth == self).map_or("", |(_, name)| name);
        formatter.write_str(name)
    }
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

    /// Makes what the provider expects to be there: ONNX Runtime makes the last folder of the path of its cache, but none
    /// above it.
    ///
    /// # Errors
    /// [`EngineError::Provider`] where it cannot be made.
    pub(super) fn prepare(&self) -> Result<(), EngineError> {
        let Self::TensorRt(TensorRt { cache, .. }) = self else { return Ok(()) };
        fs::create_dir_all(cache).map_err(|error| EngineError::Provider {
            provider: self.name(),
            cause: format!(
                "cannot make the folder {}: {error}; set --tensorrt-cache to one that can be written",
                cache.display()
            ),
        })
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
                    // Allows bytes where the network says so; there is no table of ranges for the rest, which stays floats.
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
        let growth = match self.arena_growth {
            ArenaGrowth::SameAsRequested => ArenaExtendStrategy::SameAsRequested,
            ArenaGrowth::PowerOfTwo => ArenaExtendStrategy::NextPowerOfTwo,
        };
        let cuda = ep::CUDA::default()
            .with_device_id(self.device_id())
            .with_arena_extend_strategy(growth)
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

    #[test]
    fn a_folder_that_cannot_be_made_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let cuda =
            Cuda { gpu: 0, memory_limit: None, arena_growth: ArenaGrowth::default(), search: ConvSearch::default() };
        let prepare = |cache: PathBuf| Provider::TensorRt(TensorRt { cuda, cache }).prepare();
        let cache = folder.path().join("of-the-gpu/of-the-bundle");
        prepare(cache.clone()).unwrap();
        prepare(cache.clone()).unwrap();
        assert!(cache.is_dir());
        fs::write(folder.path().join("file"), "").unwrap();
        let error = prepare(folder.path().join("file/cache")).unwrap_err().to_string();
        assert!(error.starts_with("TensorrtExecutionProvider cannot be used: cannot make the folder"), "{error}");
        assert!(error.contains("file/cache") && error.contains("set --tensorrt-cache"), "{error}");
    }

    #[test]
    fn a_growth_is_read_as_it_is_written() {
        for name in ["same-as-requested", "power-of-two"] {
            assert_eq!(name.parse::<ArenaGrowth>().unwrap().to_string(), name);
        }
        assert!("double".parse::<ArenaGrowth>().is_err());
    }
}
