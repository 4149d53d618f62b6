//! What the server and a decode process say to each other.
//!
//! A message is a header, and behind some headers a payload whose length the header names:
//!
//! ```text
//! u32, little-endian: bytes of the header │ header: JSON │ payload
//! ```
//!
//! The server asks on the process's stdin and is answered on its stdout, one answer a question. It trusts no number
//! that it reads: the process has seen hostile bytes.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Channels, Failure, Kind};

/// Most bytes of a header. The largest real one holds a password.
pub(crate) const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Most bytes of a password. PDF's longest is 127.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;

/// Changed with every change of this file: both sides are the same binary, unless somebody replaced it on disk.
pub(crate) const VERSION: u32 = 2;

/// A question to the decode process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Take the document that follows.
    Open(Open),
    /// Say how much memory a page takes to decode, counted from 0.
    Measure { index: u32 },
    /// Decode a page, counted from 0.
    Page { index: u32 },
    /// Forget the document.
    Close,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub kind: Kind,
    /// Bytes of the payload: the document.
    pub body_bytes: u64,
    pub password: Option<String>,
    pub dpi: u32,
    pub max_pixels: u64,
    pub max_pages: u32,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open({:?}, {} bytes)", self.kind, self.body_bytes)
    }
}

/// The answer of the decode process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Said unasked, once: the process is ready and shut in.
    Hello(Hello),
    /// Said unasked, once, in place of hello: the process cannot do its work. No document was seen yet.
    NotStarted { reason: String },
    /// The document is open.
    Opened { page_count: u32 },
    /// Bytes that decoding the page takes, by what its header says of it.
    Measured { bytes: u64 },
    /// A page; its pixels follow.
    Page(PageHeader),
    /// The question cannot be answered.
    Failed(Failure),
    /// The document is forgotten.
    Closed(Usage),
    /// An attack on the sandbox was let through, or came back with this error.
    Probed { denied: bool, how: String },
}

/// How a decode process is shut in, and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub(crate) version: u32,
    /// Version of Landlock's interface that is in force; `None` where the kernel has no Landlock, and then seccomp
    /// denies every opening of a file.
    pub landlock_abi: Option<u32>,
    /// True where the seccomp filters are in force.
    pub seccomp: bool,
    /// True where the PDF library is loaded.
    pub pdf: bool,
    /// Bytes of address space that the process may have.
    pub address_space_bytes: u64,
    pub(crate) usage: Usage,
}

/// What the process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Bytes in memory now, pages shared with other processes included.
    pub resident_bytes: u64,
    /// CPU time since the process started, in milliseconds.
    pub cpu_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageHeader {
    pub width: u32,
    pub height: u32,
    pub grey: bool,
    /// Bytes of the payload: the pixels, as [`super::Bitmap`] has them.
    pub pixel_bytes: u64,
    pub dpi: Option<u32>,
    pub dpi_lowered: bool,
    pub elapsed_ms: u64,
}

impl PageHeader {
    /// The page's number of bytes, where size and length agree and no limit is passed.
    pub(crate) fn checked_bytes(&self, max_pixels: u64) -> Option<usize> {
        let pixels = u64::from(self.width).checked_mul(u64::from(self.height))?;
        if pixels == 0 || pixels > max_pixels {
            return None;
        }
        let bytes = pixels.checked_mul(self.channels().bytes() as u64)?;
        (bytes == self.pixel_bytes).then(|| usize::try_from(bytes).ok())?
    }

    pub(crate) const fn channels(&self) -> Channels {
        if self.grey { Channels::Grey } else { Channels::Rgb }
    }
}

/// Why the other side was not understood.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("pipe failed")]
    Io(#[from] std::io::Error),
    #[error("header of {0} bytes, at most {MAX_HEADER_BYTES} are read")]
    TooLong(u64),
    #[error("header is not understood")]
    Header(#[from] serde_json::Error),
    #[error("the other side ended")]
    Ended,
    #[error("answer does not fit the question")]
    Unexpected,
}

/// A header as it is written: its length, then the JSON.
pub(crate) fn encode<T: Serialize>(header: &T) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, header)?;
    let length = bytes.len() - 4;
    if length > MAX_HEADER_BYTES {
        return Err(ProtocolError::TooLong(length as u64));
    }
    let prefix = u32::try_from(length).map_err(|_| ProtocolError::TooLong(length as u64))?;
    bytes[..4].copy_from_slice(&prefix.to_le_bytes());
    Ok(bytes)
}

