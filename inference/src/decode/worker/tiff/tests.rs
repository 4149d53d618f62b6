use std::io::Cursor;

use tiff::encoder::{TiffEncoder, colortype};

use super::*;
use crate::decode::Kind;

fn opening(max_pixels: u64, max_pages: u32) -> Open {
    Open { kind: Kind::Tiff, body_bytes: 0, password: None, dpi: 150, max_pixels, max_pages }
}

fn write(fill: impl FnOnce(&mut TiffEncoder<&mut Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    fill(&mut TiffEncoder::new(&mut bytes).unwrap());
    bytes.into_inner()
}

fn first_page(bytes: Vec<u8>) -> Rendered {
    TiffDocument::open(bytes, &opening(10_000, 10)).unwrap().page(0).unwrap()
}

#[test]
fn pages_are_decoded_in_any_order() {
    let bytes = write(|file| {
        for value in [10, 20, 30] {
            file.write_image::<colortype::Gray8>(4, 2, &[value; 8]).unwrap();
        }
    });
    let mut document = TiffDocument::open(bytes, &opening(10_000, 3)).unwrap();
    assert_eq!(document.page_count(), 3);
    for (index, value) in [(2, 30), (0, 10), (1, 20), (2, 30)] {
        let page = document.page(index).unwrap();
        assert_eq!((page.width, page.height, page.grey), (4, 2, true));
        assert_eq!(page.pixels, vec![value; 8]);
    }
    assert!(matches!(document.page(3), Err(Failure::PageOutOfRange { page_count: 3 })));
}

#[test]
fn more_pages_than_the_limit_are_refused() {
    let bytes = write(|file| {
        for _ in 0..3 {
            file.write_image::<colortype::Gray8>(1, 1, &[0]).unwrap();
        }
    });
    let result = TiffDocument::open(bytes, &opening(10_000, 2));
    assert_eq!(result.err(), Some(Failure::TooManyPages { at_least: 3 }));
}

#[test]
fn a_page_over_the_limit_fails_alone() {
    let bytes = write(|file| {
        file.write_image::<colortype::Gray8>(20, 20, &[0; 400]).unwrap();
        file.write_image::<colortype::Gray8>(4, 4, &[9; 16]).unwrap();
    });
    let mut document = TiffDocument::open(bytes, &opening(100, 10)).unwrap();
    assert_eq!(document.page(0).err(), Some(Failure::TooManyPixels { width: 20, height: 20 }));
    assert_eq!(document.page(1).unwrap().pixels, vec![9; 16]);
}

#[test]
fn a_broken_first_page_does_not_take_the_second_with_it() {
    let mut bytes = write(|file| {
        file.write_image::<colortype::Gray8>(4, 4, &[1; 16]).unwrap();
        file.write_image::<colortype::Gray8>(4, 4, &[2; 16]).unwrap();
    });
    let directories = Directories::read(&bytes, 10).unwrap();
    directories.set_short(&mut bytes, 0, Tag::PhotometricInterpretation, 99).unwrap();
    let mut document = TiffDocument::open(bytes, &opening(100, 10)).unwrap();
    assert!(document.page(0).is_err());
    assert_eq!(document.page(1).unwrap().pixels, vec![2; 16]);
}

#[test]
fn every_kind_of_sample_is_right() {
    let grey16 = write(|file| file.write_image::<colortype::Gray16>(2, 1, &[65_535, 257]).unwrap());
    assert_eq!(first_page(grey16).pixels, vec![255, 1]);
    let rgb = write(|file| file.write_image::<colortype::RGB8>(1, 1, &[1, 2, 3]).unwrap());
    assert_eq!(first_page(rgb).pixels, vec![1, 2, 3]);
    let rgb16 = write(|file| file.write_image::<colortype::RGB16>(1, 1, &[0, 257, 65_535]).unwrap());
    assert_eq!(first_page(rgb16).pixels, vec![0, 1, 255]);
    let cmyk = write(|file| file.write_image::<colortype::CMYK8>(1, 1, &[255, 0, 0, 0]).unwrap());
    assert_eq!(first_page(cmyk).pixels, vec![0, 255, 255]);
    let float = write(|file| file.write_image::<colortype::Gray32Float>(2, 1, &[1.0, 0.0]).unwrap());
    assert_eq!(first_page(float).pixels, vec![255, 0]);
    let clear = write(|file| file.write_image::<colortype::RGBA8>(2, 1, &[9, 8, 7, 0, 9, 8, 7, 255]).unwrap());
    assert_eq!(first_page(clear).pixels, vec![255, 255, 255, 9, 8, 7]);
}

#[test]
fn a_palette_is_looked_up_every_time() {
    let mut colors = vec![0_u16; 768];
    colors[5] = 65_535;
    colors[256 + 6] = 65_535;
    let mut bytes = write(|file| {
        let mut page = file.new_image::<colortype::Gray8>(2, 1).unwrap();
        page.encoder().write_tag(Tag::ColorMap, colors.as_slice()).unwrap();
        page.write_data(&[5, 6]).unwrap();
    });
    let directories = Directories::read(&bytes, 10).unwrap();
    directories.set_short(&mut bytes, 0, Tag::PhotometricInterpretation, PALETTE).unwrap();
    let mut document = TiffDocument::open(bytes, &opening(10_000, 10)).unwrap();
    for _ in 0..2 {
        assert_eq!(document.page(0).unwrap().pixels, vec![255, 0, 0, 0, 255, 0]);
    }
}

#[test]
fn white_is_zero_is_turned_around() {
    let mut bytes = write(|file| file.write_image::<colortype::Gray8>(2, 1, &[0, 200]).unwrap());
    let directories = Directories::read(&bytes, 10).unwrap();
    directories.set_short(&mut bytes, 0, Tag::PhotometricInterpretation, 0).unwrap();
    assert_eq!(first_page(bytes).pixels, vec![255, 55]);
}

#[test]
fn the_orientation_tag_turns_the_page() {
    let bytes = write(|file| {
        let mut page = file.new_image::<colortype::Gray8>(2, 1).unwrap();
        page.encoder().write_tag(Tag::Orientation, 6_u16).unwrap();
        page.write_data(&[10, 20]).unwrap();
    });
    let page = first_page(bytes);
    assert_eq!((page.width, page.height, page.pixels), (1, 2, vec![10, 20]));
}

#[test]
fn half_a_file_is_an_error() {
    let bytes = write(|file| file.write_image::<colortype::RGB8>(30, 30, &[7; 2700]).unwrap());
    for length in (8..bytes.len()).step_by(97) {
        let page = TiffDocument::open(bytes[..length].to_vec(), &opening(10_000, 10))
            .and_then(|mut document| document.page(0));
        assert!(page.is_err(), "{length} of {} bytes", bytes.len());
    }
}
