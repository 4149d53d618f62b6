//! CCITT Group 3 and Group 4, as faxes and scanners store black and white.
//!
//! The `tiff` crate knows Group 4 with the usual order of bits, and refuses strips that leave out white rows at
//! their end. Faxes often have the other order, Group 3, or short strips.

use std::convert::Infallible;

use fax::decoder::{DecodeStatus, Group3Decoder, Group4Decoder};
use image::{ColorType, metadata::Orientation};
use tiff::tags::Tag;

use super::{Page, failure, numbers, section, short};
use crate::decode::{
    Failure,
    worker::pixels::{Rendered, allocate, finish},
};

/// `T4Options`, which the crate's list of tags does not have.
const T4_OPTIONS: u16 = 292;
/// Rows that refer to the row above them.
const TWO_DIMENSIONAL: u16 = 1;
/// `FillOrder`: the leftmost pixel is the lowest bit.
const LOWEST_BIT_FIRST: u16 = 2;

const WHITE: u8 = 255;
const BLACK: u8 = 0;

/// How the rows of a fax are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Group3,
    Group4,
}

impl Scheme {
    /// The scheme of a page; `None` where it is no fax.
    pub(super) fn of(page: &mut Page<'_>) -> Result<Option<Self>, Failure> {
        match short(page, Tag::Compression)? {
            Some(3) => match short(page, Tag::Unknown(T4_OPTIONS))?.unwrap_or(0) & TWO_DIMENSIONAL {
                0 => Ok(Some(Self::Group3)),
                _ => Err(Failure::Unsupported),
            },
            Some(4) => Ok(Some(Self::Group4)),
            _ => Ok(None),
        }
    }
}

/// Decodes a page of strips.
pub(super) fn decode(
    page: &mut Page<'_>,
    file: &[u8],
    (width, height): (u32, u32),
    scheme: Scheme,
    orientation: Orientation,
) -> Result<Rendered, Failure> {
    let columns = u16::try_from(width).map_err(|_| Failure::Unsupported)?;
    // Tiles of a fax are allowed and nobody writes them.
    let offsets = numbers(page, Tag::StripOffsets)?;
    let lengths = numbers(page, Tag::StripByteCounts)?;
    let rows_per_strip = page.find_tag_unsigned::<u32>(Tag::RowsPerStrip).map_err(|error| failure(&error))?;
    let rows_per_strip = rows_per_strip.unwrap_or(height).clamp(1, height) as usize;
    let reversed = short(page, Tag::FillOrder)? == Some(LOWEST_BIT_FIRST);
    // A fax's white is the bit 0, which is shown white where white is zero.
    let inverted = short(page, Tag::PhotometricInterpretation)? == Some(super::BLACK_IS_ZERO);

    let mut pixels = allocate(u64::from(width) * u64::from(height))?;
    pixels.fill(WHITE);
    let strips = pixels.chunks_mut(width as usize * rows_per_strip);
    for (rows, (offset, length)) in strips.zip(offsets.iter().zip(&lengths)) {
        let strip = section(file, *offset, *length).ok_or(Failure::Truncated)?;
        let bytes = strip.iter().map(|byte| if reversed { byte.reverse_bits() } else { *byte });
        let rows = rows.chunks_exact_mut(width as usize);
        match scheme {
            Scheme::Group3 => group3(bytes, rows)?,
            Scheme::Group4 => group4(bytes, columns, rows)?,
        }
    }
    if inverted {
        for pixel in &mut pixels {
            *pixel = !*pixel;
        }
    }
    finish((width, height), ColorType::L8, pixels, orientation)
}

fn group3<'a>(bytes: impl Iterator<Item = u8>, rows: impl Iterator<Item = &'a mut [u8]>) -> Result<(), Failure> {
    let mut decoder = Group3Decoder::new(bytes.map(Ok::<u8, Infallible>)).map_err(|_| Failure::Malformed)?;
    let mut rows = rows.peekable();
    while let Some(row) = rows.next() {
        let status = decoder.advance();
        paint(row, decoder.transitions());
        match status {
            Ok(DecodeStatus::Incomplete) => {}
            Ok(DecodeStatus::End) => return Ok(()),
            // Without an end-of-line behind it the last row is still whole.
            Err(_) if rows.peek().is_none() => return Ok(()),
            Err(_) => return Err(Failure::Malformed),
        }
    }
    Ok(())
}

fn group4<'a>(
    bytes: impl Iterator<Item = u8>,
    columns: u16,
    rows: impl Iterator<Item = &'a mut [u8]>,
) -> Result<(), Failure> {
    let mut decoder = Group4Decoder::new(bytes.map(Ok::<u8, Infallible>), columns).map_err(|_| Failure::Malformed)?;
    for row in rows {
        match decoder.advance() {
            Ok(DecodeStatus::Incomplete) => paint(row, decoder.transition()),
            // The rows that are left out are white.
            Ok(DecodeStatus::End) => return Ok(()),
            Err(_) => return Err(Failure::Malformed),
        }
    }
    Ok(())
}

/// Paints a row of white paper by the columns where the colour changes.
fn paint(row: &mut [u8], transitions: &[u16]) {
    for run in transitions.chunks(2) {
        let from = run.first().map_or(row.len(), |column| usize::from(*column)).min(row.len());
        let to = run.get(1).map_or(row.len(), |column| usize::from(*column)).min(row.len());
        if let Some(black) = row.get_mut(from..to) {
            black.fill(BLACK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_black_between_two_changes() {
        let cases: [(&[u16], [u8; 4]); 6] = [
            (&[], [255, 255, 255, 255]),
            (&[1, 3], [255, 0, 0, 255]),
            (&[0, 1, 2], [0, 255, 0, 0]),
            (&[4], [255, 255, 255, 255]),
            (&[9, 12], [255, 255, 255, 255]),
            (&[3, 1], [255, 255, 255, 255]),
        ];
        for (transitions, expected) in cases {
            let mut row = [WHITE; 4];
            paint(&mut row, transitions);
            assert_eq!(row, expected, "{transitions:?}");
        }
    }
}
