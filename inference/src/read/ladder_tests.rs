//! The ladder by itself, and with networks that fail as they are told.

use super::*;
use crate::strategy::{Candidate, Profile, Strategy};

fn ladder(int8: bool) -> Ladder {
    let cpu = |profile| Candidate { strategy: Strategy::Cpu(profile), gpu: None };
    let candidates = vec![
        Candidate { strategy: Strategy::GpuFp16, gpu: Some(0) },
        cpu(Profile::Full),
        cpu(Profile::Optimized),
        cpu(Profile::Offload),
    ];
    Ladder::new(&Choice { candidates, passed_over: Vec::new() }, int8)
}

fn shown(ladder: &Ladder) -> Vec<String> {
    let one = |attempt: &Attempt| format!("{} {}", attempt.candidate.strategy, attempt.precision.name());
    ladder.left.iter().map(one).collect()
}

#[test]
fn bytes_come_before_floats_on_the_cpu_only() {
    assert_eq!(shown(&ladder(false)), ["gpu-fp16 fp16", "cpu/full fp32", "cpu/optimized fp32", "cpu/offload fp32"]);
    let with_bytes = shown(&ladder(true));
    assert_eq!(with_bytes[..4], ["gpu-fp16 fp16", "cpu/full int8", "cpu/full fp32", "cpu/optimized int8"]);
    assert_eq!(with_bytes.len(), 7);
}

#[test]
fn what_had_too_little_memory_is_not_tried_with_larger_numbers() {
    let mut ladder = ladder(true);
    ladder.left.pop_front();
    let bytes = ladder.left.pop_front().unwrap();
    ladder.leave_out_as_large(bytes);
    let expected = ["cpu/optimized int8", "cpu/optimized fp32", "cpu/offload int8", "cpu/offload fp32"];
    assert_eq!(shown(&ladder), expected);
}

#[test]
fn what_reads_badly_is_not_tried_with_less_memory() {
    let mut ladder = ladder(true);
    ladder.left.pop_front();
    let bytes = ladder.left.pop_front().unwrap();
    ladder.leave_out_alike(bytes);
    assert_eq!(shown(&ladder), ["cpu/full fp32", "cpu/optimized fp32", "cpu/offload fp32"]);
    let floats = ladder.left.pop_front().unwrap();
    ladder.leave_out_alike(floats);
    assert_eq!(shown(&ladder), Vec::<String>::new());
}
