//! Whether a dictionary is the one of its network.

use ocr_api::manifest;

use super::error::Refusal;
use crate::recognise::Dictionary;

/// Largest dictionary that is read, in bytes; the largest of ours has 75 kB.
pub const MAX_BYTES: u64 = 4 << 20;

/// Checks the text of a dictionary against the number of classes that the manifest gives its network.
pub fn check(parameters: &manifest::Recogniser, bytes: Vec<u8>) -> Result<(), Refusal> {
    let file = || parameters.dictionary.file.clone();
    let text = String::from_utf8(bytes)
        .map_err(|error| Refusal::Encoding { file: file(), position: error.utf8_error().valid_up_to() })?;
    let is_empty = |line: &str| line.trim_end_matches('\r').is_empty();
    if let Some(position) = text.strip_suffix('\n').unwrap_or(&text).split('\n').position(is_empty) {
        return Err(Refusal::EmptyEntry { file: file(), line: position + 1 });
    }
    let found = Dictionary::parse(&text).classes();
    if u32::try_from(found) == Ok(parameters.classes) {
        return Ok(());
    }
    Err(Refusal::DictionaryLength { file: file(), entries: found.saturating_sub(2), classes: parameters.classes })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    /// Against a network of 5 classes.
    fn checked(text: &[u8]) -> Result<(), Refusal> {
        check(&testing::manifest().recognisers[0], text.to_vec())
    }

    #[test]
    fn as_many_lines_as_classes_without_blank_and_space_fit() {
        for text in ["a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\n\u{3000}\n🇩🇪", "\u{2028}\n\u{85}\n \n"] {
            checked(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn another_number_of_lines_is_refused() {
        assert!(matches!(checked(b"a\nb\n"), Err(Refusal::DictionaryLength { entries: 2, classes: 5, .. })));
        assert!(matches!(checked(b"a\nb\nc\nd\n"), Err(Refusal::DictionaryLength { entries: 4, classes: 5, .. })));
    }

    #[test]
    fn an_empty_line_is_refused_with_its_number() {
        for text in [b"a\n\nc\n".as_slice(), b"a\r\n\r\nc\r\n"] {
            assert!(matches!(checked(text), Err(Refusal::EmptyEntry { line: 2, .. })));
        }
        assert!(matches!(checked(b""), Err(Refusal::EmptyEntry { line: 1, .. })));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        assert!(matches!(checked(b"a\nb\xff\nc\n"), Err(Refusal::Encoding { position: 3, .. })));
    }
}
