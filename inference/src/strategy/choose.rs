//! From hardware and settings to the strategies worth a try.

use std::{fmt, path::Path, str::FromStr};

use super::{Needs, PassedOver, Profile, Reason, Strategy};
use crate::hardware::{Driver, Gpu, Machine};

/// The oldest CUDA that a driver may speak and the oldest GPU: those of CUDA 13, which ONNX Runtime 1.31 is built with
/// (CUDA 13.0 release notes: Maxwell, Pascal and Volta are not compiled for any more).
const CUDA: (u32, u32) = (13, 0);
const COMPUTE_CAPABILITY: (u32, u32) = (7, 5);

/// What the settings ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The best strategy to use; any where `None`.
    pub strategy: Option<Strategy>,
    /// Those that may be used at all.
    pub listed: Listed,
    pub device: DeviceWish,
    /// No GPU, whatever else is asked for.
    pub cpu_only: bool,
}

/// The strategies that may be used. The CPU always may: it is the last resort of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    gpu_fp16: bool,
    gpu_int8: bool,
}

impl Default for Listed {
    fn default() -> Self {
        Self { gpu_fp16: true, gpu_int8: true }
    }
}

impl Listed {
    /// Whether a strategy is among them.
    #[must_use]
    pub const fn has(self, strategy: Strategy) -> bool {
        match strategy {
            Strategy::GpuFp16 => self.gpu_fp16,
            Strategy::GpuInt8 => self.gpu_int8,
            Strategy::Cpu(_) => true,
        }
    }
}

impl FromStr for Listed {
    type Err = String;

    /// `gpu-fp16`, `gpu-int8` and `cpu`, as pools name them, with commas between; each at most once.
    fn from_str(text: &str) -> Result<Self, String> {
        const KNOWN: &str = "gpu-fp16, gpu-int8, cpu";
        if text.is_empty() {
            return Err(format!("names no strategy; name some of {KNOWN}"));
        }
        let mut seen: Vec<&str> = Vec::new();
        for name in text.split(',') {
            if !Strategy::ALL.iter().any(|strategy| strategy.family() == name) {
                return Err(format!("{name:?} is none of {KNOWN}"));
            }
            if seen.contains(&name) {
                return Err(format!("{name} is named twice; name it once"));
            }
            seen.push(name);
        }
        let has = |strategy: Strategy| seen.contains(&strategy.family());
        Ok(Self { gpu_fp16: has(Strategy::GpuFp16), gpu_int8: has(Strategy::GpuInt8) })
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gpu = [Strategy::GpuFp16, Strategy::GpuInt8].into_iter().filter(|strategy| self.has(*strategy));
        let names: Vec<&str> = gpu.map(Strategy::family).chain(["cpu"]).collect();
        formatter.write_str(&names.join(","))
    }
}

/// What to compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceWish {
    #[default]
    Auto,
    Cpu,
    /// The GPU of this number.
    Cuda(u32),
}

impl FromStr for DeviceWish {
    type Err = String;

    /// `auto`, `cpu`, `cuda` (any GPU, as `auto`) or `cuda:N`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" | "cuda" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "the device is auto, cpu, cuda or cuda:N".to_owned()),
        }
    }
}

impl fmt::Display for DeviceWish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

/// Which parts of ONNX Runtime lie beside its library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    pub cuda: bool,
    pub tensorrt: bool,
}

impl Libraries {
    /// Looks beside ONNX Runtime's library.
    #[must_use]
    pub fn of(onnxruntime: &Path) -> Self {
        let has = |name: &str| onnxruntime.with_file_name(name).is_file();
        Self { cuda: has(CUDA_LIBRARY), tensorrt: has(TENSORRT_LIBRARY) }
    }
}

/// What to try, and what not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Strategies that should run here, best first; at least one. GPUs come with the number of the device.
    pub candidates: Vec<Candidate>,
    /// The other strategies that are better than the last candidate, best first.
    pub passed_over: Vec<PassedOver>,
}

impl Choice {
    /// Those passed over that are better than the best candidate.
    pub fn above_best(&self) -> impl Iterator<Item = &PassedOver> {
        let best = self.candidates.first().map(|one| one.strategy);
        self.passed_over.iter().filter(move |one| best.is_none_or(|best| one.strategy < best))
    }
}

/// A strategy that should run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub strategy: Strategy,
    /// The GPU's number; `None` for the CPU.
    pub gpu: Option<u32>,
}

impl Candidate {
    /// What it computes on, as the setting names it.
    #[must_use]
    pub fn device(&self) -> DeviceWish {
        self.gpu.map_or(DeviceWish::Cpu, DeviceWish::Cuda)
    }
}

/// Nothing can run here: not a question of trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} needs {} MiB of memory and {} MiB are available; raise the memory limit, or set a smaller model", Strategy::Cpu(Profile::Offload), mib(*need), mib(*have))]
pub struct Refusal {
    /// Bytes.
    pub need: u64,
    /// Bytes.
    pub have: u64,
}

