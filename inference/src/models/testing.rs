//! A small bundle to break in tests.

use std::fs;
use std::path::{Path, PathBuf};

use ocr_api::manifest::{self, Manifest};

use super::files::sha256;

/// A bundle in a folder of its own: two recognisers of the same files, three characters.
pub struct Fixture {
    path: PathBuf,
    /// Removed with the fixture, where it made the folder.
    _folder: Option<tempfile::TempDir>,
}

const MANIFEST: &str = "\
schema: ocrpool.dev/bundle/v1
name: test
version: 0.1.0
kind: text-lines
license: MIT
source: made for tests
detector:
  file: {file: detector.onnx, sha256: '', bytes: 0}
  fp16: {file: detector-fp16.onnx, sha256: '', bytes: 0}
  architecture: test_det
  normalise: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  limitSide: max
  limitLength: 960
  maxLength: 4000
  threshold: 0.2
  boxThreshold: 0.45
  unclipRatio: 1.4
  maxCandidates: 3000
recognisers:
- name: latin
  file: {file: recogniser.onnx, sha256: '', bytes: 0}
  fp16: {file: recogniser-fp16.onnx, sha256: '', bytes: 0}
  int8: {file: recogniser-int8.onnx, sha256: '', bytes: 0}
  int8Qdq: {file: recogniser-int8-qdq.onnx, sha256: '', bytes: 0}
  dictionary: {file: latin.txt, sha256: '', bytes: 0}
  classes: 5
  architecture: test_rec
  output: reduced
  languages: [en, de]
  normalise: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  height: 48
  widthMultiple: 32
  minWidth: 32
  maxWidth: 3200
  batch: 6
  spaceThreshold: 0.1
  dropScore: 0.5
orientation:
  file: {file: orientation.onnx, sha256: '', bytes: 0}
  normalise: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  resize: 256
  crop: 224
  threshold: 0.9
lineOrientation:
  file: {file: line.onnx, sha256: '', bytes: 0}
  normalise: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  height: 48
  width: 192
  threshold: 0.9
memory:
  cpu: {idleMib: 100, peakMib: 200, perPageMib: 50}
cost:
  detectMegapixel: 1.0
  recogniseLine: 0.05
  unitsPerCoreSecond: 2.0
";

/// The manifest of the fixture, without digests.
pub fn manifest() -> Manifest {
    let mut manifest: Manifest = yaml_serde::from_str(MANIFEST).unwrap();
    let mut full = manifest.recognisers[0].clone();
    full.name = "full".into();
    (full.fp16, full.int8, full.int8_qdq) = (None, None, None);
    full.languages = vec!["en".into(), "zh".into()];
    manifest.recognisers.push(full);
    manifest
}

impl Fixture {
    /// A bundle that opens.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self::in_folder(folder.path());
        Self { _folder: Some(folder), ..fixture }
    }

    /// A bundle that opens, in a folder that the caller removes.
    pub fn in_folder(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let mut fixture = Self { path: path.to_owned(), _folder: None };
        fixture.write_manifest(&yaml_serde::to_string(&manifest()).unwrap());
        fixture.replace("detector.onnx", &onnx::detector("test_det"));
        fixture.replace("detector-fp16.onnx", &onnx::detector("test_det"));
        for precision in ["", "-fp16", "-int8", "-int8-qdq"] {
            let recogniser = format!("recogniser{precision}.onnx");
            fixture.replace(&recogniser, &onnx::recogniser("test_rec", 5));
        }
        fixture.replace("latin.txt", b"a\nb\nc\n");
        fixture.replace("orientation.onnx", &onnx::classifier(224, 4));
        fixture.replace("line.onnx", &onnx::classifier_of_lines(2));
        fixture
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn manifest_text(&self) -> String {
        fs::read_to_string(self.path.join("model.yaml")).unwrap()
    }

    pub fn write_manifest(&self, text: &str) {
        fs::write(self.path.join("model.yaml"), text).unwrap();
    }

    /// Writes a file and its digest into the manifest: it is what the manifest says, but perhaps not what it should be.
    pub fn replace(&mut self, name: &str, bytes: &[u8]) {
        fs::write(self.path.join(name), bytes).unwrap();
        let mut manifest: Manifest = yaml_serde::from_str(&self.manifest_text()).unwrap();
        let detector = &mut manifest.detector;
        let mut files: Vec<&mut manifest::File> = [&mut detector.file].into_iter().chain(&mut detector.fp16).collect();
        for recogniser in &mut manifest.recognisers {
            files.extend([&mut recogniser.file, &mut recogniser.dictionary]);
            files.extend(recogniser.fp16.iter_mut().chain(&mut recogniser.int8).chain(&mut recogniser.int8_qdq));
        }
        files.extend(manifest.orientation.iter_mut().map(|orientation| &mut orientation.file));
        files.extend(manifest.line_orientation.iter_mut().map(|line| &mut line.file));
        for file in files {
            if file.file == name {
                file.sha256 = sha256(bytes);
                file.bytes = bytes.len() as u64;
            }
        }
        self.write_manifest(&yaml_serde::to_string(&manifest).unwrap());
    }

    /// Changes a byte of a file behind the manifest's back.
    pub fn damage(&self, name: &str) {
        let path = self.path.join(name);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.last_mut().unwrap();
        *last = last.wrapping_add(1);
        fs::write(&path, bytes).unwrap();
    }
}

