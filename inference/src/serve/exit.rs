//! How the server ends, for the shell and for Kubernetes.

use ocr_serving::listen::ListenError;

use super::load::LoadError;

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
}
