//! The characters that a recogniser writes, one entry a line.

use std::fmt;
use std::ops::RangeInclusive;

/// Why a text is no dictionary.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DictionaryError {
    #[error("line {line} of the dictionary is empty")]
    EmptyEntry { line: usize },
    #[error(
        "the dictionary has {entries} entries, but the network has {classes} classes: it needs 2 more than entries"
    )]
    Length { entries: usize, classes: usize },
}

/// Entries of classes 1, 2, …; class 0 is the blank, and the class behind the last entry the space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary(Vec<String>);

impl Dictionary {
    /// Reads one entry a line. Nothing is trimmed: U+3000, a space as wide as a letter, is an entry of its own.
    ///
    /// # Errors
    /// If a line is empty: it would shift the classes of all that follow.
    pub fn parse(text: &str) -> Result<Self, DictionaryError> {
        // The files of some wheels end their lines with CR LF.
        let text = text.replace('\r', "");
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let entries: Vec<String> = text.split('\n').map(str::to_owned).collect();
        match entries.iter().position(String::is_empty) {
            Some(position) => Err(DictionaryError::EmptyEntry { line: position + 1 }),
            None => Ok(Self(entries)),
        }
    }

    /// The entries, from class 1 on. Some are more than one code point, such as flags.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.0
    }

    /// How many classes a network with this dictionary has.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.0.len() + 2
    }

    /// Makes sure that the dictionary is the one of a network.
    ///
    /// # Errors
    /// If the network has another number of classes.
    pub fn fits(&self, classes: usize) -> Result<(), DictionaryError> {
        if self.classes() == classes {
            return Ok(());
        }
        Err(DictionaryError::Length { entries: self.0.len(), classes })
    }

    /// The classes that a vocabulary keeps, and the dictionary of just these. Blank and space always stay.
    #[must_use]
    pub fn cut(&self, vocabulary: Vocabulary) -> (Vec<usize>, Self) {
        let mut classes = vec![0];
        let mut entries = Vec::new();
        for (position, entry) in self.0.iter().enumerate() {
            if vocabulary.keeps(entry) {
                classes.push(position + 1);
                entries.push(entry.clone());
            }
        }
        classes.push(self.0.len() + 1);
        (classes, Self(entries))
    }
}

impl fmt::Display for Dictionary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|entry| writeln!(formatter, "{entry}"))
    }
}

/// Which characters a recogniser keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// All that it was trained with.
    Full,
    /// Latin with all diacritics, Greek, punctuation, currencies, and signs up to the mathematical operators.
    Latin,
}

/// Code points of [`Vocabulary::Latin`].
const LATIN: [RangeInclusive<char>; 6] = [
    '\u{0000}'..='\u{024f}',
    '\u{0370}'..='\u{03ff}',
    '\u{1e00}'..='\u{1eff}',
    '\u{2000}'..='\u{206f}',
    '\u{20a0}'..='\u{20cf}',
    '\u{2100}'..='\u{22ff}',
];

impl Vocabulary {
    fn keeps(self, entry: &str) -> bool {
        let mut characters = entry.chars();
        match (self, characters.next(), characters.next()) {
            (Self::Full, ..) => true,
            (Self::Latin, Some(only), None) => LATIN.iter().any(|range| range.contains(&only)),
            (Self::Latin, ..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_end_with_cr_lf_and_nothing_is_trimmed() {
        let dictionary = Dictionary::parse("\u{3000}\r\na\r\n \u{a0}\r\n").unwrap();
        assert_eq!(dictionary.entries(), ["\u{3000}", "a", " \u{a0}"]);
        assert_eq!(dictionary.to_string(), "\u{3000}\na\n \u{a0}\n");
    }

    #[test]
    fn an_entry_may_be_several_code_points() {
        let dictionary = Dictionary::parse("a\n🇩🇪\nb").unwrap();
        assert_eq!(dictionary.classes(), 5);
        assert_eq!(dictionary.entries()[1], "🇩🇪");
    }

    #[test]
    fn an_empty_line_is_refused_because_it_would_shift_the_classes() {
        assert_eq!(Dictionary::parse("a\n\nb\n"), Err(DictionaryError::EmptyEntry { line: 2 }));
    }

    #[test]
    fn a_dictionary_of_another_length_does_not_fit() {
        let dictionary = Dictionary::parse("a\nb\n").unwrap();
        assert_eq!(dictionary.fits(4), Ok(()));
        assert_eq!(dictionary.fits(5), Err(DictionaryError::Length { entries: 2, classes: 5 }));
    }

    #[test]
    fn the_latin_cut_keeps_blank_space_and_the_order() {
        let dictionary = Dictionary::parse("z\n漢\né\nア\nΩ\n€\n🇩🇪\na\n\u{3000}\n≤\n").unwrap();
        let (classes, cut) = dictionary.cut(Vocabulary::Latin);
        assert_eq!(cut.entries(), ["z", "é", "Ω", "€", "a", "≤"]);
        assert_eq!(classes, [0, 1, 3, 5, 6, 8, 10, 11]);
    }

    #[test]
    fn the_full_cut_is_everything() {
        let dictionary = Dictionary::parse("z\n漢\n🇩🇪\n").unwrap();
        let (classes, cut) = dictionary.cut(Vocabulary::Full);
        assert_eq!(classes, [0, 1, 2, 3, 4]);
        assert_eq!(cut, dictionary);
    }
}
