//! How well a text was read: character error against a transcription, word F1 against the lines of a receipt.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

/// Character error rate: edits from `read` to `truth`, divided by the truth's length.
///
/// Both are brought to NFKC and runs of white space to one space; nothing else is folded, so a wrong case, quote or
/// dash counts. 0 where both are empty; above 1 where more was read than there is.
#[must_use]
pub fn character_error_rate(truth: &str, read: &str) -> f64 {
    let truth = comparable(truth);
    let read = comparable(read);
    if truth.is_empty() {
        return if read.is_empty() { 0.0 } else { 1.0 };
    }
    count(edit_distance(&truth, &read)) / count(truth.len())
}

/// NFKC, white space collapsed, as characters.
fn comparable(text: &str) -> Vec<char> {
    let normal: String = text.nfkc().collect();
    let mut collapsed = String::with_capacity(normal.len());
    for word in normal.split_whitespace() {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
    }
    collapsed.chars().collect()
}

/// Levenshtein distance: insertions, deletions and replacements of single characters. Memory is one row.
fn edit_distance(from: &[char], to: &[char]) -> usize {
    // row[j] = distance from the first i characters of `from` to the first j of `to`
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// Words of many pages, counted against their truth: the same score as `tools/score_receipts.py` of the shared data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordScore {
    pub pages: usize,
    /// Words that stand in both.
    pub hits: usize,
    /// Words read that are not there.
    pub wrong: usize,
    /// Words there that were not read.
    pub missed: usize,
}

impl WordScore {
    /// Counts one page. Words are upper-cased and stripped to `0-9A-Z`; where they stand on the page does not count.
    pub fn add(&mut self, truth: &str, read: &str) {
        let truth = words(truth);
        let read = words(read);
        let mut left: HashMap<&str, usize> = HashMap::new();
        for word in &truth {
            *left.entry(word).or_default() += 1;
        }
        let mut hits = 0;
        for word in &read {
            if let Some(number @ 1..) = left.get_mut(word.as_str()) {
                *number -= 1;
                hits += 1;
            }
        }
        self.pages += 1;
        self.hits += hits;
        self.wrong += read.len() - hits;
        self.missed += truth.len() - hits;
    }

    /// Share of the words read that are right.
    #[must_use]
    pub fn precision(&self) -> f64 {
        count(self.hits) / count((self.hits + self.wrong).max(1))
    }

    /// Share of the words there that were read.
    #[must_use]
    pub fn recall(&self) -> f64 {
        count(self.hits) / count((self.hits + self.missed).max(1))
    }

    /// Harmonic mean of precision and recall; 0 where both are.
    #[must_use]
    pub fn f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        2.0 * precision * recall / (precision + recall).max(1e-9)
    }
}

/// The text of a receipt's truth: a file of lines `x1,y1,x2,y2,x3,y3,x4,y4,TEXT`, bytes that are no UTF-8 left out.
#[must_use]
pub fn receipt_truth(csv: &[u8]) -> String {
    let csv = String::from_utf8_lossy(csv);
    let texts: Vec<&str> = csv.split(['\n', '\r']).filter_map(|line| line.splitn(9, ',').nth(8)).collect();
    texts.join(" ").replace(char::REPLACEMENT_CHARACTER, "")
}

fn words(text: &str) -> Vec<String> {
    text.split(is_python_space)
        .map(|word| word.to_uppercase().chars().filter(|c| c.is_ascii_digit() || c.is_ascii_uppercase()).collect())
        .filter(|word: &String| !word.is_empty())
        .collect()
}

/// What Python's `str.split` splits at: Unicode white space, and the four ASCII separators that Rust leaves out.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A count as a number to divide by: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of words and characters are far below 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "quotients of small whole numbers, some of them 0")]
mod tests {
    use super::*;

    fn distance(from: &str, to: &str) -> usize {
        edit_distance(&from.chars().collect::<Vec<_>>(), &to.chars().collect::<Vec<_>>())
    }

    #[test]
    fn edit_distance_is_that_of_the_text_books() {
        for (from, to, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("abcdef", "azced", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(from, to), edits, "{from} -> {to}");
            assert_eq!(distance(to, from), edits, "{to} -> {from}");
        }
    }

    #[test]
    fn only_white_space_and_compatibility_forms_are_folded() {
        assert_eq!(character_error_rate("a  b\n\nc ", "a b c"), 0.0);
        assert_eq!(character_error_rate("\u{fb01}n", "fin"), 0.0, "the ligature fi is two letters");
        assert_eq!(character_error_rate("abcd", "Abcd"), 0.25, "case counts");
        assert_eq!(character_error_rate("a\u{201c}bc", "a\"bc"), 0.25, "quotes count");
        assert_eq!(character_error_rate("a b", "ab"), 1.0 / 3.0, "a lost space counts");
    }

    #[test]
    fn an_empty_truth_is_read_rightly_only_as_nothing() {
        assert_eq!(character_error_rate(" \n", ""), 0.0);
        assert_eq!(character_error_rate("", "ghost"), 1.0);
        assert_eq!(character_error_rate("text", ""), 1.0);
    }

    #[test]
    fn words_are_counted_as_often_as_they_stand() {
        let mut score = WordScore::default();
        score.add("TOTAL 9.90 total", "Total: 9.90 CASH");
        assert_eq!(score, WordScore { pages: 1, hits: 2, wrong: 1, missed: 1 });
        assert!((score.f1() - 2.0 / 3.0).abs() < 1e-12);
    }

    /// Figures of `score_receipts.py` for the same texts.
    #[test]
    fn the_score_is_that_of_the_shared_script() {
        let truth =
            b"72,25,326,25,326,64,72,64,TAN WOON YANN\n50,82,440,82,440,121,50,121,BOOK TA .K(TAMAN DAYA) SDN BND\n\
            1,2,3,4,5,6,7,8,RM 9.00, INCL. GST\n1,2,3,4\n";
        assert_eq!(receipt_truth(truth), "TAN WOON YANN BOOK TA .K(TAMAN DAYA) SDN BND RM 9.00, INCL. GST");
        let mut score = WordScore::default();
        score.add(&receipt_truth(truth), "tan woon yan BOOK TA.K(TAMAN DAYA) SDN BHD RM9.00 INCL.GST \u{e9}\u{1f}- RM");
        assert_eq!(score, WordScore { pages: 1, hits: 6, wrong: 5, missed: 7 });
    }

    #[test]
    fn nothing_read_is_zero_and_not_a_number() {
        let mut score = WordScore::default();
        assert_eq!(score.f1(), 0.0);
        score.add("one two", "");
        assert_eq!(score.f1(), 0.0);
    }
}