/// Bytes of the header that this prefix announces.
pub(crate) fn header_length(prefix: [u8; 4]) -> Result<usize, ProtocolError> {
    let length = u32::from_le_bytes(prefix);
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_HEADER_BYTES)
        .ok_or(ProtocolError::TooLong(length.into()))
}

/// Reads a header, waiting for it; `None` where the other side ended between two messages.
pub(crate) fn read<T: DeserializeOwned>(source: &mut impl Read) -> Result<Option<T>, ProtocolError> {
    let mut prefix = [0; 4];
    let mut have = 0;
    while have < prefix.len() {
        match source.read(&mut prefix[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(ProtocolError::Ended),
            Ok(count) => have += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut header = vec![0; header_length(prefix)?];
    source.read_exact(&mut header)?;
    Ok(Some(serde_json::from_slice(&header)?))
}

/// Writes a header.
pub(crate) fn write<T: Serialize>(sink: &mut impl Write, header: &T) -> Result<(), ProtocolError> {
    Ok(sink.write_all(&encode(header)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let request = Request::Open(Open {
            kind: Kind::Pdf,
            body_bytes: 7,
            password: Some("pässword".into()),
            dpi: 150,
            max_pixels: 50_000_000,
            max_pages: 200,
        });
        let mut bytes = encode(&request).unwrap();
        bytes.extend(b"payload");
        let mut source = bytes.as_slice();
        assert_eq!(read::<Request>(&mut source).unwrap(), Some(request));
        assert_eq!(source, b"payload");
    }

    #[test]
    fn the_end_between_messages_is_no_error_and_within_one_it_is() {
        assert!(matches!(read::<Request>(&mut &b""[..]), Ok(None)));
        assert!(matches!(read::<Request>(&mut &b"\x02\0"[..]), Err(ProtocolError::Ended)));
        assert!(matches!(read::<Request>(&mut &b"\x02\0\0\0"[..]), Err(ProtocolError::Io(_))));
    }

    #[test]
    fn a_header_over_the_limit_is_refused_before_it_is_read() {
        let mut source: &[u8] = &[0xff; 8];
        assert!(matches!(read::<Request>(&mut source), Err(ProtocolError::TooLong(4_294_967_295))));
        assert!(matches!(header_length(65_537_u32.to_le_bytes()), Err(ProtocolError::TooLong(65_537))));
        assert_eq!(header_length(65_536_u32.to_le_bytes()).unwrap(), 65_536);
    }

    #[test]
    fn a_header_that_is_no_message_is_refused() {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        assert!(matches!(read::<Reply>(&mut bytes.as_slice()), Err(ProtocolError::Header(_))));
    }

    #[test]
    fn the_numbers_of_a_page_are_checked() {
        let good = PageHeader {
            width: 20,
            height: 10,
            grey: false,
            pixel_bytes: 600,
            dpi: None,
            dpi_lowered: false,
            elapsed_ms: 1,
        };
        assert_eq!(good.checked_bytes(200), Some(600));
        assert_eq!(PageHeader { grey: true, pixel_bytes: 200, ..good }.checked_bytes(200), Some(200));
        let bad = [
            PageHeader { pixel_bytes: 601, ..good },
            PageHeader { width: 0, pixel_bytes: 0, ..good },
            PageHeader { width: 21, pixel_bytes: 630, ..good },
            PageHeader { width: u32::MAX, height: u32::MAX, pixel_bytes: 3, ..good },
        ];
        for page in bad {
            assert_eq!(page.checked_bytes(200), None, "{page:?}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let open = Open {
            kind: Kind::Pdf,
            body_bytes: 1,
            password: Some("secret".into()),
            dpi: 1,
            max_pixels: 1,
            max_pages: 1,
        };
        assert!(!format!("{:?}", Request::Open(open)).contains("secret"));
    }
}
