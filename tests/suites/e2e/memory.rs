//! A pod with little memory answers everything, steps down where it must, and is never killed.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use ocr_api::PodStatus;
use ocr_tests::{
    cluster::{Cluster, Pool},
    data::{self, SCAN},
    memory::megabytes,
    suite::Suite,
    work::in_parallel,
};
use serde_json::json;

const NAMESPACE: &str = "memory";
const READY: Duration = Duration::from_mins(1);
/// Enough for the best profile with small pages, and not for large ones beside it.
const LIMIT: u64 = 340 << 20;
/// Requests at a time, and rounds of them.
const AT_ONCE: usize = 8;
const ROUNDS: usize = 3;

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("a_pod_with_little_memory_steps_down_and_answers_everything", move || pressure(cluster));
}

fn pressure(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"memory": LIMIT.to_string()}});
    let spec = json!({"model": {"name": "pp-ocrv6-small"}, "resources": {"cpu": resources}});
    let pool = Pool::apply(cluster, NAMESPACE, "tight", &spec)?;
    pool.wait_ready(1, READY)?;
    let before = status(&pool)?.engine;
    let (scan, large, enormous) = (data::read(data::example(SCAN))?, blank(3700)?, blank(9000)?);
    let http = pool.http()?;
    for _ in 0..ROUNDS {
        // Of each kind some, at the same time.
        let pages: Vec<&Vec<u8>> = [&scan, &large, &scan, &enormous].into_iter().cycle().take(AT_ONCE).collect();
        let answers = in_parallel(&pages, AT_ONCE, |_, page| http.post("/v1/ocr", (*page).clone()));
        for (page, answer) in pages.iter().zip(answers) {
            let answer = answer.context("a request was not answered")?;
            if page.len() == enormous.len() {
                ensure!(answer.status == 413 || answer.status == 422, "{}", answer.describe());
            } else {
                ensure!(answer.status == 200, "{}", answer.describe());
            }
        }
    }
    let after = status(&pool)?;
    let (kills, peak) = kernel(&pool)?;
    let why: Vec<String> = after
        .engine
        .passed_over
        .iter()
        .map(|one| format!("{} {}: {}", one.strategy, one.reason, one.message))
        .collect();
    println!(
        "limit {:.0} MB, peak {:.0} MB, {kills} kills; from {:?} to {:?}: {why:?}",
        megabytes(LIMIT),
        megabytes(peak),
        before.profile,
        after.engine.profile
    );
    ensure!(pool.pod_identities()?.iter().all(|(_, restarts)| *restarts == 0), "it was restarted");
    ensure!(kills == 0, "{kills} processes were killed");
    ensure!(peak < LIMIT, "it came to its limit");
    ensure!(before.profile != after.engine.profile && !why.is_empty(), "it did not step down: {:?}", after.engine);
    pool.leave()
}

/// A page without text, which takes more memory than time.
fn blank(side: u32) -> anyhow::Result<Vec<u8>> {
    let mut page = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(side, side, image::Rgb([255, 250, 245]))
        .write_to(&mut page, image::ImageFormat::Png)?;
    Ok(page.into_inner())
}

/// What the pool's only pod says of itself.
fn status(pool: &Pool) -> anyhow::Result<PodStatus> {
    let answer = pool.admin_ports()?.first().context("no pod")?.get("/status")?;
    serde_json::from_slice(&answer.body).with_context(|| answer.describe())
}

/// Processes of the only pod that the kernel ended for their memory, and the most that its container used, in bytes.
fn kernel(pool: &Pool) -> anyhow::Result<(u64, u64)> {
    let pods = pool.pods()?;
    let container = pods.first().and_then(|pod| pod["status"]["containerStatuses"][0]["containerID"].as_str());
    let id = container.and_then(|id| id.rsplit('/').next()).context("the pod has no container")?;
    let group = find(Path::new("/sys/fs/cgroup"), id).with_context(|| format!("no cgroup of container {id}"))?;
    let number = |file: &str, key: &str| -> Option<u64> {
        let text = fs::read_to_string(group.join(file)).ok()?;
        let line = text.lines().find(|line| key.is_empty() || line.split_whitespace().next() == Some(key))?;
        line.split_whitespace().last()?.parse().ok()
    };
    // Version 2, or 1.
    let kills = number("memory.events", "oom_kill").or_else(|| number("memory.oom_control", "oom_kill"));
    let peak = number("memory.peak", "").or_else(|| number("memory.max_usage_in_bytes", ""));
    Ok((kills.context("no count of kills")?, peak.context("no peak")?))
}

/// The folder of a container's memory.
fn find(folder: &Path, id: &str) -> Option<PathBuf> {
    let is_memory = |folder: &Path| folder.join("memory.oom_control").exists() || folder.join("memory.events").exists();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        // Version 1 has its controllers under other names too, by links.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(id) && is_memory(&path) {
            return Some(path);
        }
        if let Some(found) = find(&path, id) {
            return Some(found);
        }
    }
    None
}
