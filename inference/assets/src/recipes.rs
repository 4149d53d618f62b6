//! What each bundle is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use ocr_api::manifest::Precision;

use crate::dictionary::{Dictionary, Vocabulary};
use crate::edits::int8::Record;
use crate::edits::{
    self, channel_padding, constants, fp16, identities, int8, opset, reduced_output, squeeze_excite, upsampling,
    vocabulary,
};
use crate::files;
use crate::onnx;
use crate::onnx::proto::{Graph, Model, Property};

/// A bundle and its parts.
pub struct Recipe {
    /// Name of the bundle, and of the folder of its manifest.
    pub bundle: &'static str,
    pub parts: &'static [Part],
}

/// A file of a bundle, or two that belong together. Paths are below the assets folder's `models`.
pub enum Part {
    /// The text detector, edited, and again in each of the other precisions.
    Detector { source: &'static str, architecture: &'static str, others: &'static [Precision] },
    /// A recogniser with its dictionary.
    Recogniser(RecogniserPart),
    /// A dictionary alone, for a recogniser that is copied.
    Dictionary { source: &'static str, file: &'static str },
    /// A file as it comes.
    Copy { source: &'static str, file: &'static str },
}

/// A recogniser with its dictionary, edited, and again in each of the other precisions.
pub struct RecogniserPart {
    source: &'static str,
    dictionary: Source,
    vocabulary: Vocabulary,
    pub architecture: &'static str,
    others: &'static [Precision],
}

/// Where a dictionary comes from.
pub enum Source {
    /// A text file.
    File(&'static str),
    /// The recogniser's own metadata.
    Metadata,
}

const ORIENTATION: Part = Part::Copy { source: "page-orientation.onnx", file: "orientation.onnx" };
const LINE_ORIENTATION: Part = Part::Copy { source: "line-orientation.onnx", file: "line-orientation.onnx" };

/// The bundles that users have.
pub const SHIPPED: &[Recipe] = &[
    Recipe {
        bundle: "pp-ocrv6-small",
        parts: &[
            Part::Detector {
                source: "pp-ocrv6-small/detector.onnx",
                architecture: "PP-OCRv6_small_det",
                others: &[Precision::Fp16],
            },
            Part::Recogniser(RecogniserPart {
                source: "pp-ocrv6-small/recogniser.onnx",
                dictionary: Source::File("pp-ocrv6-small/dictionary.txt"),
                vocabulary: Vocabulary::Latin,
                architecture: "PP-OCRv6_small_rec",
                others: &[Precision::Fp16, Precision::Int8, Precision::Int8Qdq],
            }),
            Part::Recogniser(RecogniserPart {
                source: "pp-ocrv6-small/recogniser.onnx",
                dictionary: Source::File("pp-ocrv6-small/dictionary.txt"),
                vocabulary: Vocabulary::Full,
                architecture: "PP-OCRv6_small_rec",
                others: &[Precision::Fp16],
            }),
            ORIENTATION,
            LINE_ORIENTATION,
        ],
    },
    Recipe {
        bundle: "pp-ocrv6-tiny",
        parts: &[
            Part::Detector {
                source: "pp-ocrv6-tiny/detector.onnx",
                architecture: "PP-OCRv6_tiny_det",
                others: &[Precision::Fp16],
            },
            Part::Recogniser(RecogniserPart {
                source: "pp-ocrv6-tiny/recogniser.onnx",
                dictionary: Source::File("pp-ocrv6-tiny/dictionary.txt"),
                vocabulary: Vocabulary::Latin,
                architecture: "PP-OCRv6_tiny_rec",
                // In bytes it lost 0.003 of word F1; see README.md.
                others: &[Precision::Fp16],
            }),
            Part::Recogniser(RecogniserPart {
                source: "pp-ocrv6-tiny/recogniser.onnx",
                dictionary: Source::File("pp-ocrv6-tiny/dictionary.txt"),
                vocabulary: Vocabulary::Full,
                architecture: "PP-OCRv6_tiny_rec",
                others: &[Precision::Fp16],
            }),
            ORIENTATION,
            LINE_ORIENTATION,
        ],
    },
    Recipe {
        bundle: "pp-ocrv5-mobile",
        parts: &[
            Part::Detector {
                source: "pp-ocrv5-mobile/detector.onnx",
                architecture: "PP-OCRv5_mobile_det",
                others: &[],
            },
            Part::Recogniser(RecogniserPart {
                source: "pp-ocrv5-mobile/recogniser.onnx",
                dictionary: Source::File("pp-ocrv5-mobile/dictionary.txt"),
                vocabulary: Vocabulary::Full,
                architecture: "PP-OCRv5_mobile_rec",
                others: &[],
            }),
            ORIENTATION,
            LINE_ORIENTATION,
        ],
    },
    Recipe {
        bundle: "pp-ocrv4-mobile",
        parts: &[
            Part::Detector {
                source: "pp-ocrv4-mobile/detector.onnx",
                architecture: "PP-OCRv4_mobile_det",
                others: &[],
            },
            Part::Recogniser(RecogniserPart {
                source: "pp-ocrv4-mobile/recogniser.onnx",
                dictionary: Source::Metadata,
                vocabulary: Vocabulary::Full,
                architecture: "PP-OCRv4_mobile_rec",
                others: &[],
            }),
            ORIENTATION,
            LINE_ORIENTATION,
        ],
    },
];

/// Bundles that only the test suites read with: their manifests are in `tests/bundles`, and no user sees them.
pub const TESTS: &[Recipe] = &[Recipe {
    bundle: "rapidocr-parity",
    parts: &[
        // Unedited, so that what is compared is the program alone, and the networks' own output is read too.
        Part::Copy { source: "pp-ocrv6-small/detector.onnx", file: "detector.onnx" },
        Part::Copy { source: "pp-ocrv6-small/recogniser.onnx", file: "recogniser.onnx" },
        Part::Dictionary { source: "pp-ocrv6-small/dictionary.txt", file: "dictionary.txt" },
    ],
}];

/// Name of the record of a calibration, in the folder of the bundle's manifest.
pub const RECORD: &str = "calibration.yaml";

/// Key of the property in which a network says what it is; the program compares it with the manifest.
pub const ARCHITECTURE: &str = "architecture";

/// A bundle's files by name, and its dictionaries.
#[derive(Default)]
pub struct Product {
    pub files: BTreeMap<String, Vec<u8>>,
    /// By the name of the dictionary's file.
    pub dictionaries: BTreeMap<String, Dictionary>,
}

impl Recipe {
    /// Makes all files of the bundle from the folder of raw weights, and the record of its calibration in the folder of
    /// its manifest.
    ///
    /// # Errors
    /// If a file is missing, an edit does not find its place, or the record is not one of the network.
    pub fn make(&self, models: &Path, manifest: &Path) -> Result<Product> {
        let mut product = Product::default();
        for part in self.parts {
            match part {
                Part::Copy { source, file } => {
                    product.files.insert((*file).to_owned(), read(&models.join(source))?);
                }
                Part::Dictionary { source, file } => {
                    let dictionary = Dictionary::parse(&text(&models.join(source))?)?;
                    product.files.insert((*file).to_owned(), dictionary.to_string().into_bytes());
                    product.dictionaries.insert((*file).to_owned(), dictionary);
                }
                Part::Detector { source, architecture, others } => {
                    let mut model = network(&models.join(source), architecture)?;
                    let graph = model.graph.get_or_insert_default();
                    edit_detector(graph).with_context(|| format!("failed to edit {source}"))?;
                    product.networks("detector", &model, others, manifest)?;
                }
                Part::Recogniser(part) => {
                    let name = part.name();
                    let (model, dictionary) = part.make(models)?;
                    product.networks(&format!("recogniser-{name}"), &model, part.others, manifest)?;
                    product.files.insert(format!("{name}.txt"), dictionary.to_string().into_bytes());
                    product.dictionaries.insert(format!("{name}.txt"), dictionary);
                }
            }
        }
        Ok(product)
    }

