//! From one way of computing to the next that works, with the reason for each step.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use ocr_api::manifest::Precision;

use super::{
    Inner, Reader,
    golden::{self, GoldenError},
    load::LoadError,
    networks::{Attempt, Networks, OpenError},
    self_test,
};
use crate::{
    allocator,
    engine::EngineError,
    hardware::Pressure,
    strategy::{Choice, PassedOver, Reason},
};

/// Least share of the nodes that a GPU must run for it to count as its: below it, something fell back to the CPU.
const LEAST_SHARE: f64 = 0.8;

/// The ways that are left, best first.
#[derive(Default)]
pub(super) struct Ladder {
    left: VecDeque<Attempt>,
}

impl Ladder {
    /// Every candidate, in each precision that it may compute in; `int8` says whether there are networks of bytes that the
    /// CPU is fast with.
    pub fn new(choice: &Choice, int8: bool) -> Self {
        let left = choice.candidates.iter().flat_map(|candidate| {
            let precisions: &[Precision] = match candidate.gpu {
                Some(_) => &[Precision::Fp16],
                None if int8 => &[Precision::Int8, Precision::Fp32],
                None => &[Precision::Fp32],
            };
            precisions.iter().map(|precision| Attempt { candidate: *candidate, precision: *precision })
        });
        Self { left: left.collect() }
    }

    /// Leaves out what computes the same: profiles of the CPU differ in memory and time alone.
    fn leave_out_alike(&mut self, read: Attempt) {
        let computes = |attempt: &Attempt| (attempt.candidate.gpu, attempt.precision);
        self.left.retain(|attempt| computes(attempt) != computes(&read));
    }

    /// Leaves out what takes as much memory: networks of bytes come before those of floats, which are larger.
    fn leave_out_as_large(&mut self, tried: Attempt) {
        self.left.retain(|attempt| attempt.candidate.strategy != tried.candidate.strategy);
    }
}

