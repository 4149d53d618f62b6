//! Hardware x settings -> strategy, each row with what is expected of it.

use std::collections::BTreeMap;

use super::*;
use crate::hardware::{Gpus, Memory};

const MIB: u64 = 1 << 20;

/// A GPU: free MiB of 80 GiB, compute capability.
type Device = (u64, (u32, u32));

const T4: (u32, u32) = (7, 5);
const H100: (u32, u32) = (9, 0);
const V100: (u32, u32) = (7, 0);

const BOTH: Libraries = Libraries { cuda: true, tensorrt: true };
const ONLY_CUDA: Libraries = Libraries { cuda: true, tensorrt: false };
const ONLY_TENSORRT: Libraries = Libraries { cuda: false, tensorrt: true };
const NONE: Libraries = Libraries { cuda: false, tensorrt: false };

fn machine(devices: &[Device], cuda: (u32, u32), available_mib: u64) -> Machine {
    let gpu = |(free, compute_capability): &Device| Gpu {
        name: "NVIDIA".to_owned(),
        memory: 81_920 * MIB,
        free: free * MIB,
        compute_capability: *compute_capability,
        ..Gpu::default()
    };
    let driver = Some(Driver { version: "580.65".to_owned(), cuda });
    Machine {
        gpus: Gpus { devices: devices.iter().map(gpu).collect(), driver, problem: None },
        memory: Memory { available: available_mib * MIB, ..Memory::default() },
        ..Machine::default()
    }
}

/// Those of a bundle that says nothing: 6144 and 3072 MiB of GPU memory, 10240, 6144 and 0 MiB of memory.
fn unmeasured() -> Needs {
    Needs::of(&BTreeMap::new())
}

/// What comes of it: the candidates, and why the others are none.
fn told(choice: &Result<Choice, Refusal>) -> String {
    let Ok(choice) = choice else { return "refused".to_owned() };
    let candidate = |one: &Candidate| match one.gpu {
        Some(gpu) => format!("{}@{gpu}", one.strategy),
        None => one.strategy.to_string(),
    };
    choice.candidates.iter().map(candidate).collect::<Vec<_>>().join(" ")
}

fn reasons(choice: &Result<Choice, Refusal>) -> String {
    let Ok(choice) = choice else { return String::new() };
    let reason = |one: &PassedOver| format!("{}:{}", one.strategy, one.reason.as_str());
    choice.passed_over.iter().map(reason).collect::<Vec<_>>().join(" ")
}

