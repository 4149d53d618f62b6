//! The bundles of a folder, and the way from a name or path to one of them.

use std::fs;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use super::error::{BundleError, Refusal};

/// A folder in the bundles folder.
#[derive(Debug)]
pub struct Entry {
    /// Name of the folder, which is the bundle's.
    pub name: String,
    pub path: PathBuf,
    /// What the bundle is, or why it is refused.
    pub bundle: Result<Summary, BundleError>,
}

/// What a list of bundles shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub version: String,
    /// BCP 47 tags of what it reads.
    pub languages: Vec<String>,
    /// Size of its files.
    pub bytes: u64,
    /// SHA-256 of its manifest.
    pub digest: String,
}

/// All bundles of a folder, by name. Each is opened and checked, so that the list does not promise what a start then
/// refuses.
///
/// # Errors
/// If the folder cannot be listed.
pub fn catalogue(bundles: &Path) -> Result<Vec<Entry>, BundleError> {
    let entry = |name: String| {
        let path = bundles.join(&name);
        let bundle = open_named(&path, &name).map(|bundle| Summary {
            version: bundle.manifest().version.clone(),
            languages: bundle.languages(),
            bytes: bundle.bytes(),
            digest: bundle.digest().to_owned(),
        });
        Entry { name, path, bundle }
    };
    Ok(names(bundles)?.into_iter().map(entry).collect())
}

/// Opens the bundle that `--model` names: a path if there is a slash in it, else a folder of the bundles folder.
///
/// # Errors
/// If there is none, with the names that there are, or if it is refused.
pub fn open_model(model: &str, bundles: &Path) -> Result<Bundle, BundleError> {
    if model.contains('/') || matches!(model, "." | "..") {
        return Bundle::open(Path::new(model));
    }
    let path = bundles.join(model);
    if model.is_empty() || !path.exists() {
        // What a list of names cannot say is not what this call is about.
        let known = names(bundles).unwrap_or_default();
        return Err(BundleError::new(&path, Refusal::NoBundle { known }));
    }
    open_named(&path, model)
}

/// Opens a bundle that must have the name of its folder: the name is what users, metrics and status call it.
fn open_named(path: &Path, name: &str) -> Result<Bundle, BundleError> {
    let bundle = Bundle::open(path)?;
    let found = bundle.manifest().name.clone();
    if found == name {
        return Ok(bundle);
    }
    Err(BundleError::new(path, Refusal::Name { expected: name.to_owned(), found }))
}

/// Names of the folders, sorted; those with a leading dot are the volume's own.
fn names(bundles: &Path) -> Result<Vec<String>, BundleError> {
    let unreadable =
        |cause| BundleError::new(bundles, Refusal::Unreadable { file: "the bundles folder".to_owned(), cause });
    let mut names = Vec::new();
    for entry in fs::read_dir(bundles).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    /// A bundles folder with `test`, which is good, `broken`, and things that are no bundles.
    fn bundles() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        Fixture::in_folder(&folder.path().join("test"));
        let broken = Fixture::in_folder(&folder.path().join("broken"));
        broken.damage("latin.txt");
        fs::create_dir(folder.path().join(".snapshot")).unwrap();
        fs::write(folder.path().join("README"), "").unwrap();
        folder
    }

    #[test]
    fn the_catalogue_lists_good_bundles_and_why_others_are_refused() {
        let folder = bundles();
        let entries = catalogue(folder.path()).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["broken", "test"]);
        assert_eq!(entries[0].bundle.as_ref().unwrap_err().reason(), "DigestMismatch");
        let summary = entries[1].bundle.as_ref().unwrap();
        assert_eq!((summary.version.as_str(), summary.languages.len()), ("0.1.0", 3));
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_listed() {
        assert_eq!(catalogue(Path::new("/no/such/folder")).unwrap_err().reason(), "FileUnreadable");
    }

    #[test]
    fn a_model_is_found_by_name_and_by_path() {
        let folder = bundles();
        assert_eq!(open_model("test", folder.path()).unwrap().manifest().name, "test");
        let path = folder.path().join("test");
        assert_eq!(open_model(path.to_str().unwrap(), Path::new("/none")).unwrap().manifest().name, "test");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_that_there_are() {
        let folder = bundles();
        for model in ["tset", ""] {
            let text = open_model(model, folder.path()).unwrap_err().to_string();
            assert!(text.contains("the bundles folder has broken, test"), "{text}");
        }
    }

    #[test]
    fn a_bundle_under_another_name_is_refused_by_name_but_opens_by_path() {
        let folder = bundles();
        fs::rename(folder.path().join("test"), folder.path().join("renamed")).unwrap();
        assert_eq!(open_model("renamed", folder.path()).unwrap_err().reason(), "BundleNameMismatch");
        assert!(open_model(folder.path().join("renamed").to_str().unwrap(), folder.path()).is_ok());
    }
}
