//! How well documents are read, all with the same default settings.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::ensure;
use ocr_api::Document;
use ocr_tests::{
    data::{self, DOCUMENTS, SCAN, Shared},
    score::{WordScore, character_error_rate},
    server::{Options, Server, SharedServer},
    suite::Suite,
    work::in_parallel,
};

/// Lowest word F1 over the 80 receipts.
const RECEIPTS_F1: f64 = 0.948;
/// Highest character error of the repository's scan where inputs have few shapes, and how much may be read otherwise.
const FEW_SHAPES_ERROR: f64 = 0.025;
const FEW_SHAPES_APART: f64 = 0.01;

fn main() -> ExitCode {
    let server = Arc::new(SharedServer::new(Options::new()));
    let mut suite = Suite::new();
    // Measured against our own transcription of a page set in five typefaces; the header stands in two columns.
    document(&mut suite, &server, Ok(data::example(SCAN)), Ok(data::example("senate-1871.txt")), 0.05);
    let shared = Shared::find();
    for (picture, truth, limit) in DOCUMENTS {
        let path = |name: &str| shared.clone().map(|shared| shared.path("data/documents").join(name));
        document(&mut suite, &server, path(picture), path(truth), limit);
    }
    let of_receipts = Arc::clone(&server);
    suite.case_with(shared, "the_receipts_are_read_well_and_none_is_turned", move |shared| {
        receipts(&shared, &of_receipts)
    });
    let as_they_come = Arc::clone(&server);
    suite.case("inputs_of_few_shapes_are_read_alike", move || few_shapes(&as_they_come));
    for (bundle, limit) in [("pp-ocrv4-mobile", 0.10), ("pp-ocrv5-mobile", 0.10), ("pp-ocrv6-tiny", 0.10)] {
        suite.case(&format!("{bundle}_starts_and_reads"), move || {
            let read = Server::start(&Options::new().arguments(["--model", bundle]))?
                .api()
                .read(data::read(data::example(SCAN))?)?;
            within(bundle, &data::example("senate-1871.txt"), &read, limit)
        });
    }
    suite.run()
}

/// Fails where the character error against the truth is above the limit.
fn within(what: &str, truth: &Path, read: &Document, limit: f64) -> anyhow::Result<()> {
    let truth = String::from_utf8(data::read(truth)?)?;
    let error = character_error_rate(&truth, &read.text);
    println!(
        "{what}: character error {:.2} % (at most {:.1} %), turned by {}",
        error * 100.0,
        limit * 100.0,
        read.pages[0].orientation
    );
    ensure!(error <= limit, "read as: {}", read.text);
    Ok(())
}

/// A case: the document's character error is within its limit.
fn document(
    suite: &mut Suite,
    server: &Arc<SharedServer>,
    picture: Result<PathBuf, String>,
    truth: Result<PathBuf, String>,
    limit: f64,
) {
    let server = Arc::clone(server);
    let name = picture.as_deref().map_or_else(|_| "a shared document".to_owned(), data::name);
    let files = picture.and_then(|picture| Ok((picture, truth?)));
    suite.case_with(files, &format!("{name}_is_read_within_its_character_error"), move |(picture, truth)| {
        let read = server.get()?.api().read(data::read(&picture)?)?;
        within(&data::name(&picture), &truth, &read, limit)
    });
}

/// As on a GPU: pages and lines are filled up to shapes that it has seen.
fn few_shapes(as_they_come: &SharedServer) -> anyhow::Result<()> {
    let scan = data::read(data::example(SCAN))?;
    let free = as_they_come.get()?.api().read(scan.clone())?;
    let fixed = Server::start(&Options::new().arguments(["--input-shapes", "fixed"]))?.api().read(scan)?;
    within("few shapes", &data::example("senate-1871.txt"), &fixed, FEW_SHAPES_ERROR)?;
    let apart = character_error_rate(&free.text, &fixed.text);
    println!("{:.2} % of the characters otherwise (at most {:.1} %)", apart * 100.0, FEW_SHAPES_APART * 100.0);
    ensure!(apart <= FEW_SHAPES_APART, "read as: {}", fixed.text);
    ensure!(free.pages[0].line_count == fixed.pages[0].line_count, "{} lines", fixed.pages[0].line_count);
    Ok(())
}

fn receipts(shared: &Shared, server: &SharedServer) -> anyhow::Result<()> {
    let server = server.get()?;
    let receipts = shared.receipts()?;
    ensure!(receipts.len() == 80, "{} receipts", receipts.len());
    // Two at a time: the text of a page does not depend on others, which the suite `stability` shows.
    let read = in_parallel(&receipts, 2, |_, receipt| server.api().read(data::read(receipt)?));
    let mut score = WordScore::default();
    let mut turned = Vec::new();
    for (receipt, document) in receipts.iter().zip(read) {
        let document = document?;
        if document.pages[0].orientation != 0 {
            turned.push(data::name(receipt));
        }
        score.add(&shared.receipt_truth(receipt)?, &document.text);
    }
    println!(
        "receipts: pages {}  word P {:.4} R {:.4} F1 {:.4} (at least {RECEIPTS_F1}), turned {}",
        score.pages,
        score.precision(),
        score.recall(),
        score.f1(),
        turned.len()
    );
    ensure!(turned.is_empty(), "turned: {turned:?}");
    ensure!(score.f1() >= RECEIPTS_F1, "F1 {:.4}", score.f1());
    Ok(())
}
