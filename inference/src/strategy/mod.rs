//! How the networks are run: on what, at which precision, with how much memory.
//!
//! [`choose`] is pure: from what the machine has, what was asked for and what the bundle needs to the ways of computing
//! that are worth a try, best first. Which of them works shows when it is loaded (`read::load`); none is left in silence.

mod choose;
mod layout;
mod needs;

pub use choose::{Candidate, Choice, DeviceWish, Libraries, Listed, Refusal, Wishes, choose};
pub use layout::{Layout, layout, page_memory, places};
pub use needs::{Needs, of_strategy};

use std::{fmt, str::FromStr};

/// How the networks are run, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    GpuFp16,
    GpuInt8,
    Cpu(Profile),
}

/// How much memory the CPU is given to compute with, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Everything loaded once for every thread, and memory kept between pages.
    Full,
    /// Everything loaded once, and memory given back after each page.
    Optimized,
    /// Each network loaded when a page needs it, and dropped after.
    Offload,
}

impl Strategy {
    /// Every strategy, best first.
    pub const ALL: [Self; 5] = [
        Self::GpuFp16,
        Self::GpuInt8,
        Self::Cpu(Profile::Full),
        Self::Cpu(Profile::Optimized),
        Self::Cpu(Profile::Offload),
    ];

    /// With its profile, as settings and the bundles' manifests name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GpuFp16 => "gpu-fp16",
            Self::GpuInt8 => "gpu-int8",
            Self::Cpu(Profile::Full) => "cpu/full",
            Self::Cpu(Profile::Optimized) => "cpu/optimized",
            Self::Cpu(Profile::Offload) => "cpu/offload",
        }
    }

    /// Without its profile, as pools name it.
    #[must_use]
    pub const fn family(self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            gpu => gpu.as_str(),
        }
    }

    /// Its profile; GPUs have none.
    #[must_use]
    pub const fn profile(self) -> Option<Profile> {
        match self {
            Self::Cpu(profile) => Some(profile),
            Self::GpuFp16 | Self::GpuInt8 => None,
        }
    }
}

impl Profile {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Optimized => "optimized",
            Self::Offload => "offload",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = String;

    /// `cpu` alone is its best profile.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|one| one.as_str() == text || one.family() == text);
        named.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// A way of computing that was not taken though it is better than the one that was, or than the one that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    pub strategy: Strategy,
    pub reason: Reason,
    /// What was needed, what was found, and what to do.
    pub message: String,
}

/// Why a way of computing was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The settings ask for another.
    NotAskedFor,
    /// ONNX Runtime's library for it is not there.
    NoProvider,
    NoGpu,
    /// The driver is older than the libraries.
    OldDriver,
    /// The GPU is older than the libraries.
    OldGpu,
    /// The GPU has too little free memory.
    GpuMemory,
    /// The machine, or the container's limit, has too little memory.
    Memory,
    /// It was tried and could not be loaded.
    LoadFailed,
    /// It was tried and ran out of memory.
    OutOfMemory,
    /// It was tried, or ran, and its GPU does not answer any more.
    DeviceLost,
    /// It was tried and read the golden pages worse than is allowed.
    GoldenError,
    /// It was tried, and a part of the networks ran elsewhere.
    PartlyElsewhere,
}

impl From<&PassedOver> for ocr_api::status::PassedOver {
    fn from(passed: &PassedOver) -> Self {
        Self {
            strategy: passed.strategy.as_str().to_owned(),
            reason: passed.reason.as_str().to_owned(),
            message: passed.message.clone(),
        }
    }
}

impl Reason {
    /// In a word, for metrics and for who reads `/status` by program.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAskedFor => "NotAskedFor",
            Self::NoProvider => "NoProvider",
            Self::NoGpu => "NoGpu",
            Self::OldDriver => "OldDriver",
            Self::OldGpu => "OldGpu",
            Self::GpuMemory => "GpuMemory",
            Self::Memory => "Memory",
            Self::LoadFailed => "LoadFailed",
            Self::OutOfMemory => "OutOfMemory",
            Self::DeviceLost => "DeviceLost",
            Self::GoldenError => "GoldenError",
            Self::PartlyElsewhere => "PartlyElsewhere",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_read_as_it_is_written() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
        }
        assert_eq!("cpu".parse(), Ok(Strategy::Cpu(Profile::Full)));
        for wrong in ["", "gpu", "CPU", "cpu/", "cpu/small", "gpu-fp16/full"] {
            assert!(wrong.parse::<Strategy>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_best_comes_first() {
        assert!(Strategy::ALL.is_sorted());
    }
}
