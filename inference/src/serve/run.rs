//! The server's life: ports first, then the model, then requests, then a quiet end.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use ocr_serving::{
    Signal,
    exit::{TERMINATION_LOG, leave_termination_message},
    listen::{self, Bounds},
    process,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    Loader, ServeError, VERSION,
    app::{App, Phase},
    load, pressure, router,
    watchdog::Watchdog,
};
use crate::settings::ServeSettings;

/// How often the watchdog looks.
const WATCH: Duration = Duration::from_secs(1);

/// How often the memory in use is logged.
const MEMORY_LOG: Duration = Duration::from_mins(1);

/// How long the last answers have to leave, after the last request is done.
const FLUSH: Duration = Duration::from_secs(10);

/// Connections of the admin port: the kubelet, a few scrapers, and people.
const ADMIN_CONNECTIONS: usize = 64;

/// How the server ended after it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every accepted request was answered.
    Drained,
    /// The time was over: what was left was ended.
    TimedOut,
    /// Told a second time: it ended at once.
    Forced,
}

/// A server whose ports are open.
pub struct Server {
    settings: ServeSettings,
    api: TcpListener,
    admin: std::net::TcpListener,
    api_address: SocketAddr,
    admin_address: SocketAddr,
}

impl Server {
    /// Opens both ports.
    ///
    /// # Errors
    /// Where a port cannot be opened.
    pub async fn bind(settings: ServeSettings) -> Result<Self, ServeError> {
        let listen = settings.listen;
        let api = listen::bind(listen.listen, listen.port).await?;
        let admin = listen::bind(listen.listen, listen.admin_port).await?;
        let start =
            |source: std::io::Error| ServeError::Start { what: "opening the ports failed", source: source.into() };
        Ok(Self {
            api_address: api.local_addr().map_err(start)?,
            admin_address: admin.local_addr().map_err(start)?,
            api,
            admin: admin.into_std().map_err(start)?,
            settings,
        })
    }

    /// Where the API and the probes answer.
    #[must_use]
    pub const fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where `/metrics` and `/status` answer.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Serves, and loads the model behind the open ports, until a signal comes and what was accepted is done.
    ///
    /// # Errors
    /// Where the server cannot start, or the model can never be loaded here.
    pub async fn run(self, loader: Arc<dyn Loader>, mut signals: mpsc::Receiver<Signal>) -> Result<Ended, ServeError> {
        let settings = self.settings.clone();
        let app = App::new(settings, loader)
            .map_err(|source| ServeError::Start { what: "defining the metrics failed", source: source.into() })?;
        tracing::info!(
            address = %self.api_address,
            admin_address = %self.admin_address,
            version = VERSION,
            concurrency = app.admission.concurrency(),
            queue = app.admission.queue(),
            "listening"
        );
        let closing = CancellationToken::new();
        let admin = start_admin(self.admin, Arc::clone(&app), closing.clone())?;
        let connections = app.settings.connections;
        let bounds = Bounds {
            connections: usize::try_from(connections.max_connections).unwrap_or(usize::MAX),
            header: connections.header(),
            idle: connections.idle(),
        };
        let serving = tokio::spawn(listen::serve(self.api, router::api(Arc::clone(&app)), bounds, closing.clone()));
        let watching = [
            tokio::spawn(watch(Arc::clone(&app))),
            tokio::spawn(pressure::relieve(Arc::clone(&app))),
            tokio::spawn(log_memory(Arc::clone(&app))),
        ]
        .map(AbortOnDrop);
        let loading = async {
            match load::load(Arc::clone(&app)).await {
                // Loaded: from here on only a signal ends the wait.
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let signal = tokio::select! {
            error = loading => {
                closing.cancel();
                return Err(ServeError::OutOfMemory(error));
            }
            signal = signals.recv() => signal.unwrap_or(Signal::Interrupt),
        };
        let ended = tokio::select! {
            ended = drain(&app, signal, &closing, serving) => ended,
            Some(_) = signals.recv() => Ended::Forced,
        };
        drop(watching);
        if ended != Ended::Forced {
            // The model goes last, with its threads and decode processes, once nobody holds it any more.
            let _ = tokio::time::timeout(FLUSH, admin).await;
            let _ = tokio::time::timeout(FLUSH, tokio::task::spawn_blocking(move || drop(app))).await;
        }
        tracing::info!(outcome = ?ended, "ended");
        Ok(ended)
    }
}

/// Ends a task with the scope that started it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The admin port answers from a thread of its own, however busy the others are. What is returned ends with it.
fn start_admin(
    listener: std::net::TcpListener,
    app: Arc<App>,
    closing: CancellationToken,
) -> Result<oneshot::Receiver<()>, ServeError> {
    let failed =
        |source: std::io::Error| ServeError::Start { what: "starting the admin port failed", source: source.into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let connections = app.settings.connections;
    let bounds = Bounds { connections: ADMIN_CONNECTIONS, header: connections.header(), idle: connections.idle() };
    let router = router::admin(app);
    let (done, ended) = oneshot::channel();
    let serve = move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => listen::serve(listener, router, bounds, closing).await,
                Err(error) => tracing::error!(error = %error, "the admin port failed"),
            }
        });
        drop(runtime);
        let _ = done.send(());
    };
    std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map_err(failed)?;
    Ok(ended)
}

