//! Finds where text stands on a page, by differentiable binarisation (DB, arXiv 1911.08947): a network gives every pixel
//! the probability that it belongs to the core of a line; connected pixels become boxes, grown back to the line's size.
//!
//! Pure: a bitmap to the network's input, the network's output to boxes.

mod bilinear;
mod boxes;
mod components;
mod input;
mod padding;
mod rectangle;
mod unclip;

pub use boxes::{TextBox, boxes};
pub(crate) use input::level_table;
pub use input::{input, resized};
pub use padding::{cropped, padded};
pub use rectangle::{convex_hull, min_area_rectangle, reading_corners};

#[cfg(test)]
pub(crate) mod tests {
    use ocr_api::manifest::{Detector, File, LimitSide, Normalise, Resample, Unclip};

    /// A detector's parameters; each differs from every bundle's, so that a swap shows.
    pub fn detector() -> Detector {
        Detector {
            file: File { file: "det.onnx".into(), sha256: String::new(), bytes: 0 },
            fp16: None,
            architecture: "test".into(),
            normalise: Normalise { mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.5] },
            limit_side: LimitSide::Max,
            limit_length: 640,
            max_length: 1280,
            resample: Resample::Fast,
            threshold: 0.25,
            box_threshold: 0.55,
            unclip_ratio: 1.3,
            max_candidates: 50,
            dilate: false,
            unclip: Unclip::Exact,
        }
    }
}
