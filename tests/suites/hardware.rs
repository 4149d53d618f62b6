//! What the program makes of hardware that is there, that is not, and that only says it is: the shipped program with a
//! stand-in for NVIDIA's library, of which it is told the path. The way to a GPU goes as far as the execution provider,
//! which refuses, since there is no GPU behind the stand-in; then the CPU answers, and the reason is told.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, ensure};
use ocr_api::status::PassedOver;
use ocr_tests::{
    data::{self, SCAN},
    nvml::stand_in,
    pdf,
    program::run,
    server::{Options, Server},
    suite::Suite,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case("what_the_driver_says_decides_what_is_tried", drivers);
    suite.case("a_gpu_that_only_claims_to_be_there_is_passed_over_and_the_cpu_answers", lie);
    suite.case("tensorrt_that_cannot_compute_is_passed_over_and_the_cpu_answers", tensorrt);
    suite.case("a_model_without_a_network_for_tensorrt_is_not_read_by_it", no_network_for_tensorrt);
    suite.case("without_a_driver_the_reason_names_its_library", no_driver);
    suite.case("the_settings_keep_a_gpu_from_being_used", settings);
    suite.case("a_folder_of_golden_pages_is_judged_by", golden);
    suite.case("a_golden_page_that_cannot_be_decoded_is_named_and_no_strategy_is_blamed", undecodable);
    suite.case("every_page_of_a_golden_pdf_is_read", golden_pdf);
    suite.run()
}

/// ONNX Runtime as an image with CUDA has it, but that its provider is an empty file.
fn with_provider(folder: &Path) -> anyhow::Result<PathBuf> {
    with_providers(folder, &["cuda"])
}

fn with_providers(folder: &Path, providers: &[&str]) -> anyhow::Result<PathBuf> {
    let real = data::repository().join("assets/lib").join(std::env::consts::ARCH).join("libonnxruntime.so");
    let library = folder.join("libonnxruntime.so");
    symlink(fs::canonicalize(&real).with_context(|| format!("{}: make assets", real.display()))?, &library)?;
    for provider in providers {
        fs::write(folder.join(format!("libonnxruntime_providers_{provider}.so")), "")?;
    }
    Ok(library)
}

fn hardware(nvml: &Path, onnxruntime: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
    let (nvml, onnxruntime) = (nvml.to_string_lossy(), onnxruntime.to_string_lossy());
    let mut all = vec!["hardware", "--format", "json", "--nvml", &nvml, "--onnxruntime", &onnxruntime];
    all.extend(arguments);
    let run = run(all)?;
    ensure!(run.code == Some(0), "ended with {:?}: {}{}", run.code, run.stdout, run.stderr);
    Ok(serde_json::from_str(&run.stdout)?)
}

fn drivers() -> anyhow::Result<()> {
    type Row = (&'static [&'static str], usize, &'static str, &'static str, Option<&'static str>);
    // What the stand-in is; GPUs seen, strategy, device, why gpu-fp16 is passed over.
    let rows: [Row; 11] = [
        (&["DEVICES=0"], 0, "cpu", "cpu", Some("NoGpu: the NVIDIA driver sees no GPU")),
        (&["DEVICES=1"], 1, "gpu-fp16", "cuda:0", None),
        (&["DEVICES=1", "NO_MIG"], 1, "gpu-fp16", "cuda:0", None),
        (&["DEVICES=8"], 8, "gpu-fp16", "cuda:7", None),
        (&["DEVICES=8", "LOST=7"], 7, "gpu-fp16", "cuda:6", None),
        (&["DEVICES=1", "LOST=0"], 0, "cpu", "cpu", Some("NoGpu: GPU 0: ")),
        (&["INIT=9"], 0, "cpu", "cpu", Some("NoGpu: the NVIDIA driver does not answer: ")),
        (
            // Of two parts CUDA sees the first.
            &["MIG=2"],
            1,
            "cpu",
            "cpu",
            Some(
                "GpuMemory: needs 6144 MiB of free GPU memory, and GPU 0 (NVIDIA Stand-in MIG 1g.4gb) has 3072 of 4096",
            ),
        ),
        (&["MIG=10"], 0, "cpu", "cpu", Some("NoGpu: GPU 0 is split by MIG and no part is given")),
        (&["CUDA=12080"], 1, "cpu", "cpu", Some("OldDriver: the driver 580.65.06 runs CUDA up to 12.8")),
        (&["MAJOR=7", "MINOR=0"], 1, "cpu", "cpu", Some("OldGpu: GPU 0 (NVIDIA Stand-in) has compute capability 7.0")),
    ];
    let folder = tempfile::tempdir()?;
    let onnxruntime = with_provider(folder.path())?;
    for (macros, gpus, strategy, device, passed) in rows {
        let shown = hardware(&stand_in(folder.path(), macros)?, &onnxruntime, &[])?;
        let found = shown["hardware"]["gpus"].as_array().map_or(0, Vec::len);
        ensure!(found == gpus, "{macros:?}: {found} GPUs: {shown}");
        ensure!(shown["strategy"] == strategy && shown["device"] == device, "{macros:?}: {shown}");
        let why = shown["passed_over"].as_array().and_then(|all| all.iter().find(|one| one["strategy"] == "gpu-fp16"));
        let why = why.map(|one| {
            format!("{}: {}", one["reason"].as_str().unwrap_or_default(), one["message"].as_str().unwrap_or_default())
        });
        let as_expected = match (&why, passed) {
            (Some(why), Some(expected)) => why.starts_with(expected),
            (why, expected) => why.is_none() && expected.is_none(),
        };
        ensure!(as_expected, "{macros:?}: {why:?}, expected {passed:?}");
    }
    Ok(())
}