const ALL_CPU: &str = "cpu/full cpu/optimized cpu/offload";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_the_hardware_has_decides() {
    // GPUs, CUDA of the driver, MiB of memory, libraries; candidates, reasons.
    type Row = (&'static [Device], (u32, u32), u64, Libraries, &'static str, &'static str);
    let rows: [Row; 40] = [
        // Free GPU memory, at the border of each strategy.
        (&[(6145, T4)], CUDA, 10_240, BOTH, "gpu-fp16@0 gpu-int8@0 cpu/full cpu/optimized cpu/offload", ""),
        (&[(6144, T4)], CUDA, 10_240, BOTH, "gpu-fp16@0 gpu-int8@0 cpu/full cpu/optimized cpu/offload", ""),
        (&[(6143, T4)], CUDA, 10_240, BOTH, "gpu-int8@0 cpu/full cpu/optimized cpu/offload", "gpu-fp16:GpuMemory"),
        (&[(3073, T4)], CUDA, 10_240, BOTH, "gpu-int8@0 cpu/full cpu/optimized cpu/offload", "gpu-fp16:GpuMemory"),
        (&[(3072, T4)], CUDA, 10_240, BOTH, "gpu-int8@0 cpu/full cpu/optimized cpu/offload", "gpu-fp16:GpuMemory"),
        (&[(3071, T4)], CUDA, 10_240, BOTH, ALL_CPU, "gpu-fp16:GpuMemory gpu-int8:GpuMemory"),
        (&[(0, T4)], CUDA, 10_240, BOTH, ALL_CPU, "gpu-fp16:GpuMemory gpu-int8:GpuMemory"),
        // Memory, at the border of each profile.
        (&[], CUDA, 10_241, BOTH, ALL_CPU, "gpu-fp16:NoGpu gpu-int8:NoGpu"),
        (&[], CUDA, 10_240, BOTH, ALL_CPU, "gpu-fp16:NoGpu gpu-int8:NoGpu"),
        (&[], CUDA, 10_239, BOTH, "cpu/optimized cpu/offload", "gpu-fp16:NoGpu gpu-int8:NoGpu cpu/full:Memory"),
        (&[], CUDA, 6145, BOTH, "cpu/optimized cpu/offload", "gpu-fp16:NoGpu gpu-int8:NoGpu cpu/full:Memory"),
        (&[], CUDA, 6144, BOTH, "cpu/optimized cpu/offload", "gpu-fp16:NoGpu gpu-int8:NoGpu cpu/full:Memory"),
        (&[], CUDA, 6143, BOTH, "cpu/offload", "gpu-fp16:NoGpu gpu-int8:NoGpu cpu/full:Memory cpu/optimized:Memory"),
        (&[], CUDA, 1, BOTH, "cpu/offload", "gpu-fp16:NoGpu gpu-int8:NoGpu cpu/full:Memory cpu/optimized:Memory"),
        (&[], CUDA, 0, BOTH, "cpu/offload", "gpu-fp16:NoGpu gpu-int8:NoGpu cpu/full:Memory cpu/optimized:Memory"),
        // A GPU needs little of the other memory.
        (&[(8000, T4)], CUDA, 6143, BOTH, "gpu-fp16@0 gpu-int8@0 cpu/offload", "cpu/full:Memory cpu/optimized:Memory"),
        (&[(8000, T4)], CUDA, 6144, BOTH, "gpu-fp16@0 gpu-int8@0 cpu/optimized cpu/offload", "cpu/full:Memory"),
        (
            &[(4000, T4)],
            CUDA,
            10,
            BOTH,
            "gpu-int8@0 cpu/offload",
            "gpu-fp16:GpuMemory cpu/full:Memory cpu/optimized:Memory",
        ),
        // Libraries.
        (&[(8000, T4)], CUDA, 10_240, NONE, ALL_CPU, "gpu-fp16:NoProvider gpu-int8:NoProvider"),
        (
            &[(8000, T4)],
            CUDA,
            10_240,
            ONLY_CUDA,
            "gpu-fp16@0 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NoProvider",
        ),
        (&[(4000, T4)], CUDA, 10_240, ONLY_CUDA, ALL_CPU, "gpu-fp16:GpuMemory gpu-int8:NoProvider"),
        (
            &[(8000, T4)],
            CUDA,
            10_240,
            ONLY_TENSORRT,
            "gpu-int8@0 cpu/full cpu/optimized cpu/offload",
            "gpu-fp16:NoProvider",
        ),
        (&[], CUDA, 10_240, NONE, ALL_CPU, "gpu-fp16:NoProvider gpu-int8:NoProvider"),
        (&[], CUDA, 10_240, ONLY_CUDA, ALL_CPU, "gpu-fp16:NoGpu gpu-int8:NoProvider"),
        // The driver, before the GPU's age and memory.
        (
            &[(8000, T4)],
            (13, 1),
            10_240,
            ONLY_CUDA,
            "gpu-fp16@0 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NoProvider",
        ),
        (
            &[(8000, T4)],
            (14, 0),
            10_240,
            ONLY_CUDA,
            "gpu-fp16@0 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NoProvider",
        ),
        (&[(8000, T4)], (12, 9), 10_240, BOTH, ALL_CPU, "gpu-fp16:OldDriver gpu-int8:OldDriver"),
        (&[(8000, T4)], (0, 0), 10_240, BOTH, ALL_CPU, "gpu-fp16:OldDriver gpu-int8:OldDriver"),
        (&[(10, V100)], (12, 9), 10_240, BOTH, ALL_CPU, "gpu-fp16:OldDriver gpu-int8:OldDriver"),
        // The GPU's age, before its memory.
        (&[(8000, (7, 4))], CUDA, 10_240, BOTH, ALL_CPU, "gpu-fp16:OldGpu gpu-int8:OldGpu"),
        (&[(8000, (6, 9))], CUDA, 10_240, BOTH, ALL_CPU, "gpu-fp16:OldGpu gpu-int8:OldGpu"),
        (
            &[(8000, (8, 0))],
            CUDA,
            10_240,
            ONLY_CUDA,
            "gpu-fp16@0 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NoProvider",
        ),
        (&[(10, V100)], CUDA, 10_240, BOTH, ALL_CPU, "gpu-fp16:OldGpu gpu-int8:OldGpu"),
        // Several: the one with most free memory, the first of equal ones, never one that is too old.
        (
            &[(7000, T4), (8000, T4)],
            CUDA,
            10_240,
            ONLY_CUDA,
            "gpu-fp16@1 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NoProvider",
        ),
        (
            &[(8000, T4), (7000, T4)],
            CUDA,
            10_240,
            ONLY_CUDA,
            "gpu-fp16@0 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NoProvider",
        ),
        (
            &[(8000, T4), (8000, H100)],
            CUDA,
            10_240,
            ONLY_CUDA,
            "gpu-fp16@0 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NoProvider",
        ),
        (
            &[(90, T4), (95, T4), (7000, H100)],
            CUDA,
            10_240,
            BOTH,
            "gpu-fp16@2 gpu-int8@2 cpu/full cpu/optimized cpu/offload",
            "",
        ),
        (
            &[(70_000, V100), (7000, T4)],
            CUDA,
            10_240,
            BOTH,
            "gpu-fp16@1 gpu-int8@1 cpu/full cpu/optimized cpu/offload",
            "",
        ),
        (
            &[(70_000, V100), (4000, T4)],
            CUDA,
            10_240,
            BOTH,
            "gpu-int8@1 cpu/full cpu/optimized cpu/offload",
            "gpu-fp16:GpuMemory",
        ),
        (&[(70_000, V100), (70_000, V100)], CUDA, 10_240, BOTH, ALL_CPU, "gpu-fp16:OldGpu gpu-int8:OldGpu"),
    ];
    for (number, (devices, cuda, memory, libraries, candidates, passed)) in rows.into_iter().enumerate() {
        let choice = choose(&machine(devices, cuda, memory), &Wishes::default(), libraries, &unmeasured());
        assert_eq!((told(&choice).as_str(), reasons(&choice).as_str()), (candidates, passed), "row {number}");
    }
}

#[test]
fn the_settings_bound_what_is_tried() {
    // Setting strategy, setting device, CPU only; candidates, reasons. Two GPUs: 7000 and 4000 MiB free.
    type Row = (&'static str, &'static str, bool, &'static str, &'static str);
    let all = "gpu-fp16@0 gpu-int8@0 cpu/full cpu/optimized cpu/offload";
    let not_asked = "gpu-fp16:NotAskedFor gpu-int8:NotAskedFor";
    let rows: [Row; 20] = [
        ("auto", "auto", false, all, ""),
        ("auto", "cuda", false, all, ""),
        ("auto", "cuda:0", false, all, ""),
        ("auto", "cuda:1", false, "gpu-int8@1 cpu/full cpu/optimized cpu/offload", "gpu-fp16:GpuMemory"),
        ("auto", "cuda:2", false, ALL_CPU, "gpu-fp16:NoGpu gpu-int8:NoGpu"),
        ("auto", "cpu", false, ALL_CPU, not_asked),
        ("auto", "auto", true, ALL_CPU, not_asked),
        ("gpu-fp16", "auto", true, ALL_CPU, not_asked),
        ("auto", "cuda:0", true, ALL_CPU, not_asked),
        ("gpu-fp16", "auto", false, all, ""),
        ("gpu-fp16", "cuda:1", false, "gpu-int8@1 cpu/full cpu/optimized cpu/offload", "gpu-fp16:GpuMemory"),
        ("gpu-fp16", "cpu", false, ALL_CPU, not_asked),
        ("gpu-int8", "auto", false, "gpu-int8@0 cpu/full cpu/optimized cpu/offload", "gpu-fp16:NotAskedFor"),
        ("gpu-int8", "cpu", false, ALL_CPU, not_asked),
        ("cpu", "auto", false, ALL_CPU, not_asked),
        ("cpu", "cuda:0", false, ALL_CPU, not_asked),
        ("cpu/full", "auto", false, ALL_CPU, not_asked),
        (
            "cpu/optimized",
            "auto",
            false,
            "cpu/optimized cpu/offload",
            "gpu-fp16:NotAskedFor gpu-int8:NotAskedFor cpu/full:NotAskedFor",
        ),
        (
            "cpu/offload",
            "auto",
            false,
            "cpu/offload",
            "gpu-fp16:NotAskedFor gpu-int8:NotAskedFor cpu/full:NotAskedFor cpu/optimized:NotAskedFor",
        ),
        (
            "cpu/offload",
            "cuda:0",
            true,
            "cpu/offload",
            "gpu-fp16:NotAskedFor gpu-int8:NotAskedFor cpu/full:NotAskedFor cpu/optimized:NotAskedFor",
        ),
    ];
    let machine = machine(&[(7000, T4), (4000, T4)], CUDA, 16_384);
    for (strategy, device, cpu_only, candidates, passed) in rows {
        let strategy = (strategy != "auto").then(|| strategy.parse().unwrap());
        let wishes = Wishes { strategy, device: device.parse().unwrap(), cpu_only, ..Wishes::default() };
        let choice = choose(&machine, &wishes, BOTH, &unmeasured());
        assert_eq!((told(&choice).as_str(), reasons(&choice).as_str()), (candidates, passed), "{wishes:?}");
    }
}

#[test]
fn what_is_not_listed_is_not_stepped_down_to() {
    // Setting strategy, setting strategies, free MiB of the GPU, libraries; candidates, reasons.
    type Row = (&'static str, &'static str, u64, Libraries, &'static str, &'static str);
    let all = "gpu-fp16@0 gpu-int8@0 cpu/full cpu/optimized cpu/offload";
    let rows: [Row; 14] = [
        ("auto", "gpu-fp16,gpu-int8,cpu", 7000, BOTH, all, ""),
        ("auto", "cpu,gpu-int8,gpu-fp16", 7000, BOTH, all, ""),
        (
            "gpu-fp16",
            "gpu-fp16,gpu-int8,cpu",
            4000,
            BOTH,
            "gpu-int8@0 cpu/full cpu/optimized cpu/offload",
            "gpu-fp16:GpuMemory",
        ),
        // gpu-int8 would fit, and was left out.
        ("gpu-fp16", "gpu-fp16,cpu", 4000, BOTH, ALL_CPU, "gpu-fp16:GpuMemory gpu-int8:NotAskedFor"),
        ("gpu-fp16", "gpu-fp16,cpu", 4000, NONE, ALL_CPU, "gpu-fp16:NoProvider gpu-int8:NotAskedFor"),
        (
            "gpu-fp16",
            "gpu-fp16,cpu",
            7000,
            BOTH,
            "gpu-fp16@0 cpu/full cpu/optimized cpu/offload",
            "gpu-int8:NotAskedFor",
        ),
        ("auto", "gpu-fp16,cpu", 7000, BOTH, "gpu-fp16@0 cpu/full cpu/optimized cpu/offload", "gpu-int8:NotAskedFor"),
        ("auto", "gpu-int8,cpu", 7000, BOTH, "gpu-int8@0 cpu/full cpu/optimized cpu/offload", "gpu-fp16:NotAskedFor"),
        ("gpu-int8", "gpu-int8,cpu", 3071, BOTH, ALL_CPU, "gpu-fp16:NotAskedFor gpu-int8:GpuMemory"),
        // The one that is asked for is not listed.
        ("gpu-int8", "gpu-fp16,cpu", 7000, BOTH, ALL_CPU, "gpu-fp16:NotAskedFor gpu-int8:NotAskedFor"),
        ("auto", "cpu", 7000, BOTH, ALL_CPU, "gpu-fp16:NotAskedFor gpu-int8:NotAskedFor"),
        ("cpu/full", "cpu", 7000, BOTH, ALL_CPU, "gpu-fp16:NotAskedFor gpu-int8:NotAskedFor"),
        // The CPU is the last resort, named or not.
        ("gpu-fp16", "gpu-fp16", 4000, BOTH, ALL_CPU, "gpu-fp16:GpuMemory gpu-int8:NotAskedFor"),
        (
            "gpu-fp16",
            "gpu-fp16,gpu-int8",
            4000,
            BOTH,
            "gpu-int8@0 cpu/full cpu/optimized cpu/offload",
            "gpu-fp16:GpuMemory",
        ),
    ];
    for (strategy, listed, free, libraries, candidates, passed) in rows {
        let strategy = (strategy != "auto").then(|| strategy.parse().unwrap());
        let wishes = Wishes { strategy, listed: listed.parse().unwrap(), ..Wishes::default() };
        let choice = choose(&machine(&[(free, T4)], CUDA, 16_384), &wishes, libraries, &unmeasured());
        assert_eq!((told(&choice).as_str(), reasons(&choice).as_str()), (candidates, passed), "{wishes:?}");
    }
}

#[test]
fn a_list_of_strategies_is_read_as_it_is_written_and_refused_with_what_to_do() {
    for (text, shown) in [
        ("gpu-fp16,gpu-int8,cpu", "gpu-fp16,gpu-int8,cpu"),
        ("cpu,gpu-fp16", "gpu-fp16,cpu"),
        ("gpu-int8", "gpu-int8,cpu"),
        ("cpu", "cpu"),
    ] {
        assert_eq!(text.parse::<Listed>().unwrap().to_string(), shown);
    }
    assert_eq!(Listed::default().to_string(), "gpu-fp16,gpu-int8,cpu");
    for (text, error) in [
        ("", "names no strategy; name some of gpu-fp16, gpu-int8, cpu"),
        ("gpu-fp16,", "\"\" is none of gpu-fp16, gpu-int8, cpu"),
        ("gpu-fp16, cpu", "\" cpu\" is none of gpu-fp16, gpu-int8, cpu"),
        ("gpu", "\"gpu\" is none of gpu-fp16, gpu-int8, cpu"),
        ("cpu/full", "\"cpu/full\" is none of gpu-fp16, gpu-int8, cpu"),
        ("cpu,gpu-int8,cpu", "cpu is named twice; name it once"),
    ] {
        assert_eq!(text.parse::<Listed>(), Err(error.to_owned()), "{text}");
    }
}

#[test]
fn a_bundle_s_own_figures_move_the_borders() {
    let needs =
        Needs { gpu_fp16: 1700 * MIB, gpu_int8: 1000 * MIB, full: 510 * MIB, optimized: 306 * MIB, offload: 170 * MIB };
    // Free GPU memory, memory; candidates.
    let rows: [(u64, u64, &str); 15] = [
        (1701, 600, "gpu-fp16@0 gpu-int8@0 cpu/full cpu/optimized cpu/offload"),
        (1700, 600, "gpu-fp16@0 gpu-int8@0 cpu/full cpu/optimized cpu/offload"),
        (1699, 600, "gpu-int8@0 cpu/full cpu/optimized cpu/offload"),
        (1001, 600, "gpu-int8@0 cpu/full cpu/optimized cpu/offload"),
        (1000, 600, "gpu-int8@0 cpu/full cpu/optimized cpu/offload"),
        (999, 600, ALL_CPU),
        (0, 511, ALL_CPU),
        (0, 510, ALL_CPU),
        (0, 509, "cpu/optimized cpu/offload"),
        (0, 307, "cpu/optimized cpu/offload"),
        (0, 306, "cpu/optimized cpu/offload"),
        (0, 305, "cpu/offload"),
        (0, 171, "cpu/offload"),
        (0, 170, "cpu/offload"),
        (80_000, 169, "refused"),
    ];
    for (free, memory, expected) in rows {
        let choice = choose(&machine(&[(free, T4)], CUDA, memory), &Wishes::default(), BOTH, &needs);
        assert_eq!(told(&choice), expected, "{free} MiB free, {memory} MiB of memory");
    }
}

#[test]
fn a_refusal_and_each_reason_have_both_numbers_and_what_to_do() {
    let needs = Needs { offload: 170 * MIB, ..unmeasured() };
    let refusal = choose(&machine(&[], CUDA, 100), &Wishes::default(), NONE, &needs).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "cpu/offload needs 170 MiB of memory and 100 MiB are available; raise the memory limit, or set a smaller model"
    );
    let wishes = Wishes { listed: "gpu-int8,cpu".parse().unwrap(), ..Wishes::default() };
    let choice = choose(&machine(&[(8000, T4)], CUDA, 7000), &wishes, BOTH, &unmeasured()).unwrap();
    assert_eq!(choice.passed_over[0].message, "the setting strategies is gpu-int8,cpu; name it there too");
    let message = |devices: &[Device], cuda, libraries, device: &str| {
        let wishes = Wishes { device: device.parse().unwrap(), ..Wishes::default() };
        let choice = choose(&machine(devices, cuda, 7000), &wishes, libraries, &unmeasured()).unwrap();
        choice.passed_over[0].message.clone()
    };
    let rows = [
        (
            message(&[(5120, T4)], CUDA, BOTH, "auto"),
            "needs 6144 MiB of free GPU memory, and GPU 0 (NVIDIA) has 5120 of 81920; take a smaller model, or free the GPU",
        ),
        (
            message(&[(8000, T4)], CUDA, NONE, "auto"),
            "libonnxruntime_providers_cuda.so is not beside ONNX Runtime's library; use an image that has it",
        ),
        (
            message(&[], CUDA, BOTH, "auto"),
            "the driver sees no GPU; give the machine or the pod an NVIDIA GPU with its driver, or set device to cpu",
        ),
        (
            message(&[(8000, T4)], CUDA, BOTH, "cuda:5"),
            "the setting device is cuda:5, and GPUs are seen up to cuda:0; name one of them, or auto",
        ),
        (
            message(&[], CUDA, BOTH, "cuda:5"),
            "the driver sees no GPU; give the machine or the pod an NVIDIA GPU with its driver, or set device to cpu",
        ),
        (message(&[(8000, T4)], CUDA, BOTH, "cpu"), "the setting device is cpu; with auto GPUs may be used"),
        (
            message(&[(8000, T4)], (12, 4), BOTH, "auto"),
            "the driver 580.65 runs CUDA up to 12.4, and the libraries need 13.0; update the driver",
        ),
        (
            message(&[(8000, V100)], CUDA, BOTH, "auto"),
            "GPU 0 (NVIDIA) has compute capability 7.0, and CUDA 13 needs 7.5; take a newer GPU",
        ),
    ];
    for (message, expected) in rows {
        assert_eq!(message, expected);
    }
}

