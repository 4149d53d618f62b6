//! A PDF of one page with lines of text, in a standard font that it does not embed.

use std::fmt::Write as _;

/// A line of text on a page.
pub(crate) struct TextLine<'a> {
    pub text: &'a str,
    /// Points from the left and from the bottom.
    pub at: (u32, u32),
    /// Height of the font in points.
    pub size: u32,
}

/// Writes the page. `size` is its width and height in points.
pub(crate) fn pdf(size: (u32, u32), lines: &[TextLine<'_>]) -> Vec<u8> {
    let mut content = String::from("BT");
    for TextLine { text, at: (x, y), size } in lines {
        let escaped = text.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
        let _ = write!(content, " /F {size} Tf 1 0 0 1 {x} {y} Tm ({escaped}) Tj");
    }
    content.push_str(" ET");
    let (width, height) = size;
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
        ),
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
