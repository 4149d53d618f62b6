//! Files on disk: digests, and writes that are either whole or absent.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest, Sha256};

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, or nothing if there is none or it is no file.
///
/// # Errors
/// If it cannot be read.
pub fn sha256_of(path: &Path) -> Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("failed to open {}", path.display())),
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("failed to read {}", path.display()))?;
        match buffer.get(..count) {
            Some([]) | None => return Ok(Some(hexadecimal(&hash.finalize()))),
            Some(bytes) => hash.update(bytes),
        }
    }
}

/// Writes a file under another name, brings it to the disk, and only then gives it its own: whoever finds the name
/// finds all of the file, even after a power cut.
///
/// # Errors
/// If the folder cannot be made or the file not be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().with_context(|| format!("{} is not the name of a file", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("failed to make folder {}", folder.display()))?;
    // Of this process alone, so that two that run at once do not write into each other's file.
    let partial = folder.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
    let written = write_and_rename(&partial, path, bytes, folder);
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("failed to write {}", path.display()))
}

fn write_and_rename(partial: &Path, path: &Path, bytes: &[u8], folder: &Path) -> io::Result<()> {
    let mut file = File::create(partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(partial, path)?;
    File::open(folder)?.sync_all()
}

/// Bytes for people: `9.4 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let tenths = |unit: u64| (bytes * 10 + unit / 2) / unit;
    let (number, name) = if bytes >= 1 << 20 { (tenths(1 << 20), "MiB") } else { (tenths(1 << 10), "KiB") };
    format!("{}.{} {name}", number / 10, number % 10)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_file_is_that_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/down/file");
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        write_whole(&path, &bytes).unwrap();
        assert_eq!(sha256_of(&path).unwrap(), Some(sha256(&bytes)));
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_missing_file_and_a_folder_have_no_digest() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(sha256_of(&folder.path().join("none")).unwrap(), None);
        assert_eq!(sha256_of(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_write_leaves_nothing_but_the_file() {
        let folder = tempfile::tempdir().unwrap();
        write_whole(&folder.path().join("a"), b"first").unwrap();
        write_whole(&folder.path().join("a"), b"second").unwrap();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"second");
    }

    #[test]
    fn a_write_that_fails_leaves_no_partial_file() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_whole(&taken, b"bytes").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(9_880_512), "9.4 MiB");
        assert_eq!(size(4_816), "4.7 KiB");
    }
}
