//! The files of a bundle on disk: inside its folder, whole, and the ones that the manifest names.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use ocr_api::manifest;
use sha2::{Digest as _, Sha256};

use super::error::Refusal;

/// How much is read and hashed at once.
const CHUNK: usize = 1 << 16;

/// A file that was opened and whose bytes are hashed as they pass, so that a network of hundreds of megabytes is read
/// once and never held in memory.
pub struct Checked<'manifest> {
    named: &'manifest manifest::File,
    reader: BufReader<Hashing>,
}

struct Hashing {
    file: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<'manifest> Checked<'manifest> {
    /// Opens a file of a bundle whose folder is given without symbolic links in it.
    pub fn open(folder: &Path, named: &'manifest manifest::File) -> Result<Self, Refusal> {
        let path = locate(folder, &named.file)?;
        let unreadable = |cause| Refusal::Unreadable { file: named.file.clone(), cause };
        let file = File::open(&path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?.len();
        if found != named.bytes {
            return Err(Refusal::Size { file: named.file.clone(), expected: named.bytes, found });
        }
        let hashing = Hashing { file, hash: Sha256::new() };
        Ok(Self { named, reader: BufReader::with_capacity(CHUNK, hashing) })
    }

    /// The bytes, from where they were read last.
    pub fn reader(&mut self) -> &mut impl Read {
        &mut self.reader
    }

    /// Reads what is left and compares the digest.
    pub fn finish(mut self) -> Result<(), Refusal> {
        let drained = io::copy(&mut self.reader, &mut io::sink());
        drained.map_err(|cause| Refusal::Unreadable { file: self.named.file.clone(), cause })?;
        let found = hexadecimal(&self.reader.into_inner().hash.finalize());
        if found.eq_ignore_ascii_case(&self.named.sha256) {
            return Ok(());
        }
        Err(Refusal::Digest { file: self.named.file.clone(), expected: self.named.sha256.clone(), found })
    }
}

/// Reads a small file, at most `limit` bytes.
pub fn read_small(folder: &Path, named: &manifest::File, limit: u64) -> Result<Vec<u8>, Refusal> {
    if named.bytes > limit {
        return Err(Refusal::Value {
            field: format!("bytes of {}", named.file),
            expected: format!("at most {limit}"),
            found: named.bytes.to_string(),
        });
    }
    let mut file = Checked::open(folder, named)?;
    let mut bytes = Vec::new();
    let read = file.reader().take(limit).read_to_end(&mut bytes);
    read.map_err(|cause| Refusal::Unreadable { file: named.file.clone(), cause })?;
    file.finish()?;
    Ok(bytes)
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The path of a file of the bundle, with symbolic links followed as long as they stay inside: a volume of Kubernetes
/// is made of such links.
fn locate(folder: &Path, name: &str) -> Result<PathBuf, Refusal> {
    let mut parts = Path::new(name).components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(only)), None) if only == name);
    if !is_plain || name.contains(['\\', '\0']) {
        return Err(Refusal::FileName { file: name.to_owned() });
    }
    let path = folder.join(name);
    let target = fs::canonicalize(&path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Refusal::MissingFile { file: name.to_owned() },
        _ => Refusal::Unreadable { file: name.to_owned(), cause },
    })?;
    if !target.starts_with(folder) {
        return Err(Refusal::Outside { file: name.to_owned(), target });
    }
    let metadata = fs::metadata(&target).map_err(|cause| Refusal::Unreadable { file: name.to_owned(), cause })?;
    if metadata.is_file() {
        return Ok(target);
    }
    // A pipe would keep the program waiting for ever.
    let found = if metadata.is_dir() { "a folder" } else { "a pipe or device" };
    Err(Refusal::NotAFile { file: name.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn named(file: &str, contents: &[u8]) -> manifest::File {
        manifest::File { file: file.into(), sha256: sha256(contents), bytes: contents.len() as u64 }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        fs::write(path.join("a.txt"), b"contents").unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_is_read_once_and_whole() {
        let (_keep, path) = folder();
        assert_eq!(read_small(&path, &named("a.txt", b"contents"), 100).unwrap(), b"contents");
    }

    #[test]
    fn a_file_larger_than_what_is_read_of_it_is_hashed_to_its_end() {
        let (_keep, path) = folder();
        let contents = vec![7; 3 * CHUNK + 5];
        fs::write(path.join("big"), &contents).unwrap();
        let named = named("big", &contents);
        let mut file = Checked::open(&path, &named).unwrap();
        file.reader().read_exact(&mut [0; 10]).unwrap();
        file.finish().unwrap();
    }

    #[test]
    fn a_changed_file_of_the_same_length_is_refused() {
        let (_keep, path) = folder();
        let refusal = read_small(&path, &named("a.txt", b"c0ntents"), 100).unwrap_err();
        assert!(matches!(refusal, Refusal::Digest { .. }), "{refusal}");
    }

    #[test]
    fn a_cut_off_file_is_refused_with_both_lengths() {
        let (_keep, path) = folder();
        let refusal = read_small(&path, &named("a.txt", b"contents and more"), 100).unwrap_err();
        assert!(matches!(refusal, Refusal::Size { expected: 17, found: 8, .. }), "{refusal}");
    }

    #[test]
    fn a_missing_file_a_folder_and_a_pipe_are_refused() {
        let (_keep, path) = folder();
        fs::create_dir(path.join("dir")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(locate(&path, "none"), Err(Refusal::MissingFile { .. })));
        assert!(matches!(locate(&path, "dir"), Err(Refusal::NotAFile { found: "a folder", .. })));
        assert!(matches!(locate(&path, "pipe"), Err(Refusal::NotAFile { .. })));
    }

    #[test]
    fn a_name_with_a_folder_in_it_is_refused() {
        let (_keep, path) = folder();
        for name in ["../a.txt", "/etc/passwd", "x/a.txt", "", ".", "..", "a.txt/", "x\\a.txt", "a\0"] {
            assert!(matches!(locate(&path, name), Err(Refusal::FileName { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused_and_one_inside_is_followed() {
        let (_keep, path) = folder();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("secret"), b"contents").unwrap();
        symlink(other.path().join("secret"), path.join("out")).unwrap();
        symlink("a.txt", path.join("in")).unwrap();
        symlink("nowhere", path.join("broken")).unwrap();
        assert!(matches!(locate(&path, "out"), Err(Refusal::Outside { .. })));
        assert!(matches!(locate(&path, "broken"), Err(Refusal::MissingFile { .. })));
        assert_eq!(locate(&path, "in").unwrap(), path.join("a.txt"));
    }
}
