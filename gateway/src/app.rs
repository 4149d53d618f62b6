//! What the handlers share.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ocr_api::{GatewayStatus, gateway::GatewayPod};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use crate::{
    VERSION,
    balance::{Costs, Endpoint},
    clients::{ApiKeys, Rates},
    dispatch::Dispatcher,
    forward::{Pods, upload},
    metrics::{Look, Metrics},
    policy::Policy,
    settings::Settings,
};

/// The gateway's state.
pub struct App {
    pub settings: Settings,
    pub dispatcher: Arc<Dispatcher>,
    pub metrics: Arc<Metrics>,
    pub pods: Pods,
    pub keys: ApiKeys,
    pub rates: Rates,
    pub costs: RwLock<Costs>,
    /// Memory for bodies.
    pub bodies: Arc<upload::Budget>,
    /// Places for requests.
    pub places: Arc<Semaphore>,
    /// The pods have changed: they are to be asked how they are.
    pub pods_changed: Notify,
    policy: RwLock<Arc<Policy>>,
    arrived: AtomicU64,
    /// In thousandths.
    arrived_units: AtomicU64,
    connected: AtomicBool,
    leaving: AtomicBool,
}

impl App {
    /// A gateway that knows no pods.
    ///
    /// # Errors
    /// Where the metrics or the keys cannot be made.
    pub fn new(settings: Settings) -> anyhow::Result<Arc<Self>> {
        let policy = Policy::default();
        let keys = ApiKeys::read(settings.clients.api_keys.clone()).map_err(|error| {
            let folder = settings.clients.api_keys.clone().unwrap_or_default();
            anyhow::anyhow!(
                "cannot read the keys in {}: {error}; set --api-keys to a folder with a file each",
                folder.display()
            )
        })?;
        Ok(Arc::new(Self {
            dispatcher: Dispatcher::new(policy.hold, policy.start_seconds),
            metrics: Arc::new(Metrics::new(VERSION)?),
            pods: Pods::default(),
            keys,
            rates: Rates::default(),
            costs: RwLock::default(),
            bodies: upload::Budget::new(settings.limits.max_bodies),
            places: Arc::new(Semaphore::new(settings.limits.max_requests)),
            pods_changed: Notify::new(),
            policy: RwLock::new(Arc::new(policy)),
            arrived: AtomicU64::new(0),
            arrived_units: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            settings,
        }))
    }

    /// What the pool asks of its gateway.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the pool asks.
    pub fn set_policy(&self, policy: Policy) {
        self.rates.set(policy.rate_limit);
        self.dispatcher.set_bounds(policy.hold, policy.start_seconds);
        self.dispatcher.change(|balance| balance.set_weights(&policy.weights));
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Takes over which pods there are.
    pub fn set_endpoints(&self, endpoints: Vec<Endpoint>) {
        self.dispatcher.change(|balance| balance.set_endpoints(endpoints));
        self.pods_changed.notify_one();
    }

    /// Notes whether the API server answers.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Notes a request that came, with the units that it was estimated at.
    pub fn arrived(&self, units: f64) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        // A request is some units; what is no number was not learnt.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let thousandths = (units * 1000.0).clamp(0.0, 1e12) as u64;
        self.arrived_units.fetch_add(thousandths, Ordering::Relaxed);
    }

    /// Whether the gateway is about to end.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Notes that it is.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// What it holds and knows.
    #[must_use]
    pub fn status(&self) -> GatewayStatus {
        let now = Instant::now();
        let holding = self.dispatcher.holding(now);
        let pods: Vec<GatewayPod> = self.dispatcher.look(|balance| {
            let seen = |pod: &crate::balance::Pod| GatewayPod {
                name: pod.endpoint.name.to_string(),
                takes_requests: pod.takes_requests(now),
                in_flight: count(pod.in_flight()),
                revision: pod.revision().map(str::to_owned),
            };
            balance.pods().map(seen).collect()
        });
        // Thousandths of a unit: far below the 2^53 that an f64 holds exactly.
        #[expect(clippy::cast_precision_loss)]
        let arrived_units = self.arrived_units.load(Ordering::Relaxed) as f64 / 1000.0;
        GatewayStatus {
            version: VERSION.to_owned(),
            held: count(holding.requests),
            held_bytes: holding.bytes,
            held_units: holding.units,
            oldest_seconds: holding.oldest.map(|oldest| oldest.as_secs_f64()),
            in_flight: pods.iter().map(|pod| pod.in_flight).sum(),
            arrived: self.arrived.load(Ordering::Relaxed),
            arrived_units,
            refused: holding.refused,
            connected: self.connected.load(Ordering::Relaxed),
            pods,
        }
    }

    /// All figures in Prometheus' text format.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn figures(&self) -> Result<String, prometheus::Error> {
        let now = Instant::now();
        let holding = self.dispatcher.holding(now);
        let look = self.dispatcher.look(|balance| {
            let ready = balance.pods().filter(|pod| pod.takes_requests(now)).count();
            Look {
                held: holding.requests,
                held_bytes: holding.bytes,
                in_flight: balance.pods().map(crate::balance::Pod::in_flight).sum(),
                pods_ready: ready,
                pods_not_ready: balance.pods().count() - ready,
            }
        });
        self.metrics.encode(look)
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