    /// The first recogniser that is made in that precision too. That of [`Precision::Int8`] is the one which is calibrated.
    #[must_use]
    pub fn recogniser_in(&self, precision: Precision) -> Option<&RecogniserPart> {
        self.parts.iter().find_map(|part| match part {
            Part::Recogniser(part) => part.others.contains(&precision).then_some(part),
            Part::Copy { .. } | Part::Dictionary { .. } | Part::Detector { .. } => None,
        })
    }
}

impl RecogniserPart {
    /// The network of 32-bit floats and its dictionary.
    ///
    /// # Errors
    /// If a file is missing, or an edit does not find its place.
    pub fn make(&self, models: &Path) -> Result<(Model, Dictionary)> {
        let path = models.join(self.source);
        let mut model = network(&path, self.architecture)?;
        let text = match self.dictionary {
            Source::File(name) => text(&models.join(name))?,
            Source::Metadata => characters(&path)?,
        };
        let graph = model.graph.get_or_insert_default();
        let dictionary = edit_recogniser(graph, &text, self.vocabulary)
            .with_context(|| format!("failed to edit {}", self.source))?;
        Ok((model, dictionary))
    }

    fn name(&self) -> &'static str {
        match self.vocabulary {
            Vocabulary::Latin => "latin",
            Vocabulary::Full => "full",
        }
    }
}

impl Product {
    /// Adds a network, and the same in other precisions.
    fn networks(&mut self, name: &str, model: &Model, others: &[Precision], manifest: &Path) -> Result<()> {
        let whole = onnx::write(model);
        for &precision in others {
            let file = format!("{name}-{}.onnx", precision.name());
            let mut model = model.clone();
            in_precision(&mut model, precision, &whole, manifest).with_context(|| format!("failed to make {file}"))?;
            self.files.insert(file, onnx::write(&model));
        }
        self.files.insert(format!("{name}.onnx"), whole);
        Ok(())
    }
}

/// Brings a network, whose file is given too, to another precision.
fn in_precision(model: &mut Model, precision: Precision, file: &[u8], manifest: &Path) -> Result<()> {
    match precision {
        Precision::Fp32 => {}
        Precision::Fp16 => {
            fp16::convert(model.graph.get_or_insert_default())?;
        }
        Precision::Int8 => {
            let (record, path) = record_of(file, manifest)?;
            int8::quantise(model.graph.get_or_insert_default(), &record).context(path)?;
            model.allow_runtime_set();
        }
        Precision::Int8Qdq => {
            let (record, path) = record_of(file, manifest)?;
            opset::raise(model)?;
            int8::quantise_explicitly(model.graph.get_or_insert_default(), &record).context(path)?;
        }
    }
    Ok(())
}

/// The record by which that network is quantised, and where it is.
fn record_of(file: &[u8], manifest: &Path) -> Result<(Record, String)> {
    let path = manifest.join(RECORD);
    let name = path.display().to_string();
    let record = fs::read_to_string(&path)
        .with_context(|| format!("failed to read {name}: run `ocr-calibrate record` first"))?;
    let record = Record::parse(&record).with_context(|| name.clone())?;
    record.check_network(&files::sha256(file)).with_context(|| name.clone())?;
    Ok((record, name))
}

fn edit_detector(graph: &mut Graph) -> Result<()> {
    constants::hoist(graph);
    identities::remove(graph);
    squeeze_excite::rewrite(graph);
    // Before the head is rewritten: behind that the padding would also widen the head's large convolution, in vain.
    channel_padding::pad(graph)?;
    upsampling::rewrite(graph)?;
    edits::finish(graph)?;
    Ok(())
}

fn edit_recogniser(graph: &mut Graph, dictionary: &str, vocabulary: Vocabulary) -> Result<Dictionary> {
    let whole = Dictionary::parse(dictionary)?;
    constants::hoist(graph);
    identities::remove(graph);
    whole.fits(vocabulary::head(graph)?.classes)?;
    let (classes, dictionary) = whole.cut(vocabulary);
    if vocabulary != Vocabulary::Full {
        vocabulary::keep(graph, &classes)?;
    }
    reduced_output::reduce(graph)?;
    edits::finish(graph)?;
    Ok(dictionary)
}

/// Reads a network and writes into it what it is, in place of the properties that the converter left: those of some
/// recognisers hold the uncut dictionary.
fn network(path: &Path, architecture: &str) -> Result<Model> {
    let mut model = onnx::read(&read(path)?).with_context(|| format!("cannot use {}", path.display()))?;
    model.metadata_props = vec![Property { key: Some(ARCHITECTURE.to_owned()), value: Some(architecture.to_owned()) }];
    Ok(model)
}

/// The dictionary in a recogniser's metadata.
fn characters(path: &Path) -> Result<String> {
    let model = onnx::read(&read(path)?).with_context(|| format!("cannot use {}", path.display()))?;
    let property = model.metadata_props.into_iter().find(|property| property.key() == "character");
    let value = property.and_then(|property| property.value);
    value.with_context(|| format!("{} has no dictionary (property `character`)", path.display()))
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is not UTF-8", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}: run `ocr-assets fetch` first", path.display()))
}
