//! What the networks of other precisions read, against that of 32-bit floats, and that the record which the one of bytes is
//! made by can be made again.

use std::process::{Command, ExitCode};

use anyhow::ensure;
use ocr_api::manifest::Precision;
use ocr_tests::{
    data::{self, DOCUMENTS, SCAN, Shared, repository},
    program::{is_long, of_the_suites, run_with},
    score::{WordScore, character_error_rate},
    server::{Options, Server},
    suite::Suite,
    variant,
    work::in_parallel,
};

const BUNDLE: &str = "pp-ocrv6-small";
/// Highest character error of the repository's scan. Seen: 0.0214 in bytes, 0.0203 else; 0.0287 with the last six of the ten
/// digits of all 16-bit weights lost.
const SCAN_ERROR: f64 = 0.025;
/// How far the word F1 over the receipts may lie below that of 32-bit floats. Seen: 0.0002 in bytes, 0.0002 more in halves.
const LOSS: f64 = 0.002;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let bytes = variant::sums_products_of_bytes();
    // All lines of the record take a minute.
    let lines = if is_long() { "300" } else { "24" };
    suite.case("calibrating_again_gives_the_record", move || calibrate(&["check", "--lines", lines]));
    let lines = if is_long() { "300" } else { "40" };
    suite.case_with(bytes.clone(), "drawn_lines_are_read_alike_in_bytes", move |()| {
        calibrate(&["compare", "--precision", "int8", "--lines", lines])
    });
    suite.case("drawn_lines_are_read_alike_in_halves", move || {
        calibrate(&["compare", "--precision", "fp16", "--lines", lines])
    });
    // TensorRT is not to be had here: the CPU computes with what its bytes are rounded to.
    suite.case("drawn_lines_are_read_alike_in_the_bytes_of_tensorrt", move || {
        calibrate(&["compare", "--precision", "int8-qdq", "--lines", lines])
    });
    suite.case_with(bytes.clone(), "the_scan_is_read_in_bytes", |()| scan(Precision::Int8));
    suite.case("the_scan_is_read_in_halves", || scan(Precision::Fp16));
    suite.case("the_scan_is_read_in_the_bytes_of_tensorrt", || scan(Precision::Int8Qdq));
    if is_long() {
        let shared = Shared::find();
        for (precision, can) in [(Precision::Int8, bytes), (Precision::Fp16, Ok(())), (Precision::Int8Qdq, Ok(()))] {
            let needs = can.and_then(|()| shared.clone());
            let name = precision.name().replace('-', "_");
            suite.case_with(needs.clone(), &format!("documents_are_read_in_{name}"), move |shared| {
                documents(&shared, precision)
            });
            suite.case_with(needs, &format!("receipts_lose_next_to_nothing_in_{name}"), move |shared| {
                receipts(&shared, precision)
            });
        }
    }
    suite.run()
}

fn calibrate(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(of_the_suites("ocr-calibrate")?);
    command.args(arguments).current_dir(repository());
    let run = run_with(command, None)?;
    print!("{}", run.stdout);
    ensure!(run.code == Some(0), "ended with {:?}: {}", run.code, run.stderr);
    Ok(())
}

/// A server that reads in that precision, and the folder of its bundle, which must live as long.
fn server(precision: Precision) -> anyhow::Result<(Server, tempfile::TempDir)> {
    let bundle = variant::bundle(BUNDLE, precision)?;
    let server = Server::start(&Options::new().arguments(["--model"]).arguments([bundle.path()]))?;
    Ok((server, bundle))
}

fn scan(precision: Precision) -> anyhow::Result<()> {
    let (server, _bundle) = server(precision)?;
    let read = server.api().read(data::read(data::example(SCAN))?)?;
    within(SCAN, &data::read(data::example("senate-1871.txt"))?, &read.text, SCAN_ERROR)
}

fn documents(shared: &Shared, precision: Precision) -> anyhow::Result<()> {
    let (server, _bundle) = server(precision)?;
    for (picture, truth, limit) in DOCUMENTS {
        let path = |name: &str| shared.path("data/documents").join(name);
        let read = server.api().read(data::read(path(picture))?)?;
        within(picture, &data::read(path(truth))?, &read.text, limit)?;
    }
    Ok(())
}

fn within(what: &str, truth: &[u8], read: &str, limit: f64) -> anyhow::Result<()> {
    let error = character_error_rate(&String::from_utf8_lossy(truth), read);
    println!("{what}: character error {:.2} % (at most {:.1} %)", error * 100.0, limit * 100.0);
    ensure!(error <= limit, "read as: {read}");
    Ok(())
}

fn receipts(shared: &Shared, precision: Precision) -> anyhow::Result<()> {
    let score = |server: &Server| -> anyhow::Result<WordScore> {
        let receipts = shared.receipts()?;
        let read = in_parallel(&receipts, 2, |_, receipt| server.api().read(data::read(receipt)?));
        let mut score = WordScore::default();
        for (receipt, document) in receipts.iter().zip(read) {
            score.add(&shared.receipt_truth(receipt)?, &document?.text);
        }
        Ok(score)
    };
    let (exact, _fp32) = server(Precision::Fp32)?;
    let exact = score(&exact)?.f1();
    let (other, _bundle) = server(precision)?;
    let other = score(&other)?.f1();
    println!("receipts: word F1 {exact:.4} in fp32, {other:.4} in {}", precision.name());
    ensure!(other >= exact - LOSS, "{:.4} less, allowed {LOSS}", exact - other);
    Ok(())
}
