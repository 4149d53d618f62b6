//! How much memory each strategy needs.

use std::collections::BTreeMap;

use ocr_api::manifest::Memory;

use super::{Profile, Strategy};

const MIB: u64 = 1 << 20;

/// Memory that is needed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Of free GPU memory.
    pub gpu_fp16: u64,
    /// Of free GPU memory.
    pub gpu_int8: u64,
    /// Of memory that may be taken.
    pub full: u64,
    /// Of memory that may be taken.
    pub optimized: u64,
    /// Of memory that may be taken; below it nothing runs.
    pub offload: u64,
}

/// For a bundle of which nothing was measured: enough for models of a thousand times the size of ours.
const UNMEASURED: Needs =
    Needs { gpu_fp16: 6144 * MIB, gpu_int8: 3072 * MIB, full: 10_240 * MIB, optimized: 6144 * MIB, offload: 0 };

/// What a manifest says of a strategy. What it says of `cpu` holds for every profile of which it says nothing.
#[must_use]
pub fn of_strategy(measured: &BTreeMap<String, Memory>, strategy: Strategy) -> Option<&Memory> {
    measured.get(strategy.as_str()).or_else(|| measured.get(strategy.family()))
}

impl Needs {
    /// From what was measured, by strategy, with a reserve; where nothing was, what is safe for any model.
    #[must_use]
    pub fn of(measured: &BTreeMap<String, Memory>) -> Self {
        let memory = |profile: Profile, unmeasured: u64| {
            let found = of_strategy(measured, Strategy::Cpu(profile));
            found.map_or(unmeasured, Memory::needed)
        };
        let gpu = |strategy: Strategy, unmeasured: u64| {
            of_strategy(measured, strategy).and_then(Memory::gpu_needed).unwrap_or(unmeasured)
        };
        Self {
            gpu_fp16: gpu(Strategy::GpuFp16, UNMEASURED.gpu_fp16),
            gpu_int8: gpu(Strategy::GpuInt8, UNMEASURED.gpu_int8),
            full: memory(Profile::Full, UNMEASURED.full),
            optimized: memory(Profile::Optimized, UNMEASURED.optimized),
            offload: memory(Profile::Offload, UNMEASURED.offload),
        }
    }

    /// Of a profile.
    #[must_use]
    pub const fn of_profile(&self, profile: Profile) -> u64 {
        match profile {
            Profile::Full => self.full,
            Profile::Optimized => self.optimized,
            Profile::Offload => self.offload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_has_a_reserve_and_what_was_not_has_its_default() {
        let memory = |peak_mib, gpu_mib| Memory { idle_mib: 1, peak_mib, per_page_mib: 1, gpu_mib };
        let measured = BTreeMap::from([
            ("gpu-fp16".to_owned(), memory(500, Some(1600))),
            ("gpu-int8".to_owned(), memory(500, None)),
            ("cpu".to_owned(), memory(480, None)),
            ("cpu/offload".to_owned(), memory(160, None)),
        ]);
        let expected = Needs {
            gpu_fp16: 1700 * MIB,
            gpu_int8: 3072 * MIB,
            full: 510 * MIB,
            optimized: 510 * MIB,
            offload: 170 * MIB,
        };
        assert_eq!(Needs::of(&measured), expected);
        assert_eq!(Needs::of(&BTreeMap::new()), UNMEASURED);
    }
}