/// From the signal to the end: not ready at once, serving until the address is known no more, refusing until what was
/// accepted is done.
async fn drain(app: &App, signal: Signal, closing: &CancellationToken, serving: JoinHandle<()>) -> Ended {
    let drain = app.settings.drain;
    let delay = if signal == Signal::Terminate { drain.delay() } else { Duration::ZERO };
    app.enter_phase(Phase::Leaving);
    tracing::info!(
        delay_seconds = delay.as_secs(),
        deadline_seconds = drain.drain_seconds,
        in_flight = app.admission.in_flight(),
        queued = app.admission.queued(),
        "draining"
    );
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    app.enter_phase(Phase::Refusing);
    let in_time = tokio::time::timeout(drain.deadline(), app.admission.emptied()).await.is_ok();
    if !in_time {
        tracing::warn!(
            in_flight = app.admission.in_flight(),
            queued = app.admission.queued(),
            "requests were still in work when the time to drain was over"
        );
        app.abort.cancel();
    }
    closing.cancel();
    let _ = tokio::time::timeout(FLUSH, serving).await;
    if in_time { Ended::Drained } else { Ended::TimedOut }
}

/// Lets `/live` fail while the engine is stuck, and says so where it will be looked for after the restart.
pub(super) async fn watch(app: Arc<App>) {
    let limit = app.settings.limits.watchdog();
    let mut watchdog = Watchdog::new(limit, Instant::now());
    let mut ticks = tokio::time::interval(WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let pulse = app.meter.engine();
        if let Some(backend) = app.load.backend() {
            app.metrics.computes_on(&backend.engine().strategy);
        }
        let lost = app.load.backend().is_some_and(|backend| backend.is_lost());
        let stuck = lost || watchdog.is_stuck(pulse, Instant::now());
        if app.set_stuck(stuck) {
            if lost {
                tracing::error!("no strategy is left: the server has to start again");
                leave_termination_message(
                    Path::new(TERMINATION_LOG),
                    "NoStrategy",
                    "every strategy failed; see the log",
                );
            } else if stuck {
                tracing::error!(jobs = pulse.jobs, seconds = limit.as_secs(), "the engine makes no progress");
                let message = format!("{} jobs, none finished for {} seconds", pulse.jobs, limit.as_secs());
                leave_termination_message(Path::new(TERMINATION_LOG), "EngineStuck", &message);
            } else {
                tracing::warn!("the engine goes on");
            }
        }
    }
}

/// Whether memory in use is half as much again as what was declared; not where nothing was.
fn is_suspicious(resident: u64, declared: u64) -> bool {
    declared > 0 && resident.saturating_mul(2) > declared.saturating_mul(3)
}

/// Logs the memory in use; above what the model should take, as a warning.
pub(super) async fn log_memory(app: Arc<App>) {
    let mut ticks = tokio::time::interval(MEMORY_LOG);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let memory = process::memory();
        tracing::info!(
            rss_mb = memory.resident_mb(),
            peak_rss_mb = memory.peak_resident_bytes >> 20,
            threads = memory.threads,
            "memory usage"
        );
        let declared = app.load.backend().map_or(0, |backend| backend.model().memory_bytes);
        if is_suspicious(memory.resident_bytes, declared) {
            tracing::warn!(
                rss_mb = memory.resident_mb(),
                declared_mb = declared >> 20,
                "more memory than the model should take: it may leak; lower --concurrency or --max-pixels, and report it"
            );
        }
    }
}
