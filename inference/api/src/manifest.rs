//! `model.yaml`: what a model bundle says of itself.
//!
//! A bundle is a folder with this file and the files that it names. Everything that the pipeline does differently for
//! another model stands here, so that a new model needs no new code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The manifest of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Format of this file. Only [`Manifest::SCHEMA`] is read.
    pub schema: String,
    /// Name of the bundle: a DNS label.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// What the bundle does; only one kind exists so far.
    pub kind: Kind,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// Where the weights come from, for people.
    pub source: String,
    /// Brings every page to a size before its text is searched. Absent: pages are read as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<PageSize>,
    pub detector: Detector,
    /// Recognisers in order of preference: the first that reads all the languages asked for is used.
    pub recognisers: Vec<Recogniser>,
    /// Turns pages upright, where the bundle can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<Orientation>,
    /// Turns single lines upright; used only where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_orientation: Option<LineOrientation>,
    /// Memory that a pod needs, by strategy, as measured.
    pub memory: BTreeMap<String, Memory>,
    /// What a page costs, in units that no hardware changes.
    pub cost: Cost,
}

impl Manifest {
    /// The value of `schema` that this version reads.
    pub const SCHEMA: &'static str = "ocrpool.dev/bundle/v1";

    /// All files that the manifest names, in its order. Two recognisers may name the same one.
    #[must_use]
    pub fn files(&self) -> Vec<&File> {
        let mut files = vec![&self.detector.file];
        files.extend(&self.detector.fp16);
        for recogniser in &self.recognisers {
            files.push(&recogniser.file);
            files.extend(recogniser.fp16.iter().chain(&recogniser.int8).chain(&recogniser.int8_qdq));
            files.push(&recogniser.dictionary);
        }
        files.extend(self.orientation.iter().map(|orientation| &orientation.file));
        files.extend(self.line_orientation.iter().map(|orientation| &orientation.file));
        files
    }

    /// Bytes of all its files, each counted once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let by_name: BTreeMap<&str, u64> =
            self.files().into_iter().map(|file| (file.file.as_str(), file.bytes)).collect();
        by_name.into_values().fold(0, u64::saturating_add)
    }
}

/// What a bundle does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Finds lines and reads them.
    TextLines,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// Name inside the bundle's folder; no separators.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// The numbers that a network computes with. Its input and output are 32-bit floats in every precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats, where they are exact enough.
    Fp16,
    /// 8-bit integers in the convolutions of 1 x 1, by an operator of ONNX Runtime's for CPUs.
    Int8,
    /// 8-bit integers in the same convolutions, said by pairs of `QuantizeLinear` and `DequantizeLinear`, for TensorRT.
    Int8Qdq,
}

impl Precision {
    /// As manifests, logs and the status have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Int8Qdq => "int8-qdq",
        }
    }

    /// What the detector computes with beside a recogniser of this precision. It has no form of 8 bits, which would gain 6 %
    /// and lose accuracy: on a CPU 32-bit floats stand beside bytes, on a GPU the 16-bit ones that are shown to read as well
    /// and that CUDA computes fast where TensorRT leaves it an operator.
    #[must_use]
    pub const fn of_detector(self) -> Self {
        match self {
            Self::Fp32 | Self::Int8 => Self::Fp32,
            Self::Fp16 | Self::Int8Qdq => Self::Fp16,
        }
    }
}

/// Lengths that a page's sides are brought between, as RapidOCR does it: a page that is too large or too small is
/// resampled to sides that are multiples of 32 pixels, and lines are then both found on and cut from that page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageSize {
    /// The longer side is reduced to this, in pixels.
    pub max_length: u32,
    /// The shorter side is enlarged to this, in pixels.
    pub min_length: u32,
}

/// How pixel values become the network's input: `(value / 255 - mean) / std`, channels in the order blue, green, red.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Normalise {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// Which side of a page is brought to a size before detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LimitSide {
    /// The shorter side is enlarged to the limit where it is below.
    Min,
    /// The longer side is reduced to the limit where it is above.
    Max,
}

/// The text detector: a network whose output is a map of the probability that a pixel belongs to text (DB, arXiv 1911.08947).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Detector {
    pub file: File,
    /// The same network in [`Precision::Fp16`], for GPUs. Read only where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp16: Option<File>,
    /// The network's name. It is compared with the property `architecture` of the file, where the file has one.
    pub architecture: String,
    pub normalise: Normalise,
    /// Which side `limit_length` speaks of.
    pub limit_side: LimitSide,
    /// Pixels.
    pub limit_length: u32,
    /// Longest side that the network is ever given, in pixels.
    pub max_length: u32,
    /// How a page is brought to the network's size, and to [`Manifest::page_size`].
    #[serde(default)]
    pub resample: Resample,
    /// A pixel above this probability is text.
    pub threshold: f32,
    /// A box whose mean probability is below this is dropped.
    pub box_threshold: f32,
    /// How far a box is grown: area x ratio / perimeter on each side.
    pub unclip_ratio: f32,
    /// Most boxes of a page.
    pub max_candidates: u32,
    /// Grow the mask by a pixel to the right and below before boxes are searched, as RapidOCR does.
    #[serde(default)]
    pub dilate: bool,
    /// How a box is grown.
    #[serde(default)]
    pub unclip: Unclip,
}

