//! The same page gives the same answer, whatever else is read at the time.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, ensure};
use ocr_tests::{
    data::{self, PDF, SCAN, Shared},
    http::comparable,
    pdf,
    program::is_long,
    server::{Options, Server},
    suite::Suite,
    work::in_parallel,
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

/// Pages read in the long form.
const PAGES: usize = 20;
/// Pages read in the short form: the documents, and a few receipts.
const SHORT_PAGES: usize = 8;
/// Requests at the same time in the last round.
const CONCURRENCY: usize = 16;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case("documents_of_the_repository_are_read_alike_alone_and_together", || {
        let texts = (1..=3).map(|page| {
            pdf::text_pages(&[vec![format!("Sheet {page}"), "A second line".into()], vec!["Its second page".into()]])
        });
        let mut pages: Vec<Vec<u8>> = texts.collect();
        pages.push(data::read(data::example(SCAN))?);
        pages.push(data::read(data::example(PDF))?);
        alike(&pages)
    });
    suite.case_with(Shared::find(), "pages_are_read_alike_alone_shuffled_and_sixteen_at_a_time", |shared| {
        let mut paths: Vec<PathBuf> = data::files(shared.path("data/documents"))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension != "txt"));
        // The largest page takes four times as long as the others together.
        paths.retain(|path| data::name(path) != "typewriter.png");
        paths.extend(shared.receipts()?);
        let count = if is_long() { PAGES } else { SHORT_PAGES };
        paths.truncate(count);
        ensure!(paths.len() == count, "{} pages", paths.len());
        alike(&paths.iter().map(data::read).collect::<anyhow::Result<Vec<_>>>()?)
    });
    suite.run()
}

/// Reads the pages one by one, shuffled, and many at a time, and compares all that is not an id or a time.
fn alike(pages: &[Vec<u8>]) -> anyhow::Result<()> {
    let server = Server::start(&Options::new())?;
    let read = |page: &Vec<u8>| -> anyhow::Result<Value> { comparable(&server.api().read(page.clone())?) };
    let alone = pages.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let lines: u64 = alone.iter().filter_map(|page| page["line_count"].as_u64()).sum();
    ensure!(lines > 0, "nothing was read");

    let mut order: Vec<usize> = (0..pages.len()).collect();
    order.shuffle(&mut StdRng::seed_from_u64(1));
    for index in &order {
        same(*index, &alone[*index], &read(&pages[*index])?)?;
    }
    let together = in_parallel(&order, CONCURRENCY, |_, index| read(&pages[*index]));
    for (index, page) in order.iter().zip(together) {
        same(*index, &alone[*index], &page.with_context(|| format!("page {index}"))?)?;
    }
    println!("{} pages with {lines} lines: the same alone, shuffled and {CONCURRENCY} at a time", pages.len());
    Ok(())
}

fn same(index: usize, alone: &Value, now: &Value) -> anyhow::Result<()> {
    if alone == now {
        return Ok(());
    }
    let lines = |page: &Value| -> Vec<String> {
        page["lines"].as_array().into_iter().flatten().map(ToString::to_string).collect()
    };
    let (before, after) = (lines(alone), lines(now));
    let differs = before.iter().zip(&after).find(|(before, after)| before != after);
    anyhow::bail!("page {index} has {} lines, then {}; first difference {differs:?}", before.len(), after.len())
}
