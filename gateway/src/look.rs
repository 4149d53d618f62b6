//! Asks the pods how they are, all the time and bounded in time and size.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use ocr_api::PodStatus;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    app::App,
    balance::{Endpoint, Report},
};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(1);

/// Longest wait for a pod.
const LIMIT: Duration = Duration::from_secs(1);

/// Pods asked at once.
const AT_ONCE: usize = 16;

/// Longest answer.
const MOST: usize = 256 << 10;

/// Seconds at work after which a pod's rate says something.
const LEAST_BUSY: f64 = 5.0;

/// Asks all pods, round after round; at once when others are there.
pub async fn run(app: Arc<App>) {
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_max_idle_per_host(1).build_http();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.pods_changed.notified() => {}
        }
        let endpoints: Vec<Endpoint> =
            app.dispatcher.look(|balance| balance.pods().map(|pod| pod.endpoint.clone()).collect());
        stream::iter(endpoints)
            .for_each_concurrent(AT_ONCE, |endpoint| {
                let (client, app) = (&client, &app);
                async move {
                    let said = tokio::time::timeout(LIMIT, ask(client, &endpoint)).await.ok().flatten();
                    app.dispatcher.hear(&endpoint.name, said.as_ref().map(report));
                }
            })
            .await;
    }
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, endpoint: &Endpoint) -> Option<PodStatus> {
    let request = Request::get(format!("http://{}/status", endpoint.admin)).body(Empty::new()).ok()?;
    let response = client.request(request).await.ok()?;
    let bytes = Limited::new(response.into_body(), MOST).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok()
}

/// What counts of what a pod said.
fn report(said: &PodStatus) -> Report {
    let (work, engine) = (&said.work, &said.engine);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    // Busy seconds are summed over the threads.
    let threads = f64::from(engine.detect_threads.max(engine.recognise_threads).max(1));
    let rate = work.units / work.busy_seconds * threads;
    Report {
        revision: said.revision.as_deref().map(Arc::from),
        model: said.model.as_ref().map(|model| model.model.clone()),
        rate: (work.busy_seconds >= LEAST_BUSY && rate.is_finite() && rate > 0.0).then_some(rate),
        requests: count(work.in_flight.saturating_add(work.queued)),
        concurrency: count(work.concurrency),
        draining: work.draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> PodStatus {
        serde_json::from_str(include_str!("../../tests/recorded/status.json")).unwrap()
    }

    #[test]
    fn a_report_is_what_a_real_pod_was_recorded_to_say() {
        let mut said = said();
        (said.work.in_flight, said.work.queued, said.work.units, said.work.busy_seconds) = (2, 3, 30.0, 10.0);
        (said.engine.detect_threads, said.engine.recognise_threads) = (1, 2);
        said.revision = Some("r1".to_owned());
        let model = said.model.clone().map(|model| model.model);
        assert!(model.is_some());
        let expected = Report {
            revision: Some("r1".into()),
            model,
            rate: Some(6.0),
            requests: 5,
            concurrency: 3,
            draining: false,
        };
        assert_eq!(report(&said), expected);
    }

    #[test]
    fn a_rate_that_says_nothing_is_none() {
        for (units, busy) in
            [(0.0, 0.0), (30.0, 4.9), (f64::NAN, 10.0), (-1.0, 10.0), (f64::INFINITY, 10.0), (0.0, 10.0)]
        {
            let mut said = said();
            (said.work.units, said.work.busy_seconds) = (units, busy);
            assert_eq!(report(&said).rate, None, "{units} in {busy}");
        }
    }
}
