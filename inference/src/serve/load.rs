//! The model's load: behind the open port, with progress, tried again until it succeeds.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ocr_api::{LoadProgress, LoadStage};
use ocr_serving::process;
use tokio::{sync::oneshot, time::Instant};

use super::{
    app::App,
    backend::{Backend, Loader},
};
use crate::{meter::Meter, read::LoadFailure};

/// Longest wait between two attempts.
const MAX_BACK_OFF: Duration = Duration::from_mins(1);

/// Why a load failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Trying again would end the same way: the server ends, so that its reason is seen.
    #[error(
        "not enough memory for the model: needs {need_mib} MiB, {have_mib} MiB are available; \
         raise the memory limit or set a smaller model"
    )]
    OutOfMemory {
        /// What the bundle says it needs.
        need_mib: u64,
        /// What the process may take.
        have_mib: u64,
    },
    /// Tried again with back-off.
    #[error("{message}")]
    Failed {
        /// What kind of failure it was.
        failure: LoadFailure,
        /// What was needed, what was found and what to do.
        message: String,
    },
}

impl LoadError {
    /// What kind of failure it was.
    #[must_use]
    pub const fn failure(&self) -> LoadFailure {
        match self {
            Self::OutOfMemory { .. } => LoadFailure::OutOfMemory,
            Self::Failed { failure, .. } => *failure,
        }
    }

    fn internal(message: impl Into<String>) -> Self {
        Self::Failed { failure: LoadFailure::Internal, message: message.into() }
    }
}

/// Where the load stands. Read by the probes; written by the loader.
pub(super) struct LoadState {
    backend: OnceLock<Arc<dyn Backend>>,
    inner: Mutex<Inner>,
}

struct Inner {
    stage: LoadStage,
    attempt: u32,
    began: Instant,
    took: Option<Duration>,
    /// When the pages of the strategy that is tried last were begun.
    warmed: Option<Instant>,
    warm_up: Option<Duration>,
    error: Option<(LoadFailure, String)>,
    retry_at: Option<Instant>,
    peak_bytes: u64,
}

impl LoadState {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            backend: OnceLock::new(),
            inner: Mutex::new(Inner {
                stage: LoadStage::Verify,
                attempt: 1,
                began: Instant::now(),
                took: None,
                warmed: None,
                warm_up: None,
                error: None,
                retry_at: None,
                peak_bytes: 0,
            }),
        })
    }

    /// The loaded model; `None` until it is ready.
    pub fn backend(&self) -> Option<&Arc<dyn Backend>> {
        self.backend.get()
    }

    /// How far the load has come.
    pub fn progress(&self) -> LoadProgress {
        let inner = self.lock();
        LoadProgress {
            stage: inner.stage,
            stage_number: inner.stage.number(),
            stages: LoadStage::Ready.number(),
            elapsed_seconds: round_to_ms(inner.took.unwrap_or_else(|| inner.began.elapsed())),
            warm_up_seconds: inner.warm_up.map(round_to_ms),
            attempt: inner.attempt,
            error: inner.error.as_ref().map(|(_, message)| message.clone()),
            error_reason: inner.error.as_ref().map(|(failure, _)| failure.as_str().to_owned()),
            retry_in_seconds: inner.retry_at.map(|at| round_to_ms(at.saturating_duration_since(Instant::now()))),
        }
    }

    /// Highest resident memory until the model was ready, in bytes; 0 before.
    pub fn peak_bytes(&self) -> u64 {
        self.lock().peak_bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // The fields are plain values: none is left half written by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, attempt: u32) {
        let mut inner = self.lock();
        inner.stage = LoadStage::Verify;
        inner.attempt = attempt;
        inner.began = Instant::now();
        inner.retry_at = None;
    }

    fn fail(&self, error: &LoadError, retry_in: Duration) {
        let mut inner = self.lock();
        inner.error = Some((error.failure(), error.to_string()));
        inner.retry_at = Some(Instant::now() + retry_in);
    }

    fn finish(&self, backend: Arc<dyn Backend>) {
        {
            let mut inner = self.lock();
            inner.stage = LoadStage::Ready;
            inner.took = Some(inner.began.elapsed());
            inner.warm_up = inner.warmed.map(|began| began.elapsed());
            inner.error = None;
            inner.peak_bytes = process::memory().peak_resident_bytes;
        }
        // Set last: whoever sees the model sees the stage. There is one loader, so it is set once.
        let _ = self.backend.set(backend);
    }
}

