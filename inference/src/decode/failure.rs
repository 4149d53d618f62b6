//! Why a document or a page cannot be decoded: plain data, so that no word of the answer comes from the process that
//! has seen hostile bytes. The words for the client are made here, on the server's side of the pipe.

use ocr_api::{ErrorCode, ErrorDetail};
use serde::{Deserialize, Serialize};

use super::Kind;

/// Why a document or a page cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The bytes end before the document does.
    Truncated,
    /// The bytes break the rules of their kind.
    Malformed,
    /// A rare feature that the decoder does not have.
    Unsupported,
    /// More pixels than the limit.
    TooManyPixels { width: u32, height: u32 },
    /// Within the limit on pixels, and too long for a page.
    SideTooLong { width: u32, height: u32 },
    /// More pages than the limit; counting stopped at `at_least`.
    TooManyPages { at_least: u32 },
    /// A document without a page.
    NoPages,
    /// No such page.
    PageOutOfRange { page_count: u32 },
    /// An encrypted PDF, and no password came with it.
    PasswordRequired,
    /// An encrypted PDF, and the password does not open it.
    PasswordWrong,
    /// Decoding needs more memory than the process may use.
    OutOfMemory,
    /// The process runs without the PDF library.
    NoPdfLibrary,
    /// A decoder panicked; the process ends after this answer.
    Panicked,
}

/// What the words of a failure need to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub kind: Kind,
    pub max_pixels: u64,
    pub max_pages: u32,
}

impl Failure {
    /// The error as the client sees it.
    pub(crate) fn detail(self, context: Context) -> ErrorDetail {
        let kind = context.kind.name();
        match self {
            Self::Truncated => ErrorDetail::new(
                ErrorCode::Undecodable,
                format!("the {kind} ends in the middle of a page; send the whole file"),
            ),
            Self::Malformed => ErrorDetail::new(
                ErrorCode::Undecodable,
                format!(
                    "the bytes begin like a {kind} and cannot be decoded as one; open and save the file again, or send it as PNG or PDF"
                ),
            ),
            Self::Unsupported => ErrorDetail::new(
                ErrorCode::Undecodable,
                format!("the {kind} uses a feature that is not read here; save it again as PNG or PDF"),
            ),
            Self::TooManyPixels { width, height } => ErrorDetail::new(
                ErrorCode::TooManyPixels,
                format!(
                    "the page has {width} x {height} = {} pixels and at most {} are read; send a smaller image or raise the limit on pixels",
                    u64::from(width) * u64::from(height),
                    context.max_pixels
                ),
            ),
            Self::SideTooLong { width, height } => ErrorDetail::new(
                ErrorCode::TooManyPixels,
                format!(
                    "the page has {width} x {height} pixels and at most 65535 are read along a side; cut it into pieces"
                ),
            ),
            Self::TooManyPages { at_least } => ErrorDetail::new(
                ErrorCode::TooManyPages,
                format!(
                    "the {kind} has {at_least} pages or more and at most {} are read; split it or raise the limit on pages",
                    context.max_pages
                ),
            ),
            Self::NoPages => ErrorDetail::new(
                ErrorCode::Undecodable,
                format!("the {kind} has 0 pages and at least 1 is needed; check how the file was made"),
            ),
            Self::PageOutOfRange { page_count } => ErrorDetail::new(
                ErrorCode::PageOutOfRange,
                format!(
                    "the {kind} has {page_count} pages and another one was asked for; ask for pages 1 to {page_count}"
                ),
            ),
            Self::PasswordRequired => ErrorDetail::new(
                ErrorCode::PasswordRequired,
                "the PDF is encrypted and no password came with it; send one in X-Ocr-Document-Password or by --password-file",
            ),
            Self::PasswordWrong => ErrorDetail::new(
                ErrorCode::PasswordWrong,
                "the PDF is encrypted and the password does not open it; send the right one",
            ),
            Self::OutOfMemory => ErrorDetail::new(
                ErrorCode::DecodeLimit,
                format!(
                    "decoding the {kind} needs more memory than one document may use; send smaller pages or fewer pixels"
                ),
            ),
            Self::NoPdfLibrary => ErrorDetail::new(
                ErrorCode::UnsupportedMedia,
                "this server runs without the PDF library; send an image, or have its operator set --pdfium",
            ),
            Self::Panicked => ErrorDetail::new(
                ErrorCode::Undecodable,
                format!("the decoder gave up on the {kind}; save the file again, or send it as PNG or PDF"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { kind: Kind::Png, max_pixels: 50_000_000, max_pages: 200 };

    #[test]
    fn the_message_has_need_and_have() {
        let detail = Failure::TooManyPixels { width: 65_000, height: 65_000 }.detail(CONTEXT);
        assert_eq!(detail.code, ErrorCode::TooManyPixels);
        assert!(detail.message.contains("65000 x 65000 = 4225000000 pixels"), "{}", detail.message);
        assert!(detail.message.contains("at most 50000000"), "{}", detail.message);
    }

    #[test]
    fn every_failure_is_the_clients_and_says_what_to_do() {
        let all = [
            Failure::Truncated,
            Failure::Malformed,
            Failure::Unsupported,
            Failure::TooManyPixels { width: 1, height: 1 },
            Failure::SideTooLong { width: 1, height: 70_000 },
            Failure::TooManyPages { at_least: 201 },
            Failure::NoPages,
            Failure::PageOutOfRange { page_count: 3 },
            Failure::PasswordRequired,
            Failure::PasswordWrong,
            Failure::OutOfMemory,
            Failure::NoPdfLibrary,
            Failure::Panicked,
        ];
        for failure in all {
            let detail = failure.detail(CONTEXT);
            assert!((400..500).contains(&detail.code.http_status()), "{failure:?}");
            assert!(detail.message.contains(';'), "{failure:?} has no next step: {}", detail.message);
        }
    }
}
