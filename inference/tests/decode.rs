//! Documents through real decode processes.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::{
    io::Cursor,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{open, options, pdf, png_header, settings, stream, text_pdf, tiff_with_a_lying_jpeg, with_password};
use image::{DynamicImage, ImageFormat, RgbImage};
use ocr_api::ErrorCode;
use ocr_inference::decode::{
    Channels, DecodeOptions, DecodePool, PageMemory, PoolSettings,
    sandbox::{
        probe::Attack,
        prove::{greeting, prove},
    },
};
use tokio_util::sync::CancellationToken;

const ENCRYPTED: &[u8] = include_bytes!("data/encrypted.pdf");

fn picture() -> RgbImage {
    RgbImage::from_fn(300, 200, |x, y| image::Rgb([(x % 256) as u8, (y % 256) as u8, 77]))
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn every_attack_is_denied() {
    let settings = settings();
    let hello = greeting(&settings).unwrap();
    assert!(hello.seccomp);
    assert!(hello.pdf);
    for attack in Attack::ALL {
        let proof = prove(&settings, attack).unwrap();
        assert!(proof.denied, "{}: {}", attack.as_str(), proof.how);
    }
}

#[tokio::test]
async fn an_image_comes_through_as_it_is() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let mut document = open(&pool, png(picture())).await.unwrap();
    assert_eq!(document.page_count, 1);
    for _ in 0..2 {
        let page = document.page(0).await.unwrap();
        assert_eq!((page.bitmap.width(), page.bitmap.height()), (300, 200));
        assert_eq!(page.bitmap.channels(), Channels::Rgb);
        assert!(page.bitmap.pixels() == picture().as_raw());
        assert_eq!(page.dpi, None);
    }
    let error = document.page(1).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PageOutOfRange);
    assert!(document.page(0).await.is_ok(), "an error of one page is none of the others'");
}

#[tokio::test]
async fn one_process_reads_documents_one_after_another() {
    let pool = DecodePool::start(settings()).await.unwrap();
    for _ in 0..20 {
        drop(open(&pool, png(picture())).await.unwrap());
    }
    // One is at work, one is ready; a third may have been started in between.
    assert!(pool.stats().spawned() <= 3, "{} processes for 20 documents", pool.stats().spawned());
    assert_eq!(pool.stats().deaths(), 0);
    assert_eq!(pool.stats().documents(), 20);
}

#[tokio::test]
async fn pages_of_a_pdf_come_in_any_order_and_at_the_resolution_asked_for() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let bytes = pdf(&[
        "<</Type/Catalog/Pages 2 0 R>>".into(),
        "<</Type/Pages/Kids[3 0 R 4 0 R 5 0 R]/Count 3>>".into(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 144]>>".into(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 144]/Rotate 90>>".into(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 14400 14400]>>".into(),
    ]);
    let mut document = open(&pool, bytes).await.unwrap();
    assert_eq!(document.page_count, 3);
    for (index, size, dpi, lowered) in
        [(2, (7000, 7000), 35, true), (0, (150, 300), 150, false), (1, (300, 150), 150, false)]
    {
        let page = document.page(index).await.unwrap();
        assert_eq!((page.bitmap.width(), page.bitmap.height()), size, "page {index}");
        assert_eq!((page.dpi, page.dpi_lowered), (Some(dpi), lowered), "page {index}");
        assert_eq!(page.bitmap.channels(), Channels::Grey);
        assert!(page.bitmap.pixels().iter().all(|pixel| *pixel == 255), "an empty page is white");
    }
}

#[tokio::test]
async fn colours_of_a_pdf_are_in_the_order_of_ours() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let bytes = pdf(&[
        "<</Type/Catalog/Pages 2 0 R>>".into(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".into(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 7.2 7.2]/Contents 4 0 R>>".into(),
        stream("", "1 0 0 rg 0 0 8 8 re f"),
    ]);
    let page = open(&pool, bytes).await.unwrap().page(0).await.unwrap();
    assert_eq!((page.bitmap.width(), page.bitmap.height()), (15, 15));
    assert_eq!(page.bitmap.pixels().len(), 15 * 15 * 3);
    assert_eq!(&page.bitmap.pixels()[..3], [255, 0, 0]);
}

