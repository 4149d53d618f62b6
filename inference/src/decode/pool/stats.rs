//! What happened to the pool's processes, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why a decode process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Sent home: enough documents, too much memory, or no use for it.
    Retired,
    /// Ended by us, because a page or the request took too long.
    Timeout,
    /// Ended by us, because the client left.
    Cancelled,
    /// Ended by us, because its answers made no sense.
    Protocol,
    /// Ended by the kernel (or by somebody else) with `SIGKILL`: most likely for memory.
    Killed,
    /// Used up its CPU time.
    CpuTime,
    /// Could not get memory that it needed, or found its own memory corrupt.
    Aborted,
    /// Crashed.
    Crashed,
    /// Tried what the sandbox forbids.
    Forbidden,
    /// Ended by itself with an error.
    Exited,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Retired,
        Self::Timeout,
        Self::Cancelled,
        Self::Protocol,
        Self::Killed,
        Self::CpuTime,
        Self::Aborted,
        Self::Crashed,
        Self::Forbidden,
        Self::Exited,
    ];

    /// As a metric's label has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retired => "retired",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Protocol => "protocol",
            Self::Killed => "killed",
            Self::CpuTime => "cpu_time",
            Self::Aborted => "aborted",
            Self::Crashed => "crashed",
            Self::Forbidden => "forbidden",
            Self::Exited => "exited",
        }
    }
}

/// Counters of a pool. They only grow, except `alive`, `idle` and `waiting`.
#[derive(Debug, Default)]
pub struct PoolStats {
    pub(super) alive: AtomicUsize,
    pub(super) idle: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    pub(super) spawned: AtomicU64,
    pub(super) failed_starts: AtomicU64,
    pub(super) documents: AtomicU64,
    pub(super) pages: AtomicU64,
    ended: [AtomicU64; Cause::ALL.len()],
}

impl PoolStats {
    /// Processes that run now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// Processes that are ready and have no document.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// Documents that wait for a process.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Processes started.
    #[must_use]
    pub fn spawned(&self) -> u64 {
        self.spawned.load(Ordering::Relaxed)
    }

    /// Processes that did not become ready.
    #[must_use]
    pub fn failed_starts(&self) -> u64 {
        self.failed_starts.load(Ordering::Relaxed)
    }

    /// Documents handed to a process.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.documents.load(Ordering::Relaxed)
    }

    /// Pages received.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Processes that ended for this cause.
    #[must_use]
    pub fn ended(&self, cause: Cause) -> u64 {
        self.ended.get(cause as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Processes that ended for any cause but [`Cause::Retired`].
    #[must_use]
    pub fn deaths(&self) -> u64 {
        self.deaths_by_cause().map(|(_, deaths)| deaths).sum()
    }

    /// Processes that ended for each cause but [`Cause::Retired`].
    pub fn deaths_by_cause(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().filter(|cause| *cause != Cause::Retired).map(|cause| (cause, self.ended(cause)))
    }

    pub(super) fn count_end(&self, cause: Cause) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = self.ended.get(cause as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_counter_of_its_own() {
        let stats = PoolStats::default();
        stats.alive.store(Cause::ALL.len(), Ordering::Relaxed);
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index, "ALL has the order of the enum");
            stats.count_end(cause);
            assert_eq!(stats.ended(cause), 1);
        }
        assert_eq!(stats.deaths(), Cause::ALL.len() as u64 - 1);
        assert_eq!(stats.alive(), 0);
    }
}