/// ONNX files by hand: enough structure for the checks, no weights.
pub mod onnx {
    /// How a tensor says that its values are elsewhere.
    #[derive(Clone, Copy)]
    pub enum External {
        Location,
        Entries,
    }

    fn integer(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }

    /// A field that is a message, text or bytes.
    pub fn block(field: u64, contents: &[u8]) -> Vec<u8> {
        [integer(field << 3 | 2), integer(contents.len() as u64), contents.to_vec()].concat()
    }

    fn number(field: u64, value: u64) -> Vec<u8> {
        [integer(field << 3), integer(value)].concat()
    }

    pub fn tensor(name: &str, shape: &[u64], external: Option<External>) -> Vec<u8> {
        let mut bytes: Vec<u8> = shape.iter().flat_map(|&length| number(1, length)).collect();
        bytes.extend(number(2, 1));
        bytes.extend(block(8, name.as_bytes()));
        match external {
            Some(External::Location) => bytes.extend(number(14, 1)),
            Some(External::Entries) => bytes.extend(block(13, &block(1, b"location"))),
            None => bytes.extend(block(9, &[0; 8])),
        }
        bytes
    }

    pub fn port(name: &str, element: u64, shape: &[Option<u64>]) -> Vec<u8> {
        let dimensions = shape.iter().flat_map(|length| match length {
            Some(length) => block(1, &number(1, *length)),
            None => block(1, &block(2, b"n")),
        });
        let tensor = [number(1, element), block(2, &dimensions.collect::<Vec<_>>())].concat();
        [block(1, name.as_bytes()), block(2, &block(1, &tensor))].concat()
    }

    pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
        let inputs = inputs.iter().flat_map(|name| block(1, name.as_bytes()));
        let outputs = outputs.iter().flat_map(|name| block(2, name.as_bytes()));
        inputs.chain(outputs).chain(block(4, op_type.as_bytes())).collect()
    }

    fn model(architecture: &str, graph: &[Vec<u8>]) -> Vec<u8> {
        let property = [block(1, b"architecture"), block(2, architecture.as_bytes())].concat();
        [number(1, 8), block(7, &graph.concat()), block(14, &property)].concat()
    }

    pub fn detector(architecture: &str) -> Vec<u8> {
        let shape = [None, Some(3), None, None];
        let output = [None, Some(1), None, None];
        model(architecture, &[block(11, &port("x", 1, &shape)), block(12, &port("y", 1, &output))])
    }

    pub fn recogniser(architecture: &str, classes: u64) -> Vec<u8> {
        let nodes = [
            node("MatMul", &["features", "w"], &["m"]),
            node("Add", &["m", "b"], &["logits"]),
            node("Softmax", &["logits"], &["p"]),
            node("TopK", &["p", "k"], &["highest", "place"]),
            node("Gather", &["place", "zero"], &["index"]),
            node("Gather", &["highest", "zero"], &["probability"]),
            node("Gather", &["p", "last"], &["space"]),
        ];
        let mut graph: Vec<Vec<u8>> = nodes.iter().map(|node| block(1, node)).collect();
        graph.push(block(5, &tensor("w", &[4, classes], None)));
        graph.push(block(5, &tensor("b", &[classes], None)));
        graph.push(block(11, &port("x", 1, &[None, Some(3), Some(48), None])));
        for (name, element) in [("index", 7), ("probability", 1), ("space", 1)] {
            graph.push(block(12, &port(name, element, &[None, None])));
        }
        model(architecture, &graph)
    }

    pub fn classifier(side: u64, classes: u64) -> Vec<u8> {
        let shape = [None, Some(3), Some(side), Some(side)];
        let output = [None, Some(classes)];
        model("", &[block(11, &port("x", 1, &shape)), block(12, &port("y", 1, &output))])
    }

    pub fn classifier_of_lines(classes: u64) -> Vec<u8> {
        let output = [None, Some(classes)];
        let shape = [None, Some(3), None, None];
        model("", &[block(11, &port("x", 1, &shape)), block(12, &port("y", 1, &output))])
    }
}
