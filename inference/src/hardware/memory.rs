//! Memory of the machine, and how much of it this process may take.

use super::CgroupLimits;

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine, or the cgroup's limit where that is lower.
    pub total: u64,
    /// The cgroup's limit; `None` where there is none, or none that matters on this machine.
    pub limit: Option<u64>,
    /// Of `total`, what can still be taken.
    pub available: u64,
    /// The most that the cgroup ever used, all its processes and pages of files together; `None` where there is no limit,
    /// or the kernel does not say.
    pub peak: Option<u64>,
}

/// The facts from what was read.
pub(super) fn describe(limits: CgroupLimits, meminfo: &str) -> Memory {
    let bytes = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
        kib.saturating_mul(1024)
    };
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    let limit = limits.memory_bytes.filter(|limit| *limit < total);
    Memory {
        total: limit.unwrap_or(total),
        limit,
        available: limit.map_or(available, |limit| limit.saturating_sub(limits.working_set_bytes).min(available)),
        peak: limits.peak_bytes.filter(|_| limit.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n";
    const GIB: u64 = 1 << 30;

    fn memory(limit: Option<u64>) -> Memory {
        let limits = CgroupLimits {
            memory_bytes: limit,
            working_set_bytes: GIB,
            peak_bytes: Some(2 * GIB),
            ..CgroupLimits::default()
        };
        describe(limits, MEMINFO)
    }

    #[test]
    fn memory_is_the_containers_not_the_hosts() {
        assert_eq!(
            memory(Some(4 * GIB)),
            Memory { total: 4 * GIB, limit: Some(4 * GIB), available: 3 * GIB, peak: Some(2 * GIB) }
        );
    }

    #[test]
    fn a_limit_above_the_machine_is_none() {
        let all = Memory { total: 16 * GIB, limit: None, available: 8 * GIB, peak: None };
        assert_eq!([memory(None), memory(Some(16 * GIB)), memory(Some(17 * GIB))], [all; 3]);
    }

    #[test]
    fn others_on_the_machine_leave_less_than_the_limit() {
        assert_eq!(memory(Some(10 * GIB)).available, 8 * GIB);
        assert_eq!(memory(Some(GIB / 2)).available, 0, "more in use than allowed");
    }
}
