//! A page's answer from its lines.

use ocr_api::{Line, Page, Quad, Warning};
use ocr_render::mean_confidence;

use super::{order::reading_order, words::words};
use crate::{plan::Turn, recognise::Reading};

/// A line's letters below this height, in pixels, are likely to be misread.
const LEGIBLE_HEIGHT: f32 = 9.0;
/// A page whose lines have less confidence than this on average is worth a look.
const LOW_CONFIDENCE: f32 = 0.6;

/// A line that was read.
#[derive(Clone, Debug)]
pub struct ReadLine {
    /// Corners of the text in its reading direction, on the page as it was turned to be read.
    pub corners: Quad,
    /// Share of the network's input that the text fills.
    pub filled: f32,
    pub reading: Reading,
}

/// What is known of a page besides its lines.
#[derive(Clone, Debug)]
pub struct PageFacts {
    /// Counted from 1.
    pub page_number: u32,
    /// Size before the turn, in pixels.
    pub width: u32,
    pub height: u32,
    /// How far the page was turned to be read.
    pub turn: Turn,
    pub dpi: Option<u32>,
    pub dpi_lowered: bool,
    /// Boxes that were found, whether they could be read or not.
    pub boxes_found: usize,
    /// Lines below this confidence are left out.
    pub min_confidence: f32,
    pub elapsed_ms: u64,
}

/// The page's answer: lines in reading order, boxes on the page before it was turned.
#[must_use]
pub fn page(lines: &[ReadLine], facts: &PageFacts) -> Page {
    let kept: Vec<&ReadLine> = lines
        .iter()
        .filter(|line| line.reading.confidence >= facts.min_confidence && !line.reading.text().is_empty())
        .collect();
    let rows = reading_order(&kept.iter().map(|line| upright(line.corners)).collect::<Vec<_>>());
    let mut answer = Vec::with_capacity(kept.len());
    let mut text = String::new();
    for row in &rows {
        for (place, line) in row.iter().filter_map(|&index| kept.get(index)).enumerate() {
            let line = answer_line(line, facts);
            if place > 0 {
                text.push(' ');
            }
            text.push_str(&line.text);
            answer.push(line);
        }
        text.push('\n');
    }
    text.pop();
    let avg_confidence = mean_confidence(answer.iter().map(|line: &Line| line.confidence));
    Page {
        page_number: facts.page_number,
        success: true,
        error: None,
        image_width: facts.width,
        image_height: facts.height,
        dpi: facts.dpi,
        orientation: facts.turn.degrees(),
        processing_time_ms: facts.elapsed_ms,
        text,
        markdown: String::new(),
        html: String::new(),
        json_output: serde_json::Map::new(),
        line_count: answer.len(),
        avg_confidence,
        warnings: warnings(lines, avg_confidence, facts),
        lines: answer,
    }
}

/// A line that was read upwards or downwards, as a box whose first corner is the upper left one, for the order.
fn upright(corners: Quad) -> Quad {
    let (xs, ys) = (corners.map(|corner| corner[0]), corners.map(|corner| corner[1]));
    let runs_across = (corners[1][0] - corners[0][0]).abs() >= (corners[1][1] - corners[0][1]).abs();
    if runs_across {
        return corners;
    }
    let (left, right) = (xs.into_iter().fold(f32::MAX, f32::min), xs.into_iter().fold(f32::MIN, f32::max));
    let (top, bottom) = (ys.into_iter().fold(f32::MAX, f32::min), ys.into_iter().fold(f32::MIN, f32::max));
    [[left, top], [right, top], [right, bottom], [left, bottom]]
}

fn answer_line(line: &ReadLine, facts: &PageFacts) -> Line {
    // After a quarter turn the page that was read is as wide as this one is high.
    #[expect(clippy::cast_precision_loss, reason = "sides of a page are far below 2^24")]
    let (width, height) = (facts.width as f32, facts.height as f32);
    let before = |quad: Quad| {
        quad.map(|point| facts.turn.point_before(point, width, height).map(|coordinate| rounded(coordinate, 10.0)))
    };
    let words = words(&line.reading, line.corners, line.filled).into_iter().map(|mut word| {
        word.bbox = before(word.bbox);
        word.confidence = rounded(word.confidence, 10_000.0);
        word
    });
    Line {
        text: line.reading.text(),
        confidence: rounded(line.reading.confidence, 10_000.0),
        bbox: before(line.corners),
        words: words.collect(),
    }
}

