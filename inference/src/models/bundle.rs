//! A bundle that was opened and checked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ocr_api::manifest::{self, Manifest, Precision};
use serde::Deserialize;

use super::dictionary::{self, Dictionary};
use super::error::{BundleError, Refusal, UnsupportedLanguage};
use super::files::{self, Checked};
use super::interface::Candidate;
use super::languages;
use super::network::Network;
use super::values;

/// Name of the manifest in a bundle's folder.
const MANIFEST: &str = "model.yaml";
/// Largest manifest, in bytes; ours have 4 kB.
const MAX_MANIFEST: u64 = 1 << 20;

/// A bundle: its manifest, and files that are what the manifest says.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
    digest: String,
    recognisers: Vec<Recogniser>,
}

/// A recogniser of a bundle.
#[derive(Debug)]
pub struct Recogniser {
    /// What the manifest says of it.
    pub parameters: manifest::Recogniser,
    /// Its characters.
    pub dictionary: Dictionary,
}

impl Bundle {
    /// Opens a bundle and checks everything that can be checked without running it: names, sizes and digests of its
    /// files, dictionaries, and the networks' own words on what they are. Each file is read once, in pieces. Networks of
    /// other precisions than fp32 are not looked at: [`Bundle::detector_file`] and [`Bundle::recogniser_file`] do that
    /// for the one that is used.
    ///
    /// # Errors
    /// If anything is not what the manifest says; the error names the file, what was expected and what was found.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        Self::open_checked(folder).map_err(|refusal| BundleError::new(folder, refusal))
    }

    fn open_checked(given: &Path) -> Result<Self, Refusal> {
        // Without symbolic links, so that a file can be told to be inside.
        let folder = fs::canonicalize(given).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => Refusal::NoBundle { known: Vec::new() },
            _ => Refusal::Unreadable { file: given.display().to_string(), cause },
        })?;
        if !folder.is_dir() {
            return Err(Refusal::NotAFolder);
        }
        let text = read_manifest(&folder)?;
        let manifest = parse_manifest(&text)?;
        values::check(&manifest)?;

        let detector = &manifest.detector;
        check_network(&folder, &detector.file, |file| file.check_detector(&detector.architecture))?;
        let mut recognisers = Vec::new();
        for parameters in &manifest.recognisers {
            check_network(&folder, &parameters.file, |file| file.check_recogniser(parameters))?;
            recognisers
                .push(Recogniser { parameters: parameters.clone(), dictionary: read_dictionary(&folder, parameters)? });
        }
        if let Some(orientation) = &manifest.orientation {
            check_network(&folder, &orientation.file, |file| file.check_orientation(orientation))?;
        }
        if let Some(line) = &manifest.line_orientation {
            check_network(&folder, &line.file, |file| file.check_line_orientation(line))?;
        }
        Ok(Self { folder, digest: files::sha256(text.as_bytes()), manifest, recognisers })
    }

    /// What the bundle says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of `model.yaml`, in hexadecimal. It holds the digests of all other files, so that it stands for them.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The folder, without symbolic links.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the detector of a precision is, checked as the others were when the bundle was opened; `None` where the
    /// bundle has none.
    ///
    /// # Errors
    /// If the file is not what the manifest says.
    pub fn detector_file(&self, precision: Precision) -> Result<Option<PathBuf>, BundleError> {
        let detector = &self.manifest.detector;
        self.file_of(precision, detector.file_in(precision), |file| file.check_detector(&detector.architecture))
    }

    /// Where a recogniser of a precision is, checked as the others were when the bundle was opened; `None` where the
    /// bundle has none.
    ///
    /// # Errors
    /// If the file is not what the manifest says.
    pub fn recogniser_file(
        &self,
        recogniser: &manifest::Recogniser,
        precision: Precision,
    ) -> Result<Option<PathBuf>, BundleError> {
        self.file_of(precision, recogniser.file_in(precision), |file| file.check_recogniser(recogniser))
    }

    fn file_of(
        &self,
        precision: Precision,
        named: Option<&manifest::File>,
        check: impl FnOnce(Candidate<'_>) -> Result<(), Refusal>,
    ) -> Result<Option<PathBuf>, BundleError> {
        let Some(named) = named else { return Ok(None) };
        // Those of fp32 were checked when the bundle was opened.
        if precision != Precision::Fp32 {
            check_network(&self.folder, named, check).map_err(|refusal| BundleError::new(&self.folder, refusal))?;
        }
        Ok(Some(self.path(named)))
    }

    /// Where a file of the manifest is.
    #[must_use]
    pub fn path(&self, file: &manifest::File) -> PathBuf {
        self.folder.join(&file.file)
    }

    /// All recognisers, the preferred one first.
    #[must_use]
    pub fn recognisers(&self) -> &[Recogniser] {
        &self.recognisers
    }

    /// The first recogniser that reads all of these languages; the preferred one if none is named.
    ///
    /// # Errors
    /// If there is none, with the languages that stand in the way and those that can be read.
    pub fn recogniser_for(&self, wanted: &[impl AsRef<str>]) -> Result<&Recogniser, UnsupportedLanguage> {
        let reads =
            |recogniser: &Recogniser, language: &str| languages::reads(&recogniser.parameters.languages, language);
        let all = |recogniser: &&Recogniser| wanted.iter().all(|language| reads(recogniser, language.as_ref()));
        if let Some(found) = self.recognisers.iter().find(all) {
            return Ok(found);
        }
        let unread = |language: &&str| !self.recognisers.iter().any(|recogniser| reads(recogniser, language));
        let mut in_the_way: Vec<String> = wanted.iter().map(AsRef::as_ref).filter(unread).map(str::to_owned).collect();
        if in_the_way.is_empty() {
            // Each is read by some recogniser, but no recogniser reads all.
            in_the_way = wanted.iter().map(|language| language.as_ref().to_owned()).collect();
        }
        Err(UnsupportedLanguage { bundle: self.manifest.name.clone(), wanted: in_the_way, readable: self.languages() })
    }

    /// All languages that one of the recognisers reads, the preferred one's first.
    #[must_use]
    pub fn languages(&self) -> Vec<String> {
        let mut languages: Vec<String> = Vec::new();
        for language in self.manifest.recognisers.iter().flat_map(|recogniser| &recogniser.languages) {
            if !languages.contains(language) {
                languages.push(language.clone());
            }
        }
        languages
    }

    /// Size of all files, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.bytes()
    }
}