fn lie() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (nvml, onnxruntime) = (stand_in(folder.path(), &["DEVICES=1"])?, with_provider(folder.path())?);
    let arguments = [Path::new("--nvml"), &nvml, Path::new("--onnxruntime"), &onnxruntime, Path::new("--strategy")];
    let server = Server::start(&Options::new().arguments(arguments).arguments(["gpu-fp16"]))?;
    let document = server.api().read(data::read(data::example(SCAN))?)?;
    ensure!(!document.text.is_empty(), "it reads nothing");
    let engine = server.status()?.engine;
    ensure!((engine.strategy.as_str(), engine.strategy_wanted.as_str()) == ("cpu", "gpu-fp16"), "{engine:?}");
    ensure!(engine.device == "cpu" && engine.execution_provider == "CPUExecutionProvider", "{engine:?}");
    let why = engine.passed_over.first().context("no reason is given")?;
    println!("{} {}: {}", why.strategy, why.reason, why.message);
    ensure!(why.strategy == "gpu-fp16" && why.reason == "NoProvider", "{why:?}");
    ensure!(why.message.contains("CUDAExecutionProvider cannot be used"), "{why:?}");
    let text = server.metrics()?;
    ensure!(text.sum("ocr_strategies_passed_over_total")? >= 1.0, "the step is not counted");
    Ok(())
}

/// Asks a server for `gpu-int8` on a GPU of the stand-in, and gives back why it was passed over; the CPU reads.
fn ask_for_tensorrt(model: &str) -> anyhow::Result<PassedOver> {
    let folder = tempfile::tempdir()?;
    let nvml = stand_in(folder.path(), &["DEVICES=1"])?;
    let onnxruntime = with_providers(folder.path(), &["cuda", "tensorrt"])?;
    let cache = folder.path().join("cache");
    let arguments = [
        [Path::new("--nvml"), &nvml],
        [Path::new("--onnxruntime"), &onnxruntime],
        [Path::new("--tensorrt-cache"), &cache],
        [Path::new("--strategy"), Path::new("gpu-int8")],
        [Path::new("--model"), Path::new(model)],
    ];
    let server = Server::start(&Options::new().arguments(arguments.concat()))?;
    let document = server.api().read(data::read(data::example(SCAN))?)?;
    ensure!(!document.text.is_empty(), "it reads nothing");
    let engine = server.status()?.engine;
    ensure!((engine.strategy.as_str(), engine.strategy_wanted.as_str()) == ("cpu", "gpu-int8"), "{engine:?}");
    ensure!(engine.execution_provider == "CPUExecutionProvider" && engine.precision != "int8-qdq", "{engine:?}");
    let why = engine.passed_over.into_iter().find(|one| one.strategy == "gpu-int8").context("no reason is given")?;
    println!("{} {}: {}", why.strategy, why.reason, why.message);
    Ok(why)
}

fn tensorrt() -> anyhow::Result<()> {
    let why = ask_for_tensorrt("pp-ocrv6-small")?;
    ensure!(why.reason == "NoProvider", "{why:?}");
    ensure!(why.message.starts_with("int8-qdq: TensorrtExecutionProvider cannot be used: "), "{why:?}");
    ensure!(!why.message.contains("folder"), "ONNX Runtime was not asked: {why:?}");
    Ok(())
}