fn warnings(lines: &[ReadLine], avg_confidence: f32, facts: &PageFacts) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if facts.boxes_found == 0 {
        warnings.push(Warning::Blank);
    }
    let mut heights: Vec<f32> = lines
        .iter()
        .map(|line| {
            let [a, _, _, d] = line.corners;
            (a[0] - d[0]).hypot(a[1] - d[1])
        })
        .collect();
    heights.sort_by(f32::total_cmp);
    let is_small = heights.get(heights.len() / 2).is_some_and(|&height| height < LEGIBLE_HEIGHT);
    let is_tiny_page = facts.boxes_found == 0 && facts.width.min(facts.height) < 32;
    if is_small || is_tiny_page {
        warnings.push(Warning::LowResolution);
    }
    if facts.boxes_found > 0 && avg_confidence < LOW_CONFIDENCE {
        warnings.push(Warning::LowConfidence);
    }
    if facts.dpi_lowered {
        warnings.push(Warning::DpiLowered);
    }
    warnings
}

/// A number to one over `parts`.
fn rounded(value: f32, parts: f32) -> f32 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::Glyph;

    fn line(text: &str, confidence: f32, x: f32, y: f32) -> ReadLine {
        let glyphs = text.chars().enumerate().map(|(step, c)| Glyph {
            text: c.to_string().into(),
            probability: Some(confidence),
            step: 2 * step,
        });
        let reading = Reading { glyphs: glyphs.collect(), confidence, steps: 2 * text.len() };
        ReadLine { corners: [[x, y], [x + 50.0, y], [x + 50.0, y + 20.0], [x, y + 20.0]], filled: 1.0, reading }
    }

    fn facts() -> PageFacts {
        PageFacts {
            page_number: 3,
            width: 400,
            height: 300,
            turn: Turn::None,
            dpi: None,
            dpi_lowered: false,
            boxes_found: 2,
            min_confidence: 0.0,
            elapsed_ms: 7,
        }
    }

    #[test]
    fn rows_are_lines_of_the_text() {
        let page =
            page(&[line("b", 0.9, 200.0, 10.0), line("a", 0.9, 10.0, 10.0), line("c", 0.9, 10.0, 50.0)], &facts());
        assert_eq!(page.text, "a b\nc");
        assert_eq!((page.line_count, page.page_number), (3, 3));
    }

    #[test]
    fn a_page_without_lines_is_blank_and_has_no_nan() {
        let page = page(&[], &PageFacts { boxes_found: 0, ..facts() });
        assert_eq!((page.avg_confidence, page.line_count, page.text.as_str()), (0.0, 0, ""));
        assert_eq!(page.warnings, [Warning::Blank]);
        assert!(page.success);
    }

    #[test]
    fn lines_below_the_confidence_asked_for_are_left_out() {
        let facts = PageFacts { min_confidence: 0.8, ..facts() };
        let page = page(&[line("a", 0.9, 10.0, 10.0), line("b", 0.7, 10.0, 50.0)], &facts);
        assert_eq!(page.text, "a");
    }

    #[test]
    fn boxes_lie_on_the_page_before_it_was_turned() {
        let facts = PageFacts { turn: Turn::Half, ..facts() };
        let page = page(&[line("a", 0.9, 10.0, 20.0)], &facts);
        assert_eq!(page.lines[0].bbox[0], [390.0, 280.0]);
        assert_eq!(page.lines[0].bbox[2], [340.0, 260.0]);
        assert_eq!(page.orientation, 180);
    }

    #[test]
    fn small_text_is_warned_of() {
        let mut small = line("a", 0.9, 10.0, 20.0);
        small.corners = [[10.0, 20.0], [50.0, 20.0], [50.0, 26.0], [10.0, 26.0]];
        assert_eq!(page(&[small], &facts()).warnings, [Warning::LowResolution]);
    }
}
