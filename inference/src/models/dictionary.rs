//! The characters of a recogniser.

use super::error::Refusal;

/// Largest dictionary that is read, in bytes; the largest of ours has 75 kB.
pub const MAX_BYTES: u64 = 4 << 20;

/// What each class of a recogniser stands for: class 0 for nothing (the blank between characters), the last class for
/// the space, those between for the dictionary's lines in their order.
#[derive(Clone, PartialEq, Eq)]
pub struct Dictionary {
    text: String,
    /// Where each entry begins and ends in `text`.
    entries: Vec<(usize, usize)>,
}

impl Dictionary {
    /// Reads a dictionary of one entry a line.
    pub(crate) fn parse(file: &str, bytes: Vec<u8>) -> Result<Self, Refusal> {
        let text = String::from_utf8(bytes)
            .map_err(|error| Refusal::Encoding { file: file.to_owned(), position: error.utf8_error().valid_up_to() })?;
        let mut entries = Vec::new();
        let mut start = 0;
        // Only line ends separate: U+3000, U+2028 and the like are characters that a page can hold.
        for line in text.split_inclusive('\n') {
            let entry = line.trim_end_matches(['\n', '\r']);
            if entry.is_empty() {
                return Err(Refusal::EmptyEntry { file: file.to_owned(), line: entries.len() + 1 });
            }
            entries.push((start, start + entry.len()));
            start += line.len();
        }
        Ok(Self { text, entries })
    }

    /// What a class stands for; nothing for the blank and for a class that there is not.
    #[must_use]
    pub fn character(&self, class: usize) -> Option<&str> {
        let position = class.checked_sub(1)?;
        if position == self.entries.len() {
            return Some(" ");
        }
        let (start, end) = *self.entries.get(position)?;
        self.text.get(start..end)
    }

    /// Whether every character of a text has a class.
    #[must_use]
    pub fn can_write(&self, text: &str) -> bool {
        let mut letter = [0; 4];
        text.chars().filter(|c| *c != ' ').all(|c| {
            let letter: &str = c.encode_utf8(&mut letter);
            self.entries.iter().any(|(start, end)| self.text.get(*start..*end) == Some(letter))
        })
    }

    /// How many entries there are, without blank and space.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many classes a network with this dictionary has.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.entries.len() + 2
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not its thousands of characters.
        formatter.debug_struct("Dictionary").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Dictionary {
        Dictionary::parse("d.txt", text.into()).unwrap()
    }

    #[test]
    fn classes_are_the_blank_then_the_lines_then_the_space() {
        let dictionary = parse("a\n\u{3000}\n🇩🇪\n");
        let all: Vec<_> = (0..6).map(|class| dictionary.character(class)).collect();
        assert_eq!(all, [None, Some("a"), Some("\u{3000}"), Some("🇩🇪"), Some(" "), None]);
        assert_eq!(dictionary.classes(), 5);
    }

    #[test]
    fn line_ends_of_both_kinds_and_a_missing_last_one_are_read() {
        for text in ["a\r\nb\r\n", "a\nb\n", "a\nb"] {
            let dictionary = parse(text);
            assert_eq!((dictionary.character(1), dictionary.character(2)), (Some("a"), Some("b")), "{text:?}");
            assert_eq!(dictionary.len(), 2);
        }
    }

    #[test]
    fn separators_of_unicode_do_not_end_a_line() {
        assert_eq!(parse("\u{2028}\n\u{85}\n").len(), 2);
    }

    #[test]
    fn an_empty_line_is_refused_with_its_number() {
        let refusal = Dictionary::parse("d.txt", b"a\n\nb\n".to_vec()).unwrap_err();
        assert!(matches!(refusal, Refusal::EmptyEntry { line: 2, .. }), "{refusal}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let refusal = Dictionary::parse("d.txt", b"a\nb\xff\n".to_vec()).unwrap_err();
        assert!(matches!(refusal, Refusal::Encoding { position: 3, .. }), "{refusal}");
    }
}
