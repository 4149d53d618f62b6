//! Whether a JPEG is all there. The decoder fills what is missing with grey and says nothing, which would make an
//! interrupted upload look like a page that ends early.

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;
const PROGRESSIVE_FRAME: u8 = 0xc2;

/// What the decoder puts in the place of rows that are missing.
const FILLER: u8 = 128;

/// How a JPEG ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its end marker, after a scan.
    Marker,
    /// Without, and its rows come one after another: what is missing is missing at the bottom. Some scanners leave out
    /// only the marker.
    NoMarker,
    /// Without, and details come after the whole page: what is missing shows nowhere.
    NoMarkerProgressive,
}

impl Ending {
    /// Walks the markers.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut scanned = false;
        let mut progressive = false;
        while let Some((marker, after)) = next_marker(rest) {
            match marker {
                END_OF_IMAGE if scanned => return Self::Marker,
                // Markers that stand alone: stuffed 0xff, restarts, start and end of image.
                0x00 | 0x01 | 0xd0..=0xd9 | 0xff => rest = after,
                _ => {
                    scanned |= marker == START_OF_SCAN;
                    progressive |= marker == PROGRESSIVE_FRAME;
                    let Some(after_segment) = skip_segment(after) else { break };
                    rest = after_segment;
                }
            }
        }
        if progressive { Self::NoMarkerProgressive } else { Self::NoMarker }
    }

    /// True where the decoded samples are the whole page's.
    pub(super) fn is_whole(self, samples: &[u8], row_bytes: usize) -> bool {
        match self {
            Self::Marker => true,
            Self::NoMarkerProgressive => false,
            Self::NoMarker => {
                let last_row = samples.len().checked_sub(row_bytes).and_then(|start| samples.get(start..));
                last_row.is_some_and(|row| row.iter().any(|sample| *sample != FILLER))
            }
        }
    }
}

/// Whether details come after the whole page, so that all of it is kept until the end.
pub(super) fn is_progressive(bytes: &[u8]) -> bool {
    frame(bytes).is_some_and(|(marker, _)| marker == PROGRESSIVE_FRAME)
}

/// Width and height that the first frame header says; `None` where there is none.
pub(super) fn frame_size(bytes: &[u8]) -> Option<(u16, u16)> {
    let (_, header) = frame(bytes)?;
    let number = |at: usize| Some(u16::from_be_bytes(header.get(at..at + 2)?.try_into().ok()?));
    Some((number(5)?, number(3)?))
}

/// The first frame header: its marker, and what follows it.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    while let Some((marker, after)) = next_marker(rest) {
        match marker {
            // All kinds of frame headers; c4, c8 and cc are other segments.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Some((marker, after)),
            START_OF_SCAN => return None,
            0x00 | 0x01 | 0xd0..=0xd9 | 0xff => rest = after,
            _ => rest = skip_segment(after)?,
        }
    }
    None
}

/// The next marker, wherever it is, and what comes behind it.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let start = bytes.iter().position(|byte| *byte == 0xff)?;
    match bytes.get(start + 1)? {
        // Fill bytes: the marker is the last 0xff's.
        0xff => Some((0xff, bytes.get(start + 1..)?)),
        marker => Some((*marker, bytes.get(start + 2..)?)),
    }
}

fn skip_segment(bytes: &[u8]) -> Option<&[u8]> {
    let length = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    bytes.get(usize::from(length.max(2))..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"\xff\xd8\xff\xe0\0\x04\xff\xd9\xff\xff\xda\0\x02\x12\xff\0\x34\xff\xd0\x56\xff\xd9";

    #[test]
    fn a_jpeg_is_complete_with_its_end_marker_and_not_before() {
        assert_eq!(Ending::of(WHOLE), Ending::Marker);
        for length in 0..WHOLE.len() {
            assert_eq!(Ending::of(&WHOLE[..length]), Ending::NoMarker, "{length} of {} bytes", WHOLE.len());
        }
    }

    #[test]
    fn what_follows_the_end_does_not_matter() {
        let mut bytes = WHOLE.to_vec();
        bytes.extend(b"\0\0trailer\xff");
        assert_eq!(Ending::of(&bytes), Ending::Marker);
    }

    #[test]
    fn an_end_marker_inside_a_segment_or_without_a_scan_does_not_count() {
        assert_eq!(Ending::of(b"\xff\xd8\xff\xe0\0\x04\xff\xd9"), Ending::NoMarker);
        assert_eq!(Ending::of(b"\xff\xd8\xff\xd9"), Ending::NoMarker);
    }

    #[test]
    fn the_size_is_read_from_the_frame_header() {
        let jpeg = b"\xff\xd8\xff\xc4\0\x04ab\xff\xc0\0\x0b\x08\x01\x02\x03\x04\x01";
        assert_eq!(frame_size(jpeg), Some((0x304, 0x102)));
        assert_eq!(frame_size(&jpeg[..15]), None);
        assert_eq!(frame_size(b"\xff\xd8\xff\xda\0\x02\xff\xc0\0\x0b\x08\x01\x02\x03\x04"), None);
    }

    #[test]
    fn without_the_marker_the_last_row_tells() {
        assert_eq!(Ending::of(b"\xff\xd8\xff\xc2\0\x02\xff\xda\0\x02\x12"), Ending::NoMarkerProgressive);
        assert!(Ending::NoMarker.is_whole(&[128, 128, 7, 128], 2));
        assert!(!Ending::NoMarker.is_whole(&[7, 7, 128, 128], 2));
        assert!(!Ending::NoMarkerProgressive.is_whole(&[1, 2, 3, 4], 2));
        assert!(Ending::Marker.is_whole(&[128, 128], 2));
    }
}
