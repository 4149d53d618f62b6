//! TIFF: many pages, and many ways to store one.
//!
//! The `tiff` crate decodes a page; what it does not know is done around it: palettes, and everything about faxes
//! but plain Group 4 (see [`fax`]). It starts at the first page and refuses a file whose first page is broken, so each
//! page is shown to it as the first one, by the offset in the header of our own copy of the bytes.

mod directory;
mod fax;
mod samples;

use std::io::Cursor;

use image::{ColorType, metadata::Orientation};
use tiff::{
    TiffError,
    decoder::{ChunkType, Decoder, DecodingResult, Limits},
    tags::Tag,
};

use self::{
    directory::Directories,
    samples::{Layout, to_page},
};
use super::{
    Document, jpeg,
    pixels::{Rendered, check_size, cost},
};
use crate::decode::{Failure, protocol::Open};

/// A page's decoder over our copy of the file.
type Page<'a> = Decoder<Cursor<&'a [u8]>>;

/// `PhotometricInterpretation` of an image whose samples are indices into `ColorMap`, and of one whose are grey.
const PALETTE: u16 = 3;
const BLACK_IS_ZERO: u16 = 1;

/// `Compression` by JPEG, of the second kind; the first one was never clear and is not read.
const JPEG: u16 = 7;

/// Bytes a pixel of the widest page that is decoded: 16-bit RGBA.
const SAMPLE_BYTES_PER_PIXEL: u64 = 8;

pub(super) struct TiffDocument {
    bytes: Vec<u8>,
    directories: Directories,
    max_pixels: u64,
}

impl TiffDocument {
    pub(super) fn open(bytes: Vec<u8>, open: &Open) -> Result<Self, Failure> {
        let directories = Directories::read(&bytes, open.max_pages)?;
        Ok(Self { bytes, directories, max_pixels: open.max_pixels })
    }

    /// The size of a page, by its directory alone.
    fn size(&mut self, index: u32) -> Result<(u32, u32), Failure> {
        self.directories.show_as_first(&mut self.bytes, index)?;
        let mut decoder = Decoder::new(Cursor::new(self.bytes.as_slice())).map_err(|error| failure(&error))?;
        let (width, height) = decoder.dimensions().map_err(|error| failure(&error))?;
        check_size(width, height, self.max_pixels)?;
        Ok((width, height))
    }

    fn decode(&mut self, index: u32) -> Result<Rendered, Failure> {
        let size = self.size(index)?;
        let photometric = self.directories.short(&self.bytes, index, Tag::PhotometricInterpretation);
        if photometric != Some(PALETTE) {
            return decode_page(&self.bytes, size, self.limits(), false);
        }
        // The crate refuses palettes; as a grey image it gives the indices.
        self.directories.set_short(&mut self.bytes, index, Tag::PhotometricInterpretation, BLACK_IS_ZERO)?;
        let page = decode_page(&self.bytes, size, self.limits(), true);
        self.directories.set_short(&mut self.bytes, index, Tag::PhotometricInterpretation, PALETTE)?;
        page
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let page_bytes = SAMPLE_BYTES_PER_PIXEL.saturating_mul(self.max_pixels);
        limits.decoding_buffer_size = usize::try_from(page_bytes).unwrap_or(usize::MAX);
        limits.intermediate_buffer_size = self.bytes.len();
        limits
    }
}

impl Document for TiffDocument {
    fn page_count(&self) -> u32 {
        self.directories.count()
    }

    fn cost(&mut self, index: u32) -> Result<u64, Failure> {
        if index >= self.page_count() {
            return Err(Failure::PageOutOfRange { page_count: self.page_count() });
        }
        let size = self.size(index)?;
        let number = |tag| u64::from(self.directories.short(&self.bytes, index, tag).unwrap_or(1));
        // Each sample has as many bits as the first: others are refused.
        let bits = number(Tag::BitsPerSample).max(8) * number(Tag::SamplesPerPixel);
        // Turned or not: a scan seldom is, and a page that is must not be more than was said.
        Ok(cost(size, bits / 8, ColorType::Rgba8, Orientation::Rotate90))
    }

