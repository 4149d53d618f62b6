//! Where the documents lie: those of this repository, and the shared ones that not every checkout has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// The root of this checkout: this crate lies one folder below it.
#[must_use]
pub fn repository() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// A document of the repository, in `examples/documents`.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    repository().join("examples/documents").join(name)
}

/// The scan of the repository.
pub const SCAN: &str = "senate-1871.jpg";
/// A phrase that stands in [`SCAN`], on one line.
pub const SCAN_PHRASE: &str = "regulations for the consular courts of the United States in Japan";
/// The PDF of the repository, one page.
pub const PDF: &str = "optical-character-recognition.pdf";
/// A phrase that stands in [`PDF`], on one line.
pub const PDF_PHRASE: &str = "Emanuel Goldberg developed a machine";

/// Documents of the shared folder with their truth, and the highest character error that they are read with. linn's truth
/// is another engine's output: a perfect reading scores about 2 %.
pub const DOCUMENTS: [(&str, &str, f64); 5] = [
    ("phototest.tif", "phototest.gold.txt", 0.005),
    ("phototest-rotated-180.png", "phototest.gold.txt", 0.005),
    ("phototest-rotated-L.png", "phototest.gold.txt", 0.005),
    ("eurotext.tif", "eurotext.txt", 0.015),
    ("linn.png", "linn.txt", 0.03),
];

/// Reads a file, naming it in the error.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: impl AsRef<Path>) -> anyhow::Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Files of a folder, by name.
///
/// # Errors
/// If the folder cannot be listed.
pub fn files(folder: impl AsRef<Path>) -> anyhow::Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The file's name without its folder.
#[must_use]
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folder of documents that many projects share: real receipts, scans and hostile files.
#[derive(Clone, Debug)]
pub struct Shared {
    root: PathBuf,
}

impl Shared {
    /// Finds it: `$OCR_SHARED`, else `../shared` beside the checkout.
    ///
    /// # Errors
    /// With what is missing, as the reason why a suite does not run.
    pub fn find() -> Result<Self, String> {
        let root = std::env::var_os("OCR_SHARED").map_or_else(|| repository().join("../shared"), PathBuf::from);
        if root.join("data/receipts/img").is_dir() {
            Ok(Self { root })
        } else {
            Err(format!("no {}/data; set OCR_SHARED to the folder that holds it", root.display()))
        }
    }

    /// A path below it.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The scanned receipts, by name.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn receipts(&self) -> anyhow::Result<Vec<PathBuf>> {
        files(self.path("data/receipts/img"))
    }

    /// The truth of a receipt: its lines.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn receipt_truth(&self, receipt: &Path) -> anyhow::Result<String> {
        let stem = receipt.file_stem().unwrap_or_default().to_string_lossy();
        let csv = read(self.path("data/receipts/box").join(format!("{stem}.csv")))?;
        Ok(crate::score::receipt_truth(&csv))
    }
}

/// The peer RapidOCR in `target/peers/venv`, as `scripts/peers.sh` installs it.
///
/// # Errors
/// With what is missing, as the reason why a suite does not run.
pub fn rapidocr_python() -> Result<PathBuf, String> {
    let python = repository().join("target/peers/venv/bin/python");
    if python.exists() { Ok(python) } else { Err(format!("no {}; make peers installs it", python.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_of_the_repository_are_those_that_their_readme_records() {
        let readme = fs::read_to_string(example("README.md")).unwrap();
        for (document, phrase) in [(SCAN, SCAN_PHRASE), (PDF, PDF_PHRASE)] {
            assert!(readme.contains(document) && readme.contains(phrase), "{document}");
            assert!(example(document).is_file(), "{document}");
            assert!(fs::metadata(example(document)).unwrap().len() < 300_000, "{document} is a small file");
        }
    }

    #[test]
    fn the_demo_looks_for_the_same_phrases() {
        let demo = fs::read_to_string(repository().join("scripts/demo.sh")).unwrap();
        for text in [SCAN, SCAN_PHRASE, PDF, PDF_PHRASE] {
            assert!(demo.contains(text), "{text}");
        }
    }
}
