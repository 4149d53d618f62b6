//! Memory over many pages: bounded, and not growing.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ocr_tests::{
    data::{self, SCAN, Shared},
    hostile,
    memory::{Sampler, megabytes, tree_pss},
    pdf,
    program::is_long,
    server::{Options, Server},
    suite::Suite,
    work::in_parallel,
};

/// Size of the repository's scan in pixels.
const SCAN_SIZE: (u32, u32) = (1000, 1520);
/// How much more memory a long PDF may take than a short one.
const LONG_PDF: u64 = 50_000_000;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case_with(Shared::find(), "memory_stays_within_500_mb_one_page_at_a_time", |shared| {
        pages(&shared, 1, 500_000_000)
    });
    suite.case_with(Shared::find(), "memory_stays_within_700_mb_four_pages_at_a_time", |shared| {
        pages(&shared, 4, 700_000_000)
    });
    suite.case("a_long_pdf_takes_little_more_memory_than_a_short_one", long_pdf);
    suite.run()
}

/// Receipts over and over; every twentieth file is broken.
fn pages(shared: &Shared, concurrency: usize, limit: u64) -> anyhow::Result<()> {
    let count = if is_long() { 1_000 } else { 40 };
    let receipts = shared.receipts()?.iter().map(data::read).collect::<anyhow::Result<Vec<_>>>()?;
    // Those that kill use the memory that one document may, which is what kills them; the suite `hostile` has them.
    let broken: Vec<_> = hostile::kinds(5).into_iter().filter(|kind| !kind.kills).collect();
    let server = Server::start(&Options::new())?;
    let sampler = Sampler::start(server.pid());
    let numbers: Vec<usize> = (0..count).collect();
    let done = in_parallel(&numbers, concurrency, |_, number| -> anyhow::Result<Instant> {
        if number % 20 == 19 {
            broken[number / 20 % broken.len()].send(server.api())?;
        } else {
            server.api().read(receipts[number % receipts.len()].clone()).with_context(|| format!("page {number}"))?;
        }
        Ok(Instant::now())
    });
    let done = done.into_iter().collect::<anyhow::Result<Vec<Instant>>>()?;
    let peak = sampler.peak()?;
    let window = |from: usize, to: usize| sampler.peak_between(done[from], done[to - 1]);
    // Of 1,000 pages: 200 to 400, and 800 to 1,000.
    let early = window(count / 5, count * 2 / 5)?;
    let late = window(count * 4 / 5, count)?;
    println!(
        "{count} pages, {concurrency} at a time: peak PSS {:.0} MB (at most {:.0}), {:.0} in the second fifth, {:.0} in the last",
        megabytes(peak),
        megabytes(limit),
        megabytes(early),
        megabytes(late)
    );
    ensure!(peak <= limit, "the peak is {:.0} MB", megabytes(peak));
    if is_long() {
        ensure!(late * 100 <= early * 105, "memory grew from {:.0} to {:.0} MB", megabytes(early), megabytes(late));
    }
    Ok(())
}

fn long_pdf() -> anyhow::Result<()> {
    let count = if is_long() { 200 } else { 8 };
    let scan = data::read(data::example(SCAN))?;
    // Two cores read 200 dense pages in about as long as a request may take by default.
    let server = Server::start(&Options::new().arguments(["--request-seconds", "900"]))?;
    let peak_of = |pages: usize| -> anyhow::Result<u64> {
        let sampler = Sampler::start(server.pid());
        let read = server.api().read(pdf::scan_pages(&scan, SCAN_SIZE, pages))?;
        ensure!(read.success && read.pages.len() == pages, "{} of {pages} pages", read.pages.len());
        sampler.peak()
    };
    peak_of(1)?;
    let short = peak_of(1)?;
    let long = peak_of(count)?;
    // Memory that is kept for nothing would show later as well.
    std::thread::sleep(Duration::from_secs(1));
    println!(
        "PDF of 1 page: peak PSS {:.0} MB; of {count}: {:.0} MB; then idle {:.0} MB",
        megabytes(short),
        megabytes(long),
        megabytes(tree_pss(server.pid())?)
    );
    ensure!(long <= short + LONG_PDF, "{:.0} MB more", megabytes(long.saturating_sub(short)));
    Ok(())
}
