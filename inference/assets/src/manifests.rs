//! The committed manifests: read, compared with what was built, and brought up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ocr_api::manifest::{File, Manifest};

use crate::dictionary::Dictionary;
use crate::files;
use crate::languages;
use crate::recipes::Product;

/// Reads a manifest.
///
/// # Errors
/// If it is no manifest of this version.
pub fn parse(text: &str) -> Result<Manifest> {
    let manifest: Manifest = yaml_serde::from_str(text).context("is not a manifest")?;
    ensure!(
        manifest.schema == Manifest::SCHEMA,
        "has schema {}, this version reads {}",
        manifest.schema,
        Manifest::SCHEMA
    );
    Ok(manifest)
}

/// Makes sure that a manifest says of a bundle what it is, apart from digests and sizes.
///
/// # Errors
/// If it names other files, another number of classes, or a language that its dictionary cannot write.
pub fn check(manifest: &Manifest, product: &Product) -> Result<()> {
    let named: BTreeSet<&str> = manifest.files().into_iter().map(|file| file.file.as_str()).collect();
    let made: BTreeSet<&str> = product.files.keys().map(String::as_str).collect();
    ensure!(named == made, "the manifest names {named:?}, the recipe makes {made:?}");
    for recogniser in &manifest.recognisers {
        let dictionary: &Dictionary = product
            .dictionaries
            .get(&recogniser.dictionary.file)
            .with_context(|| format!("{} is not a dictionary", recogniser.dictionary.file))?;
        let name = &recogniser.name;
        let classes = usize::try_from(recogniser.classes).unwrap_or(usize::MAX);
        dictionary.fits(classes).with_context(|| format!("recogniser {name}: wrong `classes`"))?;
        for language in &recogniser.languages {
            languages::covers(dictionary, language).with_context(|| format!("recogniser {name}"))?;
        }
    }
    Ok(())
}

/// The files whose digest or size is not the one that the manifest names.
#[must_use]
pub fn differing<'manifest>(manifest: &'manifest Manifest, product: &Product) -> Vec<&'manifest str> {
    let differs = |file: &&File| {
        let bytes = product.files.get(&file.file).map(Vec::as_slice).unwrap_or_default();
        file.sha256 != files::sha256(bytes) || u64::try_from(bytes.len()) != Ok(file.bytes)
    };
    manifest.files().into_iter().filter(differs).map(|file| file.file.as_str()).collect()
}

/// Writes digests and sizes into the text of a manifest. Line by line, so that comments and order stay.
///
/// # Errors
/// If a `file:` is not followed by its `sha256:` and `bytes:`.
pub fn update(text: &str, built: &BTreeMap<String, Vec<u8>>) -> Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for position in 0..lines.len() {
        let Some(name) = lines.get(position).and_then(|line| value(line, "file")).map(str::to_owned) else { continue };
        let Some(bytes) = built.get(&name) else { continue };
        for (offset, key, new) in [(1, "sha256", files::sha256(bytes)), (2, "bytes", bytes.len().to_string())] {
            let line = lines.get_mut(position + offset).filter(|line| value(line, key).is_some());
            let line = line.with_context(|| format!("`file: {name}` must be followed by `sha256:` and `bytes:`"))?;
            let indent = line.len() - line.trim_start().len();
            *line = format!("{}{key}: {new}", " ".repeat(indent));
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// The value of a line `key: value`.
fn value<'line>(line: &'line str, key: &str) -> Option<&'line str> {
    line.trim_start().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(':').map(str::trim)
}

/// Where the manifest of a bundle is.
#[must_use]
pub fn path(manifests: &Path, bundle: &str) -> std::path::PathBuf {
    manifests.join(bundle).join("model.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = include_str!("../../bundles/pp-ocrv6-small/model.yaml");

    fn product(manifest: &Manifest) -> Product {
        let letters = ('!'..='\u{24f}').filter(|letter| !letter.is_control()).map(String::from);
        let entries: Vec<String> = letters.take(manifest.recognisers[0].classes as usize - 2).collect();
        let dictionary = Dictionary::parse(&entries.join("\n")).unwrap();
        let mut product = Product::default();
        for file in manifest.files() {
            product.files.insert(file.file.clone(), file.file.clone().into_bytes());
        }
        for recogniser in &manifest.recognisers {
            product.dictionaries.insert(recogniser.dictionary.file.clone(), dictionary.clone());
        }
        product
    }

    fn manifest() -> Manifest {
        let mut manifest = parse(MANIFEST).unwrap();
        manifest.recognisers.truncate(1);
        manifest.recognisers[0].classes = 500;
        manifest
    }

    #[test]
    fn updating_changes_digests_and_sizes_and_nothing_else() {
        let built = BTreeMap::from([("detector.onnx".to_owned(), b"new".to_vec())]);
        let updated = update(MANIFEST, &built).unwrap();
        let changed: Vec<_> = MANIFEST.lines().zip(updated.lines()).filter(|(old, new)| old != new).collect();
        assert_eq!(changed.len(), 2, "{changed:?}");
        let detector = parse(&updated).unwrap().detector.file;
        assert_eq!((detector.sha256, detector.bytes), (files::sha256(b"new"), 3));
        assert_eq!(updated.lines().count(), MANIFEST.lines().count());
    }

    #[test]
    fn a_file_entry_out_of_order_is_not_updated_by_guess() {
        let text = "file: a.onnx\nbytes: 3\nsha256: 00\n";
        assert!(update(text, &BTreeMap::from([("a.onnx".to_owned(), vec![])])).is_err());
    }

    #[test]
    fn a_manifest_that_names_other_files_than_the_recipe_makes_is_refused() {
        let manifest = manifest();
        let mut product = product(&manifest);
        assert!(check(&manifest, &product).is_ok());
        product.files.insert("extra.onnx".into(), vec![]);
        assert!(check(&manifest, &product).unwrap_err().to_string().contains("extra.onnx"));
    }

    #[test]
    fn a_language_that_the_dictionary_cannot_write_is_refused() {
        let mut manifest = manifest();
        let product = product(&manifest);
        manifest.recognisers[0].languages = vec!["en".into(), "el".into()];
        let error = check(&manifest, &product).unwrap_err();
        assert!(format!("{error:#}").contains("language el cannot be written"), "{error:#}");
    }

    #[test]
    fn a_wrong_number_of_classes_is_refused() {
        let mut manifest = manifest();
        let product = product(&manifest);
        manifest.recognisers[0].classes += 1;
        assert!(format!("{:#}", check(&manifest, &product).unwrap_err()).contains("classes"));
    }

    #[test]
    fn files_that_differ_are_named() {
        let mut manifest = manifest();
        let product = product(&manifest);
        let all = differing(&manifest, &product).len();
        assert_eq!(all, manifest.files().len());
        manifest.detector.file.sha256 = files::sha256(b"detector.onnx");
        manifest.detector.file.bytes = 13;
        assert_eq!(differing(&manifest, &product).len(), all - 1);
    }
}