/// Why a way of computing is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "{:.0} % of the networks' nodes run on {provider}, the others on the CPU; use an image whose libraries fit together",
        .share * 100.0
    )]
    Elsewhere { provider: &'static str, share: f64 },
    #[error("the self-test failed: {0}")]
    SelfTest(String),
    #[error(transparent)]
    Golden(#[from] GoldenError),
}

impl Unfit {
    fn reason(&self) -> Reason {
        match self {
            Self::Open(OpenError::Engine(EngineError::OutOfMemory { .. })) => Reason::OutOfMemory,
            Self::Open(OpenError::Engine(EngineError::Provider { .. })) => Reason::NoProvider,
            Self::Open(_) | Self::SelfTest(_) => Reason::LoadFailed,
            Self::Elsewhere { .. } => Reason::PartlyElsewhere,
            Self::Golden(_) => Reason::GoldenError,
        }
    }
}

impl Reader {
    /// Goes down the ladder to the first way that opens and reads. Says when the networks of one are open.
    ///
    /// # Errors
    /// With the last reason, where none does.
    pub(super) async fn climb_down(
        &self,
        ladder: &mut Ladder,
        opened: &(dyn Fn() + Sync),
    ) -> Result<Arc<Networks>, LoadError> {
        let mut last = LoadError::NoStrategy;
        while let Some(attempt) = ladder.left.pop_front() {
            match self.try_out(attempt, opened).await {
                Ok(networks) => return Ok(networks),
                Err(unfit) => {
                    self.inner.pass_over(attempt, unfit.reason(), &unfit.to_string());
                    match unfit.reason() {
                        Reason::GoldenError => ladder.leave_out_alike(attempt),
                        Reason::OutOfMemory => ladder.leave_out_as_large(attempt),
                        _ => {}
                    }
                    last = unfit.into();
                }
            }
        }
        Err(last)
    }

    async fn try_out(&self, attempt: Attempt, opened: &(dyn Fn() + Sync)) -> Result<Arc<Networks>, Unfit> {
        let inner = Arc::clone(&self.inner);
        let open = move || Networks::open(&inner.networks, &inner.bundle, &inner.recogniser, attempt, &inner.meter);
        let outcome = tokio::task::spawn_blocking(open).await;
        let networks = Arc::new(outcome.map_err(|_| OpenError::Engine(EngineError::Closed))??);
        opened();
        let (share, _) = networks.share();
        if share < LEAST_SHARE {
            return Err(Unfit::Elsewhere { provider: networks.provider(), share });
        }
        self_test::run(self, &networks).await.map_err(Unfit::SelfTest)?;
        let golden = golden::read(self, &networks).await?;
        self.inner.note_golden(golden);
        Ok(networks)
    }
}

impl Inner {
    /// The networks that read now.
    pub(super) fn running(&self) -> Option<Arc<Networks>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_running(&self, networks: Arc<Networks>) {
        self.places.resize(self.places_for(&networks));
        self.decode.memory().grow_to(self.memory_for_pages(&networks));
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(networks);
    }

    /// Notes why a way of computing is not used.
    fn pass_over(&self, attempt: Attempt, reason: Reason, message: &str) {
        let strategy = attempt.candidate.strategy;
        let precision = attempt.precision.name();
        tracing::warn!(%strategy, precision, reason = reason.as_str(), message, "strategy passed over");
        self.meter.stepped_down(reason.as_str());
        let passed = PassedOver { strategy, reason, message: format!("{precision}: {message}") };
        self.passed_over.lock().unwrap_or_else(PoisonError::into_inner).push(passed);
    }
}

impl Reader {
    /// Leaves a way of computing that failed under a page, for the next one; the page is read there. `None` where there is
    /// no other. Whoever comes second finds the step done.
    pub(super) async fn step_down(&self, failed: &Arc<Networks>, error: &EngineError) -> Option<Arc<Networks>> {
        let reason = match error {
            EngineError::OutOfMemory { .. } => Reason::OutOfMemory,
            _ => Reason::LoadFailed,
        };
        self.leave(failed, reason, &error.to_string()).await
    }

    /// Does what the pressure of memory asks for, in place of what was done before.
    pub async fn relieve(&self, pressure: Pressure) {
        let Some(networks) = self.inner.running() else { return };
        if pressure >= Pressure::High {
            allocator::give_back_free_blocks();
        }
        networks.lanes().for_each(|lane| lane.limit_batch((pressure >= Pressure::Higher).then_some(1)));
        let places = if pressure >= Pressure::Highest { 1 } else { self.inner.places_for(&networks) };
        self.inner.places.resize(places);
        if pressure == Pressure::Critical {
            self.leave(&networks, Reason::OutOfMemory, "memory came near its limit").await;
        }
    }

    /// Steps down whenever a page needs more memory than the present way of computing leaves it, while a later one leaves it
    /// enough. Ends with the reader.
    pub(super) fn make_room_for_pages(&self) {
        let (memory, reader) = (self.inner.decode.memory().clone(), Arc::downgrade(&self.inner));
        let ended = self.inner.ended.clone();
        tokio::spawn(async move {
            while let Some(need) = ended.run_until_cancelled(memory.short()).await {
                let Some(inner) = reader.upgrade() else { return };
                let reader = Self { inner };
                let Some(networks) = reader.inner.running() else { continue };
                let message = format!("a page needs {} MiB beside the networks", need >> 20);
                let left = reader.leave(&networks, Reason::Memory, &message).await;
                if left.is_some()
                    && reader.inner.running().is_some_and(|now| reader.inner.memory_for_pages(&now) < need)
                {
                    // The next one may leave it enough.
                    memory.want(need);
                }
            }
        });
    }

    async fn leave(&self, failed: &Arc<Networks>, reason: Reason, message: &str) -> Option<Arc<Networks>> {
        let inner = &self.inner;
        let mut ladder = inner.ladder.lock().await;
        let now = inner.running()?;
        if !Arc::ptr_eq(&now, failed) {
            return Some(now);
        }
        if matches!(reason, Reason::Memory | Reason::OutOfMemory) {
            ladder.leave_out_as_large(failed.attempt());
        }
        if ladder.left.is_empty() {
            return None;
        }
        inner.pass_over(failed.attempt(), reason, message);
        // What failed gives its memory back before anything else is opened.
        failed.close();
        match self.climb_down(&mut ladder, &|| {}).await {
            Ok(networks) => {
                inner.set_running(Arc::clone(&networks));
                Some(networks)
            }
            Err(error) => {
                tracing::error!(%error, "no strategy is left");
                inner.lost.store(true, Ordering::SeqCst);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{Candidate, Profile, Strategy};

    fn ladder(int8: bool) -> Ladder {
        let cpu = |profile| Candidate { strategy: Strategy::Cpu(profile), gpu: None };
        let candidates = vec![
            Candidate { strategy: Strategy::GpuFp16, gpu: Some(0) },
            cpu(Profile::Full),
            cpu(Profile::Optimized),
            cpu(Profile::Offload),
        ];
        Ladder::new(&Choice { candidates, passed_over: Vec::new() }, int8)
    }

    fn shown(ladder: &Ladder) -> Vec<String> {
        let one = |attempt: &Attempt| format!("{} {}", attempt.candidate.strategy, attempt.precision.name());
        ladder.left.iter().map(one).collect()
    }

    #[test]
    fn bytes_come_before_floats_on_the_cpu_only() {
        assert_eq!(shown(&ladder(false)), ["gpu-fp16 fp16", "cpu/full fp32", "cpu/optimized fp32", "cpu/offload fp32"]);
        let with_bytes = shown(&ladder(true));
        assert_eq!(with_bytes[..4], ["gpu-fp16 fp16", "cpu/full int8", "cpu/full fp32", "cpu/optimized int8"]);
        assert_eq!(with_bytes.len(), 7);
    }

    #[test]
    fn what_had_too_little_memory_is_not_tried_with_larger_numbers() {
        let mut ladder = ladder(true);
        ladder.left.pop_front();
        let bytes = ladder.left.pop_front().unwrap();
        ladder.leave_out_as_large(bytes);
        let expected = ["cpu/optimized int8", "cpu/optimized fp32", "cpu/offload int8", "cpu/offload fp32"];
        assert_eq!(shown(&ladder), expected);
    }

    #[test]
    fn what_reads_badly_is_not_tried_with_less_memory() {
        let mut ladder = ladder(true);
        ladder.left.pop_front();
        let bytes = ladder.left.pop_front().unwrap();
        ladder.leave_out_alike(bytes);
        assert_eq!(shown(&ladder), ["cpu/full fp32", "cpu/optimized fp32", "cpu/offload fp32"]);
        let floats = ladder.left.pop_front().unwrap();
        ladder.leave_out_alike(floats);
        assert_eq!(shown(&ladder), Vec::<String>::new());
    }
}