    fn page(&mut self, index: u32) -> Result<Rendered, Failure> {
        if index >= self.page_count() {
            return Err(Failure::PageOutOfRange { page_count: self.page_count() });
        }
        self.decode(index)
    }
}

fn decode_page(bytes: &[u8], size: (u32, u32), limits: Limits, palette: bool) -> Result<Rendered, Failure> {
    let most = limits.decoding_buffer_size;
    let decoder = Decoder::new(Cursor::new(bytes)).map_err(|error| failure(&error))?;
    let mut page: Page<'_> = decoder.with_limits(limits);
    let orientation = short(&mut page, Tag::Orientation)?
        .and_then(|tag| u8::try_from(tag).ok())
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms);
    if let Some(scheme) = fax::Scheme::of(&mut page)? {
        return fax::decode(&mut page, bytes, size, scheme, orientation);
    }
    check_jpeg_sizes(&mut page, bytes)?;
    let colors = page.colortype().map_err(|error| failure(&error))?;
    let color_map =
        if palette { Some(page.get_tag_u16_vec(Tag::ColorMap).map_err(|error| failure(&error))?) } else { None };
    let premultiplied = first_extra_sample(&mut page)? == Some(samples::ASSOCIATED_ALPHA);
    let has_alpha = first_extra_sample(&mut page)?.is_some_and(|kind| kind != 0);
    let needed = page.image_buffer_layout().map_err(|error| failure(&error))?.complete_len;
    if needed > most {
        return Err(Failure::OutOfMemory);
    }
    let mut result = DecodingResult::U8(Vec::new());
    let buffer = page.read_image_to_buffer(&mut result).map_err(|error| failure(&error))?;
    let layout =
        Layout { size, colors, planes: buffer.planes, color_map: color_map.as_deref(), has_alpha, premultiplied };
    to_page(result, &layout, orientation)
}

/// Refuses a JPEG in a strip or tile that says it is larger than that: the decoder would allocate for the JPEG, and no
/// limit is passed on to it.
fn check_jpeg_sizes(page: &mut Page<'_>, file: &[u8]) -> Result<(), Failure> {
    if short(page, Tag::Compression)? != Some(JPEG) {
        return Ok(());
    }
    let (width, height) = page.chunk_dimensions();
    let (offsets, lengths) = match page.get_chunk_type() {
        ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
        ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
    };
    let offsets = numbers(page, offsets)?;
    let lengths = numbers(page, lengths)?;
    for (offset, length) in offsets.iter().zip(&lengths) {
        let chunk = section(file, *offset, *length).ok_or(Failure::Truncated)?;
        // Encoders may round up to whole blocks.
        let fits = jpeg::frame_size(chunk).is_some_and(|(columns, rows)| {
            u32::from(columns) <= width.saturating_add(15) && u32::from(rows) <= height.saturating_add(15)
        });
        if !fits {
            return Err(Failure::Malformed);
        }
    }
    Ok(())
}

fn numbers(page: &mut Page<'_>, tag: Tag) -> Result<Vec<u64>, Failure> {
    page.find_tag_unsigned_vec(tag).map_err(|error| failure(&error))?.ok_or(Failure::Unsupported)
}

/// Bytes of a strip or tile. The last one of a file is often announced longer than it is.
fn section(file: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?.min(file.len());
    file.get(start..end).filter(|section| !section.is_empty())
}

fn first_extra_sample(page: &mut Page<'_>) -> Result<Option<u16>, Failure> {
    let samples = page.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).map_err(|error| failure(&error))?;
    Ok(samples.and_then(|samples| samples.first().copied()))
}

fn short(page: &mut Page<'_>, tag: Tag) -> Result<Option<u16>, Failure> {
    page.find_tag_unsigned(tag).map_err(|error| failure(&error))
}

fn failure(error: &TiffError) -> Failure {
    match error {
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Failure::Truncated,
        TiffError::UnsupportedError(_) => Failure::Unsupported,
        _ => Failure::Malformed,
    }
}

#[cfg(test)]
mod tests;
