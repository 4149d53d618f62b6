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
    trial::TrialError,
};
use crate::{
    engine::EngineError,
    strategy::{Choice, PassedOver, Reason, Strategy},
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
            let precisions: &[Precision] = match candidate.strategy {
                Strategy::GpuFp16 => &[Precision::Fp16],
                Strategy::GpuInt8 => &[Precision::Int8Qdq],
                Strategy::Cpu(_) if int8 => &[Precision::Int8, Precision::Fp32],
                Strategy::Cpu(_) => &[Precision::Fp32],
            };
            precisions.iter().map(|precision| Attempt { candidate: *candidate, precision: *precision })
        });
        Self { left: left.collect() }
    }

    /// Leaves out what would fail for the same reason, and returns of that what is to be told: another strategy on a GPU that
    /// is lost. A profile of the CPU that takes as much memory, or computes the same, is no news.
    fn leave_out(&mut self, failed: Attempt, reason: Reason) -> Vec<Attempt> {
        match reason {
            Reason::GoldenError => self.leave_out_alike(failed),
            Reason::Memory | Reason::OutOfMemory => self.leave_out_as_large(failed),
            Reason::DeviceLost => return self.take_out_of_device(failed),
            _ => {}
        }
        Vec::new()
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

    /// Takes out what computes on the same GPU: CUDA does not recover in a process that has lost it.
    fn take_out_of_device(&mut self, lost: Attempt) -> Vec<Attempt> {
        let on_it = |attempt: &Attempt| attempt.candidate.gpu.is_some() && attempt.candidate.gpu == lost.candidate.gpu;
        let (gone, left): (Vec<_>, Vec<_>) = self.left.drain(..).partition(on_it);
        self.left = left.into();
        gone
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
    SelfTest(TrialError),
    #[error(transparent)]
    Golden(#[from] GoldenError),
}

impl Unfit {
    /// What failed on the way to an answer says nothing of how well is read, so that it comes before what was read.
    fn reason(&self) -> Reason {
        match self {
            Self::Open(OpenError::Engine(error))
            | Self::SelfTest(TrialError::Engine(error))
            | Self::Golden(GoldenError::Engine { error, .. }) => reason_of(error),
            Self::Open(OpenError::Bundle(_) | OpenError::NoSuchPrecision { .. })
            | Self::SelfTest(TrialError::Decode(_) | TrialError::Page(_))
            | Self::Golden(GoldenError::Undecodable { .. } | GoldenError::Folder { .. }) => Reason::LoadFailed,
            Self::Elsewhere { .. } => Reason::PartlyElsewhere,
            Self::Golden(GoldenError::TooMany { .. } | GoldenError::Page { .. }) => Reason::GoldenError,
        }
    }
}

/// Why a way of computing is left whose networks failed with this.
const fn reason_of(error: &EngineError) -> Reason {
    match error {
        EngineError::OutOfMemory { .. } => Reason::OutOfMemory,
        EngineError::DeviceLost { .. } => Reason::DeviceLost,
        EngineError::Provider { .. } => Reason::NoProvider,
        EngineError::Library { .. }
        | EngineError::Open { .. }
        | EngineError::Run { .. }
        | EngineError::Output { .. }
        | EngineError::Closed
        | EngineError::Full { .. }
        | EngineError::Stopped => Reason::LoadFailed,
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
                    let gone = ladder.leave_out(attempt, unfit.reason());
                    self.inner.pass_over_beside(gone, attempt);
                    last = unfit.into();
                }
            }
        }
        Err(last)
    }

    async fn try_out(&self, attempt: Attempt, opened: &(dyn Fn() + Sync)) -> Result<Arc<Networks>, Unfit> {
        let inner = Arc::clone(&self.inner);
        let outcome = tokio::task::spawn_blocking(move || (inner.open)(attempt)).await;
        let networks = Arc::new(outcome.map_err(|_| OpenError::Engine(EngineError::Closed))??);
        self.inner.bound_trial(&networks);
        opened();
        let (share, _) = networks.share();
        if share < LEAST_SHARE {
            return Err(Unfit::Elsewhere { provider: networks.provider(), share });
        }
        self_test::run(&self.inner, &networks).await.map_err(Unfit::SelfTest)?;
        let golden = golden::read(&self.inner, &networks).await?;
        self.inner.note_golden(golden);
        Ok(networks)
    }
}

impl Inner {
    /// Notes why a way of computing is not used.
    fn pass_over(&self, attempt: Attempt, reason: Reason, message: &str) {
        let strategy = attempt.candidate.strategy;
        let precision = attempt.precision.name();
        tracing::warn!(%strategy, precision, reason = reason.as_str(), message, "strategy passed over");
        self.meter.passed_over(reason.as_str());
        let passed = PassedOver { strategy, reason, message: format!("{precision}: {message}") };
        self.passed_over.lock().unwrap_or_else(PoisonError::into_inner).push(passed);
    }

    /// Notes what is not tried any more on the GPU that another was lost on.
    fn pass_over_beside(&self, others: Vec<Attempt>, lost: Attempt) {
        let message = format!("its GPU was lost under {}; see the reason there", lost.candidate.strategy);
        for other in others {
            self.pass_over(other, Reason::DeviceLost, &message);
        }
    }
}

impl Reader {
    /// Leaves a way of computing that failed under a page, for the next one; the page is read there. `None` where there is
    /// no other. Whoever comes second finds the step done.
    pub(super) async fn step_down(&self, failed: &Arc<Networks>, error: &EngineError) -> Option<Arc<Networks>> {
        self.leave(failed, reason_of(error), &error.to_string()).await
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

    /// Leaves a way of computing, if it is still in use, for the next one that works. `None` where there is no other.
    pub(super) async fn leave(&self, failed: &Arc<Networks>, reason: Reason, message: &str) -> Option<Arc<Networks>> {
        let inner = &self.inner;
        let mut ladder = inner.ladder.lock().await;
        let now = inner.running()?;
        if !Arc::ptr_eq(&now, failed) {
            return Some(now);
        }
        let gone = ladder.leave_out(failed.attempt(), reason);
        if ladder.left.is_empty() {
            return None;
        }
        inner.pass_over(failed.attempt(), reason, message);
        inner.pass_over_beside(gone, failed.attempt());
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
#[path = "ladder_tests.rs"]
mod tests;
