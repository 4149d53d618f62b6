//! A document as text, as a table, as JSON.

use ocr_api::{Document, Page};

/// The text of all pages, pages separated by a form feed, with a newline at the end.
#[must_use]
pub fn text(document: &Document) -> String {
    let mut text = document.text.clone();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Names of the columns of [`tsv_rows`].
pub const TSV_HEADER: &str = "page\tline\tconfidence\tx1\ty1\tx2\ty2\tx3\ty3\tx4\ty4\ttext";

/// A table: the names of the columns, then the rows.
#[must_use]
pub fn tsv(document: &Document) -> String {
    let rows = document.pages.iter().flat_map(tsv_rows);
    std::iter::once(TSV_HEADER.to_owned()).chain(rows).map(|row| row + "\n").collect()
}

/// One row a line of text: page, number of the line on it, confidence, the corners, the text.
pub fn tsv_rows(page: &Page) -> impl Iterator<Item = String> {
    (1_u32..).zip(&page.lines).map(|(number, line)| {
        let corners: Vec<String> = line.bbox.iter().flatten().map(ToString::to_string).collect();
        let (page, confidence, text) = (page.page_number, line.confidence, tsv_field(&line.text));
        format!("{page}\t{number}\t{confidence}\t{}\t{text}", corners.join("\t"))
    })
}

/// A text as one field of a table: tabs and line breaks become spaces.
#[must_use]
pub fn tsv_field(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

/// One JSON object, with a newline at the end.
///
/// # Errors
/// Where the document cannot be written, which would be a fault of ours.
pub fn json(document: &Document) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = serde_json::to_vec(document)?;
    json.push(b'\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use ocr_api::ModelRef;

    use super::*;
    use crate::{document_from_pages, testing::page};

    fn document() -> Document {
        let model = ModelRef { name: "m".into(), version: "1".into(), digest: "sha256:0".into() };
        let pages = vec![page(1, &[("one\ttwo", 0.75)]), page(3, &[("three", 0.75)])];
        document_from_pages("id".into(), model, 3, pages, std::time::Duration::from_millis(12))
    }

    #[test]
    fn text_is_the_pages_with_a_form_feed_between() {
        assert_eq!(text(&document()), "one\ttwo\u{c}three\n");
    }

    #[test]
    fn a_row_of_the_table_is_a_line_of_a_page() {
        let table = tsv(&document());
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows[1], "1\t1\t0.75\t1\t2\t3.5\t2\t3.5\t4\t1\t4\tone two");
        assert!(rows[2].starts_with("3\t1\t"));
        assert!(rows.iter().all(|row| row.split('\t').count() == 12));
    }

    #[test]
    fn json_is_what_the_wire_types_read() {
        let json = json(&document()).unwrap();
        assert_eq!(serde_json::from_slice::<Document>(&json).unwrap(), document());
    }
}
