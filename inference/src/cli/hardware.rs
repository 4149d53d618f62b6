//! `ocr hardware`: what there is to compute with, and what comes of it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use ocr_api::status;
use serde::Serialize;

use crate::{
    hardware::{self, Machine},
    models::open_model,
    settings::{AssetSettings, EngineSettings, ModelSettings},
    strategy::{Choice, Libraries, Needs, Refusal, choose},
};

/// What `ocr hardware` can be told.
#[derive(Args)]
pub struct HardwareArgs {
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    #[command(flatten)]
    assets: AssetSettings,

    #[command(flatten)]
    model: ModelSettings,

    #[command(flatten)]
    engine: EngineSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// An object
    Json,
}

/// The answer as JSON shows it.
#[derive(Serialize)]
struct Answer {
    hardware: status::Hardware,
    /// `gpu-fp16`, `gpu-int8` or `cpu`; absent where nothing can run.
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    /// Of the strategy `cpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// `cpu` or `cuda:N`.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    passed_over: Vec<status::PassedOver>,
    /// Why nothing can run, or why the figures of the model are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl HardwareArgs {
    /// Shows the hardware: 0 where something can run, 1 where nothing can, 2 where it cannot be shown.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let answer = self.look();
        let shown = match self.format {
            Format::Json => serde_json::to_string_pretty(&answer)
                .map_err(io::Error::from)
                .and_then(|json| writeln!(io::stdout(), "{json}")),
            Format::Text => write_text(&answer, &mut io::stdout().lock()),
        };
        match shown {
            Ok(()) => ExitCode::from(u8::from(answer.strategy.is_none())),
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error}");
                ExitCode::from(2)
            }
        }
    }

    fn look(&self) -> Answer {
        let strategy = &self.engine.strategy;
        let machine = hardware::look(&strategy.nvml, usize::from(self.engine.threads));
        let (needs, libraries, problem) = match self.needs() {
            Ok((needs, libraries)) => (needs, libraries, None),
            Err(error) => {
                let problem = format!("{error:#}; what is shown holds for a model of which nothing was measured");
                (Needs::of(&std::collections::BTreeMap::new()), Libraries::default(), Some(problem))
            }
        };
        answer(&machine, choose(&machine, &strategy.wishes(), libraries, &needs), problem)
    }

    fn needs(&self) -> anyhow::Result<(Needs, Libraries)> {
        let assets = self.assets.resolve()?;
        let bundle = open_model(&self.model.model, &assets.bundles)?;
        Ok((Needs::of(&bundle.manifest().memory), Libraries::of(&assets.onnxruntime)))
    }
}

fn answer(machine: &Machine, choice: Result<Choice, Refusal>, problem: Option<String>) -> Answer {
    let hardware = status::Hardware::from(machine);
    match choice {
        Ok(choice) => {
            let best = choice.candidates.first();
            let name = |text: &str| text.to_owned();
            Answer {
                hardware,
                strategy: best.map(|one| name(one.strategy.family())),
                profile: best.and_then(|one| one.strategy.profile()).map(|profile| name(profile.as_str())),
                device: best.map(|one| one.device().to_string()),
                passed_over: choice.above_best().map(status::PassedOver::from).collect(),
                problem,
            }
        }
        Err(refusal) => Answer {
            hardware,
            strategy: None,
            profile: None,
            device: None,
            passed_over: Vec::new(),
            problem: Some(refusal.to_string()),
        },
    }
}

