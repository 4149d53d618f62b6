//! A model that takes long to load, made from outside: the program has no switch for it.
//!
//! The native library is loaded through a small library of ours that first sleeps, in the code that the loader runs when
//! it opens a library, and needs the real one. To the program that is a slow disk or a large model: opening takes long,
//! and nothing else is different.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::data::repository;

/// Builds the library in `folder`; give it to the server as `--onnxruntime`.
///
/// # Errors
/// If there is no C compiler or no real library.
pub fn onnxruntime(folder: &Path, seconds: u32) -> anyhow::Result<PathBuf> {
    let real = repository().join("assets/lib").join(std::env::consts::ARCH).join("libonnxruntime.so");
    ensure!(real.is_file(), "no {}; make assets brings it", real.display());
    let real = fs::canonicalize(real)?;
    let source = folder.join("slow.c");
    fs::write(
        &source,
        format!(
            "#include <time.h>\n\
             __attribute__((constructor)) static void wait_first(void) {{\n\
             \x20   struct timespec left = {{{seconds}, 0}};\n\
             \x20   while (nanosleep(&left, &left) != 0) {{}}\n\
             }}\n"
        ),
    )?;
    let library = folder.join("libslow.so");
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-o"])
        .arg(&library)
        .arg(&source)
        .arg(&real)
        .arg(format!("-Wl,-rpath,{}", real.parent().context("a library lies in a folder")?.display()))
        .output()
        .context("cannot run cc; make setup installs it")?;
    ensure!(compiler.status.success(), "cc: {}", String::from_utf8_lossy(&compiler.stderr));
    Ok(library)
}
