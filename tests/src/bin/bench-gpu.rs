//! What an NVIDIA GPU proves: that the networks run on it in 16-bit floats, read as those of 32-bit floats on the CPU do, and
//! how many pages a second. Without one it says that nothing was proven.
//!
//! ONNX Runtime's build for CUDA is under `assets/cuda` (`make bench-gpu` brings it); CUDA 13 and cuDNN 9 are to be found by
//! the dynamic linker.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context, bail, ensure};
use ocr_tests::{
    data::{self, Shared, repository},
    program::run,
    score::WordScore,
    server::{Options, Server},
    work::in_parallel,
};
use serde_json::Value;

const USAGE: &str = "usage: bench-gpu [--ocr PROGRAM] [--pages N]";
/// How far the word F1 may be from that of 32-bit floats.
const DIFFERENT: f64 = 0.002;
/// Least share of the time in nodes that is spent on the GPU.
const SHARE: f64 = 0.95;
/// Requests at a time: as many as keep a GPU busy while pages are decoded.
const TOGETHER: usize = 16;
/// How often all pages are read for the rate.
const ROUNDS: usize = 3;

fn main() -> anyhow::Result<()> {
    let mut pages = 80;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().context(USAGE);
        match argument.as_str() {
            "--ocr" => ocr_tests::program::use_binary(PathBuf::from(value()?)),
            "--pages" => pages = value()?.parse().context(USAGE)?,
            _ => bail!(USAGE),
        }
    }
    let seen = hardware()?;
    let gpus = seen["hardware"]["gpus"].as_array().map_or(&[][..], Vec::as_slice);
    if gpus.is_empty() {
        println!("{}: nothing was proven", seen["hardware"]["gpu_problem"].as_str().unwrap_or("there is no GPU"));
        return Ok(());
    }
    for gpu in gpus {
        println!("GPU {}: {}, compute capability {}", gpu["index"], gpu["name"], gpu["compute_capability"]);
    }
    println!("driver {}", seen["hardware"]["gpu_driver"]);
    let shared = Shared::find().map_err(|reason| anyhow::anyhow!("the shared receipts are read: {reason}"))?;
    let receipts: Vec<_> = shared.receipts()?.into_iter().take(pages).collect();
    prove(&shared, &receipts)
}

fn cuda() -> PathBuf {
    repository().join("assets/cuda/lib").join(std::env::consts::ARCH).join("libonnxruntime.so")
}

fn hardware() -> anyhow::Result<Value> {
    let library = cuda();
    let shown = run(["hardware", "--format", "json", "--onnxruntime", &library.to_string_lossy()])?;
    ensure!(shown.code == Some(0), "ocr hardware ended with {:?}: {}", shown.code, shown.stderr);
    Ok(serde_json::from_str(&shown.stdout)?)
}

fn prove(shared: &Shared, receipts: &[PathBuf]) -> anyhow::Result<()> {
    let library = cuda();
    let gpu = Server::start(
        &Options::new()
            .arguments(["--strategy", "gpu-fp16", "--onnxruntime", &library.to_string_lossy()])
            .arguments(["--concurrency", &TOGETHER.to_string()]),
    )?;
    let engine = gpu.status()?.engine;
    for passed in &engine.passed_over {
        println!("passed over: {} {}: {}", passed.strategy, passed.reason, passed.message);
    }
    println!(
        "{} on {} by {} in {}: {:.1} % of the nodes, {:.1} % of the time in them; golden pages {:.2} %",
        engine.strategy,
        engine.device,
        engine.execution_provider,
        engine.precision,
        100.0 * engine.provider_nodes,
        100.0 * engine.provider_time,
        engine.golden.error_percent
    );
    ensure!(engine.strategy == "gpu-fp16", "the GPU is not used");

    let cpu = Server::start(&Options::new().arguments(["--strategy", "cpu", "--int8", "false"]))?;
    let (of_gpu, of_cpu) = (f1(&gpu, shared, receipts)?, f1(&cpu, shared, receipts)?);
    println!("word F1 over {} receipts: {of_gpu:.4} on the GPU, {of_cpu:.4} in fp32 on the CPU", receipts.len());
    let (on_gpu, on_cpu) = (rate(&gpu, receipts, ROUNDS)?, rate(&cpu, receipts, 1)?);
    println!("pages a second, {TOGETHER} at a time: {on_gpu:.1} on the GPU, {on_cpu:.2} on the CPU");
    ensure!((of_gpu - of_cpu).abs() <= DIFFERENT, "it reads otherwise than in fp32");
    ensure!(engine.provider_time >= SHARE, "too much of the time is spent elsewhere");
    ensure!(gpu.status()?.engine.strategy == "gpu-fp16", "it has stepped down: {:?}", gpu.status()?.engine.passed_over);
    Ok(())
}

fn f1(server: &Server, shared: &Shared, receipts: &[PathBuf]) -> anyhow::Result<f64> {
    let read = in_parallel(receipts, TOGETHER, |_, receipt| server.api().read(data::read(receipt)?));
    let mut score = WordScore::default();
    for (receipt, document) in receipts.iter().zip(read) {
        score.add(&shared.receipt_truth(receipt)?, &document?.text);
    }
    Ok(score.f1())
}

#[expect(clippy::cast_precision_loss, reason = "hundreds of pages")]
fn rate(server: &Server, receipts: &[PathBuf], rounds: usize) -> anyhow::Result<f64> {
    let bodies = receipts.iter().map(data::read).collect::<anyhow::Result<Vec<_>>>()?;
    let all: Vec<&Vec<u8>> = bodies.iter().cycle().take(bodies.len() * rounds).collect();
    let started = Instant::now();
    for page in in_parallel(&all, TOGETHER, |_, body| server.api().read((*body).clone())) {
        page?;
    }
    Ok(all.len() as f64 / started.elapsed().as_secs_f64())
}
