//! How the server ends, for the shell and for Kubernetes.

use std::{io::Write as _, path::Path};

use super::{listen::ListenError, load::LoadError};

/// Where Kubernetes reads a container's last words.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Bytes of it that are read.
const TERMINATION_BYTES: usize = 4096;

/// Why the server ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A port could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The model does not fit into memory.
    #[error(transparent)]
    OutOfMemory(LoadError),
    /// Something that the server cannot do without failed at the start.
    #[error("{what}: {source}")]
    Start {
        /// What failed.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ServeError {
    /// The process's exit code: 2 settings, 3 port, 4 memory, 1 anything else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Start { .. } => 1,
            Self::Settings(_) => 2,
            Self::Listen(_) => 3,
            Self::OutOfMemory(_) => 4,
        }
    }

    /// In a word, for who reads the termination message by program.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Settings(_) => "BadSettings",
            Self::Listen(_) => "CannotListen",
            Self::OutOfMemory(_) => "OutOfMemory",
            Self::Start { .. } => "StartFailed",
        }
    }
}

/// Leaves last words where Kubernetes looks for them. Where there is no such file nobody looks.
pub fn leave_termination_message(path: &Path, reason: &str, message: &str) {
    let mut text = format!("{reason}: {message}\n");
    let end = (0..=TERMINATION_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    let file = std::fs::OpenOptions::new().write(true).truncate(true).open(path);
    if let Ok(mut file) = file {
        // The process ends, or is about to be ended: there is nobody to tell of a second failure.
        let _ = file.write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_code_of_its_own() {
        let listen =
            ListenError { address: "0.0.0.0:1".parse().unwrap(), source: std::io::ErrorKind::AddrInUse.into() };
        let errors = [
            ServeError::Settings("OCR_QEUE".to_owned()),
            ServeError::Listen(listen),
            ServeError::OutOfMemory(LoadError::OutOfMemory { need_mib: 350, have_mib: 256 }),
            ServeError::Start { what: "starting threads", source: "no".into() },
        ];
        assert_eq!(errors.each_ref().map(ServeError::exit_code), [2, 3, 4, 1]);
        assert_eq!(
            errors.each_ref().map(ServeError::reason),
            ["BadSettings", "CannotListen", "OutOfMemory", "StartFailed"]
        );
        assert!(errors[2].to_string().contains("needs 350 MiB, 256 MiB are available"));
    }

    #[test]
    fn last_words_are_left_only_where_somebody_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        leave_termination_message(&path, "Reason", "message");
        assert!(!path.exists());
        std::fs::write(&path, "what stood there before, and was longer than what comes").unwrap();
        leave_termination_message(&path, "Reason", "message");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Reason: message\n");
        leave_termination_message(&path, "Reason", &"ü".repeat(5000));
        assert!(std::fs::read_to_string(&path).unwrap().len() <= TERMINATION_BYTES);
    }
}
