//! A document's answer from its pages.

use ocr_api::{Document, DocumentLine, ModelRef, Page};

use crate::assemble::mean_confidence;

/// What separates pages in a document's text.
const PAGE_BREAK: &str = "\n\u{c}\n";

/// The answer for a document whose pages are done.
#[must_use]
pub fn document_from_pages(
    request_id: String,
    model: ModelRef,
    page_count: u32,
    pages: Vec<Page>,
    elapsed_ms: u64,
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
        processing_time_ms: elapsed_ms,
        pages,
    }
}
