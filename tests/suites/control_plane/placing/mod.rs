//! Pools on nodes of many kinds: which pod goes where, whatever its pods say of themselves, and what becomes of them when
//! GPUs go and come.
//!
//! The scheduler is the real one, and reads what the operator wrote; the nodes are KWOK's.

mod floor;
mod nodes;
mod said;
mod told;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use ocr_tests::cluster::{Cluster, Installation, Operator, Pool, Watch, is_ready, until};
use serde_json::{Value, json};

use crate::fleet::{Answers, NAMESPACE, remove};
use floor::Floor;
use said::Said;

/// How long a pod may find no node.
const SPILL_AFTER: u32 = 10;
/// How much later than that it may be given up.
const GRACE: u32 = 10;
/// Longest wait for a state that is to come.
const SETTLED: Duration = Duration::from_mins(4);
/// The pool of which the first pod says something else than it was made for, and none after it; it replaces such pods.
pub const LYING_FIRST: &str = "l4-team";

/// A pool: its pods, its strategies, and its placement.
type Row = (&'static str, i32, &'static [&'static str], Value);

const ALL: &[&str] = &["gpu-fp16", "gpu-int8", "cpu"];
const BOTH: &[&str] = &["gpu-fp16", "cpu"];

fn pools() -> Vec<Row> {
    vec![
        ("t4", 15, ALL, json!({"gpuProducts": ["Tesla-T4"]})),
        ("l4", 8, BOTH, json!({"gpuProducts": ["NVIDIA-L4"]})),
        (
            LYING_FIRST,
            2,
            &["gpu-fp16"],
            json!({
                "nodeSelector": {"team": "training"}, "tolerations": [{"key": "team", "operator": "Exists"}],
                "onMismatch": "Replace",
            }),
        ),
        ("a10g", 18, BOTH, json!({"gpuProducts": ["NVIDIA-A10G"]})),
        ("a100", 23, BOTH, json!({"gpuResource": "nvidia.com/mig-1g.10gb"})),
        ("h100", 34, BOTH, json!({"gpuResource": "nvidia.com/gpu.shared"})),
        ("plain", 5, &["cpu"], json!({})),
    ]
}

/// Where the pods of each pool and strategy have to be.
const EXPECTED: [(&str, &str, &str, usize); 13] = [
    // 6 nodes, of which one is cordoned; 2 more with GPUs that are shared by 4.
    ("t4", "gpu-fp16", "t4", 5),
    ("t4", "gpu-int8", "t4-shared", 8),
    ("t4", "cpu", "cpu", 2),
    // 8 nodes, of which two are another team's.
    ("l4", "gpu-fp16", "l4", 6),
    ("l4", "cpu", "cpu", 2),
    ("l4-team", "gpu-fp16", "l4", 2),
    // 6 nodes with 4 GPUs: of one the memory cannot be read, of one the driver is upgraded.
    ("a10g", "gpu-fp16", "a10g", 16),
    ("a10g", "cpu", "cpu", 2),
    // 4 nodes with 7 parts: one is being maintained.
    ("a100", "gpu-fp16", "a100", 21),
    ("a100", "cpu", "cpu", 2),
    // 4 nodes with 16 halves: one is about to be deleted, on one they are sixteenths.
    ("h100", "gpu-fp16", "h100", 32),
    ("h100", "cpu", "cpu", 2),
    ("plain", "cpu", "cpu", 5),
];

pub fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let answers = Answers::start()?;
    Installation::apply(cluster, &["allow.tolerations={team}"])?;
    cluster.namespace(NAMESPACE)?;
    nodes::make(cluster)?;
    let watch = Watch::start(cluster, "Pod", NAMESPACE)?;
    let (said, is_over) = (Said::default(), AtomicBool::new(false));
    let outcome = thread::scope(|scope| {
        let telling = scope.spawn(|| said.follow(&watch, || is_over.load(Ordering::Relaxed)));
        let outcome = all(cluster, &watch, &said);
        is_over.store(true, Ordering::Relaxed);
        let told = telling.join().map_err(|_| anyhow::anyhow!("a panic while pods were told what to say"))?;
        outcome.and(told)
    });
    drop(answers);
    outcome?;
    remove(cluster)?;
    nodes::remove(cluster)
}

fn all(cluster: &'static Cluster, watch: &Watch, said: &Said) -> anyhow::Result<()> {
    let _operator = Operator::start(cluster, "placing")?;
    for pool in pools() {
        set(cluster, &pool, "info")?;
    }
    let started = Instant::now();
    settled(cluster, said)?;
    println!("{} pods are where they should be after {:.0} s", total(), started.elapsed().as_secs_f64());
    verified(cluster, said)?;
    // From now on no pool may have fewer ready pods than its disruption budget leaves.
    let mut floor = Floor::begin(watch, pools().into_iter().map(|(name, pods, ..)| (name, pods - 1)))?;

    // A drain, as kubectl does it: closed, then evicted.
    for node in ["l4-2", "l4-3"] {
        cluster.cordon(node, true)?;
    }
    until(SETTLED, "two pods more than are wanted are ready before two are evicted", || {
        let ready = count(cluster, "l4", is_ready)?;
        ensure!(ready >= 10, "{ready} are ready");
        Ok(())
    })?;
    let (drained, taken_at) = (Instant::now(), Timestamp::now());
    evict(cluster, "l4", &["l4-2", "l4-3"], 2)?;
    // GPUs that vanish: 12 of 16 are left, and the pods that had the others end.
    cluster.merge_status("Node", "", "a10g-2", &json!({"allocatable": {"nvidia.com/gpu": "0"}}))?;
    evict(cluster, "a10g", &["a10g-2"], 4)?;
    let less = [
        ("l4", "gpu-fp16", "l4", 4),
        ("l4", "cpu", "cpu", 4),
        ("a10g", "gpu-fp16", "a10g", 12),
        ("a10g", "cpu", "cpu", 6),
    ];
    placed(cluster, &with(&less))?;
    println!("6 GPUs are taken away: all pods are elsewhere after {:.0} s", drained.elapsed().as_secs_f64());
    for pool in ["l4", "a10g"] {
        told::event(cluster, pool, "Spilled", "Spill.gpu-fp16.", taken_at)?;
    }

    let (given, given_at) = (Instant::now(), Timestamp::now());
    for node in ["l4-2", "l4-3"] {
        cluster.cordon(node, false)?;
    }
    cluster.merge_status("Node", "", "a10g-2", &json!({"allocatable": {"nvidia.com/gpu": "4"}}))?;
    placed(cluster, &with(&[]))?;
    println!("given back: used again after {:.0} s", given.elapsed().as_secs_f64());
    for pool in ["l4", "a10g"] {
        told::event(cluster, pool, "Reclaiming", "Reclaim.gpu-fp16.", given_at)?;
    }

    // Other revisions, while every GPU is taken.
    let renewed = Instant::now();
    for pool in pools().iter().filter(|(name, ..)| ["a10g", LYING_FIRST].contains(name)) {
        set(cluster, pool, "debug")?;
    }
    settled(cluster, said)?;
    println!("two pools have another revision after {:.0} s", renewed.elapsed().as_secs_f64());
    floor.check()?;
    spilled_in_time(watch)
}

fn set(cluster: &'static Cluster, (name, pods, strategies, placement): &Row, log_level: &str) -> anyhow::Result<()> {
    let mut placement = placement.clone();
    placement["spillAfterSeconds"] = SPILL_AFTER.into();
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": 1, "memory": "1Gi"}});
    let spec = json!({
        "model": {"name": "pp-ocrv6-small"}, "image": "localhost/fake-pod:1",
        "strategies": strategies, "replicas": pods, "scaling": {"mode": "Manual"}, "placement": placement,
        "resources": {"cpu": resources, "gpu": resources}, "logLevel": log_level,
    });
    Pool::apply(cluster, NAMESPACE, name, &spec).map(drop)
}

/// The table, with other numbers of some rows.
fn with(other: &[(&'static str, &'static str, &'static str, usize)]) -> BTreeMap<[String; 3], usize> {
    let rows = EXPECTED.iter().chain(other);
    rows.map(|(pool, strategy, class, count)| ([pool, strategy, class].map(|text| (*text).to_owned()), *count))
        .collect()
}

fn total() -> usize {
    EXPECTED.iter().map(|(.., count)| count).sum()
}

/// Waits until all is as the table says, of the newest revision, and no pool has anything left to do.
fn settled(cluster: &'static Cluster, said: &Said) -> anyhow::Result<()> {
    until(SETTLED, "every pool is settled", || {
        for (name, ..) in pools() {
            let pool = Pool::named(cluster, NAMESPACE, name);
            let status = &pool.get()?["status"];
            ensure!(!pool.condition("Progressing")?.0, "{name}: {status}");
            ensure!(status["rollout"].is_null(), "{name}: {status}");
        }
        Ok(())
    })?;
    placed(cluster, &with(&[]))?;
    // The last of them may have become ready a moment ago.
    until(SETTLED, "every pod was told what to say", || {
        let pods = cluster.list("Pod", NAMESPACE, "ocrpool.dev/pool")?;
        ensure!(pods.iter().all(|pod| said.of(pod).is_some()), "some were not");
        Ok(())
    })
}

/// Waits until the scheduler has placed ready pods as the table says, and there are no others.
fn placed(cluster: &'static Cluster, expected: &BTreeMap<[String; 3], usize>) -> anyhow::Result<()> {
    until(SETTLED, "every pod is on a node of its class", || {
        let nodes = cluster.list("Node", "", "type=fake")?;
        let class = |name: &Value| {
            let node = nodes.iter().find(|node| node["metadata"]["name"] == *name);
            node.map_or("none", |node| label_of(node, nodes::CLASS)).to_owned()
        };
        let mut found: BTreeMap<[String; 3], usize> = BTreeMap::new();
        for pod in cluster.list("Pod", NAMESPACE, "ocrpool.dev/pool")? {
            let at = if is_ready(&pod) { class(&pod["spec"]["nodeName"]) } else { "not ready".to_owned() };
            let key = [label(&pod, "ocrpool.dev/pool").to_owned(), label(&pod, "ocrpool.dev/strategy").to_owned(), at];
            *found.entry(key).or_default() += 1;
        }
        ensure!(found == *expected, "{}", difference(&found, expected));
        Ok(())
    })
}

fn difference(found: &BTreeMap<[String; 3], usize>, expected: &BTreeMap<[String; 3], usize>) -> String {
    let keys = found.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>();
    let number = |of: &BTreeMap<[String; 3], usize>, key: &[String; 3]| of.get(key).copied().unwrap_or(0);
    let lines = keys.into_iter().filter(|key| number(found, key) != number(expected, key));
    lines
        .map(|key| format!("{}: {} instead of {}", key.join(" "), number(found, key), number(expected, key)))
        .collect::<Vec<_>>()
        .join("; ")
}

/// What the pools say of pods that run something else than they were made for.
fn verified(cluster: &'static Cluster, said: &Said) -> anyhow::Result<()> {
    let (mut lies, mut replaced) = (0, false);
    for (name, ..) in pools() {
        until(SETTLED, "the pool shows what its pods say", || {
            let pods = cluster.list("Pod", NAMESPACE, &format!("ocrpool.dev/pool={name}"))?;
            let pool = Pool::named(cluster, NAMESPACE, name);
            let status = pool.get()?["status"].clone();
            let mut summary: BTreeMap<String, usize> = BTreeMap::new();
            for pod in &pods {
                *summary.entry(said.of(pod).context("a pod that was told nothing")?).or_default() += 1;
            }
            let summary: Vec<String> = summary.iter().map(|(strategy, count)| format!("{strategy}:{count}")).collect();
            ensure!(status["strategySummary"] == summary.join(","), "{name}: {summary:?}, and {status}");
            let liars_of = |strategy: &str| {
                let of = pods.iter().filter(|pod| label(pod, "ocrpool.dev/strategy") == strategy);
                let (lies, all) = of.fold((0, 0), |(lies, all), pod| {
                    (lies + i32::from(said.of(pod).as_deref() != Some(strategy)), all + 1)
                });
                (lies, all)
            };
            for one in status["strategies"].as_array().context("no strategies")? {
                let strategy = one["name"].as_str().unwrap_or_default();
                let (lies, all) = liars_of(strategy);
                ensure!(one["ready"] == all && one["verified"] == all - lies, "{name}: {lies} of {all} lie, and {one}");
                // By what the pods say, whatever they were made for.
                let saying = pods.iter().filter(|pod| said.of(pod).as_deref() == Some(strategy)).count();
                told::rate(one, saying).with_context(|| name.to_owned())?;
            }
            let (is_verified, reason, message) = pool.condition("StrategyVerified")?;
            let of_gpu = ALL[..2].iter().map(|strategy| liars_of(strategy).0).sum::<i32>();
            let of_cpu = liars_of("cpu").0;
            let expected = match (of_gpu, of_cpu) {
                (0, 0) => None,
                (0, _) => Some("NotAttested"),
                _ => Some("StrategyMismatch"),
            };
            ensure!(is_verified == expected.is_none(), "{name}: {of_gpu} and {of_cpu} lie: {reason}: {message}");
            ensure!(expected.is_none_or(|expected| reason == expected), "{name}: {reason}: {message}");
            replaced |= status["strategies"][0]["replaced"]["count"] == 1;
            Ok(())
        })?;
        let pods = cluster.list("Pod", NAMESPACE, &format!("ocrpool.dev/pool={name}"))?;
        lies += pods.iter().filter(|pod| said.of(pod).as_deref() != Some(label(pod, "ocrpool.dev/strategy"))).count();
    }
    println!("{lies} of {} pods say something else than they were made for, and each is shown", total());
    ensure!(lies * 6 >= total(), "only {lies} lie");
    ensure!(replaced, "no pod of {LYING_FIRST} was replaced");
    Ok(())
}

/// Evicts the pods of a pool on these nodes, of which there must be so many, as fast as its disruption budget allows.
fn evict(cluster: &'static Cluster, pool: &str, from: &[&str], expected: usize) -> anyhow::Result<()> {
    let selector = format!("ocrpool.dev/pool={pool}");
    let pods = cluster.list("Pod", NAMESPACE, &selector)?;
    let there = pods.iter().filter(|pod| from.iter().any(|node| pod["spec"]["nodeName"] == *node));
    let names: Vec<&str> = there.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    ensure!(names.len() == expected, "{} pods of {pool} are on {from:?}", names.len());
    for name in names {
        until(SETTLED, "the budget lets a pod go", || {
            ensure!(cluster.evict(NAMESPACE, name)?, "{name} has to stay");
            Ok(())
        })?;
    }
    Ok(())
}

fn count(cluster: &Cluster, pool: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<usize> {
    let pods = cluster.list("Pod", NAMESPACE, &format!("ocrpool.dev/pool={pool}"))?;
    Ok(pods.iter().filter(|pod| is(pod)).count())
}

/// Each pod that never had a node was given up in time, and so many were that it means something.
fn spilled_in_time(watch: &Watch) -> anyhow::Result<()> {
    let mut times = Vec::new();
    let last = |pod: &Value| {
        let pools = pools();
        let pool = pools.iter().find(|(name, ..)| *name == label(pod, "ocrpool.dev/pool"));
        pool.and_then(|(_, _, strategies, _)| strategies.last()) == Some(&label(pod, "ocrpool.dev/strategy"))
    };
    let gone = watch.events(0)?.into_iter().filter(|event| event.is_gone);
    for event in gone.filter(|event| event.object["spec"]["nodeName"].is_null() && !last(&event.object)) {
        let created: Timestamp =
            event.object["metadata"]["creationTimestamp"].as_str().context("no time of creation")?.parse()?;
        times.push(event.at.duration_since(created).as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let longest = times.last().copied().unwrap_or(0.0);
    println!(
        "{} pods found no node; given up after {longest:.1} s at most ({SPILL_AFTER} + {GRACE} are allowed)",
        times.len()
    );
    ensure!(times.len() >= 20, "only {} pods found no node", times.len());
    ensure!(longest <= f64::from(SPILL_AFTER + GRACE), "one waited for {longest} s");
    Ok(())
}

/// A label of a pod; empty where it has none.
pub fn label<'a>(pod: &'a Value, name: &str) -> &'a str {
    label_of(pod, name)
}

fn label_of<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"]["labels"][name].as_str().unwrap_or_default()
}
