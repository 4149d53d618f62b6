//! The gateway's life: ports first, then what the cluster says, then requests, then a quiet end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::Client;
use ocr_serving::{
    Signal,
    listen::{self, Bounds},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    VERSION,
    app::App,
    balance::Endpoint,
    look,
    policy::Policy,
    serve,
    settings::{PodAddress, Settings},
    watch,
};

/// Connections of the admin port: the operator's, the kubelet's, a few scrapers' and people's.
const ADMIN_CONNECTIONS: usize = 64;

/// How often keys are read again.
const KEYS: Duration = Duration::from_secs(30);

/// How often the end looks whether requests are left.
const LOOK: Duration = Duration::from_millis(50);

/// A gateway whose ports are open.
pub struct Gateway {
    app: Arc<App>,
    api: TcpListener,
    admin: TcpListener,
    api_address: SocketAddr,
    admin_address: SocketAddr,
}

impl Gateway {
    /// Opens both ports.
    ///
    /// # Errors
    /// Where a port cannot be opened, or the settings name something that is not there.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let listen = settings.listen;
        let api = listen::bind(listen.listen, listen.port).await?;
        let admin = listen::bind(listen.listen, listen.admin_port).await?;
        Ok(Self {
            api_address: api.local_addr()?,
            admin_address: admin.local_addr()?,
            api,
            admin,
            app: App::new(settings)?,
        })
    }

    /// Where requests are taken.
    #[must_use]
    pub const fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where `/status` and `/metrics` answer.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Forwards requests until a signal comes and what was accepted is done.
    ///
    /// # Errors
    /// Where there is no way to the API server, or the pool's file cannot be read.
    pub async fn run(self, mut signals: mpsc::Receiver<Signal>) -> anyhow::Result<()> {
        let Self { app, api, admin, api_address, admin_address } = self;
        tracing::info!(address = %api_address, admin_address = %admin_address, version = VERSION, "listening");
        let tasks = [
            tokio::spawn(follow(Arc::clone(&app))?),
            tokio::spawn(look::run(Arc::clone(&app))),
            tokio::spawn(read_keys(Arc::clone(&app))),
        ];
        let closing = CancellationToken::new();
        let connections = app.settings.connections;
        let bounds = |connections_most| Bounds {
            connections: connections_most,
            header: connections.header(),
            idle: connections.idle(),
        };
        let most = usize::try_from(connections.max_connections).unwrap_or(usize::MAX);
        let serving = tokio::spawn(listen::serve(api, serve::api(Arc::clone(&app)), bounds(most), closing.clone()));
        let admin = listen::serve(admin, serve::admin(Arc::clone(&app)), bounds(ADMIN_CONNECTIONS), closing.clone());
        let admin = tokio::spawn(admin);
        let signal = signals.recv().await.unwrap_or(Signal::Interrupt);
        tokio::select! {
            () = drain(&app, signal, closing, serving) => {}
            Some(_) = signals.recv() => {}
        }
        admin.abort();
        tasks.iter().for_each(JoinHandle::abort);
        tracing::info!("ended");
        Ok(())
    }
}

/// Where the pods come from.
fn follow(app: Arc<App>) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let settings = app.settings.pool.clone();
    if settings.pods.is_empty() {
        let pool = settings.pool.context("name a pool by --pool, or pods by --pod")?;
        return Ok(futures::future::Either::Left(follow_cluster(app, pool, settings.namespace)));
    }
    if let Some(file) = &settings.pool_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let pool = yaml_serde::from_str(&text).with_context(|| format!("{} is no OcrPool", file.display()))?;
        app.set_policy(Policy::of(&pool).0);
    }
    app.set_endpoints(settings.pods.iter().map(endpoint).collect());
    app.set_connected(true);
    Ok(futures::future::Either::Right(std::future::ready(())))
}

async fn follow_cluster(app: Arc<App>, pool: String, namespace: Option<String>) {
    loop {
        match Client::try_default().await {
            Ok(client) => {
                let namespace = namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
                watch::run(Arc::clone(&app), client, namespace, pool.clone()).await;
            }
            Err(error) => tracing::error!(error = %error, "there is no way to the API server; it is tried again"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn endpoint(pod: &PodAddress) -> Endpoint {
    Endpoint { name: pod.api.to_string().into(), api: pod.api, admin: pod.admin, takes_requests: true }
}

/// Reads the keys again: a Secret changes while it is mounted.
async fn read_keys(app: Arc<App>) {
    loop {
        sleep(KEYS).await;
        if let Err(error) = app.keys.reload() {
            tracing::warn!(error = %error, "the keys cannot be read again and stay as they were");
        }
    }
}

/// From the signal to the end: not ready at once, serving until the address is known no more, then until what was accepted
/// is done.
async fn drain(app: &App, signal: Signal, closing: CancellationToken, serving: JoinHandle<()>) {
    let drain = app.settings.drain;
    app.leave();
    tracing::info!(in_flight = app.status().in_flight, "draining");
    if signal == Signal::Terminate {
        sleep(drain.delay()).await;
    }
    closing.cancel();
    let idle = async {
        while app.places.available_permits() < app.settings.limits.max_requests {
            sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(drain.deadline(), idle).await.is_err() {
        tracing::warn!(in_flight = app.status().in_flight, "requests were left when the time to drain was over");
    }
    // The last answers leave.
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
}
