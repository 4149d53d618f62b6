//! What a document is, by its first bytes. Names and content types are the client's claims and are not looked at.

use serde::{Deserialize, Serialize};

/// The kinds of documents that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Jpeg,
    Png,
    WebP,
    Bmp,
    Gif,
    Tiff,
    Pdf,
}

/// How far into a file `%PDF-` may stand. Mail gateways and printers put junk before it, and other readers accept
/// as much (PDF 1.7, implementation note 13 of appendix H).
const PDF_JUNK: usize = 1024;

/// Sizes that the second header of a BMP has, by version. The two letters `BM` alone also begin plain text.
const BMP_HEADER_SIZES: [u32; 7] = [12, 40, 52, 56, 64, 108, 124];

impl Kind {
    /// The kind that the bytes begin like; `None` where that is none of them.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        if starts(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if starts(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::WebP)
        } else if starts(b"GIF87a") || starts(b"GIF89a") {
            Some(Self::Gif)
        } else if [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"].into_iter().any(starts) {
            Some(Self::Tiff)
        } else if starts(b"BM") && bmp_header_size(bytes).is_some_and(|size| BMP_HEADER_SIZES.contains(&size)) {
            Some(Self::Bmp)
        } else if bytes.windows(5).take(PDF_JUNK + 1).any(|window| window == b"%PDF-") {
            Some(Self::Pdf)
        } else {
            None
        }
    }

    /// The name that people know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
            Self::Pdf => "PDF",
        }
    }
}

fn bmp_header_size(bytes: &[u8]) -> Option<u32> {
    bytes.get(14..18)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bmp(header_size: u32) -> Vec<u8> {
        let mut bytes = b"BM".to_vec();
        bytes.resize(14, 0);
        bytes.extend(header_size.to_le_bytes());
        bytes
    }

    fn pdf_after(junk: usize) -> Vec<u8> {
        let mut bytes = vec![b'x'; junk];
        bytes.extend(b"%PDF-1.7");
        bytes
    }

    #[test]
    fn a_document_is_known_by_its_first_bytes() {
        let cases: Vec<(Vec<u8>, Option<Kind>)> = vec![
            (b"\xff\xd8\xff\xe0".to_vec(), Some(Kind::Jpeg)),
            (b"\xff\xd8".to_vec(), None),
            (b"\x89PNG\r\n\x1a\n".to_vec(), Some(Kind::Png)),
            (b"\x89PNG\n\x1a\n".to_vec(), None),
            (b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), Some(Kind::WebP)),
            (b"RIFF\x10\0\0\0WAVEfmt ".to_vec(), None),
            (b"RIFF".to_vec(), None),
            (b"GIF87a".to_vec(), Some(Kind::Gif)),
            (b"GIF89a".to_vec(), Some(Kind::Gif)),
            (b"GIF90a".to_vec(), None),
            (b"II*\0\x08\0\0\0".to_vec(), Some(Kind::Tiff)),
            (b"MM\0*\0\0\0\x08".to_vec(), Some(Kind::Tiff)),
            (b"II+\0\x08\0\0\0".to_vec(), Some(Kind::Tiff)),
            (b"MM\0+\0\x08\0\0".to_vec(), Some(Kind::Tiff)),
            (b"II*".to_vec(), None),
            (bmp(40), Some(Kind::Bmp)),
            (bmp(124), Some(Kind::Bmp)),
            (bmp(0x2054_554f), None),
            (b"BM".to_vec(), None),
            (pdf_after(0), Some(Kind::Pdf)),
            (pdf_after(1024), Some(Kind::Pdf)),
            (pdf_after(1025), None),
            (b"%PDF".to_vec(), None),
            (Vec::new(), None),
            (b"plain text".to_vec(), None),
            (vec![0; 4096], None),
        ];
        for (bytes, expected) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
            assert_eq!(Kind::of(&bytes), expected, "{shown:?} ({} bytes)", bytes.len());
        }
    }
}
