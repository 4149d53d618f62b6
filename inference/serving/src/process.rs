//! What the kernel says of this process.

use std::time::Duration;

/// Memory of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident_bytes: u64,
    pub peak_resident_bytes: u64,
    pub threads: u64,
}

impl Memory {
    /// In MB of 1024^2 bytes.
    #[must_use]
    pub const fn resident_mb(self) -> u64 {
        self.resident_bytes >> 20
    }
}

/// Reads the process's memory; zeros where the kernel does not tell.
#[must_use]
pub fn memory() -> Memory {
    std::fs::read_to_string("/proc/self/status").map(|status| parse_status(&status)).unwrap_or_default()
}

/// Files open; 0 where the kernel does not tell.
#[must_use]
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Time on a core so far, of all threads.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn parse_status(status: &str) -> Memory {
    let field = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    let bytes = |name| field(name).map_or(0, |kib| kib.saturating_mul(1024));
    Memory {
        resident_bytes: bytes("VmRSS"),
        peak_resident_bytes: bytes("VmHWM"),
        threads: field("Threads").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lines_are_read() {
        let status = "Name:\tocr\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\nThreads:\t12\n";
        let memory = parse_status(status);
        assert_eq!(memory, Memory { resident_bytes: 100 << 20, peak_resident_bytes: 200 << 20, threads: 12 });
        assert_eq!(memory.resident_mb(), 100);
        assert_eq!(parse_status("VmRSS: lots\n"), Memory::default());
    }

    #[test]
    fn this_process_uses_memory_files_and_time() {
        assert!(memory().resident_bytes > 0 && memory().peak_resident_bytes > 0);
        assert!(open_files() > 0);
        assert!(cpu_time() > Duration::ZERO);
    }
}
