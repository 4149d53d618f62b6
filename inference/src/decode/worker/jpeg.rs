//! Whether a JPEG is all there. The decoder fills what is missing with grey and says nothing, which would make an
//! interrupted upload look like a page that ends early.

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// True where the end-of-image marker comes after a scan.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut scanned = false;
    while let Some((marker, after)) = next_marker(rest) {
        match marker {
            END_OF_IMAGE => return scanned,
            // Markers that stand alone: stuffed 0xff, restarts, start of image.
            0x00 | 0x01 | 0xd0..=0xd8 | 0xff => rest = after,
            _ => {
                scanned |= marker == START_OF_SCAN;
                let Some(after_segment) = skip_segment(after) else { return false };
                rest = after_segment;
            }
        }
    }
    false
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
        assert!(is_complete(WHOLE));
        for length in 0..WHOLE.len() {
            assert!(!is_complete(&WHOLE[..length]), "{length} of {} bytes", WHOLE.len());
        }
    }

    #[test]
    fn what_follows_the_end_does_not_matter() {
        let mut bytes = WHOLE.to_vec();
        bytes.extend(b"\0\0trailer\xff");
        assert!(is_complete(&bytes));
    }

    #[test]
    fn an_end_marker_inside_a_segment_or_without_a_scan_does_not_count() {
        assert!(!is_complete(b"\xff\xd8\xff\xe0\0\x04\xff\xd9"));
        assert!(!is_complete(b"\xff\xd8\xff\xd9"));
    }
}
