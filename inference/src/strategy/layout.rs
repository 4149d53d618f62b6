//! What a strategy means in numbers: sessions, threads, batches, memory.

use std::time::Duration;

use ocr_api::manifest::Memory;

use super::{Profile, Strategy};
use crate::{engine::BatchLimits, plan::InputShapes};

/// Threads that one page is searched for text with. More of them share the work of small layers badly; several pages side
/// by side do not.
const DETECT_THREADS: usize = 4;
/// Pages that are searched side by side, at most.
const DETECT_SESSIONS: usize = 4;

/// Numbers of a batch of lines on the CPU: one line of 1,024 pixels, 48 high, in three colours, or three of 320. Longer
/// batches take no less time a line, and memory in proportion: a PDF of 12 pages took 468 MB at 1.9 s a page with six
/// times this, and 314 MB at 1.6 s with this.
const CPU_BATCH: usize = 3 * 48 * 1024;
/// On a GPU: 32 lines of 640 pixels. It takes them at once.
const GPU_BATCH: usize = 32 * 3 * 48 * 640;
/// Lines of a batch on a GPU.
const GPU_LINES: usize = 32;

/// How long a network stays after its last line where each is dropped after use: a page's lines come in chunks, and opening
/// the recogniser takes longer than reading a chunk.
const OFFLOADED_AFTER: Duration = Duration::from_millis(200);

/// How the networks are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Copies of the detector, each of which shares a run between `detect_threads`.
    pub detect_sessions: usize,
    pub detect_threads: usize,
    /// Copies of the recogniser.
    pub recognise_sessions: usize,
    pub recognise_threads: usize,
    /// Lines of a batch, where the strategy has a say in it.
    pub batch_lines: Option<usize>,
    /// Numbers of a batch.
    pub batch_elements: usize,
    /// Which shapes of input there are.
    pub shapes: InputShapes,
    /// Keep memory for the next run.
    pub arena: bool,
    /// Give that memory back after every run of every network. The detector's is given back in any case: each page has a
    /// size of its own.
    pub give_back: bool,
    /// Drop each network after this time without work.
    pub drop_after: Option<Duration>,
    /// Pages in work at once.
    pub places: usize,
    /// Decode processes kept ready.
    pub decode_processes: usize,
}

impl Layout {
    /// What a batch of at most so many items may hold.
    #[must_use]
    pub fn batch_limits(&self, items: usize) -> BatchLimits {
        let powers_of_two = self.shapes == InputShapes::Fixed;
        BatchLimits { items: items.max(1), elements: self.batch_elements, powers_of_two }
    }
}

/// Lays the networks out. `threads` is at least 1.
#[must_use]
pub fn layout(strategy: Strategy, threads: usize) -> Layout {
    let threads = threads.max(1);
    let one_each = Layout {
        detect_sessions: 1,
        detect_threads: threads,
        recognise_sessions: threads,
        recognise_threads: 1,
        batch_lines: None,
        batch_elements: CPU_BATCH,
        shapes: InputShapes::Free,
        arena: true,
        give_back: false,
        drop_after: None,
        // While one page is in the networks, the next is decoded.
        places: threads.max(2),
        decode_processes: threads,
    };
    match strategy {
        // One page after the other keeps a GPU busy only if the next ones are ready.
        Strategy::GpuFp16 | Strategy::GpuInt8 => Layout {
            detect_threads: 1,
            recognise_sessions: 1,
            batch_lines: Some(GPU_LINES),
            batch_elements: GPU_BATCH,
            shapes: InputShapes::Fixed,
            places: threads.max(4),
            ..one_each
        },
        Strategy::Cpu(Profile::Full) => {
            let detect_sessions = (threads / DETECT_THREADS).clamp(1, DETECT_SESSIONS);
            Layout { detect_sessions, detect_threads: threads.div_ceil(detect_sessions), ..one_each }
        }
        Strategy::Cpu(Profile::Optimized) => Layout {
            recognise_sessions: 1,
            recognise_threads: threads,
            batch_elements: CPU_BATCH / 2,
            give_back: true,
            places: 2,
            decode_processes: threads.min(2),
            ..one_each
        },
        Strategy::Cpu(Profile::Offload) => Layout {
            recognise_sessions: 1,
            recognise_threads: threads,
            batch_elements: CPU_BATCH / 2,
            arena: false,
            drop_after: Some(OFFLOADED_AFTER),
            places: 1,
            decode_processes: 1,
            ..one_each
        },
    }
}