impl Detector {
    /// The network in that precision, where the bundle has it.
    #[must_use]
    pub const fn file_in(&self, precision: Precision) -> Option<&File> {
        match precision {
            Precision::Fp32 => Some(&self.file),
            Precision::Fp16 => self.fp16.as_ref(),
            Precision::Int8 | Precision::Int8Qdq => None,
        }
    }
}

/// How a page is brought to another size; both take the two nearest pixels a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resample {
    /// Rounded to whole levels between the two directions: 7 % of the pixels are one level off. By vector instructions.
    #[default]
    Fast,
    /// Rounded as OpenCV does it.
    Opencv,
}

/// How a box is grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unclip {
    /// As a rectangle, in fractions of a pixel.
    #[default]
    Exact,
    /// As PaddleOCR and RapidOCR do it: corners are truncated to whole pixels of the map, the outline is rounded to
    /// them, and the smallest rectangle around that is the box. Up to two pixels off.
    WholePixels,
}

/// A text recogniser: a network that reads one line, 48 pixels high, into steps of characters (CTC).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recogniser {
    /// Name inside the bundle, such as `latin` or `full`.
    pub name: String,
    pub file: File,
    /// The same network in [`Precision::Fp16`], for GPUs. Read only where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp16: Option<File>,
    /// The same network in [`Precision::Int8`], for CPUs that sum products of bytes in 32 bits (AVX-512 VNNI, AVX-VNNI);
    /// others sum pairs of them in 16 bits, which saturate. Read only where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8: Option<File>,
    /// The same network in [`Precision::Int8Qdq`], for TensorRT. Read only where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_qdq: Option<File>,
    /// One entry a line, UTF-8, without the blank and without the space: class 0 is the blank, the last class the space.
    pub dictionary: File,
    /// Classes of the output: entries of the dictionary + 2.
    pub classes: u32,
    /// The network's name. It is compared with the property `architecture` of the file, where the file has one.
    pub architecture: String,
    /// What the network's outputs are.
    pub output: RecogniserOutput,
    /// BCP 47 tags of the languages that the dictionary can write.
    pub languages: Vec<String>,
    pub normalise: Normalise,
    /// How a line is cut out of its page.
    #[serde(default)]
    pub crop: Crop,
    /// Height of a line in pixels.
    pub height: u32,
    /// A line's width is padded to the next multiple, so that equal widths can share a batch.
    pub width_multiple: u32,
    /// A line is padded to at least this width.
    pub min_width: u32,
    /// A longer line is squeezed to this width.
    pub max_width: u32,
    /// Most lines of a batch.
    pub batch: u32,
    /// Above this probability of a space between two characters, at a step that emitted none, a space is put in.
    /// Absent: no space is recovered. The recogniser rarely emits spaces between words set close; the probability
    /// still rises there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_threshold: Option<f32>,
    /// A line below this confidence is dropped as no text at all.
    pub drop_score: f32,
}

impl Recogniser {
    /// The network in that precision, where the bundle has it.
    #[must_use]
    pub const fn file_in(&self, precision: Precision) -> Option<&File> {
        match precision {
            Precision::Fp32 => Some(&self.file),
            Precision::Fp16 => self.fp16.as_ref(),
            Precision::Int8 => self.int8.as_ref(),
            Precision::Int8Qdq => self.int8_qdq.as_ref(),
        }
    }
}

/// How a line is cut out of its page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    /// At the network's size, every pixel taken from the page once.
    #[default]
    OneStep,
    /// As PaddleOCR and RapidOCR do it: levelled at the box's own size by cubic interpolation, its sides truncated to
    /// whole pixels, then resampled to the network's size; corners count as the middles of pixels. Exact only for pages
    /// that are not turned.
    Levelled,
}

/// What a recogniser's outputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecogniserOutput {
    /// One output `[N, T, classes]` of probabilities.
    Probabilities,
    /// Three outputs `[N, T]`: `index` (i64) of the likeliest class, its `probability`, and the probability of a `space`.
    Reduced,
}

