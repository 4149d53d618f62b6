//! Images: cut short, with sizes that no memory holds, with parts that unpack without end.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use ocr_api::ErrorCode;
use rand::{Rng as _, rngs::StdRng};

use super::{Expect, Hostile};
use crate::pdf::{deflate, repeat_deflated};

const UNDECODABLE: Expect = Expect::Code(&[ErrorCode::Undecodable]);
const REFUSED: Expect = Expect::Code(&[ErrorCode::Undecodable, ErrorCode::TooManyPixels, ErrorCode::DecodeLimit]);
const TOO_LARGE: Expect = Expect::Code(&[ErrorCode::TooManyPixels]);
/// A reader may refuse a size that the format cannot have before it counts pixels.
const TOO_LARGE_OR_WRONG: Expect = Expect::Code(&[ErrorCode::TooManyPixels, ErrorCode::Undecodable]);

pub fn kinds(random: &mut StdRng) -> Vec<Hostile> {
    let mut kinds = Vec::new();
    for (name, format) in [
        ("truncated_jpeg", ImageFormat::Jpeg),
        ("truncated_png", ImageFormat::Png),
        ("truncated_gif", ImageFormat::Gif),
        ("truncated_webp", ImageFormat::WebP),
        ("truncated_tiff", ImageFormat::Tiff),
        ("truncated_bmp", ImageFormat::Bmp),
    ] {
        let mut bytes = encoded(random, format);
        bytes.truncate(bytes.len() / 2);
        kinds.push(Hostile::new(name, bytes, UNDECODABLE));
    }
    let mut jpeg = encoded(random, ImageFormat::Jpeg);
    jpeg.truncate(150);
    kinds.push(Hostile::new("jpeg_cut_in_its_header", jpeg, UNDECODABLE));
    for (name, format) in [
        ("flipped_bytes_png", ImageFormat::Png),
        ("flipped_bytes_jpeg", ImageFormat::Jpeg),
        ("flipped_bytes_webp", ImageFormat::WebP),
        ("flipped_bytes_tiff", ImageFormat::Tiff),
    ] {
        let good = encoded(random, format);
        kinds.push(Hostile::new(name, flipped(random, good), Expect::Anything));
    }
    kinds.extend([
        Hostile::new("png_65000_by_65000", png(65_000, 65_000, &deflate(&[0; 64])), TOO_LARGE),
        Hostile::new("png_of_no_size", png(0, 0, &deflate(&[])), UNDECODABLE),
        Hostile::new("png_with_wrong_checksums", png_with_wrong_checksums(), Expect::Anything),
        Hostile::new("png_text_bomb", png_text_bomb(), Expect::Anything),
        Hostile::new("png_with_too_much_data", png(16, 16, &repeat_deflated(&vec![0; 1 << 20], 200)), Expect::Anything),
        Hostile::new("png_with_a_chunk_of_4_gib", png_with_a_chunk_of_4_gib(), UNDECODABLE),
        Hostile::new("gif_65535_by_65535", gif(65_535, 65_535), TOO_LARGE_OR_WRONG),
        Hostile::new("gif_frame_outside_its_canvas", gif_frame_outside(), Expect::Anything),
        Hostile::new("bmp_with_negative_width", bmp(-100, 100), UNDECODABLE),
        Hostile::new("bmp_of_2_gigapixels", bmp(i32::MAX, 1), TOO_LARGE_OR_WRONG),
        Hostile::new("bmp_upside_down_at_the_lowest_number", bmp(1, i32::MIN), REFUSED),
        Hostile::new("tiff_directories_in_a_loop", tiff_loop(), Expect::Anything),
        Hostile::new("tiff_with_a_billion_strips", tiff_with(1_000_000_000, 100, 100), UNDECODABLE),
        Hostile::new("tiff_65535_by_65535", tiff_with(1, 65_535, 65_535), TOO_LARGE_OR_WRONG),
        Hostile::new("webp_16_million_square", webp_huge(), TOO_LARGE_OR_WRONG),
        Hostile::new("jpeg_65500_by_65500", jpeg_huge(), TOO_LARGE_OR_WRONG),
        Hostile::new("jpeg_with_a_loop_in_its_exif", jpeg_exif_loop(random), Expect::Anything),
    ]);
    kinds
}