/// Pages in work at once that memory allows: one, and one more for each `perPageMib` that is left above the peak with one.
/// With 350 MiB, of which one page at a time takes 290 and each further one 20, that is four.
#[must_use]
pub fn places(measured: Option<&Memory>, available: u64, wanted: usize) -> usize {
    let Some(memory) = measured else { return wanted };
    let mib = available >> 20;
    let left = mib.saturating_sub(u64::from(memory.peak_mib));
    let further = left / u64::from(memory.per_page_mib.max(1));
    usize::try_from(further).unwrap_or(usize::MAX).saturating_add(1).min(wanted.max(1))
}

/// Bytes for decoded pages beside the models: three quarters of what is left above a peak in which pages were small. The
/// rest is for bodies and answers.
#[must_use]
pub fn page_memory(measured: Option<&Memory>, available: u64) -> u64 {
    let peak = measured.map_or(0, |memory| u64::from(memory.peak_mib) << 20);
    available.saturating_sub(peak) / 4 * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_takes_less_than_the_one_before_it() {
        // Threads, profile; detector's sessions and threads, recogniser's, places, decode processes.
        let rows = [
            (1, Profile::Full, (1, 1), (1, 1), 2, 1),
            (2, Profile::Full, (1, 2), (2, 1), 2, 2),
            (7, Profile::Full, (1, 7), (7, 1), 7, 7),
            (8, Profile::Full, (2, 4), (8, 1), 8, 8),
            (64, Profile::Full, (4, 16), (64, 1), 64, 64),
            (1, Profile::Optimized, (1, 1), (1, 1), 2, 1),
            (2, Profile::Optimized, (1, 2), (1, 2), 2, 2),
            (7, Profile::Optimized, (1, 7), (1, 7), 2, 2),
            (64, Profile::Optimized, (1, 64), (1, 64), 2, 2),
            (1, Profile::Offload, (1, 1), (1, 1), 1, 1),
            (64, Profile::Offload, (1, 64), (1, 64), 1, 1),
        ];
        for (threads, profile, detect, recognise, places, processes) in rows {
            let is = layout(Strategy::Cpu(profile), threads);
            assert_eq!((is.detect_sessions, is.detect_threads), detect, "{threads} {profile:?}");
            assert_eq!((is.recognise_sessions, is.recognise_threads), recognise, "{threads} {profile:?}");
            assert_eq!((is.places, is.decode_processes), (places, processes), "{threads} {profile:?}");
            assert_eq!(
                (is.arena, is.give_back, is.drop_after.is_some()),
                match profile {
                    Profile::Full => (true, false, false),
                    Profile::Optimized => (true, true, false),
                    Profile::Offload => (false, false, true),
                }
            );
            // Three lines of 320 pixels, or half of that.
            let elements = if profile == Profile::Full { 147_456 } else { 73_728 };
            let limits = BatchLimits { items: 6, elements, powers_of_two: false };
            assert_eq!(is.batch_limits(6), limits, "{profile:?}");
        }
        assert_eq!(layout(Strategy::Cpu(Profile::Full), 0), layout(Strategy::Cpu(Profile::Full), 1));
    }

    #[test]
    fn a_gpu_takes_many_lines_at_once_from_one_thread() {
        let is = layout(Strategy::GpuFp16, 2);
        assert_eq!((is.detect_sessions, is.detect_threads), (1, 1));
        assert_eq!((is.recognise_sessions, is.recognise_threads, is.batch_lines), (1, 1, Some(32)));
        assert_eq!(
            (is.shapes, layout(Strategy::Cpu(Profile::Full), 2).shapes),
            (InputShapes::Fixed, InputShapes::Free)
        );
        assert_eq!((is.places, is.decode_processes), (4, 2));
        assert_eq!(is.batch_limits(32), BatchLimits { items: 32, elements: 2_949_120, powers_of_two: true });
        assert_eq!(is.batch_limits(0).items, 1);
    }

    #[test]
    fn places_are_what_memory_leaves_beside_the_models() {
        let memory = Memory { idle_mib: 150, peak_mib: 290, per_page_mib: 20, gpu_mib: None };
        let places = |mib: u64, wanted| places(Some(&memory), mib << 20, wanted);
        let rows =
            [(0, 8, 1), (290, 8, 1), (309, 8, 1), (310, 8, 2), (350, 8, 4), (350, 3, 3), (9000, 8, 8), (9000, 0, 1)];
        for (mib, wanted, expected) in rows {
            assert_eq!(places(mib, wanted), expected, "{mib} MiB, {wanted} wanted");
        }
        assert_eq!(super::places(None, 0, 5), 5, "nothing was measured");
    }

    #[test]
    fn pages_have_what_the_models_leave() {
        let memory = Memory { idle_mib: 150, peak_mib: 290, per_page_mib: 20, gpu_mib: None };
        assert_eq!(page_memory(Some(&memory), 690 << 20), 300 << 20);
        assert_eq!(page_memory(Some(&memory), 100 << 20), 0);
        assert_eq!(page_memory(None, 400 << 20), 300 << 20);
    }
}