fn round_to_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Tells how far a load has come; given to the loader.
#[derive(Clone)]
pub struct Progress {
    state: Arc<LoadState>,
}

impl Progress {
    /// Says that a stage begins.
    pub fn stage(&self, stage: LoadStage) {
        // Ready is ours to say, once the loader has returned.
        if stage == LoadStage::Ready {
            return;
        }
        let attempt = {
            let mut inner = self.state.lock();
            inner.stage = stage;
            if stage == LoadStage::WarmUp {
                inner.warmed = Some(Instant::now());
            }
            inner.attempt
        };
        tracing::info!(
            stage = stage.describe(),
            stage_number = stage.number(),
            stages = LoadStage::Ready.number(),
            attempt,
            "loading models"
        );
    }
}

/// Wait after an attempt, counted from 1: 1 s, doubled each time, at most 60 s.
const fn back_off(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1);
    // 2^6 is above the limit already.
    if doublings >= 6 { MAX_BACK_OFF } else { Duration::from_secs(1 << doublings) }
}

/// Loads until it succeeds.
///
/// # Errors
/// Where another attempt would end the same way.
pub(super) async fn load(app: Arc<App>) -> Result<(), LoadError> {
    let state = &app.load;
    for attempt in 1_u32.. {
        state.begin(attempt);
        match attempt_on_thread(&app.loader, state, &app.meter).await {
            Ok(backend) => {
                ready(state, backend);
                return Ok(());
            }
            Err(error @ LoadError::OutOfMemory { .. }) => return Err(error),
            Err(error) => {
                let wait = back_off(attempt);
                app.metrics.load_failed();
                state.fail(&error, wait);
                let (reason, retry_seconds) = (error.failure().as_str(), wait.as_secs());
                tracing::error!(attempt, retry_seconds, reason, error = %error, "loading models failed");
                tokio::time::sleep(wait).await;
            }
        }
    }
    Ok(())
}

fn ready(state: &LoadState, backend: Arc<dyn Backend>) {
    let (model, engine) = (backend.model(), backend.engine());
    state.finish(backend);
    let progress = state.progress();
    tracing::info!(
        ms = progress.elapsed_seconds * 1000.0,
        warm_up_ms = progress.warm_up_seconds.unwrap_or_default() * 1000.0,
        rss_mb = process::memory().resident_mb(),
        attempt = progress.attempt,
        model = model.model.name,
        version = model.model.version,
        digest = model.model.digest,
        source = model.source,
        recogniser = model.recogniser,
        strategy = engine.strategy,
        profile = engine.profile,
        device = engine.device,
        passed_over = engine.passed_over.len(),
        golden_error_percent = engine.golden.error_percent,
        execution_provider = engine.execution_provider,
        precision = engine.precision,
        detect_threads = engine.detect_threads,
        recognise_threads = engine.recognise_threads,
        "models loaded"
    );
}

/// One attempt, on a thread of its own: it blocks, and must not hold up the shutdown.
async fn attempt_on_thread(
    loader: &Arc<dyn Loader>,
    state: &Arc<LoadState>,
    meter: &Arc<Meter>,
) -> Result<Arc<dyn Backend>, LoadError> {
    let (send, receive) = oneshot::channel();
    let (loader, meter) = (Arc::clone(loader), Arc::clone(meter));
    let progress = Progress { state: Arc::clone(state) };
    // A test's log is the thread's: hand it on.
    let dispatch = tracing::dispatcher::get_default(tracing::Dispatch::clone);
    // The loader starts processes, which live on this runtime.
    let runtime = tokio::runtime::Handle::current();
    let spawned = std::thread::Builder::new().name("loader".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        let _ = send.send(tracing::dispatcher::with_default(&dispatch, || loader.load(&progress, &meter)));
    });
    if let Err(error) = spawned {
        return Err(LoadError::internal(format!("no thread to load the model with: {error}")));
    }
    // The sender is gone without a word only where the loader panicked.
    receive.await.unwrap_or_else(|_| Err(LoadError::internal("the loader panicked; the log has the place")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let seconds: Vec<_> = (1..=9).map(|attempt| back_off(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(back_off(u32::MAX), MAX_BACK_OFF);
    }
}