/// The library's own fonts of last resort keep the shape that the last document gave them.
#[tokio::test]
async fn a_page_looks_the_same_whatever_was_decoded_before() {
    let documents: Vec<Vec<u8>> =
        ["Foo", "Bar-Bold", "Georgia", "Consolas"].iter().map(|font| text_pdf(font, "The quick brown fox")).collect();
    let pool = DecodePool::start(settings()).await.unwrap();
    let mut first: Vec<Vec<u8>> = Vec::new();
    for document in &documents {
        let alone = DecodePool::start(settings()).await.unwrap();
        let page = open(&alone, document.clone()).await.unwrap().page(0).await.unwrap();
        assert!(page.bitmap.pixels().iter().any(|pixel| *pixel < 100), "the text is there");
        first.push(page.bitmap.pixels().to_vec());
    }
    assert!(first[0] != first[2] && first[0] != first[3], "fonts of different kinds look different");
    for round in 0..3 {
        for (document, expected) in documents.iter().zip(&first) {
            let page = open(&pool, document.clone()).await.unwrap().page(0).await.unwrap();
            assert!(page.bitmap.pixels() == expected, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_password_opens_and_its_absence_is_told_from_a_wrong_one() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let error = open(&pool, ENCRYPTED).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PasswordRequired);
    for wrong in ["", "wrong", "correct\0horse", &"x".repeat(2000)] {
        let error = pool.open(ENCRYPTED.into(), with_password(wrong), CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PasswordWrong, "{} bytes", wrong.len());
        assert!(wrong.is_empty() || !error.message.contains(wrong));
    }
    let mut document =
        pool.open(ENCRYPTED.into(), with_password("correct horse"), CancellationToken::new()).await.unwrap();
    assert!(document.page(0).await.unwrap().bitmap.pixels().iter().any(|pixel| *pixel < 100));
}

#[tokio::test]
async fn what_cannot_be_decoded_is_refused_with_the_right_code() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let jpeg = {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(picture()).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    };
    let page = |count: usize| {
        pdf(&[
            "<</Type/Catalog/Pages 2 0 R>>".into(),
            format!("<</Type/Pages/Kids[{}]/Count {count}>>", "3 0 R ".repeat(count)),
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>".into(),
        ])
    };
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("nothing", vec![], ErrorCode::EmptyBody),
        ("text", b"plain text".to_vec(), ErrorCode::UnsupportedMedia),
        ("half a JPEG", jpeg[..jpeg.len() / 2].to_vec(), ErrorCode::Undecodable),
        ("noise after a JPEG's first bytes", [&jpeg[..3], &[7; 500]].concat(), ErrorCode::Undecodable),
        ("a PNG of 65,000 x 65,000", png_header(65_000, 65_000), ErrorCode::TooManyPixels),
        ("a PNG of 1 x 70,000", png_header(1, 70_000), ErrorCode::TooManyPixels),
        ("half a PNG", png(picture())[..200].to_vec(), ErrorCode::Undecodable),
        ("a PDF's first bytes", b"%PDF-1.7\n".to_vec(), ErrorCode::Undecodable),
        ("a PDF without pages", page(0), ErrorCode::Undecodable),
        ("a PDF of 201 pages", page(201), ErrorCode::TooManyPages),
        ("a TIFF's first bytes", b"II*\0\x08\0\0\0".to_vec(), ErrorCode::Undecodable),
        ("a TIFF with a JPEG that lies about its size", tiff_with_a_lying_jpeg(), ErrorCode::Undecodable),
        ("more than the limit", vec![0; (10 << 20) + 1], ErrorCode::TooLarge),
    ];
    for (name, bytes, expected) in cases {
        let error = open(&pool, bytes).await.unwrap_err();
        assert_eq!(error.code, expected, "{name}: {}", error.message);
    }
    assert_eq!(pool.stats().deaths(), 0);
}

#[tokio::test]
async fn a_bomb_is_refused_by_its_header() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let started = Instant::now();
    for _ in 0..10 {
        open(&pool, png_header(65_000, 65_000)).await.unwrap_err();
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?} for ten", started.elapsed());
}

#[tokio::test]
async fn the_requests_limit_on_pixels_holds_below_the_pools() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let bytes = png(picture());
    let limited = |max_pixels| DecodeOptions { max_pixels, ..options() };
    let refused = pool.open(bytes.clone().into(), limited(59_999), CancellationToken::new()).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::TooManyPixels);
    assert!(pool.open(bytes.into(), limited(60_000), CancellationToken::new()).await.is_ok());
}

/// Else a server that has no memory for a page could not try out what takes less.
#[tokio::test]
async fn a_page_of_our_own_waits_neither_for_a_place_nor_for_memory() {
    let memory = PageMemory::new(Some(1 << 30));
    let pool = DecodePool::start(PoolSettings { memory, open: 1, ..settings() }).await.unwrap();
    let (others, bytes) = (pool.clone(), Bytes::from(png(picture())));
    let waiting = tokio::spawn(async move { open(&others, png(picture())).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "there is no memory for it");
    let own = DecodeOptions { is_proof: true, deadline: Instant::now() + Duration::from_secs(5), ..options() };
    let mut document = pool.open(bytes, own, CancellationToken::new()).await.unwrap();
    assert!(document.page(0).await.is_ok());
    assert!(!waiting.is_finished());
    waiting.abort();
}