fn write_text(answer: &Answer, out: &mut impl Write) -> io::Result<()> {
    let hardware = &answer.hardware;
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<12} {text}");
    for gpu in &hardware.gpus {
        let part = if gpu.mig { ", a part made by MIG" } else { "" };
        let text = format!(
            "{}: {}, {} of {} MiB free, compute capability {}{part}",
            gpu.index,
            gpu.name,
            gpu.free_bytes >> 20,
            gpu.memory_bytes >> 20,
            gpu.compute_capability
        );
        line("gpu", &text)?;
    }
    if let Some(driver) = &hardware.gpu_driver {
        line("driver", driver)?;
    }
    if let Some(problem) = &hardware.gpu_problem {
        line(if hardware.gpus.is_empty() { "gpu" } else { "" }, &format!("none: {problem}"))?;
    }
    let instructions = hardware.cpu_instructions.join(" ");
    line("cpu", &format!("{} threads ({}), {instructions}", hardware.cpu_threads, hardware.cpu_threads_source))?;
    line("memory", &format!("{:.1} GiB, {:.1} available", hardware.cpu_ram_gb, hardware.cpu_available_gb))?;
    if let Some(strategy) = &answer.strategy {
        line("strategy", strategy)?;
    }
    if let Some(profile) = &answer.profile {
        line("profile", profile)?;
    }
    if let Some(device) = &answer.device {
        line("device", device)?;
    }
    for passed in &answer.passed_over {
        line("passed over", &format!("{} ({}): {}", passed.strategy, passed.reason, passed.message))?;
    }
    if let Some(problem) = &answer.problem {
        line("problem", problem)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hardware::{Cpu, Gpu, Gpus, Memory},
        strategy::Wishes,
    };

    fn shown(machine: &Machine, needs: &Needs) -> (Answer, String) {
        let libraries = Libraries { cuda: true, tensorrt: false };
        let answer = answer(machine, choose(machine, &Wishes::default(), libraries, needs), None);
        let mut text = Vec::new();
        write_text(&answer, &mut text).unwrap();
        (answer, String::from_utf8(text).unwrap())
    }

    fn machine(gpus: Gpus) -> Machine {
        let memory = Memory { total: 8 << 30, limit: None, available: 7 << 30, peak: None };
        Machine {
            gpus,
            cpu: Cpu { threads: 2, threads_source: "cgroup", instructions: vec!["avx2"] },
            memory,
            ..Machine::default()
        }
    }

    fn needs() -> Needs {
        Needs::of(&std::collections::BTreeMap::new())
    }

    #[test]
    fn a_machine_without_a_gpu_says_why_and_what_it_does_instead() {
        let problem = Some("no NVIDIA driver".to_owned());
        let (answer, text) = shown(&machine(Gpus { problem, ..Gpus::default() }), &needs());
        assert_eq!((answer.strategy.as_deref(), answer.profile.as_deref()), (Some("cpu"), Some("optimized")));
        let expected = "gpu          none: no NVIDIA driver\n\
                        cpu          2 threads (cgroup), avx2\n\
                        memory       8.0 GiB, 7.0 available\n\
                        strategy     cpu\n\
                        profile      optimized\n\
                        device       cpu\n\
                        passed over  gpu-fp16 (NoGpu): no NVIDIA driver; give the machine or the pod an NVIDIA GPU with its driver, or set device to cpu\n\
                        passed over  gpu-int8 (NoProvider): libonnxruntime_providers_tensorrt.so is not beside ONNX Runtime's library; use an image that has it\n\
                        passed over  cpu/full (Memory): needs 10240 MiB of memory, and 7168 are available; raise the memory limit\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_gpu_is_shown_with_its_memory_and_what_is_worse_is_not_shown() {
        let gpu = Gpu {
            name: "NVIDIA L4".to_owned(),
            memory: 24 << 30,
            free: 23 << 30,
            compute_capability: (8, 9),
            mig: true,
            ..Gpu::default()
        };
        let (answer, text) = shown(&machine(Gpus { devices: vec![gpu], ..Gpus::default() }), &needs());
        assert_eq!((answer.strategy.as_deref(), answer.device.as_deref()), (Some("gpu-fp16"), Some("cuda:0")));
        let first = "gpu          0: NVIDIA L4, 23552 of 24576 MiB free, compute capability 8.9, a part made by MIG";
        assert_eq!(text.lines().next(), Some(first));
        assert!(!text.contains("passed over"), "{text}");
    }

    #[test]
    fn where_nothing_can_run_that_is_the_answer() {
        let (answer, text) = shown(&machine(Gpus::default()), &Needs { offload: 1 << 40, ..needs() });
        assert!(answer.strategy.is_none());
        assert!(
            text.contains("problem      cpu/offload needs 1048576 MiB of memory and 7168 MiB are available"),
            "{text}"
        );
    }
}
