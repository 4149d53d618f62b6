//! Pages for the tests of what is made of them.

use ocr_api::{Line, Page};

/// A page that was read: its lines with their confidence, all in one place.
pub fn page(number: u32, lines: &[(&str, f32)]) -> Page {
    let lines: Vec<Line> = lines
        .iter()
        .map(|(text, confidence)| Line {
            text: (*text).to_owned(),
            confidence: *confidence,
            bbox: [[1.0, 2.0], [3.5, 2.0], [3.5, 4.0], [1.0, 4.0]],
            words: Vec::new(),
        })
        .collect();
    Page {
        page_number: number,
        success: true,
        error: None,
        image_width: 10,
        image_height: 20,
        dpi: None,
        orientation: 0,
        processing_time_ms: 3,
        text: lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n"),
        markdown: String::new(),
        html: String::new(),
        json_output: serde_json::Map::new(),
        line_count: lines.len(),
        avg_confidence: 0.0,
        lines,
        warnings: Vec::new(),
    }
}
