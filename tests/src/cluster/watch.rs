//! What becomes of objects, event by event.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use futures::TryStreamExt as _;
use http::Request;
use jiff::Timestamp;
use kube::{Client, core::WatchEvent};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{Cluster, path};

/// How long the API server goes on with one request: longer than any case.
const SECONDS: u32 = 3600;

/// A watch of the objects of a kind in a namespace, from a moment on. Ends when dropped.
pub struct Watch {
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    events: Vec<Event>,
    /// Why it ended.
    ended: Option<String>,
}

/// Something that became of an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was seen.
    pub at: Timestamp,
    /// Whether the object is there no more; else it is new or has changed.
    pub is_gone: bool,
    pub object: Value,
}

impl Watch {
    /// Begins. What is there already is not told.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn start(cluster: &Cluster, kind: &str, namespace: &str) -> anyhow::Result<Self> {
        let path = path(kind, namespace, "");
        let list = cluster.call(Request::get(format!("{path}?limit=1")), None)?;
        let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
        let request = format!("{path}?watch=true&resourceVersion={version}&timeoutSeconds={SECONDS}");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (client, runtime) = cluster.client();
        let (client, into) = (client.clone(), Arc::clone(&shared));
        let task = runtime.spawn(async move {
            let end = match follow(&client, &request, &into).await {
                Ok(()) => "its time was over".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            lock(&into).ended = Some(end);
        });
        Ok(Self { shared, task })
    }

    /// The events from this number on, so far.
    ///
    /// # Errors
    /// If it has ended: then some may have gone unseen.
    pub fn events(&self, from: usize) -> anyhow::Result<Vec<Event>> {
        let shared = lock(&self.shared);
        if let Some(ended) = &shared.ended {
            bail!("the watch has ended: {ended}");
        }
        Ok(shared.events.get(from..).unwrap_or_default().to_vec())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(client: &Client, request: &str, into: &Mutex<Shared>) -> anyhow::Result<()> {
    let events = client.request_events::<Value>(Request::get(request).body(Vec::new())?).await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.try_next().await? {
        let (object, is_gone) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => bail!("{}", status.message),
        };
        lock(into).events.push(Event { at: Timestamp::now(), is_gone, object });
    }
    Ok(())
}
