//! A bundle that reads in one precision, made of a shipped one: the server is given it as any other model and has no
//! choice, so that two precisions can be compared with everything else equal, on any machine.

use std::fs;

use anyhow::Context as _;
use ocr_api::manifest::{Manifest, Precision};

use crate::data::{self, repository};

/// Makes the bundle in a folder that lives as long as what is returned: recognisers are those of the precision, and the
/// detector the one that stands beside them, where the shipped bundle has it. All is copied, because a link may not lead out of a bundle.
///
/// # Errors
/// If the shipped bundle is not there, or has no recogniser of that precision.
pub fn bundle(name: &str, precision: Precision) -> anyhow::Result<tempfile::TempDir> {
    let shipped = repository().join("assets/bundles").join(name);
    let mut manifest: Manifest = yaml_serde::from_slice(&data::read(shipped.join("model.yaml"))?)
        .with_context(|| format!("cannot read the manifest of {name}"))?;
    let detector = &mut manifest.detector;
    detector.file = detector.file_in(precision.of_detector()).unwrap_or(&detector.file).clone();
    manifest.recognisers.retain(|recogniser| recogniser.file_in(precision).is_some());
    anyhow::ensure!(!manifest.recognisers.is_empty(), "{name} has no recogniser in {}", precision.name());
    for recogniser in &mut manifest.recognisers {
        recogniser.file = recogniser.file_in(precision).unwrap_or(&recogniser.file).clone();
        (recogniser.fp16, recogniser.int8, recogniser.int8_qdq) = (None, None, None);
    }
    manifest.detector.fp16 = None;

    let folder = tempfile::tempdir().context("no folder for a bundle")?;
    for file in manifest.files() {
        fs::copy(shipped.join(&file.file), folder.path().join(&file.file))
            .with_context(|| format!("cannot copy {} of {name}", file.file))?;
    }
    fs::write(folder.path().join("model.yaml"), yaml_serde::to_string(&manifest).context("cannot write a manifest")?)?;
    Ok(folder)
}

/// Whether networks of bytes are for this machine: x86-64 sums products of bytes in 32 bits only by VNNI.
///
/// # Errors
/// With the reason why not.
pub fn sums_products_of_bytes() -> Result<(), String> {
    if std::env::consts::ARCH != "x86_64" {
        return Ok(());
    }
    let flags = fs::read_to_string("/proc/cpuinfo").map_err(|error| format!("cannot read /proc/cpuinfo: {error}"))?;
    let has = flags.split_whitespace().any(|flag| matches!(flag, "avx512_vnni" | "avx_vnni"));
    if has { Ok(()) } else { Err("this processor has no VNNI".to_owned()) }
}
