//! With RapidOCR's parameters ours finds RapidOCR's boxes and reads its lines: a slip in the port shows here.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use ocr_api::Line;
use ocr_tests::{
    data::{self, Shared, rapidocr_python, repository},
    program::{is_long, run_with},
    server::{Options, Server},
    suite::Suite,
};
use serde::Deserialize;

/// The bundle with RapidOCR's parameters, that `make assets` builds for this suite.
const BUNDLE: &str = "rapidocr-parity";
/// A corner may lie this far off, in pixels.
const NEAR: f32 = 2.0;
/// Share of boxes, and of matched lines, that must agree.
const SHARE: f64 = 0.99;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case_with(needs(), "boxes_and_lines_are_those_of_rapidocr", |(shared, python, bundle)| {
        parity(&shared, &python, &bundle)
    });
    suite.run()
}

fn needs() -> Result<(Shared, PathBuf, PathBuf), String> {
    let bundle = repository().join("assets/test-bundles").join(BUNDLE);
    if bundle.is_dir() {
        Ok((Shared::find()?, rapidocr_python()?, bundle))
    } else {
        Err(format!("no {}; make assets builds it", bundle.display()))
    }
}

/// What the peer says of one image.
#[derive(Deserialize)]
struct Peer {
    boxes: Vec<[[f32; 2]; 4]>,
    texts: Vec<String>,
}

fn parity(shared: &Shared, python: &Path, bundle: &Path) -> anyhow::Result<()> {
    let mut receipts = shared.receipts()?;
    // Every fourth of the 80: long and short ones.
    receipts = receipts.into_iter().step_by(4).take(if is_long() { 20 } else { 5 }).collect();
    let mut peers = Vec::new();
    // A few at a time: a command may run for two minutes.
    for some in receipts.chunks(6) {
        let mut command = std::process::Command::new(python);
        command.arg(repository().join("tests/peers/boxes.py")).args(some);
        let output = run_with(command, None)?;
        ensure!(output.code == Some(0), "the peer ended with {:?}: {}", output.code, output.stderr);
        for line in output.stdout.lines() {
            peers.push(serde_json::from_str::<Peer>(line).with_context(|| format!("not an object: {line}"))?);
        }
    }
    ensure!(peers.len() == receipts.len(), "the peer read {} of {}", peers.len(), receipts.len());

    let bundle = bundle.display().to_string();
    let server = Server::start(&Options::new().arguments(["--model", &bundle, "--orientation", "0"]))?;
    let (mut boxes, mut matched, mut equal) = (0_u32, 0_u32, 0_u32);
    for (receipt, peer) in receipts.iter().zip(&peers) {
        let ours = server.api().read(data::read(receipt)?)?;
        let lines = &ours.pages[0].lines;
        // Boxes that only one of the two has count against both.
        boxes += u32::try_from(peer.boxes.len().max(lines.len()))?;
        let mut left: Vec<&Line> = lines.iter().collect();
        for (theirs, text) in peer.boxes.iter().zip(&peer.texts) {
            let Some(at) = left.iter().position(|line| distance(&line.bbox, theirs) <= NEAR) else {
                println!("{}: only the peer has {theirs:?} {text:?}", data::name(receipt));
                continue;
            };
            let line = left.swap_remove(at);
            matched += 1;
            // RapidOCR keeps spaces at the ends.
            if line.text == text.trim() {
                equal += 1;
            } else {
                println!("{}: peer {text:?}, ours {:?}", data::name(receipt), line.text);
            }
        }
        for line in left {
            println!("{}: only ours has {:?} {:?}", data::name(receipt), line.bbox, line.text);
        }
    }
    println!("parity: {matched} of {boxes} boxes within {NEAR} px, {equal} of {matched} lines equal");
    ensure!(f64::from(matched) >= SHARE * f64::from(boxes), "{matched} of {boxes} boxes");
    ensure!(f64::from(equal) >= SHARE * f64::from(matched), "{equal} of {matched} lines");
    Ok(())
}

/// Largest distance of a corner from its counterpart, along an axis.
fn distance(ours: &[[f32; 2]; 4], theirs: &[[f32; 2]; 4]) -> f32 {
    let corners = ours.iter().flatten().zip(theirs.iter().flatten());
    corners.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