/// Its fp16 network would be read without any bytes, and said to be read in bytes.
fn no_network_for_tensorrt() -> anyhow::Result<()> {
    let why = ask_for_tensorrt("pp-ocrv6-tiny")?;
    ensure!(why.reason == "LoadFailed", "{why:?}");
    ensure!(why.message.contains("the bundle has no recogniser in int8-qdq: take a model that has one"), "{why:?}");
    Ok(())
}

fn no_driver() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let shown = hardware(Path::new("libnvidia-ml-is-not-here.so.1"), &with_provider(folder.path())?, &[])?;
    let problem = shown["hardware"]["gpu_problem"].as_str().context("no problem is told")?;
    ensure!(problem.contains("libnvidia-ml-is-not-here.so.1"), "{problem}");
    ensure!(shown["strategy"] == "cpu" && shown["hardware"]["gpu_available"] == false, "{shown}");
    Ok(())
}

fn settings() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (nvml, onnxruntime) = (stand_in(folder.path(), &["DEVICES=2"])?, with_provider(folder.path())?);
    let rows: [(&[&str], &str, &str); 7] = [
        (&["--device", "cuda:0"], "gpu-fp16", "cuda:0"),
        (&["--device", "cpu"], "cpu", "cpu"),
        (&["--device", "cuda:2"], "cpu", "cpu"),
        (&["--force-cpu-only", "true"], "cpu", "cpu"),
        (&["--strategy", "cpu/offload"], "cpu", "cpu"),
        (&["--strategies", "gpu-fp16,cpu", "--device", "cuda:1"], "gpu-fp16", "cuda:1"),
        (&["--strategies", "gpu-int8,cpu"], "cpu", "cpu"),
    ];
    for (arguments, strategy, device) in rows {
        let shown = hardware(&nvml, &onnxruntime, arguments)?;
        ensure!(shown["strategy"] == strategy && shown["device"] == device, "{arguments:?}: {shown}");
    }
    Ok(())
}

/// Pages whose text is wrong let no strategy pass: the model is not loaded, and the number is told.
fn golden() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fs::copy(data::example(SCAN), folder.path().join("scan.jpg"))?;
    fs::write(folder.path().join("scan.txt"), "quite another text")?;
    let golden = [Path::new("--golden"), folder.path()];
    let mut server = Server::launch(&Options::new().arguments(golden))?;
    server.wait_live(LIMIT)?;
    server.wait_until("a load that fails", LIMIT, |status| status.load.error.is_some())?;
    let error = server.status()?.load.error.unwrap_or_default();
    println!("{error}");
    ensure!(error.contains("% of the golden pages' characters are read wrongly, 3.00 % are allowed"), "{error}");
    ensure!(error.contains("worst: scan.jpg"), "{error}");
    Ok(())
}

fn undecodable() -> anyhow::Result<()> {
    let scan = data::read(data::example(SCAN))?;
    // What the file has of the scan, most pixels of a page; the reason.
    let rows = [
        (&scan[..scan.len() / 2], "50000000", "the JPEG"),
        (&scan[..], "1000000", "pixels and at most 1000000 are read"),
    ];
    for (bytes, pixels, reason) in rows {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("torn.jpg"), bytes)?;
        fs::write(folder.path().join("torn.txt"), "whatever it says")?;
        let golden = [Path::new("--golden"), folder.path(), Path::new("--max-pixels"), Path::new(pixels)];
        // No strategy but those of the CPU, which nothing speaks against.
        let arguments = Options::new().arguments(golden).arguments(["--force-cpu-only", "true"]);
        let mut server = Server::launch(&arguments)?;
        server.wait_live(LIMIT)?;
        server.wait_until("a load that fails", LIMIT, |status| status.load.error.is_some())?;
        let status = server.status()?;
        let error = status.load.error.unwrap_or_default();
        println!("{error}");
        ensure!(error.starts_with("the golden page torn.jpg cannot be decoded (") && error.contains(reason), "{error}");
        ensure!(
            server.metrics()?.sum("ocr_strategies_passed_over_total").unwrap_or(0.0) == 0.0,
            "a strategy is blamed"
        );
    }
    Ok(())
}

fn golden_pdf() -> anyhow::Result<()> {
    let pages = [vec!["The first page has this line".to_owned()], vec!["and the second has another".to_owned()]];
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("two.pdf"), pdf::text_pages(&pages))?;
    fs::write(folder.path().join("two.txt"), pages.concat().join("\n"))?;
    let golden = [Path::new("--golden"), folder.path()];
    let server = Server::start(&Options::new().arguments(golden))?;
    let read = server.status()?.engine.golden;
    // Ours is one page.
    ensure!(read.pages == 3 && read.error_percent < 1.0, "{read:?}");
    Ok(())
}
