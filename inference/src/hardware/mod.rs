//! What there is to compute with: read from the kernel, never assumed.

mod cgroup;

pub use cgroup::{CgroupLimits, cgroup_limits};

use std::path::Path;

use ocr_api::status::Hardware;

const GIB: f64 = 1_073_741_824.0;

/// Looks at this machine, through the eyes of this process's cgroup and affinity mask. `threads` is the setting; 0 leaves
/// the number to what is found.
#[must_use]
pub fn detect(threads: usize) -> Hardware {
    let limits = cgroup_limits(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
    let affinity = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    describe(threads, affinity, limits, &memory)
}

/// The facts from what was read. `available_parallelism` heeds the affinity mask; the quota is rounded up, since half a
/// core left over is still worth a thread.
#[expect(clippy::cast_precision_loss, reason = "bytes of memory, shown in GiB")]
fn describe(setting: usize, affinity: usize, limits: CgroupLimits, meminfo: &str) -> Hardware {
    let (threads, source) = match (setting, limits.cores()) {
        (0, Some(cores)) if cores < affinity => (cores, "cgroup"),
        (0, _) => (affinity, "affinity"),
        (setting, _) => (setting, "setting"),
    };
    let kib = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (total, available) = (kib("MemTotal") * 1024, kib("MemAvailable") * 1024);
    let limit = limits.memory_bytes.filter(|limit| *limit < total);
    let left = limit.map_or(available, |limit| limit.saturating_sub(limits.memory_used_bytes).min(available));
    Hardware {
        // GPUs are looked for by the strategies that use them.
        gpu_available: false,
        gpu_count: 0,
        gpu_memory_gb: 0.0,
        cpu_ram_gb: limit.unwrap_or(total) as f64 / GIB,
        cpu_available_gb: left as f64 / GIB,
        cpu_threads: u32::try_from(threads).unwrap_or(u32::MAX),
        cpu_threads_source: source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n";

    fn limits(millicores: Option<u64>, memory: Option<u64>) -> CgroupLimits {
        CgroupLimits { cpu_millicores: millicores, memory_bytes: memory, memory_used_bytes: 1 << 30 }
    }

    #[test]
    fn a_quota_below_the_cores_decides_the_threads() {
        let hardware = describe(0, 64, limits(Some(2500), None), MEMINFO);
        assert_eq!((hardware.cpu_threads, hardware.cpu_threads_source.as_str()), (3, "cgroup"));
    }

    #[test]
    fn a_quota_above_the_cores_does_not() {
        assert_eq!(describe(0, 4, limits(Some(64_000), None), MEMINFO).cpu_threads, 4);
    }

    #[test]
    fn the_setting_wins() {
        assert_eq!(describe(7, 4, limits(Some(1000), None), MEMINFO).cpu_threads, 7);
    }

    #[test]
    fn memory_is_the_containers_not_the_hosts() {
        let hardware = describe(0, 4, limits(None, Some(4 << 30)), MEMINFO);
        assert_eq!((hardware.cpu_ram_gb, hardware.cpu_available_gb), (4.0, 3.0));
        let hardware = describe(0, 4, limits(None, None), MEMINFO);
        assert_eq!((hardware.cpu_ram_gb, hardware.cpu_available_gb), (16.0, 8.0));
    }
}
