//! A line's characters to words with boxes.

use ocr_api::{Point, Quad, Word};

use crate::recognise::{Glyph, Reading};

/// The words of a line. `corners` are those of the text in its reading direction; `filled` is the share of the network's
/// input, from the left, that the text fills, the rest being padding.
///
/// A word reaches from half a step before its first character to half a step behind its last; its box is that share of
/// the line's. Han, kana and hangul are words of one character, since they are written without spaces.
#[must_use]
pub fn words(reading: &Reading, corners: Quad, filled: f32) -> Vec<Word> {
    let mut words = Vec::new();
    let mut current: Vec<&Glyph> = Vec::new();
    for glyph in &reading.glyphs {
        let is_space = glyph.text.chars().all(char::is_whitespace);
        let stands_alone = glyph.text.chars().any(is_unspaced);
        if is_space || stands_alone {
            words.extend(word(&current, reading.steps, corners, filled));
            current.clear();
        }
        if stands_alone {
            words.extend(word(&[glyph], reading.steps, corners, filled));
        } else if !is_space {
            current.push(glyph);
        }
    }
    words.extend(word(&current, reading.steps, corners, filled));
    // Kept until the last page of the document is read.
    words.shrink_to_fit();
    words
}

/// Scripts that are written without spaces: kana, CJK ideographs and their extensions, compatibility ideographs.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

fn word(glyphs: &[&Glyph], steps: usize, corners: Quad, filled: f32) -> Option<Word> {
    let (first, last) = (glyphs.first()?, glyphs.last()?);
    #[expect(clippy::cast_precision_loss, reason = "a line has some hundred steps")]
    let along = |step: usize, offset: f32| {
        ((step as f32 + offset) / (steps.max(1) as f32 * filled.max(f32::EPSILON))).clamp(0.0, 1.0)
    };
    let (from, to) = (along(first.step, -0.5), along(last.step, 1.5));
    let [top_left, top_right, bottom_right, bottom_left] = corners;
    let probabilities: Vec<f32> = glyphs.iter().filter_map(|glyph| glyph.probability).collect();
    #[expect(clippy::cast_precision_loss, reason = "a word has few characters")]
    let confidence = probabilities.iter().sum::<f32>() / probabilities.len().max(1) as f32;
    Some(Word {
        text: glyphs.iter().map(|glyph| &*glyph.text).collect(),
        confidence,
        bbox: [
            between(top_left, top_right, from),
            between(top_left, top_right, to),
            between(bottom_left, bottom_right, to),
            between(bottom_left, bottom_right, from),
        ],
    })
}

fn between(a: Point, b: Point, share: f32) -> Point {
    [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Quad = [[100.0, 10.0], [200.0, 10.0], [200.0, 30.0], [100.0, 30.0]];

    fn reading(glyphs: &[(&str, usize)]) -> Reading {
        let glyph = |&(text, step): &(&str, usize)| Glyph { text: text.into(), probability: Some(0.5), step };
        Reading { glyphs: glyphs.iter().map(glyph).collect(), confidence: 0.5, steps: 20 }
    }

    #[test]
    fn words_lie_where_their_characters_were_read() {
        let words = words(&reading(&[("a", 1), ("b", 4), (" ", 6), ("c", 8)]), LINE, 0.5);
        assert_eq!(words.iter().map(|word| &*word.text).collect::<Vec<_>>(), ["ab", "c"]);
        // ten steps are text: "ab" from step 0.5 to 5.5, "c" from 7.5 to 9.5
        assert_eq!(words[0].bbox, [[105.0, 10.0], [155.0, 10.0], [155.0, 30.0], [105.0, 30.0]]);
        assert_eq!(words[1].bbox[0], [175.0, 10.0]);
        assert_eq!(words[1].confidence, 0.5);
    }

    #[test]
    fn a_word_never_leaves_its_line() {
        let words = words(&reading(&[("a", 0), ("b", 19)]), LINE, 0.5);
        assert_eq!(words[0].bbox, LINE);
    }

    #[test]
    fn han_characters_are_words_of_their_own() {
        let words = words(&reading(&[("a", 1), ("中", 3), ("文", 5), ("b", 7)]), LINE, 1.0);
        assert_eq!(words.iter().map(|word| &*word.text).collect::<Vec<_>>(), ["a", "中", "文", "b"]);
    }

    #[test]
    fn a_line_of_spaces_has_no_words() {
        assert!(words(&reading(&[(" ", 1)]), LINE, 1.0).is_empty());
    }
}
