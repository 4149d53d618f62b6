//! The chain of directories, one a page, in the bytes of the file.

use std::collections::HashSet;

use tiff::tags::Tag;

use crate::decode::Failure;

/// Where each page's directory is.
pub(super) struct Directories {
    layout: Layout,
    offsets: Vec<u64>,
}

/// How numbers are written.
#[derive(Clone, Copy)]
struct Layout {
    little_endian: bool,
    /// `BigTIFF`, with offsets of 8 bytes.
    big: bool,
}

impl Layout {
    fn of(bytes: &[u8]) -> Result<Self, Failure> {
        let little_endian = bytes.starts_with(b"II");
        let version = Self { little_endian, big: false }.number(bytes, 2, 2).ok_or(Failure::Truncated)?;
        match version {
            42 => Ok(Self { little_endian, big: false }),
            43 => Ok(Self { little_endian, big: true }),
            _ => Err(Failure::Malformed),
        }
    }

    /// Where the offset of the first directory is, and how long it is.
    const fn first(self) -> (usize, usize) {
        if self.big { (8, 8) } else { (4, 4) }
    }

    /// Bytes of the number of entries, and of an entry.
    const fn sizes(self) -> (usize, usize) {
        if self.big { (8, 20) } else { (2, 12) }
    }

    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let append = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little_endian { field.iter().rev().fold(0, append) } else { field.iter().fold(0, append) })
    }

    fn set_number(self, bytes: &mut [u8], at: usize, length: usize, value: u64) -> Option<()> {
        let field = bytes.get_mut(at..at.checked_add(length)?)?;
        let digits = value.to_be_bytes();
        field.copy_from_slice(digits.get(digits.len() - length..)?);
        if self.little_endian {
            field.reverse();
        }
        Some(())
    }

    fn next(self, bytes: &[u8], offset: u64) -> Option<u64> {
        let (count_bytes, entry_bytes) = self.sizes();
        let start = usize::try_from(offset).ok()?;
        let count = usize::try_from(self.number(bytes, start, count_bytes)?).ok()?;
        let end = start.checked_add(count_bytes)?.checked_add(count.checked_mul(entry_bytes)?)?;
        self.number(bytes, end, self.first().1)
    }
}

impl Directories {
    /// Walks the chain.
    ///
    /// # Errors
    /// Where there are more than `max_pages`, or none at all. A chain that breaks off or runs in a circle ends there;
    /// a directory that is not in the file counts as a page, which then fails, so that a lost page shows.
    pub(super) fn read(bytes: &[u8], max_pages: u32) -> Result<Self, Failure> {
        let layout = Layout::of(bytes)?;
        let (at, length) = layout.first();
        let mut next = layout.number(bytes, at, length).ok_or(Failure::Truncated)?;
        let mut seen = HashSet::new();
        let mut offsets = Vec::new();
        while next != 0 && seen.insert(next) {
            if offsets.len() as u64 >= u64::from(max_pages) {
                return Err(Failure::TooManyPages { at_least: max_pages.saturating_add(1) });
            }
            offsets.push(next);
            next = layout.next(bytes, next).unwrap_or(0);
        }
        if offsets.is_empty() {
            return Err(Failure::NoPages);
        }
        Ok(Self { layout, offsets })
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.offsets.len()).unwrap_or(u32::MAX)
    }

    /// Writes the page's directory into the header as the first one.
    pub(super) fn show_as_first(&self, bytes: &mut [u8], index: u32) -> Result<(), Failure> {
        let (at, length) = self.layout.first();
        self.layout.set_number(bytes, at, length, self.offset(index)?).ok_or(Failure::Truncated)
    }

    /// The value of a tag of type SHORT; `None` where the page does not have it.
    pub(super) fn short(&self, bytes: &[u8], index: u32, tag: Tag) -> Option<u16> {
        let at = self.value(bytes, index, tag)?;
        self.layout.number(bytes, at, 2).and_then(|value| u16::try_from(value).ok())
    }

    /// Changes the value of a tag of type SHORT.
    pub(super) fn set_short(&self, bytes: &mut [u8], index: u32, tag: Tag, value: u16) -> Result<(), Failure> {
        let at = self.value(bytes, index, tag).ok_or(Failure::Malformed)?;
        self.layout.set_number(bytes, at, 2, value.into()).ok_or(Failure::Malformed)
    }

    fn offset(&self, index: u32) -> Result<u64, Failure> {
        let index = usize::try_from(index).map_err(|_| Failure::Malformed)?;
        self.offsets.get(index).copied().ok_or(Failure::PageOutOfRange { page_count: self.count() })
    }

    /// Where the value of a tag with one SHORT is.
    fn value(&self, bytes: &[u8], index: u32, tag: Tag) -> Option<usize> {
        const SHORT: u64 = 3;
        let (count_bytes, entry_bytes) = self.layout.sizes();
        let start = usize::try_from(self.offset(index).ok()?).ok()?;
        let count = self.layout.number(bytes, start, count_bytes)?;
        let mut at = start.checked_add(count_bytes)?;
        for _ in 0..count {
            if self.layout.number(bytes, at, 2)? == u64::from(tag.to_u16()) {
                let is_short = self.layout.number(bytes, at + 2, 2)? == SHORT;
                return is_short.then_some(at + entry_bytes - self.layout.first().1);
            }
            at = at.checked_add(entry_bytes)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of directories without entries, at these offsets.
    fn chain(offsets: &[u32]) -> Vec<u8> {
        let mut bytes = b"II*\0".to_vec();
        bytes.extend(offsets[0].to_le_bytes());
        bytes.resize(200, 0);
        for pair in offsets.windows(2) {
            bytes[pair[0] as usize + 2..][..4].copy_from_slice(&pair[1].to_le_bytes());
        }
        bytes
    }

    #[test]
    fn pages_are_counted_without_decoding() {
        let cases: Vec<(Vec<u32>, Result<u32, Failure>)> = vec![
            (vec![10, 20, 30, 0], Ok(3)),
            (vec![10, 20, 10], Ok(2)),
            (vec![10, 5000], Ok(2)),
            (vec![0], Err(Failure::NoPages)),
            (vec![10, 20, 30, 40, 50, 0], Err(Failure::TooManyPages { at_least: 5 })),
        ];
        for (offsets, expected) in cases {
            assert_eq!(Directories::read(&chain(&offsets), 4).map(|found| found.count()), expected, "{offsets:?}");
        }
    }

    #[test]
    fn a_header_that_is_cut_off_is_an_error() {
        for length in 0..8 {
            let result = Directories::read(&b"II*\0\x08\0\0\0"[..length], 4);
            assert_eq!(result.err(), Some(Failure::Truncated), "{length} bytes");
        }
    }

    #[test]
    fn both_byte_orders_and_both_sizes_are_read() {
        let big = |little: bool| {
            let number = |value: u64, length: usize| {
                let mut digits = value.to_be_bytes()[8 - length..].to_vec();
                if little {
                    digits.reverse();
                }
                digits
            };
            let mut bytes = if little { b"II".to_vec() } else { b"MM".to_vec() };
            bytes.extend(
                [number(43, 2), number(8, 2), number(0, 2), number(16, 8), number(0, 8), number(0, 8)].concat(),
            );
            bytes
        };
        for little in [true, false] {
            assert_eq!(Directories::read(&big(little), 4).unwrap().count(), 1);
        }
        let motorola = b"MM\0*\0\0\0\x08\0\0\0\0\0\0";
        assert_eq!(Directories::read(motorola, 4).unwrap().count(), 1);
    }
}
