//! Hostile files cost their own request and nothing else.

use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ocr_api::ErrorCode;
use ocr_tests::{
    data::{self, SCAN, Shared},
    hostile::{self, Hostile},
    http::{Http, comparable},
    memory::{Sampler, megabytes, tree_pss},
    pdf,
    program::is_long,
    server::{Options, Server},
    suite::Suite,
    work::in_parallel,
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

/// Requests at the same time.
const CONCURRENCY: usize = 16;
/// How much more memory the server may hold when all is over.
const GROWTH: u64 = 200_000_000;
const DEATHS: &str = "ocr_decode_process_deaths_total";

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case("every_kind_is_answered_as_it_should_be_and_the_server_goes_on", every_kind);
    suite.case_with(Shared::find(), "odd_and_broken_real_documents_are_answered", |shared| real_documents(&shared));
    suite.case_with(Shared::find(), "good_pages_among_hostile_ones_are_read_as_if_alone", |shared| mixed(&shared));
    suite.run()
}

fn every_kind() -> anyhow::Result<()> {
    let mut server = Server::start(&Options::new())?;
    let scan = data::read(data::example(SCAN))?;
    let before = comparable(&server.api().read(scan.clone())?)?;
    let mut wrong = Vec::new();
    for kind in hostile::kinds(1) {
        let deaths = server.metrics()?.sum(DEATHS)?;
        let sent = Instant::now();
        if let Err(error) = kind.send(server.api()) {
            wrong.push(format!("{error:#}"));
        }
        if kind.kills {
            let killed = deaths_since(&server, deaths)?;
            println!("{}: {killed} deaths, {:.1} s", kind.name, sent.elapsed().as_secs_f64());
            if killed < 1.0 {
                wrong.push(format!("{}: no decode process died of it", kind.name));
            }
        }
        server.still_runs().with_context(|| kind.name)?;
    }
    ensure!(wrong.is_empty(), "{} kinds: {}", wrong.len(), wrong.join("; "));
    ensure!(comparable(&server.api().read(scan)?)? == before, "the scan is read otherwise than before");
    Ok(())
}

/// Deaths counted since there were `before`. One is counted when the kernel has told of it, which may be after the answer.
fn deaths_since(server: &Server, before: f64) -> anyhow::Result<f64> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let killed = server.metrics()?.sum(DEATHS)? - before;
        if killed >= 1.0 || Instant::now() > deadline {
            return Ok(killed);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// All of the folders `edge` and `pdf`.
fn odd_documents(shared: &Shared) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = data::files(shared.path("data/edge"))?;
    files.extend(data::files(shared.path("data/pdf"))?);
    Ok(files)
}

fn real_documents(shared: &Shared) -> anyhow::Result<()> {
    let mut server = Server::start(&Options::new())?;
    for file in odd_documents(shared)? {
        let name = data::name(&file);
        let answer = server.api().post("/v1/ocr", data::read(&file)?).with_context(|| name.clone())?;
        let codes = answer.codes().with_context(|| name.clone())?;
        let expected = match name.as_str() {
            "issue15893_reduced.pdf" => vec![ErrorCode::PasswordRequired],
            "invalid.pdf" | "REDHAT-1531897-0.pdf" | "poppler-395-0-fuzzed.pdf" => codes.clone(),
            _ => Vec::new(),
        };
        ensure!(
            codes == expected && codes.iter().all(|code| code.http_status() < 500),
            "{name}: {}",
            answer.describe()
        );
        println!(
            "{name}: {}, {:.1} s",
            if codes.is_empty() { "read".into() } else { format!("{codes:?}") },
            answer.elapsed.as_secs_f64()
        );
        server.still_runs()?;
    }
    Ok(())
}

enum Item {
    Good { bytes: Vec<u8>, alone: Value },
    Hostile(Hostile),
    Odd { name: String, bytes: Vec<u8> },
}

