//! One replica works, the others wait. The rules are in [`ocrpool_core::lease`]; this talks to the API server.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use ocrpool_core::lease::{Election, Move, Seen, Terms, writes_until};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use crate::{context::Context, controller};

/// Name of the lease.
const LEASE: &str = "ocr-operator";

/// Competes for the lease, and works while it holds it, until the process is told to end.
///
/// # Errors
/// Where signals cannot be received.
pub async fn lead(context: Arc<Context>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut candidate = Candidate::new(&context);
    tokio::select! {
        () = candidate.compete(&context) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Nothing is written after this; then the next one need not wait for the lease to end.
    context.clients.fence.close();
    candidate.give_back().await;
    Ok(())
}

struct Candidate {
    api: Api<Lease>,
    me: String,
    terms: Terms,
    election: Election,
    lease: Option<Lease>,
}

impl Candidate {
    fn new(context: &Context) -> Self {
        Self {
            api: Api::namespaced(context.clients.lease.clone(), &context.settings.namespace),
            me: context.settings.name.clone(),
            terms: Terms::default(),
            election: Election::default(),
            lease: None,
        }
    }

    /// Waits for the lease, works, and begins again when it was lost.
    async fn compete(&mut self, context: &Arc<Context>) {
        loop {
            let until = self.acquire(context).await;
            context.clients.fence.open_until(until);
            context.metrics.leads(true);
            tracing::info!(replica = self.me, "leading");
            tokio::select! {
                () = controller::run(Arc::clone(context)) => {}
                () = self.hold(context, until) => {}
            }
            context.clients.fence.close();
            context.metrics.leads(false);
            tracing::warn!(replica = self.me, "not leading any more");
        }
    }

    /// Returns until when writes may be sent, once the lease is ours.
    async fn acquire(&mut self, context: &Context) -> Duration {
        loop {
            if let Some(until) = self.try_once(context).await {
                return until;
            }
            sleep(self.terms.retry).await;
        }
    }

    /// Renews the lease; returns when it is lost, or could not be renewed in time.
    async fn hold(&mut self, context: &Context, mut until: Duration) {
        loop {
            sleep(self.terms.retry).await;
            if let Some(renewed) = self.try_once(context).await {
                until = renewed;
                context.clients.fence.open_until(until);
            } else if self.is_others() || context.clients.fence.clock() >= until {
                return;
            }
        }
    }

    fn is_others(&self) -> bool {
        let holder = self.lease.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_ref());
        holder.is_some_and(|holder| *holder != self.me)
    }

    /// Looks at the lease and creates, takes or renews it; returns until when writes may be sent if it is ours.
    async fn try_once(&mut self, context: &Context) -> Option<Duration> {
        let outcome = timeout(self.terms.retry * 2, self.step(context)).await;
        context.tried(matches!(outcome, Ok(Ok(_))));
        match outcome {
            Ok(Ok(until)) => until,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease could not be read or written");
                None
            }
            Err(_) => {
                tracing::warn!("the lease could not be read or written in time");
                None
            }
        }
    }

    async fn step(&mut self, context: &Context) -> kube::Result<Option<Duration>> {
        let clock = || context.clients.fence.clock();
        self.lease = self.api.get_opt(LEASE).await?;
        self.election.observe(self.lease.as_ref().map(seen), clock());
        let begun = clock();
        let written = match self.election.next(&self.me, begun) {
            Move::Wait => return Ok(None),
            Move::Create => self.api.create(&PostParams::default(), &self.ours(None)).await,
            Move::Take | Move::Renew => {
                let ours = self.ours(self.lease.as_ref());
                self.api.replace(LEASE, &PostParams::default(), &ours).await
            }
        };
        match written {
            Ok(lease) => {
                self.election.observe(Some(seen(&lease)), clock());
                self.lease = Some(lease);
                Ok(Some(writes_until(self.terms, begun)))
            }
            // Another was faster: it has the lease now.
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The lease as ours. The resource version of the one that was read makes the API server refuse what comes late.
    fn ours(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_mine = spec.holder_identity.as_ref() == Some(&self.me);
        Lease {
            metadata: before.map_or_else(
                || ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                acquire_time: if is_mine { spec.acquire_time } else { Some(now.clone()) },
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(self.terms.lease.as_secs()).ok(),
                lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + i32::from(before.is_some() && !is_mine)),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn give_back(&mut self) {
        if self.is_others() {
            return;
        }
        let Some(mut lease) = self.lease.take() else { return };
        let Some(spec) = &mut lease.spec else { return };
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match timeout(self.terms.retry, self.api.replace(LEASE, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => tracing::info!(replica = self.me, "gave the lease back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back, it ends by itself"),
            Err(_) => tracing::warn!("the lease could not be given back in time, it ends by itself"),
        }
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    Seen {
        holder: spec.holder_identity.unwrap_or_default(),
        lease: Duration::from_secs(
            spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
        ),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
