//! How much a decode process may use.

/// Bytes a pixel that decoding the widest kind of image needs: the decoded samples (8 for 16-bit RGBA), the page
/// (3 for RGB), and its copy while it is turned upright (3). A progressive JPEG needs 9 (6 of them coefficients) plus
/// the page's 3, a PDF page with nested transparency 3 plus 4 a level: both fit.
const BYTES_PER_PIXEL: u64 = 14;

/// Copies of the document's bytes that live at the same time: ours, and the one that the JPEG decoder makes.
const BODY_COPIES: u64 = 2;

/// What decoders need apart from pixels: tables, fonts, a PDF's objects, the stack's growth.
const WORKING_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of address space that a decode process may map beyond what it has mapped when it is ready.
///
/// 50 megapixels and bodies of 10 MiB give 14 × 50,000,000 + 2 × 10 MiB + 64 MiB = 752 MiB.
#[must_use]
pub const fn memory_budget(max_pixels: u64, max_body_bytes: u64) -> u64 {
    BYTES_PER_PIXEL
        .saturating_mul(max_pixels)
        .saturating_add(BODY_COPIES.saturating_mul(max_body_bytes))
        .saturating_add(WORKING_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_need_less_than_a_gibibyte() {
        let budget = memory_budget(50_000_000, 10 << 20);
        assert_eq!(budget, 788_080_384);
        assert!(budget < 1 << 30);
    }

    #[test]
    fn enormous_limits_do_not_wrap_around() {
        assert_eq!(memory_budget(u64::MAX, u64::MAX), u64::MAX);
    }
}
