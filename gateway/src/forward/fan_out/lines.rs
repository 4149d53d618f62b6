//! A pod's stream, line by line.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ocr_api::{PageStatus, StreamEnd};

/// Longest line: a page of thousands of words is some megabytes.
const LONGEST: usize = 64 << 20;

/// What a line is.
#[derive(Debug)]
pub enum Line {
    Page(Box<PageStatus>),
    /// It says how the pod ended, which its pages have said.
    End,
}

/// The stream broke off, or is none of ours.
#[derive(Debug)]
pub struct Broke;

/// The lines of an answer.
pub struct Lines {
    incoming: Incoming,
    read: BytesMut,
}

impl Lines {
    /// An answer of which nothing was read.
    #[must_use]
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming, read: BytesMut::new() }
    }

    /// The next line; `None` after the last.
    ///
    /// # Errors
    /// Where the connection breaks, or the line is none that a pod writes.
    pub async fn next(&mut self) -> Result<Option<Line>, Broke> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.read.iter().skip(looked).position(|byte| *byte == b'\n') {
                let line = self.read.split_to(looked + at + 1).freeze();
                return parse(&line).map(Some);
            }
            looked = self.read.len();
            if looked > LONGEST {
                return Err(Broke);
            }
            match self.incoming.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                None if self.read.is_empty() => return Ok(None),
                Some(Err(_)) | None => return Err(Broke),
            }
        }
    }
}

fn parse(line: &Bytes) -> Result<Line, Broke> {
    // Only the last line has a status.
    match serde_json::from_slice::<PageStatus>(line) {
        Ok(page) => Ok(Line::Page(Box::new(page))),
        Err(_) => serde_json::from_slice::<StreamEnd>(line).map(|_| Line::End).map_err(|_| Broke),
    }
}
