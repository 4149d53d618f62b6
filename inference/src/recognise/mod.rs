//! Reads the lines that were found: cuts each out of the page at its final size, and turns the network's steps into text.
//!
//! Pure: a page and a box to the network's input, the network's output to characters.

mod crop;
mod ctc;
mod homography;
mod level;
mod steps;

pub use crop::{Cut, LineFormat, cut, line};
pub use ctc::{Glyph, Reading, read};
pub use steps::{Steps, StepsError};

#[cfg(test)]
pub(crate) mod tests {
    use ocr_api::manifest::{Crop, File, Normalise, Recogniser, RecogniserOutput};

    /// A recogniser's parameters; each differs from every bundle's, so that a swap shows.
    pub fn recogniser() -> Recogniser {
        let file = |name: &str| File { file: name.into(), sha256: String::new(), bytes: 0 };
        Recogniser {
            name: "test".into(),
            file: file("rec.onnx"),
            fp16: None,
            int8: None,
            int8_qdq: None,
            dictionary: file("dictionary.txt"),
            classes: 5,
            architecture: "test".into(),
            output: RecogniserOutput::Reduced,
            languages: vec!["en".into()],
            normalise: Normalise { mean: [0.25, 0.5, 0.75], std: [0.5, 0.25, 0.125] },
            crop: Crop::OneStep,
            height: 24,
            width_multiple: 16,
            min_width: 48,
            max_width: 640,
            batch: 4,
            space_threshold: Some(0.2),
            drop_score: 0.4,
        }
    }
}
