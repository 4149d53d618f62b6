//! What the kernel says of this process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Counter, Gauge, IntGauge, Registry};

/// Figures of this process, under the names that every Prometheus client gives them.
pub struct Process {
    resident: IntGauge,
    threads: IntGauge,
    cpu_seconds: Counter,
}

impl Process {
    /// Puts the figures into a registry.
    ///
    /// # Errors
    /// Where a definition is not valid; the definitions are constants, so a test would have met it.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let process = Self {
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory of the operator, in bytes")?,
            threads: IntGauge::new("process_threads", "Threads of the operator")?,
            cpu_seconds: Counter::new("process_cpu_seconds_total", "Seconds that the operator has spent on a core")?,
        };
        let started = Gauge::new("process_start_time_seconds", "When the operator started, in seconds since 1970")?;
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        registry.register(Box::new(process.resident.clone()))?;
        registry.register(Box::new(process.threads.clone()))?;
        registry.register(Box::new(process.cpu_seconds.clone()))?;
        registry.register(Box::new(started))?;
        Ok(process)
    }

    /// Looks at the process anew; a figure that the kernel does not tell becomes 0.
    pub fn look(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let large = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.resident.set(large(field(&status, "VmRSS").saturating_mul(1024)));
        self.threads.set(large(field(&status, "Threads")));
        let cpu = cpu_time().as_secs_f64();
        self.cpu_seconds.inc_by((cpu - self.cpu_seconds.get()).max(0.0));
    }
}

/// A number of `/proc/self/status`, in the kernel's unit: KiB for memory.
fn field(status: &str, name: &str) -> u64 {
    let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Time on a core so far, of all threads.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lines_are_read() {
        let status = "Name:\tocr-operator\nVmRSS:\t  102400 kB\nThreads:\t12\n";
        assert_eq!((field(status, "VmRSS"), field(status, "Threads")), (102_400, 12));
        assert_eq!((field("VmRSS: lots\n", "VmRSS"), field("", "Threads")), (0, 0));
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let process = Process::register(&Registry::new()).unwrap();
        process.look();
        assert!(process.resident.get() > 1 << 20 && process.threads.get() > 0 && process.cpu_seconds.get() > 0.0);
    }
}