/// Finds what is worth a try. A strategy below the one that is wanted is a step down, not a failure; one above it is not
/// tried.
///
/// # Errors
/// Where the memory is below that of every profile.
pub fn choose(machine: &Machine, wishes: &Wishes, libraries: Libraries, needs: &Needs) -> Result<Choice, Refusal> {
    let have = machine.memory.available;
    if have < needs.offload {
        return Err(Refusal { need: needs.offload, have });
    }
    let mut choice = Choice { candidates: Vec::new(), passed_over: Vec::new() };
    for strategy in Strategy::ALL {
        let fits = match strategy {
            _ if wishes.strategy.is_some_and(|wanted| strategy < wanted) => Err(not_asked_for(wishes)),
            _ if !wishes.listed.has(strategy) => Err(not_listed(wishes)),
            Strategy::GpuFp16 => gpu(machine, wishes, libraries.cuda, CUDA_LIBRARY, needs.gpu_fp16).map(Some),
            Strategy::GpuInt8 => gpu(machine, wishes, libraries.tensorrt, TENSORRT_LIBRARY, needs.gpu_int8).map(Some),
            Strategy::Cpu(profile) => memory(have, needs.of_profile(profile)).map(|()| None),
        };
        match fits {
            Ok(gpu) => choice.candidates.push(Candidate { strategy, gpu }),
            Err((reason, message)) => choice.passed_over.push(PassedOver { strategy, reason, message }),
        }
    }
    Ok(choice)
}

type Unfit = (Reason, String);

const CUDA_LIBRARY: &str = "libonnxruntime_providers_cuda.so";
const TENSORRT_LIBRARY: &str = "libonnxruntime_providers_tensorrt.so";

fn not_asked_for(wishes: &Wishes) -> Unfit {
    let wanted = wishes.strategy.map_or("auto", Strategy::as_str);
    (Reason::NotAskedFor, format!("the setting strategy is {wanted}; with auto it may be used"))
}

fn not_listed(wishes: &Wishes) -> Unfit {
    (Reason::NotAskedFor, format!("the setting strategies is {}; name it there too", wishes.listed))
}

/// The GPU to use. Several reasons may hold: the one is given that has to be put right first.
fn gpu(machine: &Machine, wishes: &Wishes, provider: bool, library: &str, need: u64) -> Result<u32, Unfit> {
    if wishes.cpu_only {
        return Err((Reason::NotAskedFor, "OCR_FORCE_CPU_ONLY is set; unset it to use GPUs".to_owned()));
    }
    if wishes.device == DeviceWish::Cpu {
        return Err((Reason::NotAskedFor, "the setting device is cpu; with auto GPUs may be used".to_owned()));
    }
    if !provider {
        let message = format!("{library} is not beside ONNX Runtime's library; use an image that has it");
        return Err((Reason::NoProvider, message));
    }
    let gpus = &machine.gpus;
    let seen = (0_u32..).zip(&gpus.devices);
    let wanted: Vec<(u32, &Gpu)> = match wishes.device {
        DeviceWish::Cuda(number) => seen.filter(|(index, _)| *index == number).collect(),
        DeviceWish::Auto | DeviceWish::Cpu => seen.collect(),
    };
    if wanted.is_empty() {
        let problem = gpus.problem.as_deref().unwrap_or("the driver sees no GPU");
        let message = match wishes.device {
            DeviceWish::Cuda(number) if !gpus.devices.is_empty() => {
                let last = gpus.devices.len() - 1;
                format!(
                    "the setting device is cuda:{number}, and GPUs are seen up to cuda:{last}; name one of them, or auto"
                )
            }
            _ => format!("{problem}; give the machine or the pod an NVIDIA GPU with its driver, or set device to cpu"),
        };
        return Err((Reason::NoGpu, message));
    }
    driver(gpus.driver.as_ref())?;
    let new = wanted.iter().copied().filter(|(_, gpu)| gpu.compute_capability >= COMPUTE_CAPABILITY);
    // The one with most free memory; of equal ones the first.
    let Some((index, gpu)) = new.max_by_key(|(index, gpu)| (gpu.free, std::cmp::Reverse(*index))) else {
        let (index, gpu) = wanted[0];
        let ((major, minor), (least, small)) = (gpu.compute_capability, COMPUTE_CAPABILITY);
        let message = format!(
            "GPU {index} ({}) has compute capability {major}.{minor}, and CUDA {} needs {least}.{small}; take a newer GPU",
            gpu.name, CUDA.0
        );
        return Err((Reason::OldGpu, message));
    };
    if gpu.free < need {
        let message = format!(
            "needs {} MiB of free GPU memory, and GPU {index} ({}) has {} of {}; take a smaller model, or free the GPU",
            mib(need),
            gpu.name,
            mib(gpu.free),
            mib(gpu.memory)
        );
        return Err((Reason::GpuMemory, message));
    }
    Ok(index)
}

fn driver(driver: Option<&Driver>) -> Result<(), Unfit> {
    let Some(driver) = driver else { return Ok(()) };
    if driver.cuda >= CUDA {
        return Ok(());
    }
    let ((major, minor), (least, small)) = (driver.cuda, CUDA);
    let message = format!(
        "the driver {} runs CUDA up to {major}.{minor}, and the libraries need {least}.{small}; update the driver",
        driver.version
    );
    Err((Reason::OldDriver, message))
}

fn memory(have: u64, need: u64) -> Result<(), Unfit> {
    if have >= need {
        return Ok(());
    }
    let message = format!("needs {} MiB of memory, and {} are available; raise the memory limit", mib(need), mib(have));
    Err((Reason::Memory, message))
}

/// Bytes in whole MiB.
const fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
