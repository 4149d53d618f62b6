//! Pages to the document that an answer is.

use std::time::Duration;

use ocr_api::{Document, DocumentLine, ErrorCode, ErrorDetail, ModelRef, Page};

/// Stands between the text of two pages.
const PAGE_BREAK: &str = "\u{c}";

/// Joins pages, in the order given, to a document. The n-th part of its text is the n-th page's; a page that failed has
/// an empty part, so that the count holds. `elapsed` is the time from the whole body received to the last page read.
#[must_use]
pub fn document_from_pages(
    request_id: String,
    model: ModelRef,
    page_count: u32,
    pages: Vec<Page>,
    elapsed: Duration,
) -> Document {
    let lines: Vec<DocumentLine> = pages
        .iter()
        .flat_map(|page| {
            page.lines.iter().map(|line| DocumentLine {
                page_number: page.page_number,
                text: line.text.clone(),
                confidence: line.confidence,
                bbox: line.bbox,
            })
        })
        .collect();
    Document {
        request_id,
        model,
        success: pages.iter().all(|page| page.success),
        page_count,
        text: pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join(PAGE_BREAK),
        line_count: lines.len(),
        avg_confidence: mean_confidence(lines.iter().map(|line| line.confidence)),
        lines,
        processing_time_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        pages,
    }
}

/// Mean of lines' confidence, to four places; 0 without lines.
#[must_use]
pub fn mean_confidence(confidences: impl ExactSizeIterator<Item = f32>) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a document has far fewer than 2^24 lines")]
    let count = confidences.len() as f32;
    if count == 0.0 { 0.0 } else { (confidences.sum::<f32>() / count * 10_000.0).round() / 10_000.0 }
}

/// The error of a document of which no page could be read, that of the first page; `None` where one was read.
#[must_use]
pub fn all_failed(pages: &[Page]) -> Option<ErrorDetail> {
    if pages.iter().any(|page| page.success) {
        return None;
    }
    let unknown =
        || ErrorDetail::new(ErrorCode::Internal, "the page met a fault of ours; send it again, and report it");
    let ErrorDetail { code, message } = pages.iter().find_map(|page| page.error.clone()).unwrap_or_else(unknown);
    Some(match pages.len() {
        0 | 1 => ErrorDetail::new(code, message),
        count => ErrorDetail::new(code, format!("none of the {count} pages could be read; the first: {message}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::page;

    fn document(pages: Vec<Page>) -> Document {
        let model = ModelRef { name: "m".into(), version: "1".into(), digest: "sha256:0".into() };
        document_from_pages("id".into(), model, 9, pages, Duration::from_millis(7))
    }

    #[test]
    fn pages_are_joined_in_order() {
        let document = document(vec![page(2, &[("a", 1.0), ("b", 0.5)]), page(5, &[("c", 0.0)])]);
        assert_eq!(document.text, "a\nb\u{c}c");
        assert_eq!(document.lines.iter().map(|line| line.page_number).collect::<Vec<_>>(), [2, 2, 5]);
        assert_eq!((document.line_count, document.page_count, document.processing_time_ms), (3, 9, 7));
        assert!((document.avg_confidence - 0.5).abs() < 1e-6);
        assert!(document.success);
    }

    #[test]
    fn a_page_that_failed_keeps_its_place() {
        let mut failed = page(2, &[]);
        failed.success = false;
        failed.error = Some(ErrorDetail::new(ErrorCode::Undecodable, "why"));
        let document = document(vec![page(1, &[("a", 1.0)]), failed, page(3, &[("c", 1.0)])]);
        assert_eq!(document.text, "a\u{c}\u{c}c");
        assert!(!document.success);
    }

    #[test]
    fn where_every_page_failed_the_error_is_the_first_one_s() {
        let failed = |number| Page {
            success: false,
            error: Some(ErrorDetail::new(ErrorCode::Undecodable, format!("page {number}"))),
            ..page(number, &[])
        };
        assert_eq!(all_failed(&[failed(1), page(2, &[])]), None);
        let message = |pages: &[Page]| all_failed(pages).unwrap().message;
        assert_eq!(message(&[failed(3)]), "page 3");
        assert_eq!(message(&[failed(1), failed(2)]), "none of the 2 pages could be read; the first: page 1");
    }

    #[test]
    fn without_lines_the_confidence_is_zero() {
        for pages in [vec![], vec![page(1, &[])]] {
            assert!(document(pages).avg_confidence.abs() < f32::EPSILON);
        }
    }
}
