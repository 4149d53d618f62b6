//! What the tests of real decode processes share. They run the program that was built, and need the PDF library and
//! the fonts: `make assets` brings them, or `OCR_PDFIUM` and `OCR_FONTS` say where they are.

#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses its part; a test may panic")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ocr_api::ErrorDetail;
use ocr_inference::decode::{DecodeOptions, DecodePool, OpenDocument, Password, PoolSettings};
use tokio_util::sync::CancellationToken;

fn asset(variable: &str, path: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets").join(path);
    assert!(assets.exists(), "need {path}; run `make assets` or set {variable}");
    assets
}

pub fn settings() -> PoolSettings {
    PoolSettings {
        program: env!("CARGO_BIN_EXE_ocr").into(),
        pdfium: Some(asset("OCR_PDFIUM", &format!("lib/{}/libpdfium.so", std::env::consts::ARCH))),
        fonts: Some(asset("OCR_FONTS", "fonts")),
        open: 4,
        page_timeout: Duration::from_secs(30),
        ..PoolSettings::default()
    }
}

pub fn options() -> DecodeOptions {
    DecodeOptions {
        is_proof: false,
        password: None,
        dpi: 150,
        max_pixels: 50_000_000,
        max_pages: 200,
        deadline: Instant::now() + Duration::from_mins(1),
    }
}

pub fn with_password(password: &str) -> DecodeOptions {
    DecodeOptions { password: Some(Password(password.into())), ..options() }
}

pub async fn open(pool: &DecodePool, bytes: impl Into<Bytes>) -> Result<OpenDocument, ErrorDetail> {
    pool.open(bytes.into(), options(), CancellationToken::new()).await
}

/// Waits until something is true; it must become so within seconds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < patience, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A PDF of these objects, numbered from 1; the first is the catalogue. The library finds them without a table.
pub fn pdf(objects: &[String]) -> Vec<u8> {
    let mut bytes = b"%PDF-1.4\n".to_vec();
    for (index, object) in objects.iter().enumerate() {
        bytes.extend(format!("{} 0 obj {object} endobj\n", index + 1).into_bytes());
    }
    bytes.extend(b"trailer <</Root 1 0 R>>\n%%EOF\n");
    bytes
}

pub fn stream(dictionary: &str, content: &str) -> String {
    format!("<<{dictionary}/Length {}>> stream\n{content}\nendstream", content.len())
}

/// A PDF of one page of 3 × 1 inches with a line of text in a font that it does not embed.
pub fn text_pdf(font: &str, text: &str) -> Vec<u8> {
    pdf(&[
        "<</Type/Catalog/Pages 2 0 R>>".into(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".into(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 216 72]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>".into(),
        stream("", &format!("BT /F 24 Tf 10 30 Td ({text}) Tj ET")),
        format!("<</Type/Font/Subtype/TrueType/BaseFont/{font}/Encoding/WinAnsiEncoding>>"),
    ])
}

/// A PDF whose second page takes years: ten forms, each of which draws the next one ten times.
pub fn endless_pdf() -> Vec<u8> {
    let mut objects = vec![
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents 5 0 R/Resources<</XObject<</X 6 0 R>>>>>>".to_owned(),
        stream("", "/X Do"),
    ];
    for next in 7..17 {
        objects.push(stream(
            &format!("/Type/XObject/Subtype/Form/BBox[0 0 72 72]/Resources<</XObject<</X {next} 0 R>>>>"),
            &"/X Do ".repeat(10),
        ));
    }
    objects.push(stream("/Type/XObject/Subtype/Form/BBox[0 0 72 72]", "0 0 m 72 72 l S"));
    pdf(&objects)
}

/// A PDF whose content unpacks to that many bytes, from a 158th of it.
pub fn memory_bomb(bytes: usize) -> Vec<u8> {
    let mut pdf = b"%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents 4 0 R>> endobj
"
    .to_vec();
    let content = zeros(bytes);
    pdf.extend(format!("4 0 obj <</Filter/FlateDecode/Length {}>> stream\n", content.len()).into_bytes());
    pdf.extend(content);
    pdf.extend(b"\nendstream endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n");
    pdf
}

/// About so many zeros, as zlib packs them: a zero, then "258 times the byte before" in 13 bits each.
fn zeros(bytes: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    // The last block, with the fixed codes; numbers lowest bit first, codes highest bit first.
    bits.extend([true, true, false]);
    let mut code = |value: u32, length: u32| bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    code(0b0011_0000, 8);
    for _ in 0..bytes / 258 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    code(0, 7);
    let mut packed = vec![0x78, 0x9c];
    packed.extend(
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0_u8, |value, (index, bit)| value | u8::from(*bit) << index)),
    );
    packed
}

/// A TIFF of 16 × 16 pixels whose only strip is a JPEG that says it has 16,000 × 16,000.
pub fn tiff_with_a_lying_jpeg() -> Vec<u8> {
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::DynamicImage::from(image::RgbImage::new(16, 16)).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let mut jpeg = jpeg.into_inner();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3e, 0x80, 0x3e, 0x80]);

    let entries: [(u16, u16, u32); 8] = [
        (256, 3, 16),
        (257, 3, 16),
        (258, 3, 8),
        (259, 3, 7),
        (262, 3, 6),
        (273, 4, 8),
        (277, 3, 3),
        (279, 4, u32::try_from(jpeg.len()).unwrap()),
    ];
    let mut bytes = b"II*\0".to_vec();
    bytes.extend(u32::try_from(8 + jpeg.len()).unwrap().to_le_bytes());
    bytes.extend(&jpeg);
    bytes.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
    for (tag, kind, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    bytes
}

/// A PNG of a few bytes that says it has this size.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::DynamicImage::from(image::GrayImage::new(1, 1)).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let mut bytes = png.into_inner();
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |checksum, byte| {
        (0..8).fold(
            checksum ^ u32::from(*byte),
            |value, _| {
                if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 }
            },
        )
    })
}
