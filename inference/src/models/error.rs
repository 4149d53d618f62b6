//! Why a bundle is not used.

use std::path::{Path, PathBuf};

/// A bundle that is refused.
#[derive(Debug, thiserror::Error)]
#[error("bundle {} is refused: {refusal}", folder.display())]
pub struct BundleError {
    /// The bundle's folder.
    pub folder: PathBuf,
    /// What is wrong with it.
    pub refusal: Refusal,
}

impl BundleError {
    pub(super) fn new(folder: &Path, refusal: Refusal) -> Self {
        Self { folder: folder.to_owned(), refusal }
    }

    /// The kind of refusal in one word, for metrics, conditions and events.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.refusal.reason()
    }

    /// Whether there is no bundle at that place.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self.refusal, Refusal::NoBundle { .. } | Refusal::NotAFolder)
    }

    /// Whether only a change of the bundle can help. A missing or unreadable file may be a volume that is not there yet.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(
            self.refusal,
            Refusal::NoBundle { .. } | Refusal::Unreadable { .. } | Refusal::MissingFile { .. } | Refusal::Size { .. }
        )
    }
}

/// What is wrong with a bundle: which file, what was expected, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such folder; the bundles folder has {}", list(known))]
    NoBundle { known: Vec<String> },
    #[error("it is not a folder: name the folder that holds model.yaml, not a file in it")]
    NotAFolder,
    #[error("it is the bundle {found}, not {expected}: rename the folder or choose --model {found}")]
    Name { expected: String, found: String },
    #[error("cannot read {file}: {cause}; check that it is there and that this user may read it")]
    Unreadable { file: String, cause: std::io::Error },
    #[error("model.yaml is not a manifest: {cause}; correct it or use a bundle of this version")]
    Manifest { cause: String },
    #[error(
        "model.yaml has schema {found}, this version reads {expected}: use a bundle or a program of the other version"
    )]
    Schema { expected: &'static str, found: String },
    #[error("model.yaml: {field} must be {expected}, found {found}; correct it")]
    Value { field: String, expected: String, found: String },
    #[error("model.yaml names {file:?}: a file of a bundle is named without folders; put it beside model.yaml")]
    FileName { file: String },
    #[error("{file} is missing: copy the whole bundle again")]
    MissingFile { file: String },
    #[error("{file} is {found}, not a file: put the file itself there")]
    NotAFile { file: String, found: &'static str },
    #[error("{file} leads out of the bundle, to {}: put the file itself there", target.display())]
    Outside { file: String, target: PathBuf },
    #[error("{file} has {found} bytes, model.yaml says {expected}: it is cut off or another file, copy it again")]
    Size { file: String, expected: u64, found: u64 },
    #[error("{file} has SHA-256 {found}, model.yaml says {expected}: it is another file, copy the whole bundle again")]
    Digest { file: String, expected: String, found: String },
    #[error("{file} is not UTF-8 text at byte {position}: save the dictionary as UTF-8")]
    Encoding { file: String, position: usize },
    #[error(
        "line {line} of {file} is empty: it would shift all characters behind it, take the dictionary of the network"
    )]
    EmptyEntry { file: String, line: usize },
    #[error(
        "{file} has {entries} characters, but the network has {classes} classes and needs 2 fewer characters: take the \
         dictionary of the network"
    )]
    DictionaryLength { file: String, entries: usize, classes: u32 },
    #[error("{file} is not an ONNX file: {cause}; take the network in ONNX format")]
    NotOnnx { file: String, cause: String },
    #[error(
        "{file} keeps tensor {tensor:?} in another file: a network must be one file, save it without external data"
    )]
    ExternalData { file: String, tensor: String },
    #[error("{file} is {found}, model.yaml says {expected}: take the right network or correct `architecture`")]
    Architecture { file: String, expected: String, found: String },
    #[error("{file}: {part} must be {expected}, found {found}; take a network for this place, or correct model.yaml")]
    Interface { file: String, part: &'static str, expected: String, found: String },
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoBundle { .. } => "BundleNotFound",
            Self::NotAFolder => "BundleNotAFolder",
            Self::Name { .. } => "BundleNameMismatch",
            Self::Unreadable { .. } => "FileUnreadable",
            Self::Manifest { .. } => "ManifestInvalid",
            Self::Schema { .. } => "SchemaUnknown",
            Self::Value { .. } => "ValueInvalid",
            Self::FileName { .. } => "FileNameInvalid",
            Self::MissingFile { .. } => "FileMissing",
            Self::NotAFile { .. } => "NotAFile",
            Self::Outside { .. } => "FileOutsideBundle",
            Self::Size { .. } => "SizeMismatch",
            Self::Digest { .. } => "DigestMismatch",
            Self::Encoding { .. } | Self::EmptyEntry { .. } => "DictionaryInvalid",
            Self::DictionaryLength { .. } => "DictionaryLengthMismatch",
            Self::NotOnnx { .. } => "NotOnnx",
            Self::ExternalData { .. } => "ExternalData",
            Self::Architecture { .. } => "ArchitectureMismatch",
            Self::Interface { .. } => "InterfaceMismatch",
        }
    }
}

/// A language that no recogniser of a bundle reads together with the others that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bundle {bundle} cannot read {}: choose among {}", list(wanted), list(readable))]
pub struct UnsupportedLanguage {
    /// Name of the bundle.
    pub bundle: String,
    /// The languages asked for that it cannot read.
    pub wanted: Vec<String>,
    /// All languages that it can read.
    pub readable: Vec<String>,
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