#[test]
fn providers_are_looked_for_beside_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().join("libonnxruntime.so");
    let put = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
    assert_eq!(Libraries::of(&runtime), NONE);
    put("libonnxruntime_providers_cuda.so");
    assert_eq!(Libraries::of(&runtime), ONLY_CUDA);
    put("libonnxruntime_providers_tensorrt.so");
    assert_eq!(Libraries::of(&runtime), BOTH);
}

#[test]
fn without_a_driver_its_problem_is_the_reason() {
    let problem = Some("no NVIDIA driver: libnvidia-ml.so.1".to_owned());
    let machine = Machine {
        gpus: Gpus { problem, ..Gpus::default() },
        memory: Memory { available: 1 << 40, ..Memory::default() },
        ..Machine::default()
    };
    let choice = choose(&machine, &Wishes::default(), BOTH, &unmeasured()).unwrap();
    assert_eq!(
        choice.passed_over[0].message,
        "no NVIDIA driver: libnvidia-ml.so.1; give the machine or the pod an NVIDIA GPU with its driver, or set device to cpu"
    );
}

#[test]
fn a_device_is_read_as_it_is_written() {
    for text in ["auto", "cpu", "cuda:0", "cuda:17"] {
        assert_eq!(text.parse::<DeviceWish>().unwrap().to_string(), text);
    }
    for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
        assert!(wrong.parse::<DeviceWish>().is_err(), "{wrong}");
    }
}
