//! The bundles of a folder, and the way from a name or path to one of them.

use std::fs;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use super::error::{BundleError, Refusal};

/// A folder in the bundles folder.
#[derive(Debug)]
pub struct Entry {
    /// Name of the folder: what `--model` takes.
    pub name: String,
    pub path: PathBuf,
    /// What the bundle is, or why it is refused.
    pub bundle: Result<Summary, BundleError>,
}

/// What a list of bundles shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Name that the bundle gives itself.
    pub name: String,
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
    if let Err(cause) = fs::read_dir(bundles) {
        let file = "the bundles folder".to_owned();
        return Err(BundleError::new(bundles, Refusal::Unreadable { file, cause }));
    }
    let entry = |name: String| {
        let path = bundles.join(&name);
        let bundle = Bundle::open(&path).map(|bundle| Summary {
            name: bundle.manifest().name.clone(),
            version: bundle.manifest().version.clone(),
            languages: bundle.languages(),
            bytes: bundle.bytes(),
            digest: bundle.digest().to_owned(),
        });
        Entry { name, path, bundle }
    };
    Ok(names(bundles).into_iter().map(entry).collect())
}

/// The folder that `--model` names: a path if there is a slash in it, else a folder of the bundles folder.
#[must_use]
pub fn resolve(model: &str, bundles: &Path) -> PathBuf {
    if model.contains('/') || matches!(model, "." | "..") { PathBuf::from(model) } else { bundles.join(model) }
}

/// Names of the folders, sorted; those with a leading dot are the volume's own. None where the folder cannot be read:
/// the caller has more to say than that.
pub fn names(bundles: &Path) -> Vec<String> {
    let entries = fs::read_dir(bundles).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
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
    fn a_model_with_a_slash_is_a_path_and_any_other_a_name() {
        let bundles = Path::new("/bundles");
        for (model, path) in [
            ("pp-ocrv6-small", "/bundles/pp-ocrv6-small"),
            ("./mine", "./mine"),
            ("/models/mine", "/models/mine"),
            ("mine/", "mine/"),
            ("..", ".."),
        ] {
            assert_eq!(resolve(model, bundles), Path::new(path), "{model}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_that_there_are() {
        let folder = bundles();
        let text = Bundle::open(&resolve("tset", folder.path())).unwrap_err().to_string();
        assert!(text.contains("beside it there is broken, test"), "{text}");
    }
}