/// A picture with something on it, so that it does not compress to nothing.
fn encoded(random: &mut StdRng, format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(96, 64, |_, _| Rgb([random.random(), random.random(), random.random()]));
    let mut bytes = Cursor::new(Vec::new());
    // Writing a picture of this size to memory cannot fail; an empty file would fail its case.
    let _ = picture.write_to(&mut bytes, format);
    bytes.into_inner()
}

/// One byte in a hundred is another one, the first twelve excepted.
fn flipped(random: &mut StdRng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..bytes.len() / 100 {
        let at = random.random_range(12..bytes.len());
        bytes[at] ^= random.random_range(1..=255);
    }
    bytes
}

/// An RGB PNG with these pixels, whatever they are.
fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header(width, height));
    chunk(&mut file, *b"IDAT", pixels);
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn header(width: u32, height: u32) -> Vec<u8> {
    let mut header = Vec::from(width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    header
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let mut checksum = flate2::Crc::new();
    checksum.update(&kind);
    checksum.update(data);
    file.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    file.extend_from_slice(&kind);
    file.extend_from_slice(data);
    file.extend_from_slice(&checksum.sum().to_be_bytes());
}

/// A small right picture whose checksums are all wrong by one bit.
fn png_with_wrong_checksums() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(*b"IHDR", header(1, 1)), (*b"IDAT", deflate(&[0, 1, 2, 3])), (*b"IEND", Vec::new())] {
        chunk(&mut file, kind, &data);
        if let Some(last) = file.last_mut() {
            *last ^= 1;
        }
    }
    file
}

/// A picture of one pixel with a comment of 1 GiB, packed into a megabyte.
fn png_text_bomb() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header(1, 1));
    let mut text = b"Comment\0\0".to_vec();
    text.extend_from_slice(&repeat_deflated(&vec![b'a'; 1 << 20], 1024));
    chunk(&mut file, *b"zTXt", &text);
    chunk(&mut file, *b"IDAT", &deflate(&[0, 1, 2, 3]));
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn png_with_a_chunk_of_4_gib() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header(10, 10));
    file.extend_from_slice(&u32::MAX.to_be_bytes());
    file.extend_from_slice(b"IDATxyz");
    file
}

/// A GIF with one frame of the canvas's size and a few bytes of data.
fn gif(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    gif_size(&mut file, width, height);
    file.extend_from_slice(&[0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    file.extend_from_slice(&[b',', 0, 0, 0, 0]);
    gif_size(&mut file, width, height);
    file.extend_from_slice(&[0, 2, 2, 0x44, 0x01, 0, b';']);
    file
}

fn gif_frame_outside() -> Vec<u8> {
    let mut file = gif(4, 4);
    // Left edge of the frame at 65535.
    if let Some(left) = file.get_mut(20..22) {
        left.fill(0xff);
    }
    file
}

fn gif_size(file: &mut Vec<u8>, width: u16, height: u16) {
    file.extend_from_slice(&width.to_le_bytes());
    file.extend_from_slice(&height.to_le_bytes());
}

/// An uncompressed BMP with a few bytes of data.
fn bmp(width: i32, height: i32) -> Vec<u8> {
    let mut file = b"BM".to_vec();
    for word in [100_u32, 0, 54, 40] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&width.to_le_bytes());
    file.extend_from_slice(&height.to_le_bytes());
    file.extend_from_slice(&[1, 0, 24, 0]);
    file.extend_from_slice(&[0; 24]);
    file.extend_from_slice(&[0x55; 46]);
    file
}

/// Entries of a TIFF directory: tag, type (3 short, 4 long), count, value.
fn tiff(entries: &[(u16, u16, u32, u32)], next: u32) -> Vec<u8> {
    let mut file = b"II*\x00\x08\x00\x00\x00".to_vec();
    file.extend_from_slice(&u16::try_from(entries.len()).unwrap_or_default().to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&next.to_le_bytes());
    file.extend_from_slice(&[0x40; 64]);
    file
}

/// A grey TIFF of 8 x 8 pixels whose next directory is itself.
fn tiff_loop() -> Vec<u8> {
    tiff(
        &[
            (256, 4, 1, 8),
            (257, 4, 1, 8),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, 110),
            (278, 4, 1, 8),
            (279, 4, 1, 64),
        ],
        8,
    )
}

