//! What a model bundle's manifest says of memory and cost, measured on this machine and printed as its `model.yaml` has it.
//!
//! A unit of work is a core-second of the machine that the shipped manifests were measured on, so weights of all bundles
//! compare. Costs are measured with one thread, where a stage's time is its core time; memory with two.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use image::{ImageFormat, RgbImage};
use ocr_api::manifest::Manifest;
use ocr_tests::{
    data::{self, SCAN, repository},
    memory::{Sampler, tree_cpu_seconds, tree_pss},
    server::{Options, Server},
    work::in_parallel,
};

const USAGE: &str = "usage: measure [--ocr PROGRAM] [--memory] BUNDLE...";
/// Pages read for each figure.
const PAGES: usize = 12;
/// Pages in work at the same time, for what each further one adds.
const TOGETHER: usize = 4;
/// A manifest's key, and the strategy that it speaks of.
const PROFILES: [(&str, &str); 3] =
    [("cpu", "cpu/full"), ("cpu/optimized", "cpu/optimized"), ("cpu/offload", "cpu/offload")];
/// Width of the line that a line's weight is given for.
const LINE_WIDTH: f64 = 320.0;

fn main() -> anyhow::Result<()> {
    let (mut bundles, mut only_memory) = (Vec::new(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ocr" => ocr_tests::program::use_binary(PathBuf::from(arguments.next().context(USAGE)?)),
            "--memory" => only_memory = true,
            bundle => bundles.push(bundle.to_owned()),
        }
    }
    ensure!(!bundles.is_empty(), USAGE);
    println!("A line of {LINE_WIDTH} pixels, a megapixel and a core-second of this machine:");
    for bundle in bundles {
        println!("{bundle}\nmemory:");
        for (key, strategy) in PROFILES {
            println!("  {key}: {}", memory(&bundle, strategy)?);
        }
        if !only_memory {
            println!("cost:\n{}", cost(&bundle)?);
        }
    }
    Ok(())
}

fn options(bundle: &str, threads: usize, concurrency: usize) -> Options {
    let (threads, concurrency) = (threads.to_string(), concurrency.to_string());
    Options::new().arguments(["--model", bundle, "--threads", &threads, "--concurrency", &concurrency])
}

fn memory(bundle: &str, strategy: &str) -> anyhow::Result<String> {
    let scan = data::read(data::example(SCAN))?;
    let peak = |together: usize| -> anyhow::Result<(u64, u64)> {
        let server = Server::start(&options(bundle, 2, together).arguments(["--strategy", strategy]))?;
        let idle = tree_pss(server.pid())?;
        let sampler = Sampler::start(server.pid());
        for page in in_parallel(&[(); PAGES], together, |_, ()| server.api().read(scan.clone())) {
            page?;
        }
        Ok((idle, sampler.peak()?))
    };
    let (idle, alone) = peak(1)?;
    let (_, together) = peak(TOGETHER)?;
    let further = together.saturating_sub(alone).div_ceil(TOGETHER as u64 - 1);
    Ok(format!("{{idleMib: {}, peakMib: {}, perPageMib: {}}}", mebibytes(idle), mebibytes(alone), mebibytes(further)))
}

/// Rounded up, so that what is promised holds.
fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// What the server has counted.
struct Counted {
    units: f64,
    detect_seconds: f64,
    recognise_seconds: f64,
    cpu_seconds: f64,
}

fn cost(bundle: &str) -> anyhow::Result<String> {
    let manifest = data::read(repository().join("assets/bundles").join(bundle).join("model.yaml"))?;
    let manifest: Manifest = yaml_serde::from_slice(&manifest).context("cannot read the bundle's model.yaml")?;
    let scan = data::read(data::example(SCAN))?;
    let size = image::load_from_memory(&scan)?;
    let mut blank = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(size.width(), size.height(), image::Rgb([255; 3])).write_to(&mut blank, ImageFormat::Png)?;

    let server = Server::start(&options(bundle, 1, 1))?;
    let of_pages = |page: &[u8]| -> anyhow::Result<Counted> {
        let before = counted(&server)?;
        for _ in 0..PAGES {
            server.api().read(page.to_vec())?;
        }
        let after = counted(&server)?;
        Ok(Counted {
            units: after.units - before.units,
            detect_seconds: after.detect_seconds - before.detect_seconds,
            recognise_seconds: after.recognise_seconds - before.recognise_seconds,
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        })
    };
    let (blank, text) = (of_pages(blank.get_ref())?, of_pages(&scan)?);
    // A blank page of the same size has the same megapixels and no line; the weights that it was counted by are known.
    let megapixels = blank.units / manifest.cost.detect_megapixel;
    let lines = (text.units - blank.units) / manifest.cost.recognise_line;
    let (megapixel, line) = (blank.detect_seconds / megapixels, text.recognise_seconds / lines);
    let units = megapixel * megapixels + line * lines;
    Ok(format!(
        "  detectMegapixel: {megapixel:.2}\n  recogniseLine: {line:.4}\n  unitsPerCoreSecond: {:.2}",
        units / text.cpu_seconds
    ))
}

fn counted(server: &Server) -> anyhow::Result<Counted> {
    let metrics = server.metrics()?;
    let stage = |name: &str| -> f64 {
        let sums = metrics.named("ocr_stage_seconds_sum");
        sums.filter(|sample| sample.labels.get("stage").is_some_and(|stage| stage == name))
            .map(|sample| sample.value)
            .sum()
    };
    Ok(Counted {
        units: metrics.sum("ocr_units_total")?,
        detect_seconds: stage("detect"),
        recognise_seconds: stage("recognise"),
        cpu_seconds: tree_cpu_seconds(server.pid())?,
    })
}
