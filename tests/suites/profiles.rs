//! The profiles of the CPU, against each other: what each takes of memory and time, and that all read alike.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use ocr_tests::{
    data::{self, SCAN, Shared},
    memory::{Sampler, megabytes, tree_pss},
    program::is_long,
    score::WordScore,
    server::{Options, Server},
    suite::Suite,
};

/// Most memory of the server and its decode processes, in bytes.
const OFFLOAD: u64 = 350_000_000;
const OPTIMIZED: u64 = 450_000_000;
/// Most time of a page, as a multiple of that of `full`.
const SLOWER: f64 = 4.0;
/// Least that idle networks give back, in bytes. Seen: 40 MB of 126, and in the build for tests 48 of 159.
const GIVEN_BACK: u64 = 30_000_000;
/// Most difference of the word F1.
const DIFFERENT: f64 = 0.001;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case_with(Shared::find(), "each_profile_keeps_to_its_memory_and_reads_as_the_others", |shared| {
        profiles(&shared)
    });
    suite.case("networks_that_have_nothing_to_do_leave_and_come_back", idle);
    suite.run()
}

struct Measured {
    f1: f64,
    /// Seconds.
    page: f64,
    /// Bytes.
    peak: u64,
}

fn profiles(shared: &Shared) -> anyhow::Result<()> {
    let count = if is_long() { 80 } else { 12 };
    let receipts: Vec<_> = shared.receipts()?.into_iter().take(count).collect();
    let names = ["full", "optimized", "offload"];
    let servers = names
        .map(|name| Server::start(&Options::new().arguments(["--strategy", &format!("cpu/{name}")])))
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut measured = Vec::new();
    let samplers: Vec<_> = servers.iter().map(|server| Sampler::start(server.pid())).collect();
    let mut scores = vec![WordScore::default(); names.len()];
    let mut times = vec![Duration::ZERO; names.len()];
    // Page by page in turn, so that whatever else the machine does falls on all of them.
    for receipt in &receipts {
        let (page, truth) = (data::read(receipt)?, shared.receipt_truth(receipt)?);
        for (place, server) in servers.iter().enumerate() {
            let started = Instant::now();
            let document = server.api().read(page.clone())?;
            times[place] += started.elapsed();
            scores[place].add(&truth, &document.text);
        }
    }
    for (place, sampler) in samplers.iter().enumerate() {
        let pages = f64::from(u32::try_from(count)?);
        let one = Measured { f1: scores[place].f1(), page: times[place].as_secs_f64() / pages, peak: sampler.peak()? };
        let status = servers[place].status()?;
        println!(
            "cpu/{}: {count} pages, word F1 {:.4}, {:.3} s a page, peak PSS {:.0} MB, {} {} threads, golden {:.2} %",
            names[place],
            one.f1,
            one.page,
            megabytes(one.peak),
            status.engine.precision,
            status.engine.recognise_threads,
            status.engine.golden.error_percent
        );
        ensure!(status.engine.profile.as_deref() == Some(names[place]), "it runs {:?}", status.engine.profile);
        measured.push(one);
    }
    let [full, optimized, offload] = [&measured[0], &measured[1], &measured[2]];
    ensure!(
        offload.peak < optimized.peak && optimized.peak < full.peak,
        "a profile takes more than the one before it: {:?} MB",
        [full, optimized, offload].map(|one| megabytes(one.peak).round())
    );
    ensure!(offload.peak <= OFFLOAD, "offload takes {:.0} MB", megabytes(offload.peak));
    ensure!(optimized.peak <= OPTIMIZED, "optimized takes {:.0} MB", megabytes(optimized.peak));
    ensure!((offload.f1 - full.f1).abs() <= DIFFERENT, "offload reads otherwise: F1 {:.4}", offload.f1);
    ensure!(offload.page <= SLOWER * full.page, "offload takes {:.1} times as long", offload.page / full.page);
    Ok(())
}

fn idle() -> anyhow::Result<()> {
    let server = Server::start(&Options::new().arguments(["--idle-unload-seconds", "2"]))?;
    let scan = data::read(data::example(SCAN))?;
    let first = server.api().read(scan.clone())?.text;
    let loaded = tree_pss(server.pid())?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut idle = tree_pss(server.pid())?;
    while idle + GIVEN_BACK > loaded && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(200));
        idle = tree_pss(server.pid())?;
    }
    println!("loaded {:.0} MB, idle {:.0} MB", megabytes(loaded), megabytes(idle));
    ensure!(idle + GIVEN_BACK <= loaded, "{:.0} MB are kept of {:.0}", megabytes(idle), megabytes(loaded));
    ensure!(server.api().read(scan)?.text == first, "it reads otherwise after it was loaded again");
    Ok(())
}
