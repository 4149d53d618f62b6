//! A page of our own, whose text is known: what proves that a server, or a whole pool, reads.

use std::fmt::Write as _;

/// What stands on the page; the second line is longer, so that another width is warmed.
pub const LINES: [&str; 2] = ["READY 2468", "THE PAGES OF THIS DOCUMENT ARE READ BEFORE ANY OTHER"];

/// The page: a PDF, 500 x 120 points, in a standard font that it does not embed.
#[must_use]
pub fn page() -> Vec<u8> {
    let content = format!("BT /F 14 Tf 20 80 Td ({}) Tj 0 -40 Td ({}) Tj ET", LINES[0], LINES[1]);
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 120] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut pdf = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(pdf.len());
        let _ = write!(pdf, "{number} 0 obj\n{object}\nendobj\n");
    }
    let table = pdf.len();
    let _ = write!(pdf, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        let _ = writeln!(pdf, "{offset:010} 00000 n ");
    }
    let _ = write!(pdf, "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    pdf.into_bytes()
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
