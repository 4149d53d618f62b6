//! What there is to compute with: read from the kernel and the driver, never assumed.

mod cgroup;
mod cpu;
mod latest;
mod memory;
mod nvml;
mod pressure;

pub use cgroup::{CgroupLimits, cgroup_limits};
pub use cpu::Cpu;
pub use latest::LatestGpus;
pub use memory::Memory;
pub use nvml::{Driver, Gpu, Gpus, gpus};
pub use pressure::Pressure;

use std::{path::Path, time::Duration};

use ocr_api::status;

const GIB: f64 = 1_073_741_824.0;

/// The machine through the eyes of this process: its cgroup, its affinity mask, the devices that it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub gpus: Gpus,
    /// How long ago they were looked at.
    pub gpus_age: Duration,
    pub cpu: Cpu,
    pub memory: Memory,
}

/// Cores, instruction sets and memory, now. `threads` is the setting; 0 leaves the number to what is found.
#[must_use]
pub fn cpu_and_memory(threads: usize) -> (Cpu, Memory) {
    let limits = cgroup_limits(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
    // It heeds the affinity mask.
    let affinity = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    (cpu::describe(threads, affinity, limits, &read("/proc/cpuinfo")), memory::describe(limits, &read("/proc/meminfo")))
}

/// Memory that is in use now and cannot be taken back, and the limit, in bytes: of the cgroup. `None` where it has none.
#[must_use]
pub fn memory_in_use() -> Option<(u64, u64)> {
    let limits = cgroup_limits(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
    Some((limits.working_set_bytes, limits.memory_bytes?))
}

/// Looks at everything. `nvml` is the driver's library, which is opened for this: tens of milliseconds where there is one.
#[must_use]
pub fn look(nvml: &Path, threads: usize) -> Machine {
    let (cpu, memory) = cpu_and_memory(threads);
    Machine { gpus: gpus(nvml), gpus_age: Duration::ZERO, cpu, memory }
}

impl From<&Machine> for status::Hardware {
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory, shown in GiB")]
    fn from(machine: &Machine) -> Self {
        let Machine { gpus, gpus_age, cpu, memory } = machine;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let most_free = gpus.devices.iter().map(|gpu| gpu.free).max().unwrap_or(0);
        let gpu = |(index, gpu): (usize, &Gpu)| status::Gpu {
            index: count(index),
            name: gpu.name.clone(),
            memory_bytes: gpu.memory,
            free_bytes: gpu.free,
            compute_capability: format!("{}.{}", gpu.compute_capability.0, gpu.compute_capability.1),
            mig: gpu.mig,
        };
        Self {
            gpu_available: !gpus.devices.is_empty(),
            gpu_count: count(gpus.devices.len()),
            gpu_memory_gb: most_free as f64 / GIB,
            gpus: gpus.devices.iter().enumerate().map(gpu).collect(),
            gpus_age_seconds: gpus_age.as_secs(),
            gpu_driver: gpus.driver.as_ref().map(|driver| driver.version.clone()),
            gpu_problem: gpus.problem.clone(),
            cpu_ram_gb: memory.total as f64 / GIB,
            cpu_available_gb: memory.available as f64 / GIB,
            cpu_threads: count(cpu.threads),
            cpu_threads_source: cpu.threads_source.to_owned(),
            cpu_instructions: cpu.instructions.iter().map(|one| (*one).to_owned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpu_with_most_free_memory_is_the_one_that_counts() {
        let gpu = |free: u64| Gpu { memory: 16 << 30, free, compute_capability: (7, 5), ..Gpu::default() };
        let gpus = Gpus { devices: vec![gpu(2 << 30), gpu(9 << 30)], ..Gpus::default() };
        let hardware = status::Hardware::from(&Machine { gpus, ..Machine::default() });
        assert!(hardware.gpu_available);
        assert_eq!((hardware.gpu_count, hardware.gpu_memory_gb), (2, 9.0));
        assert_eq!((hardware.gpus[1].index, hardware.gpus[1].compute_capability.as_str()), (1, "7.5"));
    }
}
