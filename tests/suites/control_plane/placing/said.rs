//! What the fake pods say that they compute on: one in five says something else than it was made for.

use std::{collections::BTreeMap, sync::Mutex, thread, time::Duration};

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::Watch,
    http::{Http, send},
};
use serde_json::Value;

use super::{LYING_FIRST, label};

/// One of so many lies.
const LIES: usize = 5;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What pods were told to say.
#[derive(Default)]
pub struct Said {
    /// By the pod's name.
    by_name: Mutex<BTreeMap<String, String>>,
}

impl Said {
    /// Tells each new pod what to say, as soon as it has an address, until `is_over`.
    ///
    /// # Errors
    /// If the watch or the process that answers for the pods has ended.
    pub fn follow(&self, watch: &Watch, is_over: impl Fn() -> bool) -> anyhow::Result<()> {
        let admin = Http::new("http://127.0.0.1:8101")?;
        let (mut seen, mut by_address) = (0, BTreeMap::new());
        let (mut count, mut of_liars) = (0, 0);
        while !is_over() {
            let events = watch.events(seen)?;
            seen += events.len();
            let before = by_address.clone();
            for event in &events {
                let pod = &event.object;
                let Some(address) = pod["status"]["podIP"].as_str() else { continue };
                if event.is_gone {
                    by_address.remove(address);
                    continue;
                }
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let mut by_name = self.by_name.lock().ok().context("a panic")?;
                let says = by_name.entry(name.to_owned()).or_insert_with(|| {
                    let is_liars = label(pod, "ocrpool.dev/pool") == LYING_FIRST;
                    let number = if is_liars { &mut of_liars } else { &mut count };
                    *number += 1;
                    let lies = if is_liars { *number == 1 } else { (*number - 1) % LIES == 0 };
                    says(pod, lies)
                });
                by_address.insert(address.to_owned(), says.clone());
            }
            if before != by_address {
                let request = admin.request(reqwest::Method::PUT, "/attestations");
                let answer =
                    send(request.header("content-type", "application/json").body(serde_json::to_vec(&by_address)?))?;
                ensure!(answer.status == 204, "the fake pods answered {}", answer.status);
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// What this pod says; nothing if it was not told yet.
    pub fn of(&self, pod: &Value) -> Option<String> {
        self.by_name.lock().ok()?.get(pod["metadata"]["name"].as_str()?).cloned()
    }
}

/// What it was made for, or else: one made for a GPU says that it runs on the CPU, another something that no version knows.
fn says(pod: &Value, lies: bool) -> String {
    let made_for = label(pod, "ocrpool.dev/strategy");
    match (lies, made_for) {
        (false, _) => made_for,
        (true, "cpu") => "abacus",
        (true, _) => "cpu",
    }
    .to_owned()
}