/// A grey TIFF whose strips are said to be this many.
fn tiff_with(strips: u32, width: u32, height: u32) -> Vec<u8> {
    tiff(
        &[
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, strips, 110),
            (278, 4, 1, if strips == 1 { height } else { 1 }),
            (279, 4, strips, 110),
        ],
        0,
    )
}

/// A WebP whose extended header says 16,777,216 x 16,777,216.
fn webp_huge() -> Vec<u8> {
    let mut file = b"RIFF\x1e\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00".to_vec();
    file.extend_from_slice(&[0xff; 6]);
    file.extend_from_slice(b"VP8L\x00\x00\x00\x00");
    file
}

/// The headers of a JPEG of 65,500 x 65,500 and the beginning of its scan.
fn jpeg_huge() -> Vec<u8> {
    let mut file = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00".to_vec();
    file.extend_from_slice(b"\xff\xdb\x00\x43\x00");
    file.extend_from_slice(&[1; 64]);
    file.extend_from_slice(b"\xff\xc0\x00\x0b\x08\xff\xdc\xff\xdc\x01\x01\x11\x00");
    // One Huffman code of one bit, which stands for 0; the same for the brightness and for all other coefficients.
    for class in [0x00, 0x10] {
        file.extend_from_slice(&[0xff, 0xc4, 0, 20, class, 1]);
        file.extend_from_slice(&[0; 16]);
    }
    file.extend_from_slice(b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00");
    file.extend_from_slice(&[0x55; 2_000]);
    file
}

/// A right JPEG with an EXIF block whose directory points at itself.
fn jpeg_exif_loop(random: &mut StdRng) -> Vec<u8> {
    let mut exif = b"Exif\0\0".to_vec();
    // Orientation 6, and the EXIF directory (0x8769) at the first one.
    exif.extend_from_slice(&tiff(&[(0x0112, 3, 1, 6), (0x8769, 4, 1, 8)], 8));
    let mut block = b"\xff\xe1".to_vec();
    block.extend_from_slice(&u16::try_from(exif.len() + 2).unwrap_or_default().to_be_bytes());
    block.extend_from_slice(&exif);
    let mut jpeg = encoded(random, ImageFormat::Jpeg);
    jpeg.splice(2..2, block);
    jpeg
}

#[cfg(test)]
mod tests {
    use image::ImageReader;

    use super::*;

    fn size(bytes: &[u8]) -> (u32, u32) {
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().into_dimensions().unwrap()
    }

    #[test]
    fn the_sizes_that_are_meant_are_those_that_a_reader_sees() {
        assert_eq!(size(&png(65_000, 65_000, &deflate(&[0; 64]))), (65_000, 65_000));
        assert_eq!(size(&gif(65_535, 65_535)), (65_535, 65_535));
        assert_eq!(size(&jpeg_huge()), (65_500, 65_500));
        assert_eq!(size(&tiff_with(1, 65_535, 65_535)), (65_535, 65_535));
    }

    #[test]
    fn a_huge_picture_is_a_small_file() {
        assert!(png(65_000, 65_000, &deflate(&[0; 64])).len() < 5_000);
    }

    #[test]
    fn the_picture_with_a_loop_in_its_exif_is_a_right_one() {
        use rand::SeedableRng as _;
        let jpeg = jpeg_exif_loop(&mut StdRng::seed_from_u64(1));
        assert!(image::load_from_memory(&jpeg).is_ok());
    }
}
