//! A stand-in for NVIDIA's management library: the program under test is told its path, and nothing else is changed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::data::repository;

/// Compiles a stand-in for which these macros are defined (`tests/nvml/nvml.c` lists them).
///
/// # Errors
/// If there is no C compiler, which the linker of every Rust program needs too, or it refuses.
pub fn stand_in(folder: &Path, macros: &[&str]) -> anyhow::Result<PathBuf> {
    let library = folder.join(format!("libnvidia-ml{}.so.1", macros.join("")));
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .args(macros.iter().map(|one| format!("-D{one}")))
        .arg(repository().join("tests/nvml/nvml.c"))
        .status()
        .context("no C compiler: install gcc")?;
    ensure!(status.success(), "the stand-in for NVML does not compile");
    Ok(library)
}
