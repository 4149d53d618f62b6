//! What the paths on the command line stand for.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Files of a folder that are read: those whose names say that they are images or PDFs.
const EXTENSIONS: [&str; 11] = ["bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "pdf", "png", "tif", "tiff", "webp"];
/// Folders within folders are searched this deep.
const MAX_DEPTH: usize = 32;

/// One document to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As it is printed: the path, with control characters replaced, so that a name cannot forge output.
    pub name: String,
    /// `None` for the standard input.
    pub path: Option<PathBuf>,
}

impl Input {
    fn file(path: PathBuf) -> Self {
        let name = path.to_string_lossy().replace(|c: char| c.is_control(), "\u{FFFD}");
        Self { name, path: Some(path) }
    }
}

/// The documents that the paths stand for: files as they are, of a folder the images and PDFs in it and below, by name.
///
/// # Errors
/// Where a path is not there, a folder holds nothing to read, or the standard input is named twice.
pub fn inputs(paths: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            if inputs.iter().any(|input: &Input| input.path.is_none()) {
                bail!("- stands for the standard input and can be read once only");
            }
            inputs.push(Input { name: "-".to_owned(), path: None });
        } else if path.is_dir() {
            let before = inputs.len();
            add_folder(path, MAX_DEPTH, &mut inputs)?;
            if inputs.len() == before {
                bail!("no image or PDF is in the folder {}; files are known by their extension", path.display());
            }
        } else {
            // One that is not there fails when its turn comes: the others are read.
            inputs.push(Input::file(path.clone()));
        }
    }
    Ok(inputs)
}

fn add_folder(folder: &Path, depth: usize, inputs: &mut Vec<Input>) -> anyhow::Result<()> {
    let failed = || format!("cannot list the folder {}", folder.display());
    let mut entries =
        std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).with_context(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        // The entry's own kind, not that of what a link points to: a link to a folder above would never end.
        let kind = entry.file_type().with_context(failed)?;
        if kind.is_dir() && !is_hidden && depth > 0 {
            add_folder(&path, depth - 1, inputs)?;
        } else if !kind.is_dir() && !is_hidden && is_document(&path) {
            inputs.push(Input::file(path));
        }
    }
    Ok(())
}

fn is_document(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_documents_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.PDF", "a.jpg", "notes.txt", ".hidden.png", "below/c.tiff"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("below/loop")).unwrap();
        let found = inputs(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> = found.iter().map(|input| Path::new(&input.name).file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.jpg", "b.PDF", "c.tiff"]);
    }

    #[test]
    fn a_folder_without_documents_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(inputs(&[folder.path().to_owned()]).unwrap_err().to_string().contains("no image or PDF"));
    }

    #[test]
    fn a_name_cannot_forge_output() {
        let found = inputs(&["a\nb\u{1b}[2J.png".into()]).unwrap();
        assert_eq!(found[0].name, "a\u{FFFD}b\u{FFFD}[2J.png");
    }

    #[test]
    fn the_standard_input_is_read_once() {
        assert_eq!(inputs(&["-".into()]).unwrap(), [Input { name: "-".into(), path: None }]);
        assert!(inputs(&["-".into(), "-".into()]).is_err());
    }
}