/// Good and hostile files, shuffled together. The short form has fewer of both.
fn items(shared: &Shared, server: &Http, count: usize) -> anyhow::Result<Vec<Item>> {
    let mut good = Vec::new();
    // The short form reads a few pages again and again.
    for receipt in shared.receipts()?.iter().take(count.min(80).div_ceil(3)) {
        let bytes = data::read(receipt)?;
        let alone = comparable(&server.read(bytes.clone())?)?;
        good.push((bytes, alone));
    }
    let mut bad: Vec<Item> = Vec::new();
    // Those that kill come first, so that both forms have enough of them. The endless ones may still wait for their turn
    // when their time is over, and then kill nothing.
    let killers = hostile::killers(1);
    bad.extend(killers.iter().filter(|kind| !kind.endless).cycle().take(12).cloned().map(Item::Hostile));
    bad.extend(killers.iter().filter(|kind| kind.endless).cloned().map(Item::Hostile));
    for file in odd_documents(shared)? {
        bad.push(Item::Odd { name: data::name(&file), bytes: data::read(&file)? });
    }
    for seed in 1.. {
        bad.extend(hostile::kinds(seed).into_iter().filter(|kind| !kind.kills).map(Item::Hostile));
        if bad.len() >= count {
            break;
        }
    }
    bad.truncate(count);
    let mut items = bad;
    items.extend(
        good.iter().cycle().take(count).map(|(bytes, alone)| Item::Good { bytes: bytes.clone(), alone: alone.clone() }),
    );
    items.shuffle(&mut StdRng::seed_from_u64(3));
    Ok(items)
}

fn mixed(shared: &Shared) -> anyhow::Result<()> {
    let mut server = Server::start(&Options::new())?;
    let items = items(shared, server.api(), if is_long() { 100 } else { 30 })?;
    let deaths = server.metrics()?.sum(DEATHS)?;
    let start = tree_pss(server.pid())?;
    let sampler = Sampler::start(server.pid());
    let sent = Instant::now();
    let results = in_parallel(&items, CONCURRENCY, |_, item| -> anyhow::Result<()> {
        match item {
            Item::Good { bytes, alone } => {
                let now = comparable(&server.api().read(bytes.clone()).context("a good page")?)?;
                ensure!(now == *alone, "a good page is read otherwise than alone");
            }
            Item::Hostile(kind) => drop(kind.send(server.api())?),
            Item::Odd { name, bytes } => {
                let answer = server.api().post("/v1/ocr", bytes.clone()).with_context(|| name.clone())?;
                for code in answer.codes().with_context(|| name.clone())? {
                    ensure!(
                        (400..500).contains(&code.http_status()) && code != ErrorCode::Overloaded,
                        "{name}: {}",
                        answer.describe()
                    );
                }
            }
        }
        Ok(())
    });
    let took = sent.elapsed();
    let wrong: Vec<String> = results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{} of {} requests: {}", wrong.len(), items.len(), wrong.join("; "));
    server.still_runs()?;
    let deaths = server.metrics()?.sum(DEATHS)? - deaths;
    let peak = sampler.peak()?;
    drop(sampler);
    // A decode process that was used may still be on its way out.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let end = tree_pss(server.pid())?;
    println!(
        "{} requests, half of them hostile, {CONCURRENCY} at a time, in {:.0} s: {deaths} deaths, PSS {:.0} MB before, {:.0} after, {:.0} at its peak",
        items.len(),
        took.as_secs_f64(),
        megabytes(start),
        megabytes(end),
        megabytes(peak)
    );
    ensure!(deaths >= 10.0, "{deaths} deaths of decode processes were counted");
    ensure!(end <= start + GROWTH, "PSS grew from {:.0} to {:.0} MB", megabytes(start), megabytes(end));
    // And a document that is made here is still read.
    let read = server.api().read(pdf::text_pages(&[vec!["After all that".into()]]))?;
    ensure!(read.text.contains("After all that"), "{}", read.text);
    Ok(())
}
