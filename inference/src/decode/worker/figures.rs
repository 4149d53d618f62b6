//! The process's own figures. The file is opened before the process is shut in, and read through ever after.

use std::{fs::File, os::unix::fs::FileExt};

use rustix::time::{ClockId, clock_gettime};

use crate::decode::protocol::Usage;

pub(super) struct Figures {
    status: File,
}

impl Figures {
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self { status: File::open("/proc/self/status")? })
    }

    /// Bytes of address space that are mapped.
    pub(super) fn mapped_bytes(&self) -> std::io::Result<u64> {
        self.field("VmSize:")
    }

    /// What the process has used; 0 where it cannot be read.
    pub(super) fn usage(&self) -> Usage {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_ms = cpu.tv_sec.saturating_mul(1000).saturating_add(cpu.tv_nsec / 1_000_000);
        Usage { resident_bytes: self.field("VmRSS:").unwrap_or(0), cpu_ms: u64::try_from(cpu_ms).unwrap_or(0) }
    }

    fn field(&self, name: &str) -> std::io::Result<u64> {
        let mut buffer = [0; 4096];
        let length = self.status.read_at(&mut buffer, 0)?;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        field(&text, name).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }
}

/// A figure of `/proc/self/status`, which has kibibytes: `VmRSS:     1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_in_bytes() {
        let text = "Name:\tocr\nVmSize:\t   20480 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(field(text, "VmRSS:"), Some(1 << 20));
        assert_eq!(field(text, "VmSwap:"), None);
    }

    #[test]
    fn the_process_has_figures() {
        let figures = Figures::open().unwrap();
        assert!(figures.mapped_bytes().unwrap() >= figures.usage().resident_bytes);
        assert!(figures.usage().resident_bytes > 0);
    }
}
