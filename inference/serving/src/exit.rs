//! Last words of a server that ends, where Kubernetes reads them.

use std::{io::Write as _, path::Path};

/// Where Kubernetes reads a container's last words.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Bytes of it that are read.
const TERMINATION_BYTES: usize = 4096;

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
