//! Files of no kind that is read, or with nothing but the beginning of one.

use ocr_api::ErrorCode;
use rand::{RngCore as _, rngs::StdRng};

use super::{Expect, Hostile};

const UNSUPPORTED: Expect = Expect::Code(&[ErrorCode::UnsupportedMedia]);
/// The first bytes name a kind, the rest is noise.
const BROKEN: Expect = Expect::Code(&[ErrorCode::Undecodable, ErrorCode::UnsupportedMedia, ErrorCode::TooManyPixels]);

/// Names and beginnings of the kinds that are read.
const MAGIC: [(&str, &[u8]); 7] = [
    ("random_after_jpeg_magic", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"),
    ("random_after_png_magic", b"\x89PNG\r\n\x1a\n"),
    ("random_after_gif_magic", b"GIF89a"),
    ("random_after_webp_magic", b"RIFF\x10\x20\x00\x00WEBPVP8 "),
    ("random_after_tiff_magic", b"II*\x00"),
    ("random_after_bmp_magic", b"BM"),
    ("random_after_pdf_magic", b"%PDF-1.7\n"),
];

pub fn kinds(random: &mut StdRng) -> Vec<Hostile> {
    let mut kinds = vec![
        Hostile::new("empty", Vec::new(), Expect::Code(&[ErrorCode::EmptyBody])),
        Hostile::new("one_byte", vec![0], UNSUPPORTED),
        Hostile::new(
            "html",
            b"<!doctype html><html><body onload=\"alert(1)\">text</body></html>".to_vec(),
            UNSUPPORTED,
        ),
        Hostile::new("svg_with_an_entity_bomb", svg_bomb(), UNSUPPORTED),
        Hostile::new("elf", elf(random), UNSUPPORTED),
        Hostile::new("zip", zip(), UNSUPPORTED),
        Hostile::new("random", noise(random, b"\x00\x01", 5_000), UNSUPPORTED),
    ];
    for (name, magic) in MAGIC {
        kinds.push(Hostile::new(name, noise(random, magic, 20_000), BROKEN));
    }
    kinds
}

/// `start`, then random bytes.
fn noise(random: &mut StdRng, start: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes.splice(0..start.len(), start.iter().copied());
    bytes
}

fn svg_bomb() -> Vec<u8> {
    use std::fmt::Write as _;
    let mut svg = String::from("<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY a0 \"aaaaaaaaaa\">");
    for level in 1..10 {
        // Writing to a string cannot fail.
        let _ = write!(svg, "<!ENTITY a{level} \"{}\">", format!("&a{};", level - 1).repeat(10));
    }
    svg.push_str("]><svg xmlns=\"http://www.w3.org/2000/svg\"><text>&a9;</text></svg>");
    svg.into_bytes()
}

fn elf(random: &mut StdRng) -> Vec<u8> {
    noise(random, b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x3e\x00", 4_096)
}

/// A zip with one empty file of the name `a`.
fn zip() -> Vec<u8> {
    let mut zip = b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00a".to_vec();
    let directory = zip.len();
    zip.extend_from_slice(b"PK\x01\x02\x14\x00\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00");
    zip.extend_from_slice(&[0; 16]);
    zip.push(b'a');
    let length = u32::try_from(zip.len() - directory).unwrap_or_default();
    zip.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    zip.extend_from_slice(&length.to_le_bytes());
    zip.extend_from_slice(&u32::try_from(directory).unwrap_or_default().to_le_bytes());
    zip.extend_from_slice(&[0, 0]);
    zip
}
