//! One bundle in two precisions, or with inputs of few shapes and as they come, over the shared receipts: word F1, and the
//! CPU time of the recogniser and the detector.
//!
//! Two servers read each page one after the other, the first of them another one each time, so that a machine that
//! becomes slower does so for both. Each has one thread for the networks, and its CPU time is that thread's own, which
//! nobody else's work is part of. Compared are ratios.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ocr_api::manifest::Precision;
use ocr_tests::{
    data::{self, Shared},
    memory::thread_cpu_seconds,
    score::WordScore,
    server::{Options, Server},
    variant,
};

const USAGE: &str = "usage: precision [--ocr PROGRAM] [--pages N] [--bundle NAME] fp16|int8|int8-qdq|fixed-shapes...";

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse(std::env::args().skip(1))?;
    let shared = Shared::find().map_err(|reason| anyhow::anyhow!("the shared receipts are read: {reason}"))?;
    let mut receipts = shared.receipts()?;
    receipts.truncate(settings.pages);
    for other in settings.others {
        compare(&shared, &receipts, &settings.bundle, other)?;
    }
    Ok(())
}

struct Settings {
    pages: usize,
    bundle: String,
    others: Vec<Other>,
}

/// What is compared with 32-bit floats and inputs as they come.
#[derive(Clone, Copy)]
enum Other {
    Precision(Precision),
    FixedShapes,
}

impl Other {
    const fn name(self) -> &'static str {
        match self {
            Self::Precision(precision) => precision.name(),
            Self::FixedShapes => "fixed-shapes",
        }
    }

    const fn precision(self) -> Precision {
        match self {
            Self::Precision(precision) => precision,
            Self::FixedShapes => Precision::Fp32,
        }
    }

    const fn shapes(self) -> &'static str {
        match self {
            Self::Precision(_) => "free",
            Self::FixedShapes => "fixed",
        }
    }
}

impl Settings {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut settings = Self { pages: 80, bundle: "pp-ocrv6-small".to_owned(), others: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context(USAGE);
            match argument.as_str() {
                "--ocr" => ocr_tests::program::use_binary(PathBuf::from(value()?)),
                "--pages" => settings.pages = value()?.parse().context(USAGE)?,
                "--bundle" => settings.bundle = value()?,
                "fp16" => settings.others.push(Other::Precision(Precision::Fp16)),
                "int8" => settings.others.push(Other::Precision(Precision::Int8)),
                "int8-qdq" => settings.others.push(Other::Precision(Precision::Int8Qdq)),
                "fixed-shapes" => settings.others.push(Other::FixedShapes),
                _ => bail!(USAGE),
            }
        }
        ensure!(settings.pages > 0 && !settings.others.is_empty(), USAGE);
        Ok(settings)
    }
}

/// A server and what it has done.
struct Side {
    server: Server,
    score: WordScore,
    texts: Vec<String>,
    recognise: f64,
    detect: f64,
}

fn compare(shared: &Shared, receipts: &[PathBuf], bundle: &str, other: Other) -> anyhow::Result<()> {
    let name = other.name();
    let bundles = [variant::bundle(bundle, Precision::Fp32)?, variant::bundle(bundle, other.precision())?];
    let mut sides = [
        Side::start(bundles[0].path(), "free", &receipts[0])?,
        Side::start(bundles[1].path(), other.shapes(), &receipts[0])?,
    ];
    for (number, receipt) in receipts.iter().enumerate() {
        let truth = shared.receipt_truth(receipt)?;
        let bytes = data::read(receipt)?;
        for turn in 0..2 {
            sides[(number + turn) % 2].read(&truth, bytes.clone())?;
        }
    }
    let [exact, other] = &sides;
    let pages = count(receipts.len());
    println!("{bundle}, pages {}, one at a time, one thread, in turns", receipts.len());
    for (name, side) in [("fp32", exact), (name, other)] {
        println!(
            "{name}  word F1 {:.4}  CPU s a page: recogniser {:.4}, detector {:.4}",
            side.score.f1(),
            side.recognise / pages,
            side.detect / pages
        );
    }
    let same = exact.texts.iter().zip(&other.texts).filter(|(one, other)| one == other).count();
    println!(
        "{name} - fp32: word F1 {:+.4}; {same} pages read alike to the letter; fp32 / {name}: recogniser {:.3} x the CPU time, \
         detector {:.3} x",
        other.score.f1() - exact.score.f1(),
        exact.recognise / other.recognise,
        exact.detect / other.detect
    );
    Ok(())
}

impl Side {
    /// Starts a server and lets it read a page, for which it allocates what it will need.
    fn start(model: &Path, shapes: &str, page: &Path) -> anyhow::Result<Self> {
        let options = Options::new().arguments(["--threads", "1", "--concurrency", "1", "--input-shapes", shapes]);
        let options = options.arguments(["--model"]).arguments([model]);
        let server = Server::start(&options)?;
        server.api().read(data::read(page)?)?;
        Ok(Self { server, score: WordScore::default(), texts: Vec::new(), recognise: 0.0, detect: 0.0 })
    }

    fn read(&mut self, truth: &str, page: Vec<u8>) -> anyhow::Result<()> {
        let pid = self.server.pid();
        let before = [thread_cpu_seconds(pid, "recognise")?, thread_cpu_seconds(pid, "detect")?];
        let text = self.server.api().read(page)?.text;
        self.recognise += thread_cpu_seconds(pid, "recognise")? - before[0];
        self.detect += thread_cpu_seconds(pid, "detect")? - before[1];
        self.score.add(truth, &text);
        self.texts.push(text);
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of pages")]
fn count(pages: usize) -> f64 {
    pages as f64
}
