//! Which way up a page is, by a classifier.

use ocr_api::manifest::{Orientation as Model, Resample};

use super::Turn;
use crate::{
    decode::Bitmap,
    detect::{input, resized},
    engine::Tensor,
};

/// The classifier's input: the page with its shorter side at the model's size, and of that the square in the middle.
#[must_use]
pub fn orientation_input(page: &Bitmap, model: &Model) -> Tensor {
    let (width, height) = (u64::from(page.width()), u64::from(page.height()));
    let shorter = width.min(height).max(1);
    let scaled =
        |side: u64| u32::try_from((side * u64::from(model.resize) + shorter / 2) / shorter).unwrap_or(u32::MAX);
    // A strip a thousand times longer than high would become huge: the middle is all that is looked at.
    let longest = model.resize.saturating_mul(16);
    let small = resized(page, scaled(width).clamp(1, longest), scaled(height).clamp(1, longest), Resample::Fast);
    input(&middle(&small, model.crop), &model.normalise)
}

/// The square in the middle of a page, as large as it can be up to `side`.
fn middle(page: &Bitmap, side: u32) -> Bitmap {
    let (width, height) = (page.width().min(side), page.height().min(side));
    let (left, top) = ((page.width() - width) / 2, (page.height() - height) / 2);
    let bytes = page.channels().bytes();
    let row = page.width() as usize * bytes;
    let (from, length) = (left as usize * bytes, width as usize * bytes);
    let pixels: Vec<u8> = page
        .pixels()
        .chunks_exact(row)
        .skip(top as usize)
        .take(height as usize)
        .flat_map(|row| row.iter().skip(from).take(length).copied())
        .collect();
    Bitmap::new(width, height, page.channels(), pixels).unwrap_or_else(|| page.clone())
}

/// The turn that puts the page upright, from the classifier's four probabilities: that the page was turned clockwise by 0,
/// 90, 180 and 270 degrees, so that it is turned by what is left to a whole turn. None where the likeliest is below the threshold, since a page turned
/// wrongly is lost, and one left as it was may still be read.
#[must_use]
pub fn upright_turn(probabilities: &[f32], threshold: f32) -> Turn {
    let likeliest = probabilities.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    match likeliest {
        Some((1, probability)) if probability >= threshold => Turn::ThreeQuarters,
        Some((2, probability)) if probability >= threshold => Turn::Half,
        Some((3, probability)) if probability >= threshold => Turn::Quarter,
        _ => Turn::None,
    }
}

#[cfg(test)]
mod tests {
    use ocr_api::manifest::{File, Normalise};

    use super::*;
    use crate::decode::Channels;

    #[test]
    fn the_middle_of_the_page_is_looked_at() {
        let page = Bitmap::new(4, 2, Channels::Grey, vec![1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!(middle(&page, 2).pixels(), [2, 3, 6, 7]);
        let page = Bitmap::new(2, 1, Channels::Rgb, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(middle(&page, 1).pixels(), [1, 2, 3]);
    }

    #[test]
    fn the_input_is_square_whatever_the_page() {
        let model = Model {
            file: File { file: "o.onnx".into(), sha256: String::new(), bytes: 0 },
            normalise: Normalise { mean: [0.5; 3], std: [0.5; 3] },
            resize: 32,
            crop: 28,
            threshold: 0.9,
        };
        for (width, height) in [(10, 10), (300, 50), (3000, 2)] {
            let page = Bitmap::new(width, height, Channels::Grey, vec![9; (width * height) as usize]).unwrap();
            assert_eq!(orientation_input(&page, &model).shape, [1, 3, 28, 28], "{width}x{height}");
        }
    }

    #[test]
    fn a_page_is_turned_only_where_the_model_is_sure() {
        assert_eq!(upright_turn(&[0.0, 0.02, 0.95, 0.03], 0.9), Turn::Half);
        assert_eq!(upright_turn(&[0.0, 0.95, 0.02, 0.03], 0.9), Turn::ThreeQuarters);
        assert_eq!(upright_turn(&[0.1, 0.8, 0.1, 0.0], 0.9), Turn::None);
        assert_eq!(upright_turn(&[], 0.9), Turn::None);
    }
}
