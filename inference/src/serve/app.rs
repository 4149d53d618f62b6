//! What the handlers share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use ocr_api::ErrorCode;
use ocr_serving::ApiError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    admission::{Admission, Place},
    backend::{Backend, Loader},
    load::LoadState,
    metrics::{Metrics, Rejection},
};
use crate::{hardware, meter::Meter, settings::ServeSettings};

/// Which part of its life the server is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Taking requests.
    Serving,
    /// Told to end: not ready any more, still serving, because its address is still known.
    Leaving,
    /// Finishing what was accepted, refusing the rest.
    Refusing,
}

/// The server's state.
pub(super) struct App {
    pub settings: ServeSettings,
    pub started: Instant,
    pub loader: Arc<dyn Loader>,
    pub load: Arc<LoadState>,
    pub admission: Arc<Admission>,
    pub metrics: Metrics,
    pub meter: Arc<Meter>,
    /// Ends the requests that are still in work when the time to drain is over.
    pub abort: CancellationToken,
    phase: AtomicU8,
    stuck: AtomicBool,
}

impl App {
    pub fn new(settings: ServeSettings, loader: Arc<dyn Loader>) -> Result<Arc<Self>, prometheus::Error> {
        let meter = Arc::new(Meter::new()?);
        let limits = &settings.limits;
        let concurrency = limits.concurrency(settings.pipeline.engine.thread_count());
        let bodies = limits.bodies_within(hardware::memory_in_use().map(|(_, limit)| limit));
        Ok(Arc::new(Self {
            started: Instant::now(),
            loader,
            load: LoadState::new(),
            admission: Admission::new(concurrency, usize::from(limits.queue), bodies),
            metrics: Metrics::new(&meter)?,
            meter,
            abort: CancellationToken::new(),
            phase: AtomicU8::new(Phase::Serving as u8),
            stuck: AtomicBool::new(false),
            settings,
        }))
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Serving,
            1 => Phase::Leaving,
            _ => Phase::Refusing,
        }
    }

    /// Goes on to a later phase; there is no way back.
    pub fn enter_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// True where requests are taken and more of them are wanted. Load is no reason against it.
    pub fn is_ready(&self) -> bool {
        self.load.backend().is_some() && self.phase() == Phase::Serving
    }

    /// What the watchdog found last.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Notes what the watchdog found; true where it is news.
    pub fn set_stuck(&self, stuck: bool) -> bool {
        self.stuck.swap(stuck, Ordering::Relaxed) != stuck
    }

    /// Takes a place and the model for a request, or says why there is none. Never waits.
    pub fn admit(&self) -> Result<(Place, Arc<dyn Backend>), ApiError> {
        // First the place, then the phase: who ends the server sees the place, or the request sees the phase.
        let place = self.admission.enter();
        if self.phase() == Phase::Refusing {
            return Err(self.draining());
        }
        let Some(backend) = self.load.backend() else { return Err(self.not_ready()) };
        let Some(place) = place else {
            self.metrics.rejected(Rejection::Queue);
            let seconds = self.admission.retry_after();
            let message = format!(
                "{} requests are in work and {} wait, which is all that may; send the request again in {seconds} s",
                self.admission.concurrency(),
                self.admission.queue()
            );
            return Err(ApiError::new(ErrorCode::Overloaded, message).with_retry_after(seconds));
        };
        Ok((place, Arc::clone(backend)))
    }

    /// The refusal of a server that ends.
    pub fn draining(&self) -> ApiError {
        self.metrics.rejected(Rejection::Draining);
        ApiError::new(ErrorCode::Draining, "the server is shutting down; send the request again, to another one")
            .with_retry_after(1)
    }

    fn not_ready(&self) -> ApiError {
        self.metrics.rejected(Rejection::NotReady);
        let progress = self.load.progress();
        // Seconds up to a minute: in range of every integer.
        let seconds = progress.retry_in_seconds.map_or(2, |seconds| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let whole = seconds.ceil().clamp(1.0, 60.0) as u32;
            whole
        });
        ApiError::new(ErrorCode::NotReady, format!("{}; send the request again in {seconds} s", self.why_not_ready()))
            .with_retry_after(seconds)
    }

    /// Why requests are not taken, with the cause of a failed load, for those who run the server; clients get
    /// [`App::why_not_ready`], which names none of its files.
    pub fn not_ready_because(&self) -> String {
        match self.load.progress().error {
            Some(error) if self.phase() == Phase::Serving => format!("{}: {error}", self.why_not_ready()),
            _ => self.why_not_ready(),
        }
    }

    /// Why requests are not taken, in words; only meaningful where they are not.
    pub fn why_not_ready(&self) -> String {
        if self.phase() != Phase::Serving {
            return "draining: the server is shutting down".to_owned();
        }
        let progress = self.load.progress();
        match (progress.retry_in_seconds, progress.error) {
            (Some(seconds), Some(_)) => {
                format!(
                    "failed: the model could not be loaded and is tried again in {seconds:.0} s; /health has the reason"
                )
            }
            _ => format!(
                "loading: the model is loading, stage {} of {}: {}",
                progress.stage_number,
                progress.stages,
                progress.stage.describe()
            ),
        }
    }
}