/// A classifier of a page's orientation. Its classes are by how many degrees the page is turned clockwise: 0, 90, 180, 270.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Orientation {
    pub file: File,
    pub normalise: Normalise,
    /// The shorter side is resized to this, in pixels.
    pub resize: u32,
    /// The square cut from the middle, in pixels.
    pub crop: u32,
    /// Below this probability a page is left as it is.
    pub threshold: f32,
}

/// A classifier of a line's orientation. Its classes are by how many degrees the line is turned: 0, 180.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineOrientation {
    pub file: File,
    pub normalise: Normalise,
    /// Height of the input in pixels.
    pub height: u32,
    /// Width of the input in pixels.
    pub width: u32,
    /// Below this probability a line is left as it is.
    pub threshold: f32,
}

/// Memory of a pod, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Memory {
    /// With the models loaded and nothing to do.
    pub idle_mib: u32,
    /// Highest over a long run, at concurrency 1.
    pub peak_mib: u32,
    /// What each further page in work adds.
    pub per_page_mib: u32,
    /// Highest of a GPU's memory over a long run, for strategies that compute on one. Pods go to GPUs that have
    /// more, and a reserve ([`Memory::gpu_needed`]). Absent where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_mib: Option<u32>,
}

impl Memory {
    /// What one page at a time needs, in bytes: the peak, and a reserve.
    #[must_use]
    pub const fn needed(&self) -> u64 {
        Self::with_reserve(self.peak_mib)
    }

    /// What is needed of a GPU's free memory, in bytes: the peak there, and a reserve. None where it was not measured.
    #[must_use]
    pub fn gpu_needed(&self) -> Option<u64> {
        self.gpu_mib.map(Self::with_reserve)
    }

    /// Bytes of so many MiB, and a sixteenth more: what memory varies by from run to run, and what was not met while it was
    /// measured.
    #[must_use]
    pub const fn with_reserve(mib: u32) -> u64 {
        ((mib as u64) << 20) / 16 * 17
    }
}

/// Units of work: how much one megapixel of detection and one line of recognition weigh. A unit is a second that one core
/// of the reference machine computes (AMD EPYC with AVX-512 VNNI, fp32), so units of different bundles compare, and a pod
/// of any hardware counts its work in them; `make measure` prints the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cost {
    /// Units of a megapixel given to the detector.
    pub detect_megapixel: f64,
    /// Units of a line of 320 pixels given to the recogniser; other widths in proportion.
    pub recognise_line: f64,
    /// Units that one core of the reference machine does in a second, until a pod has measured its own.
    pub units_per_core_second: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = include_str!("../../bundles/pp-ocrv6-small/model.yaml");

    #[test]
    fn no_file_of_a_manifest_is_left_out_and_none_counts_twice() {
        let mut manifest: Manifest = yaml_serde::from_str(SMALL).unwrap();
        let written = SMALL.lines().filter(|line| line.trim_start().starts_with("file: "));
        assert_eq!(manifest.files().len(), written.count());
        let before = manifest.bytes();
        assert_eq!(before, manifest.files().iter().map(|file| file.bytes).sum::<u64>());
        manifest.recognisers[1].file = manifest.recognisers[0].file.clone();
        assert!(manifest.bytes() < before);
    }

    #[test]
    fn a_precision_is_named_alike_in_yaml_and_in_words() {
        for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8, Precision::Int8Qdq] {
            assert_eq!(yaml_serde::to_string(&precision).unwrap().trim(), precision.name());
        }
    }

    #[test]
    fn every_precision_has_a_file_of_its_own() {
        let mut manifest: Manifest = yaml_serde::from_str(SMALL).unwrap();
        let named = |name: &str| File { file: name.into(), ..manifest.recognisers[0].file.clone() };
        let (fp16, int8, int8_qdq) = (named("fp16.onnx"), named("int8.onnx"), named("int8-qdq.onnx"));
        let latin = &mut manifest.recognisers[0];
        (latin.fp16, latin.int8, latin.int8_qdq) = (Some(fp16.clone()), None, Some(int8_qdq.clone()));
        assert_eq!(latin.file_in(Precision::Fp32), Some(&latin.file));
        assert_eq!(latin.file_in(Precision::Fp16), Some(&fp16));
        assert_eq!(latin.file_in(Precision::Int8), None);
        latin.int8 = Some(int8.clone());
        assert_eq!(latin.file_in(Precision::Int8), Some(&int8));
        assert_eq!(latin.file_in(Precision::Int8Qdq), Some(&int8_qdq));
        latin.int8_qdq = None;
        assert_eq!(latin.file_in(Precision::Int8Qdq), None);
        assert_eq!(manifest.detector.file_in(Precision::Int8), None);
        assert_eq!(manifest.detector.file_in(Precision::Int8Qdq), None);
        for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8, Precision::Int8Qdq] {
            assert!(manifest.detector.file_in(precision.of_detector()).is_some(), "{}", precision.name());
        }
    }
}
