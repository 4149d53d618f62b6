//! How many pods of each pool were ready, at every event of the watch.

use std::collections::BTreeMap;

use anyhow::ensure;
use ocr_tests::cluster::{Event, Watch, is_ready};

use super::label;

/// Counts ready pods while events come.
pub struct Floor<'a> {
    watch: &'a Watch,
    /// Events read so far.
    seen: usize,
    /// Fewest ready pods that a pool may have.
    least: BTreeMap<&'static str, i32>,
    /// Whether a pod is ready, by pool and by name.
    ready: BTreeMap<(String, String), bool>,
    /// Fewest that a pool had, and the event that left so few.
    fewest: BTreeMap<String, (i32, String)>,
}

impl<'a> Floor<'a> {
    /// Begins with what the watch has seen until now, of which nothing is demanded.
    ///
    /// # Errors
    /// If the watch has ended.
    pub fn begin(watch: &'a Watch, least: impl IntoIterator<Item = (&'static str, i32)>) -> anyhow::Result<Self> {
        let least = least.into_iter().collect();
        let mut floor = Self { watch, seen: 0, least, ready: BTreeMap::new(), fewest: BTreeMap::new() };
        floor.read()?;
        floor.fewest.clear();
        Ok(floor)
    }

    /// Reads what has come since, and fails if a pool was below its floor at any event.
    ///
    /// # Errors
    /// With the pools that were.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let from = self.seen;
        self.read()?;
        let below: Vec<String> = self
            .least
            .iter()
            .filter_map(|(pool, least)| {
                let (fewest, event) = self.fewest.get(*pool)?;
                (fewest < least).then(|| format!("{pool} had {fewest} ready pods, {least} are its floor, {event}"))
            })
            .collect();
        let fewest: BTreeMap<_, _> = self.fewest.iter().map(|(pool, (fewest, _))| (pool, fewest)).collect();
        println!("{} events, with so many ready pods at least: {fewest:?}", self.seen - from);
        ensure!(below.is_empty(), "{}", below.join("; "));
        Ok(())
    }

    fn read(&mut self) -> anyhow::Result<()> {
        for event in self.watch.events(self.seen)? {
            self.seen += 1;
            self.note(&event);
        }
        Ok(())
    }

    fn note(&mut self, Event { object: pod, is_gone, at }: &Event) {
        let pool = label(pod, "ocrpool.dev/pool").to_owned();
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let event = format!("since {name} was seen at {at}");
        self.ready.insert((pool.clone(), name), !is_gone && is_ready(pod));
        let ready = self.ready.iter().filter(|((of, _), is_ready)| *of == pool && **is_ready).count();
        let ready = i32::try_from(ready).unwrap_or(i32::MAX);
        let before = self.fewest.get(&pool).map_or(i32::MAX, |(fewest, _)| *fewest);
        if ready < before {
            self.fewest.insert(pool, (ready, event));
        }
    }
}
