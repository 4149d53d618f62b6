//! What all reconciles share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Resource as _, ResourceExt as _,
    runtime::events::{Recorder, Reporter},
};
use ocr_api::PodStatus;
use ocrpool_core::{api::OcrPool, build::names, installation::Installation, prove};

use crate::{client::Clients, commands::Run, metrics::Metrics};

/// What all reconciles share.
pub struct Context {
    pub clients: Clients,
    pub settings: Run,
    pub installation: Installation,
    pub recorder: Recorder,
    pub http: reqwest::Client,
    pub metrics: Arc<Metrics>,
    pools: Mutex<HashMap<String, Remembered>>,
    attested: Mutex<HashMap<String, PodStatus>>,
    /// Milliseconds by the fence's clock: of the last try for the lease, and of the last that was answered.
    tried: AtomicU64,
    answered: AtomicU64,
}

/// What is remembered of a pool between two reconciles, beside its status. Lost with the process, and found again.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Of the page that proves it; from its status at first.
    pub proof: Option<prove::Memory>,
    /// A page is on its way.
    pub proving: bool,
    /// Reconciles that failed in a row.
    pub failures: u32,
    /// What was said of a pool that cannot be read.
    pub unreadable: Option<String>,
    /// When its status was last written, by the fence's clock.
    pub reported_at: Option<Duration>,
    /// Versions of Deployments that were written here and that the cache has not seen yet, by name.
    pub unseen: HashMap<String, Unseen>,
    /// Objects that came back other than they were written, by kind and name.
    pub contested: HashMap<String, Contested>,
}

/// An own write that the cache has not seen yet.
#[derive(Clone, Debug)]
pub struct Unseen {
    pub version: String,
    pub since: Duration,
}

/// An object that somebody else changes whenever it was put right.
#[derive(Clone, Debug, Default)]
pub struct Contested {
    /// How often in a row.
    pub times: u32,
    /// When it was last put right.
    pub at: Duration,
    /// Who changed it, once that was asked for.
    pub by: Option<String>,
}

impl Context {
    /// Makes what all reconciles share.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub fn new(
        clients: Clients,
        settings: Run,
        installation: Installation,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let reporter = Reporter { controller: names::MANAGER.to_owned(), instance: Some(settings.name.clone()) };
        Ok(Self {
            recorder: Recorder::new(clients.fenced.clone(), reporter),
            // Each page on a connection of its own: a kept one would always reach the same pod.
            http: reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?,
            clients,
            settings,
            installation,
            metrics,
            pools: Mutex::default(),
            attested: Mutex::default(),
            tried: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        })
    }

    /// Looks at what is remembered of a pool, or changes it.
    pub fn with<T>(&self, uid: &str, change: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        change(pools.entry(uid.to_owned()).or_default())
    }

    /// Forgets pools that are no more.
    pub fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| is_there(uid));
    }

    /// Notes a try for the lease, and whether the API server has answered.
    pub fn tried(&self, answered: bool) {
        let now = u64::try_from(self.clients.fence.clock().as_millis()).unwrap_or(u64::MAX).max(1);
        self.tried.store(now, Ordering::Relaxed);
        if answered {
            self.answered.store(now, Ordering::Relaxed);
        }
    }

    /// When the lease was last tried for, by the fence's clock.
    pub fn last_try(&self) -> Duration {
        Duration::from_millis(self.tried.load(Ordering::Relaxed))
    }

    /// When the API server last answered that; zero before the first time.
    pub fn last_answer(&self) -> Duration {
        Duration::from_millis(self.answered.load(Ordering::Relaxed))
    }

    /// What pods say of themselves, by UID.
    pub fn attested(&self) -> std::sync::MutexGuard<'_, HashMap<String, PodStatus>> {
        self.attested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool as events name it.
pub fn reference(pool: &OcrPool) -> ObjectReference {
    ObjectReference { resource_version: None, uid: pool.uid(), ..pool.object_ref(&()) }
}
