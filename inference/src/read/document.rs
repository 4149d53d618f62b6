//! Pages to the document that an answer is.

use std::time::Duration;

use ocr_api::{Document, DocumentLine, ModelRef, Page};

use crate::assemble::mean_confidence;

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

#[cfg(test)]
mod tests {
    use ocr_api::{ErrorCode, ErrorDetail};

    use super::*;
    use crate::read::testing::page;

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
    fn without_lines_the_confidence_is_zero() {
        for pages in [vec![], vec![page(1, &[])]] {
            assert!(document(pages).avg_confidence.abs() < f32::EPSILON);
        }
    }
}
