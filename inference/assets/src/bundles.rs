//! Builds the bundles from the raw weights and lays them beside their manifests.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::files;
use crate::manifests;
use crate::recipes::{Product, Recipe};

/// What to do where a manifest names other digests than were built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// The build fails: an edit or a file changed without anybody meaning it.
    Refuse,
    /// The manifest is written anew.
    Update,
}

/// Builds bundles into a folder; their manifests are all that the folder of manifests has.
///
/// # Errors
/// If raw weights are missing, an edit does not find its place, or a manifest does not fit what was built.
pub fn build(recipes: &[Recipe], assets: &Path, manifests: &Path, out: &Path, mismatch: Mismatch) -> Result<()> {
    let total = recipes.len();
    for (number, recipe) in recipes.iter().enumerate() {
        eprintln!("[{}/{total}] {}", number + 1, recipe.bundle);
        build_one(recipe, assets, manifests, out, mismatch)
            .with_context(|| format!("failed to build bundle {}", recipe.bundle))?;
    }
    refuse_without_recipe(recipes, manifests)
}

fn build_one(recipe: &Recipe, assets: &Path, manifests: &Path, out: &Path, mismatch: Mismatch) -> Result<()> {
    let path = manifests::path(manifests, recipe.bundle);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let product = recipe.make(&assets.join("models"), path.parent().unwrap_or(manifests))?;
    let text = settle(recipe.bundle, text, &product, mismatch, &path)?;

    let folder = out.join(recipe.bundle);
    for (name, bytes) in &product.files {
        put(&folder.join(name), bytes)?;
    }
    // Last: a bundle with a manifest is a whole one.
    put(&folder.join("model.yaml"), text.as_bytes())?;
    remove_others(&folder, &product)
}

/// Compares the manifest with what was built; returns the text that describes it.
fn settle(bundle: &str, text: String, product: &Product, mismatch: Mismatch, path: &Path) -> Result<String> {
    let manifest = manifests::parse(&text).with_context(|| path.display().to_string())?;
    ensure!(manifest.name == bundle, "{} names bundle {}", path.display(), manifest.name);
    manifests::check(&manifest, product).with_context(|| path.display().to_string())?;
    let differing = manifests::differing(&manifest, product);
    if differing.is_empty() {
        return Ok(text);
    }
    if mismatch == Mismatch::Refuse {
        bail!(
            "{} {} not what {} says. Where the change is meant, run `ocr-assets bundles --update` and commit the \
             manifest",
            differing.join(", "),
            if differing.len() == 1 { "is" } else { "are" },
            path.display()
        );
    }
    let text = manifests::update(&text, &product.files)?;
    files::write_whole(path, text.as_bytes())?;
    eprintln!("      {} now names {}", path.display(), differing.join(", "));
    Ok(text)
}

/// Writes a file unless it is there already: whoever has it open, or watches its time, is not disturbed.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if files::sha256_of(path)? == Some(files::sha256(bytes)) {
        return Ok(());
    }
    files::write_whole(path, bytes)
}

/// Removes files of an earlier build that the bundle no longer has, so that no image carries them.
fn remove_others(folder: &Path, product: &Product) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && name != "model.yaml" && !product.files.contains_key(&name) {
            fs::remove_file(entry.path()).with_context(|| format!("failed to remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// A manifest that nothing builds would be a bundle that is missing at run time.
fn refuse_without_recipe(recipes: &[Recipe], manifests: &Path) -> Result<()> {
    for entry in fs::read_dir(manifests).with_context(|| format!("failed to list {}", manifests.display()))? {
        let name = entry.with_context(|| format!("failed to list {}", manifests.display()))?.file_name();
        let name = name.to_string_lossy();
        let known = recipes.iter().any(|recipe| recipe.bundle == name);
        let has_manifest = manifests::path(manifests, &name).exists();
        ensure!(known || !has_manifest, "bundle {name} has a manifest but no recipe: add one to recipes.rs");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ocr_api::manifest::Precision;

    use super::*;
    use crate::edits::int8::Record;
    use crate::recipes::{Part, RECORD, RecogniserPart, SHIPPED, TESTS};

    const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bundles");
    const TEST_MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bundles");

    #[test]
    fn every_recipe_has_a_manifest_and_every_manifest_a_recipe() {
        for (recipes, manifests) in [(SHIPPED, Path::new(MANIFESTS)), (TESTS, Path::new(TEST_MANIFESTS))] {
            for recipe in recipes {
                let text = fs::read_to_string(manifests::path(manifests, recipe.bundle)).unwrap();
                assert_eq!(manifests::parse(&text).unwrap().name, recipe.bundle);
            }
            refuse_without_recipe(recipes, manifests).unwrap();
            assert!(refuse_without_recipe(&[], manifests).is_err());
        }
    }

    #[test]
    fn the_manifests_architectures_are_those_that_the_recipes_write() {
        for recipe in SHIPPED {
            let text = fs::read_to_string(manifests::path(Path::new(MANIFESTS), recipe.bundle)).unwrap();
            let manifest = manifests::parse(&text).unwrap();
            for part in recipe.parts {
                match part {
                    Part::Detector { architecture, .. } => assert_eq!(manifest.detector.architecture, *architecture),
                    Part::Recogniser(RecogniserPart { architecture, .. }) => {
                        assert!(manifest.recognisers.iter().all(|known| known.architecture == *architecture));
                    }
                    Part::Copy { .. } | Part::Dictionary { .. } => {}
                }
            }
        }
    }

    #[test]
    fn every_bundle_with_a_network_of_bytes_has_the_record_that_it_is_made_by() {
        for recipe in SHIPPED {
            let folder = Path::new(MANIFESTS).join(recipe.bundle);
            match fs::read_to_string(folder.join(RECORD)) {
                Ok(text) => {
                    let record = Record::parse(&text).unwrap();
                    let text_of_manifest = fs::read_to_string(manifests::path(Path::new(MANIFESTS), recipe.bundle));
                    let manifest = manifests::parse(&text_of_manifest.unwrap()).unwrap();
                    let calibrated = manifest.recognisers.iter().find(|recogniser| recogniser.int8.is_some()).unwrap();
                    assert_eq!(record.network, calibrated.file.sha256, "{}", recipe.bundle);
                    assert!(calibrated.int8_qdq.is_some(), "{}", recipe.bundle);
                    assert_eq!(record.to_text(), text, "{}", recipe.bundle);
                }
                Err(_) => assert!(recipe.recogniser_in(Precision::Int8).is_none(), "{}", recipe.bundle),
            }
        }
    }

    #[test]
    fn missing_raw_weights_are_named_with_the_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let error = build(SHIPPED, folder.path(), Path::new(MANIFESTS), folder.path(), Mismatch::Refuse).unwrap_err();
        assert!(format!("{error:#}").contains("run `ocr-assets fetch` first"), "{error:#}");
    }

    #[test]
    fn files_of_an_earlier_build_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["model.yaml", "kept.onnx", "old.onnx"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut product = Product::default();
        product.files.insert("kept.onnx".into(), vec![]);
        remove_others(folder.path(), &product).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["kept.onnx", "model.yaml"]);
    }
}
