//! The ladder by itself, and with networks that fail as they are told.

use ocr_api::ErrorCode;

use super::*;
use crate::{
    read::fakes::{self, Plan},
    strategy::{Candidate, Profile, Strategy},
};

fn ladder(int8: bool) -> Ladder {
    let cpu = |profile| Candidate { strategy: Strategy::Cpu(profile), gpu: None };
    let candidates = vec![
        Candidate { strategy: Strategy::GpuFp16, gpu: Some(0) },
        Candidate { strategy: Strategy::GpuInt8, gpu: Some(0) },
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
fn each_strategy_computes_in_its_own_precision_and_bytes_come_before_floats_on_the_cpu_only() {
    let gpus = ["gpu-fp16 fp16", "gpu-int8 int8-qdq"];
    let floats = shown(&ladder(false));
    assert_eq!(floats[..2], gpus);
    assert_eq!(floats[2..], ["cpu/full fp32", "cpu/optimized fp32", "cpu/offload fp32"]);
    let with_bytes = shown(&ladder(true));
    assert_eq!(with_bytes[..2], gpus);
    assert_eq!(with_bytes[2..5], ["cpu/full int8", "cpu/full fp32", "cpu/optimized int8"]);
    assert_eq!(with_bytes.len(), 8);
}

#[test]
fn what_had_too_little_memory_is_not_tried_with_larger_numbers() {
    let mut ladder = ladder(true);
    ladder.left.drain(..2);
    let bytes = ladder.left.pop_front().unwrap();
    ladder.leave_out_as_large(bytes);
    let expected = ["cpu/optimized int8", "cpu/optimized fp32", "cpu/offload int8", "cpu/offload fp32"];
    assert_eq!(shown(&ladder), expected);
}

#[test]
fn what_reads_badly_is_not_tried_with_less_memory() {
    let mut ladder = ladder(true);
    ladder.left.drain(..2);
    let bytes = ladder.left.pop_front().unwrap();
    ladder.leave_out_alike(bytes);
    assert_eq!(shown(&ladder), ["cpu/full fp32", "cpu/optimized fp32", "cpu/offload fp32"]);
    let floats = ladder.left.pop_front().unwrap();
    ladder.leave_out_alike(floats);
    assert_eq!(shown(&ladder), Vec::<String>::new());
}

#[test]
fn what_computes_on_a_gpu_that_is_lost_is_not_tried_and_is_told() {
    let mut ladder = ladder(false);
    let other_gpu = Candidate { strategy: Strategy::GpuInt8, gpu: Some(1) };
    ladder.left.push_back(Attempt { candidate: other_gpu, precision: Precision::Int8Qdq });
    let lost = ladder.left.pop_front().unwrap();
    let gone = Ladder { left: ladder.leave_out(lost, Reason::DeviceLost).into() };
    assert_eq!(shown(&gone), ["gpu-int8 int8-qdq"]);
    assert_eq!(shown(&ladder), ["cpu/full fp32", "cpu/optimized fp32", "cpu/offload fp32", "gpu-int8 int8-qdq"]);
    let cpu = ladder.left.pop_front().unwrap();
    assert!(ladder.leave_out(cpu, Reason::DeviceLost).is_empty(), "the CPU is no device");
    assert_eq!(ladder.left.len(), 3);
}

#[tokio::test]
async fn a_second_strategy_on_a_lost_gpu_is_passed_over_unseen() {
    let mut plan = Plan::with_gpu();
    plan.choice.candidates.insert(1, Candidate { strategy: Strategy::GpuInt8, gpu: Some(0) });
    let stand = plan.start().await.unwrap();
    stand.script.fails("gpu-fp16 fp16", "recognise", usize::MAX, fakes::device_lost());
    assert!(stand.read(1).await.success);
    assert_eq!(stand.script.opened(), ["gpu-fp16 fp16", "cpu/full fp32"]);
    let beside = "gpu-int8 DeviceLost: int8-qdq: its GPU was lost under gpu-fp16; see the reason there";
    assert_eq!(stand.passed_over()[1..], [beside]);
}

/// A golden page of two lines: the recogniser runs on no other page of ours, the detector on the self-test's first.
fn plan() -> (Plan, tempfile::TempDir) {
    let folder = fakes::golden();
    (Plan::with_gpu().golden(folder.path()), folder)
}

#[tokio::test]
async fn what_fails_below_a_golden_page_is_told_by_what_failed_and_not_as_bad_reading() {
    let run = EngineError::Run { network: "recognise", cause: "as told".into() };
    // The network that fails and its error; the reason.
    let rows = [
        ("recognise", fakes::out_of_memory(), "OutOfMemory"),
        ("recognise", fakes::device_lost(), "DeviceLost"),
        ("detect", fakes::out_of_memory(), "OutOfMemory"),
        ("detect", fakes::device_lost(), "DeviceLost"),
        ("recognise", run, "LoadFailed"),
        ("recognise", EngineError::Closed, "LoadFailed"),
    ];
    for (network, error, reason) in rows {
        let (plan, _folder) = plan();
        // The second time is the lane's own, after it has freed the network's memory.
        plan.script.fails("gpu-fp16 fp16", network, 2, error);
        let stand = plan.start().await.unwrap();
        assert_eq!(stand.way(), "cpu/full fp32", "{network} {reason}");
        assert!(stand.passed_over()[0].starts_with(&format!("gpu-fp16 {reason}: fp16: ")), "{:?}", stand.passed_over());
        assert_eq!(stand.counted(), [(reason.to_owned(), 1.0)]);
    }
}

#[tokio::test]
async fn a_profile_that_runs_out_of_memory_on_a_golden_page_leaves_the_smaller_ones_to_try() {
    let folder = fakes::golden();
    let plan = Plan::new().golden(folder.path());
    for way in ["cpu/full fp32", "cpu/optimized fp32"] {
        plan.script.fails(way, "recognise", 2, fakes::out_of_memory());
    }
    let stand = plan.start().await.unwrap();
    assert_eq!(stand.way(), "cpu/offload fp32");
    assert_eq!(stand.counted(), [("OutOfMemory".to_owned(), 2.0)]);
    let told = stand.passed_over();
    let expected = "cpu/full OutOfMemory: fp32: the golden page line.png was not read: the network recognise ran out";
    assert!(told[0].starts_with(expected), "{told:?}");
}

#[tokio::test]
async fn a_precision_that_reads_badly_is_passed_over_with_its_number_and_the_next_reads() {
    let folder = fakes::golden();
    let plan = Plan { int8: true, ..Plan::new() }.golden(folder.path());
    plan.script.misreads("cpu/full int8");
    let stand = plan.start().await.unwrap();
    assert_eq!(stand.way(), "cpu/full fp32");
    let number = "100.00 % of the golden pages' characters are read wrongly, 3.00 % are allowed (worst: line.png)";
    assert_eq!(stand.passed_over(), [format!("cpu/full GoldenError: int8: {number}")]);
    assert_eq!(stand.counted(), [("GoldenError".to_owned(), 1.0)]);
    assert_eq!((stand.reader.golden().pages, stand.reader.golden().errors), (1, 0), "what runs is what is attested");
    assert_eq!(stand.read(2).await.text, "a\na");
}

#[tokio::test]
async fn a_strategy_that_reads_badly_is_passed_over_and_no_smaller_profile_is_tried() {
    let (plan, _folder) = plan();
    plan.script.misreads("gpu-fp16 fp16");
    let stand = plan.start().await.unwrap();
    assert_eq!(stand.way(), "cpu/full fp32");
    assert!(stand.passed_over()[0].starts_with("gpu-fp16 GoldenError: fp16: 100.00 %"), "{:?}", stand.passed_over());

    let folder = fakes::golden();
    let plan = Plan::new().golden(folder.path());
    plan.script.misreads("cpu/full fp32");
    let script = plan.script.clone();
    let Err(error) = plan.start().await else { panic!("it reads nothing rightly") };
    assert!(error.to_string().starts_with("100.00 % of the golden pages"), "{error}");
    assert_eq!(script.opened(), ["cpu/full fp32"], "the others compute the same");
}

#[tokio::test]
async fn a_golden_page_that_cannot_be_decoded_is_named_and_no_strategy_is_blamed() {
    let folder = fakes::golden();
    std::fs::write(folder.path().join("torn.png"), &fakes::page(1)[..100]).unwrap();
    std::fs::write(folder.path().join("torn.txt"), "a").unwrap();
    let plan = Plan::with_gpu().golden(folder.path());
    let script = plan.script.clone();
    let Err(error) = plan.start().await else { panic!("a page is torn") };
    let told = error.to_string();
    assert!(told.starts_with("the golden page torn.png cannot be decoded (the bytes begin like a PNG"), "{told}");
    assert!(told.ends_with("replace the file, or take it away with its text"), "{told}");
    assert_eq!(script.opened(), Vec::<String>::new(), "nothing was tried");
}

#[tokio::test]
async fn memory_that_ran_out_once_is_freed_and_the_same_strategy_reads_the_page() {
    let stand = Plan::with_gpu().start().await.unwrap();
    stand.script.fails("gpu-fp16 fp16", "recognise", 1, fakes::out_of_memory());
    let page = stand.read(3).await;
    assert_eq!((page.success, page.text.as_str()), (true, "a\na\na"));
    assert_eq!(stand.way(), "gpu-fp16 fp16");
    assert_eq!(stand.script.opened(), ["gpu-fp16 fp16"; 2], "it was freed and opened again");
    assert!(stand.passed_over().is_empty() && stand.counted().is_empty());
}

#[tokio::test]
async fn the_page_that_meets_a_network_without_memory_or_device_is_read_by_the_next_strategy() {
    let rows = [
        (
            fakes::out_of_memory(),
            "OutOfMemory",
            "the network recognise ran out of memory: as told; raise the memory limit, or set a smaller model",
        ),
        (
            fakes::device_lost(),
            "DeviceLost",
            "the GPU failed under the network recognise: as told; look into the driver's log on the node",
        ),
    ];
    for (error, reason, message) in rows {
        let stand = Plan::with_gpu().start().await.unwrap();
        assert_eq!(stand.read(1).await.text, "a");
        stand.script.fails("gpu-fp16 fp16", "recognise", usize::MAX, error);
        let page = stand.read(3).await;
        assert_eq!((page.success, page.text.as_str()), (true, "a\na\na"), "{:?}", page.error);
        assert_eq!(stand.way(), "cpu/full fp32");
        assert_eq!(stand.passed_over(), [format!("gpu-fp16 {reason}: fp16: {message}")]);
        assert_eq!(stand.counted(), [(reason.to_owned(), 1.0)]);
        assert!(!stand.reader.is_lost());
    }
}

#[tokio::test]
async fn several_pages_that_meet_a_lost_device_take_one_step_together() {
    let stand = Plan::with_gpu().start().await.unwrap();
    stand.script.fails("gpu-fp16 fp16", "recognise", usize::MAX, fakes::device_lost());
    let pages = futures::future::join_all((1..=4).map(|lines| stand.read(lines))).await;
    assert!(pages.iter().all(|page| page.success), "{:?}", pages.iter().map(|page| &page.error).collect::<Vec<_>>());
    assert_eq!(stand.way(), "cpu/full fp32");
    assert_eq!(stand.counted(), [("DeviceLost".to_owned(), 1.0)]);
}

#[tokio::test]
async fn where_no_strategy_is_left_the_page_says_so_and_the_reader_is_lost() {
    let rows = [(fakes::device_lost(), ErrorCode::Engine), (fakes::out_of_memory(), ErrorCode::OutOfMemory)];
    for (error, code) in rows {
        let mut plan = Plan::with_gpu();
        plan.choice.candidates.truncate(2);
        let stand = plan.start().await.unwrap();
        stand.script.fails("gpu-fp16 fp16", "recognise", usize::MAX, error);
        stand.script.fails("cpu/full fp32", "detect", usize::MAX, fakes::out_of_memory());
        let page = stand.read(1).await;
        assert_eq!(page.error.unwrap().code, code);
        assert!(stand.reader.is_lost());
    }
}

#[tokio::test]
async fn what_is_not_worth_a_try_is_counted_unless_nobody_asked_for_it() {
    let mut plan = Plan::new();
    for (strategy, reason) in [(Strategy::GpuFp16, Reason::OldDriver), (Strategy::GpuInt8, Reason::NotAskedFor)] {
        plan.choice.passed_over.push(PassedOver { strategy, reason, message: "as told".into() });
    }
    let stand = plan.start().await.unwrap();
    assert_eq!(stand.counted(), [("OldDriver".to_owned(), 1.0)]);
    assert_eq!(stand.passed_over(), ["gpu-fp16 OldDriver: as told", "gpu-int8 NotAskedFor: as told"]);
}
