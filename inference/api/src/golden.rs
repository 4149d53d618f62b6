//! The golden page that every server has built in: lines of the kinds that documents have, from large to small print. How
//! many of its characters are read wrongly tells a network that was converted badly from one that reads.

use crate::page::{TextLine, pdf};

/// What stands on the page, from top to bottom.
pub const LINES: [&str; 20] = [
    "INVOICE No. 2024-0817-35",
    "Hawthorn & Birch Ltd., 48 Quay Street",
    "The quick brown fox jumps over the lazy dog",
    "Pack my box with five dozen liquor jugs",
    "Sphinx of black quartz, judge my vow",
    "Date: 17/08/2024    Time: 09:46:21",
    "Customer ID: KX-7731-QZ    Ref: 55102938",
    "Envelope C5, white, 25 pcs    3 x 14.95    44.85",
    "Fountain pen, blue-black ink    1 x 129.00    129.00",
    "Notebook A4, 96 sheets    12 x 2.65    31.80",
    "Subtotal    205.65",
    "VAT 19.0 %    39.07",
    "TOTAL    EUR 244.72",
    "Paid by card ending in 6408, approval code 071943",
    "IBAN GB33 BUKB 2020 1555 5555 55",
    "Phone +44 20 7946 0018, mail office@hawthorn.example",
    "Amazingly few discotheques provide jukeboxes",
    "How vexingly quick daft zebras jump; we promptly agreed",
    "Goods remain the property of the seller until paid in full.",
    "Registered in England, company number 04873652, VAT GB 118 2243 76",
];

/// Sizes of the print in points, over and over.
const SIZES: [u32; 4] = [13, 11, 10, 9];

/// The page: a PDF, 460 x 420 points.
#[must_use]
pub fn page() -> Vec<u8> {
    let lines: Vec<TextLine<'_>> = LINES
        .iter()
        .zip(SIZES.iter().cycle())
        .zip(0_u32..)
        .map(|((text, size), number)| TextLine { text, at: (20, 398 - 20 * number), size: *size })
        .collect();
    pdf((460, 420), &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_and_digit_stands_on_the_page() {
        let all = LINES.concat();
        for character in ('a'..='z').chain('0'..='9') {
            assert!(all.contains(character), "{character}");
        }
        assert!(LINES.iter().all(|line| line.is_ascii()));
    }

    #[test]
    fn all_lines_fit_on_the_page() {
        assert!(20 * LINES.len() <= 400);
        let text = String::from_utf8(page()).unwrap();
        assert!(text.contains("1 0 0 1 20 18 Tm (Registered in England"), "{text}");
    }
}
