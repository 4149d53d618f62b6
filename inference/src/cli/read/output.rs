//! What `ocr read` prints.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::ValueEnum;
use ocr_api::{Document, ErrorDetail, ModelRef, Page, PageStatus, StreamEnd};
use ocr_render::{self as render, document_from_pages};
use serde::Serialize;

/// Forms of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The text, pages separated by a form feed
    Text,
    /// One object a file
    Json,
    /// One object a page as it is done, and a last one that says how it ended
    Ndjson,
    /// One row a line of text
    Tsv,
}

/// Prints results in order, in one of the forms.
pub struct Output<W: Write> {
    format: Format,
    out: W,
    has_names: bool,
    model: ModelRef,
    files: u32,
    /// Pages of the present file.
    pages: u32,
    /// Pages of all files.
    all_pages: u32,
    failed: u32,
}

/// What came of a file besides its pages.
pub struct FileResult {
    /// Pages in the document, whether they were asked for or not.
    pub page_count: u32,
    /// The pages, where [`Output::keeps_pages`] asked for them.
    pub pages: Vec<Page>,
    /// Why the file could not be read at all.
    pub failure: Option<ErrorDetail>,
    pub elapsed: Duration,
}

/// A file's document, or why there is none.
#[derive(Serialize)]
struct FileDocument<'a> {
    file: &'a str,
    #[serde(flatten)]
    document: Option<Document>,
    #[serde(flatten)]
    failure: Option<Failure>,
}

#[derive(Serialize)]
struct Failure {
    success: bool,
    error: ErrorDetail,
}

impl<W: Write> Output<W> {
    /// Prints to `out`. With `has_names` a text says which file it is from.
    pub fn new(format: Format, out: W, has_names: bool, model: ModelRef) -> Self {
        Self { format, out, has_names, model, files: 0, pages: 0, all_pages: 0, failed: 0 }
    }

    /// True where the pages of a file are needed again at its end.
    pub fn keeps_pages(&self) -> bool {
        self.format == Format::Json
    }

    /// A page is done.
    pub fn page(&mut self, file: &str, page: &Page) -> io::Result<()> {
        self.failed += u32::from(!page.success);
        match self.format {
            Format::Json => {}
            Format::Ndjson => {
                let status = PageStatus { file: file.to_owned(), page: page.page_number, result: page.clone() };
                self.object(&status)?;
            }
            Format::Text => {
                self.name_file(file)?;
                if self.pages > 0 {
                    write!(self.out, "\u{c}")?;
                }
                if !page.text.is_empty() {
                    writeln!(self.out, "{}", page.text)?;
                }
            }
            Format::Tsv => {
                self.table_head()?;
                for row in render::tsv_rows(page) {
                    writeln!(self.out, "{}\t{row}", render::tsv_field(file))?;
                }
            }
        }
        self.pages += 1;
        self.all_pages += 1;
        self.out.flush()
    }

    /// A file is done.
    pub fn file(&mut self, file: &str, result: FileResult) -> io::Result<()> {
        let FileResult { page_count, pages, failure, elapsed } = result;
        self.failed += u32::from(failure.is_some());
        match (self.format, failure) {
            (Format::Json, failure) => {
                let document = failure
                    .is_none()
                    .then(|| document_from_pages(String::new(), self.model.clone(), page_count, pages, elapsed));
                let failure = failure.map(|error| Failure { success: false, error });
                self.object(&FileDocument { file, document, failure })?;
            }
            (Format::Ndjson, Some(error)) => self.object(&FileFailure { file, page: 0, success: false, error })?,
            (Format::Tsv, _) => self.table_head()?,
            _ => {}
        }
        self.files += 1;
        self.pages = 0;
        self.out.flush()
    }

    /// Everything is done.
    pub fn finish(&mut self, all_read: bool) -> io::Result<()> {
        if self.format == Format::Ndjson {
            let end = StreamEnd {
                status: "done".to_owned(),
                success: all_read,
                pages: self.all_pages,
                failed: self.failed,
                error: None,
            };
            self.object(&end)?;
        }
        self.out.flush()
    }

    fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, object)?;
        writeln!(self.out)
    }

    fn name_file(&mut self, file: &str) -> io::Result<()> {
        if !self.has_names || self.pages > 0 {
            return Ok(());
        }
        let gap = if self.files > 0 { "\n" } else { "" };
        writeln!(self.out, "{gap}==> {file} <==")
    }

    fn table_head(&mut self) -> io::Result<()> {
        if self.files == 0 && self.pages == 0 { writeln!(self.out, "file\t{}", render::TSV_HEADER) } else { Ok(()) }
    }
}

/// A file that could not be read at all, in an ndjson stream.
#[derive(Serialize)]
struct FileFailure<'a> {
    file: &'a str,
    page: u32,
    success: bool,
    error: ErrorDetail,
}
