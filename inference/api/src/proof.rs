//! A page of our own, whose text is known: what proves that a server, or a whole pool, reads.

use crate::page::{TextLine, pdf};

/// What stands on the page; the second line is longer, so that another width is warmed.
pub const LINES: [&str; 2] = ["READY 2468", "THE PAGES OF THIS DOCUMENT ARE READ BEFORE ANY OTHER"];

/// The page: a PDF, 500 x 120 points, in a standard font that it does not embed.
#[must_use]
pub fn page() -> Vec<u8> {
    let line = |text, y| TextLine { text, at: (20, y), size: 14 };
    pdf((500, 120), &[line(LINES[0], 80), line(LINES[1], 40)])
}

/// Whether a text is what stands on the page, but for its white space, which older models do not all see.
///
/// # Errors
/// What was expected and what came.
pub fn check(text: &str) -> Result<(), String> {
    let without_space = |text: &str| text.split_whitespace().collect::<String>();
    let expected = LINES.join("\n");
    if without_space(text) == without_space(&expected) {
        return Ok(());
    }
    let start: String = text.chars().take(200).collect();
    Err(format!("a PDF of our own was read as {start:?}, expected {expected:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_own_text_is_right() {
        assert!(check(&LINES.join("\n")).is_ok());
        assert!(check(&LINES.join("").replace(' ', "")).is_ok());
        for wrong in ["", "READY 2468", "READY 2469\nTHE PAGES OF THIS DOCUMENT ARE READ BEFORE ANY OTHER"] {
            assert!(check(wrong).unwrap_err().contains("expected"), "{wrong}");
        }
    }
}
