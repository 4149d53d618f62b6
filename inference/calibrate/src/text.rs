//! What the lines say: words, numbers, and characters at random.

use crate::random::Random;

/// Words that never change: those of the project's licence.
const WORDS: &str = include_str!("../../../LICENSE");
/// What random lines are made of: all of ASCII, and letters and signs of the languages that are read.
const OTHERS: &str = "äöüßéèêëçñåøæœàâîïôûùáíóúãõěščřžýůłśźżąęğışțŐűŧđ€£¥§°±«»„“”’–—…";
/// Longest line, in characters.
const LONGEST: usize = 70;

/// A line of text.
pub fn line(random: &mut Random) -> String {
    let text = match random.below(10) {
        0..=5 => words(random),
        6 | 7 => numbers(random),
        _ => characters(random),
    };
    let text: String = text.chars().take(LONGEST).collect();
    if random.percent(35) { text.to_uppercase() } else { text }
}

fn words(random: &mut Random) -> String {
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    let count = random.within(1, 9);
    let words: Vec<&str> = (0..count).filter_map(|_| random.pick(&all).copied()).collect();
    words.join(" ")
}

fn numbers(random: &mut Random) -> String {
    let count = random.within(1, 5);
    let numbers: Vec<String> = (0..count)
        .map(|_| {
            let digits = random.within(1, 6);
            let whole = random.below(10_usize.pow(u32::try_from(digits).unwrap_or_default()));
            match random.below(6) {
                0 => whole.to_string(),
                1 => format!("{}/{:02}/{}", random.within(1, 31), random.within(1, 12), random.within(1990, 2039)),
                2 => format!("{:02}:{:02}", random.below(24), random.below(60)),
                _ => format!("{whole}.{:02}", random.below(100)),
            }
        })
        .collect();
    numbers.join(" ")
}

fn characters(random: &mut Random) -> String {
    let all: Vec<char> = ('!'..='~').chain(OTHERS.chars()).chain("      ".chars()).collect();
    let count = random.within(3, 40);
    let text: String = (0..count).filter_map(|_| random.pick(&all).copied()).collect();
    // A line of spaces has nothing to draw.
    if text.trim().is_empty() { "-".to_owned() } else { text.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_neither_empty_nor_too_long_and_of_all_kinds() {
        let lines: Vec<String> = (0..300).map(|number| line(&mut Random::of(number))).collect();
        assert!(lines.iter().all(|line| !line.trim().is_empty() && line.chars().count() <= 2 * LONGEST));
        assert!(lines.iter().any(|line| line.contains("License")), "words");
        assert!(lines.iter().any(|line| line.contains('€')), "signs");
        assert!(lines.iter().any(|line| line.chars().all(|c| c.is_ascii_digit() || " .:/".contains(c))), "numbers");
    }
}