fn read_manifest(folder: &Path) -> Result<String, Refusal> {
    let path = folder.join(MANIFEST);
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => Refusal::MissingFile { file: MANIFEST.to_owned() },
        _ => Refusal::Unreadable { file: MANIFEST.to_owned(), cause },
    };
    let bytes = fs::metadata(&path).map_err(unreadable)?.len();
    if bytes > MAX_MANIFEST {
        return Err(Refusal::Manifest { cause: format!("it has {bytes} bytes, more than {MAX_MANIFEST}") });
    }
    fs::read_to_string(&path).map_err(unreadable)
}

fn parse_manifest(text: &str) -> Result<Manifest, Refusal> {
    /// Read first: a manifest of another version may have any other field.
    #[derive(Deserialize)]
    struct Versioned {
        schema: String,
    }
    let invalid = |error: yaml_serde::Error| Refusal::Manifest { cause: error.to_string() };
    let versioned: Versioned = yaml_serde::from_str(text).map_err(invalid)?;
    if versioned.schema != Manifest::SCHEMA {
        return Err(Refusal::Schema { expected: Manifest::SCHEMA, found: versioned.schema });
    }
    yaml_serde::from_str(text).map_err(invalid)
}

fn check_network(
    folder: &Path,
    named: &manifest::File,
    check: impl FnOnce(Candidate<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut file = Checked::open(folder, named)?;
    let scanned = Network::scan(file.reader(), named.bytes);
    // A damaged file is better named by its digest than by what the damage did to its contents.
    file.finish()?;
    let not_onnx =
        |cause: super::network::NetworkError| Refusal::NotOnnx { file: named.file.clone(), cause: cause.to_string() };
    let network = scanned.map_err(not_onnx)?;
    if let Some(tensor) = network.external {
        return Err(Refusal::ExternalData { file: named.file.clone(), tensor });
    }
    check(Candidate { file: &named.file, network: &network })
}

fn read_dictionary(folder: &Path, parameters: &manifest::Recogniser) -> Result<Dictionary, Refusal> {
    let file = &parameters.dictionary;
    let dictionary = Dictionary::parse(&file.file, files::read_small(folder, file, dictionary::MAX_BYTES)?)?;
    if u32::try_from(dictionary.classes()) == Ok(parameters.classes) {
        return Ok(dictionary);
    }
    Err(Refusal::DictionaryLength { file: file.file.clone(), entries: dictionary.len(), classes: parameters.classes })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::testing::{Fixture, onnx};
    use super::*;

    fn refusal(fixture: &Fixture) -> Refusal {
        Bundle::open(fixture.path()).unwrap_err().refusal
    }

    #[test]
    fn a_good_bundle_opens_with_its_digest_and_dictionaries() {
        let fixture = Fixture::new();
        let bundle = Bundle::open(fixture.path()).unwrap();
        let text = fs::read(fixture.path().join(MANIFEST)).unwrap();
        assert_eq!(bundle.digest(), files::sha256(&text));
        assert_eq!(bundle.recognisers()[0].dictionary.character(2), Some("b"));
        assert_eq!(bundle.path(&bundle.manifest().detector.file), bundle.folder().join("detector.onnx"));
        let on_disk: u64 =
            fs::read_dir(fixture.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(bundle.bytes(), on_disk - text.len() as u64);
    }

    #[test]
    fn a_network_of_another_precision_is_checked_when_it_is_used_and_not_before() {
        let names = ["detector-fp16.onnx", "recogniser-fp16.onnx", "recogniser-int8.onnx", "recogniser-int8-qdq.onnx"];
        let files = |fixture: &Fixture| {
            let bundle = Bundle::open(fixture.path()).unwrap();
            let latin = &bundle.recognisers()[0].parameters;
            [
                bundle.detector_file(Precision::Fp16),
                bundle.recogniser_file(latin, Precision::Fp16),
                bundle.recogniser_file(latin, Precision::Int8),
                bundle.recogniser_file(latin, Precision::Int8Qdq),
            ]
        };
        let fixture = Fixture::new();
        for (name, file) in names.into_iter().zip(files(&fixture)) {
            assert_eq!(file.unwrap().unwrap(), fs::canonicalize(fixture.path().join(name)).unwrap());
            fixture.damage(name);
        }
        for (name, file) in names.into_iter().zip(files(&fixture)) {
            let refusal = file.unwrap_err().refusal;
            assert!(matches!(&refusal, Refusal::Digest { file, .. } if file == name), "{refusal}");
            fs::remove_file(fixture.path().join(name)).unwrap();
        }
        // An image may leave out what it never uses.
        for file in files(&fixture) {
            assert_eq!(file.unwrap_err().reason(), "FileMissing");
        }
    }

    #[test]
    fn another_network_in_the_place_of_one_of_another_precision_is_refused() {
        let mut fixture = Fixture::new();
        fixture.replace("recogniser-int8.onnx", &onnx::recogniser("test_rec", 6));
        let bundle = Bundle::open(fixture.path()).unwrap();
        let latin = &bundle.recognisers()[0].parameters;
        assert_eq!(bundle.recogniser_file(latin, Precision::Int8).unwrap_err().reason(), "InterfaceMismatch");
    }

    #[test]
    fn a_precision_that_a_bundle_lacks_has_no_file() {
        let fixture = Fixture::new();
        let bundle = Bundle::open(fixture.path()).unwrap();
        let full = &bundle.recognisers()[1].parameters;
        assert_eq!(bundle.recogniser_file(full, Precision::Fp16).unwrap(), None);
        assert_eq!(bundle.recogniser_file(full, Precision::Int8Qdq).unwrap(), None);
        assert_eq!(bundle.detector_file(Precision::Int8).unwrap(), None);
        assert_eq!(bundle.recogniser_file(full, Precision::Fp32).unwrap(), Some(bundle.path(&full.file)));
    }

    #[test]
    fn a_bundle_opens_through_links_as_a_volume_has_them() {
        let fixture = Fixture::new();
        let volume = tempfile::tempdir().unwrap();
        symlink(fixture.path(), volume.path().join("model")).unwrap();
        fs::rename(fixture.path().join("detector.onnx"), fixture.path().join("data")).unwrap();
        symlink("data", fixture.path().join("detector.onnx")).unwrap();
        Bundle::open(&volume.path().join("model")).unwrap();
    }

    #[test]
    fn a_missing_folder_and_a_file_in_its_place_are_refused() {
        let fixture = Fixture::new();
        let error = Bundle::open(&fixture.path().join("none")).unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("BundleNotFound", false));
        let error = Bundle::open(&fixture.path().join("detector.onnx")).unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("BundleNotAFolder", true));
    }

    #[test]
    fn a_wrong_digest_is_refused_with_the_files_name() {
        let fixture = Fixture::new();
        fixture.damage("recogniser.onnx");
        let refusal = refusal(&fixture);
        assert!(matches!(&refusal, Refusal::Digest { file, .. } if file == "recogniser.onnx"), "{refusal}");
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let fixture = Fixture::new();
        let path = fixture.path().join("detector.onnx");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(refusal(&fixture), Refusal::Size { .. }));
    }

    #[test]
    fn a_missing_file_a_folder_in_its_place_and_a_link_out_are_refused() {
        for name in ["detector.onnx", "recogniser.onnx", "latin.txt", "orientation.onnx", "line.onnx"] {
            let fixture = Fixture::new();
            let path = fixture.path().join(name);
            fs::remove_file(&path).unwrap();
            assert!(matches!(refusal(&fixture), Refusal::MissingFile { file } if file == name));
            fs::create_dir(&path).unwrap();
            assert!(matches!(refusal(&fixture), Refusal::NotAFile { .. }));
            fs::remove_dir(&path).unwrap();
            symlink("/etc/hostname", &path).unwrap();
            assert!(matches!(refusal(&fixture), Refusal::Outside { .. }));
        }
    }

    #[test]
    fn a_manifest_that_is_missing_or_none_is_refused() {
        let fixture = Fixture::new();
        fixture.write_manifest("just a text");
        assert!(matches!(refusal(&fixture), Refusal::Manifest { .. }));
        fixture.write_manifest(&"#".repeat(2 << 20));
        assert!(matches!(refusal(&fixture), Refusal::Manifest { .. }));
        fs::remove_file(fixture.path().join(MANIFEST)).unwrap();
        assert!(matches!(refusal(&fixture), Refusal::MissingFile { file } if file == MANIFEST));
    }

    #[test]
    fn an_unknown_schema_is_told_before_its_unknown_fields() {
        let fixture = Fixture::new();
        let text = fixture.manifest_text().replace("bundle/v1", "bundle/v9") + "extra: 1\n";
        fixture.write_manifest(&text);
        assert!(matches!(refusal(&fixture), Refusal::Schema { found, .. } if found == "ocrpool.dev/bundle/v9"));
    }

    #[test]
    fn an_unknown_field_is_refused_wherever_it_stands() {
        for (place, with) in [
            ("name: test", "name: test\nurl: http://x"),
            ("boxThreshold:", "url: x\n  boxThreshold:"),
            ("batch:", "url: x\n  batch:"),
        ] {
            let fixture = Fixture::new();
            let text = fixture.manifest_text();
            assert!(text.contains(place), "{text}");
            fixture.write_manifest(&text.replace(place, with));
            let refusal = refusal(&fixture);
            assert!(matches!(&refusal, Refusal::Manifest { cause } if cause.contains("url")), "{refusal}");
        }
    }

    #[test]
    fn a_dictionary_of_another_length_is_refused() {
        let mut fixture = Fixture::new();
        fixture.replace("latin.txt", b"a\nb\nc\nd\n");
        assert!(matches!(refusal(&fixture), Refusal::DictionaryLength { entries: 4, classes: 5, .. }));
    }

    #[test]
    fn a_network_with_another_number_of_classes_is_refused() {
        let mut fixture = Fixture::new();
        fixture.replace("recogniser.onnx", &onnx::recogniser("test_rec", 6));
        let refusal = refusal(&fixture);
        assert!(matches!(&refusal, Refusal::Interface { part: "the number of classes", .. }), "{refusal}");
    }

    #[test]
    fn a_network_with_external_data_is_refused() {
        let mut fixture = Fixture::new();
        let mut network = onnx::detector("test_det");
        let tensor = onnx::tensor("weights", &[1], Some(onnx::External::Location));
        network.extend(onnx::block(7, &onnx::block(5, &tensor)));
        fixture.replace("detector.onnx", &network);
        let refusal = refusal(&fixture);
        assert!(matches!(&refusal, Refusal::ExternalData { tensor, .. } if tensor == "weights"), "{refusal}");
    }

    #[test]
    fn a_network_of_another_architecture_is_refused() {
        let mut fixture = Fixture::new();
        fixture.replace("detector.onnx", &onnx::detector("other_det"));
        let refusal = refusal(&fixture);
        assert!(matches!(&refusal, Refusal::Architecture { found, .. } if found == "other_det"), "{refusal}");
    }

    #[test]
    fn a_network_in_the_place_of_another_is_refused() {
        let [detector, recogniser] = [onnx::detector("test_rec"), onnx::recogniser("test_det", 5)];
        let page = onnx::classifier(224, 4);
        for (file, network) in [
            ("detector.onnx", &recogniser),
            ("recogniser.onnx", &detector),
            ("orientation.onnx", &recogniser),
            ("line.onnx", &page),
        ] {
            let mut fixture = Fixture::new();
            fixture.replace(file, network);
            let refusal = refusal(&fixture);
            assert!(matches!(&refusal, Refusal::Interface { .. }), "{file}: {refusal}");
        }
    }

    #[test]
    fn a_file_that_is_no_network_is_refused() {
        let mut fixture = Fixture::new();
        fixture.replace("orientation.onnx", b"%PDF-1.7");
        assert!(matches!(refusal(&fixture), Refusal::NotOnnx { .. }));
    }

    #[test]
    fn a_manifest_that_names_a_file_elsewhere_is_refused() {
        let fixture = Fixture::new();
        let text = fixture.manifest_text().replace("file: latin.txt", "file: ../latin.txt");
        fixture.write_manifest(&text);
        assert!(matches!(refusal(&fixture), Refusal::FileName { .. }));
    }

    #[test]
    fn the_first_recogniser_that_reads_all_languages_is_chosen() {
        let fixture = Fixture::new();
        let bundle = Bundle::open(fixture.path()).unwrap();
        let name = |languages: &[&str]| bundle.recogniser_for(languages).unwrap().parameters.name.clone();
        assert_eq!(name(&[]), "latin");
        assert_eq!(name(&["en"]), "latin");
        assert_eq!(name(&["en-GB", "de"]), "latin");
        assert_eq!(name(&["zh"]), "full");
        assert_eq!(name(&["en", "zh"]), "full");
    }

    #[test]
    fn a_language_that_no_recogniser_reads_is_refused_with_the_list_of_those_it_can() {
        let fixture = Fixture::new();
        let bundle = Bundle::open(fixture.path()).unwrap();
        let error = bundle.recogniser_for(&["en", "hi"]).unwrap_err();
        assert_eq!(error.wanted, ["hi"]);
        assert_eq!(error.readable, ["en", "de", "zh"]);
        assert_eq!(error.to_string(), "bundle test cannot read hi: choose among en, de, zh");
        // German is the first one's only, Chinese the second one's.
        assert_eq!(bundle.recogniser_for(&["de", "zh"]).unwrap_err().wanted, ["de", "zh"]);
    }

    #[test]
    fn every_refusal_names_the_bundle_and_a_next_step() {
        let fixture = Fixture::new();
        fixture.damage("latin.txt");
        let text = Bundle::open(fixture.path()).unwrap_err().to_string();
        for part in [&fixture.path().display().to_string(), "latin.txt", "model.yaml says", "copy"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
