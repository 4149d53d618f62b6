//! Where the program's files lie: model bundles, native libraries, fonts.

use std::path::{Path, PathBuf};

use clap::Args;

/// Where an installation from a package or an image lays the files.
pub const INSTALLED: &str = "/usr/share/ocr";

/// The folder at the root of a checkout that `make assets` fills.
const CHECKOUT: &str = "assets";

/// Where the files lie, as set.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Files")]
pub struct AssetSettings {
    /// Folder with bundles, libraries and fonts [default: /usr/share/ocr, else assets/ above the program or the working folder]
    #[arg(long, env = "OCR_ASSETS", value_name = "DIR")]
    pub assets: Option<PathBuf>,

    /// Folder with the model bundles [default: bundles/ in the assets]
    #[arg(long, env = "OCR_BUNDLES", value_name = "DIR")]
    pub bundles: Option<PathBuf>,

    /// Library that runs the models [default: lib/ARCH/libonnxruntime.so in the assets]
    #[arg(long, env = "OCR_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,

    /// Library that opens PDFs [default: lib/ARCH/libpdfium.so in the assets]
    #[arg(long, env = "OCR_PDFIUM", value_name = "FILE")]
    pub pdfium: Option<PathBuf>,

    /// Folder with the fonts for PDFs that embed none [default: fonts/ in the assets]
    #[arg(long, env = "OCR_FONTS", value_name = "DIR")]
    pub fonts: Option<PathBuf>,
}

/// Where the files lie; not checked to exist, so that each part says itself what it misses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets {
    /// Folder with a folder for each model bundle.
    pub bundles: PathBuf,
    /// ONNX Runtime's library.
    pub onnxruntime: PathBuf,
    /// `PDFium`'s library.
    pub pdfium: PathBuf,
    /// Folder with fonts.
    pub fonts: PathBuf,
}

/// No folder with assets was found, and not every file was named by a setting of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no folder with models and libraries was found; looked at {}; run `make assets` or set --assets DIR (OCR_ASSETS)", places(.searched))]
pub struct AssetsError {
    /// The folders that were looked at.
    pub searched: Vec<PathBuf>,
}

fn places(searched: &[PathBuf]) -> String {
    searched.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl AssetSettings {
    /// Finds the files.
    ///
    /// # Errors
    /// Where no folder of assets exists and one of the four files is not set.
    pub fn resolve(&self) -> Result<Assets, AssetsError> {
        let program = std::env::current_exe().ok();
        let working = std::env::current_dir().ok();
        self.resolve_from(candidates(program.as_deref(), working.as_deref()), Path::is_dir)
    }

    fn resolve_from(&self, candidates: Vec<PathBuf>, is_dir: impl Fn(&Path) -> bool) -> Result<Assets, AssetsError> {
        let root = self.assets.clone().or_else(|| candidates.iter().find(|place| is_dir(place)).cloned());
        let library = |name: &str| Path::new("lib").join(std::env::consts::ARCH).join(name);
        let find =
            |set: &Option<PathBuf>, below: PathBuf| set.clone().or_else(|| root.as_ref().map(|root| root.join(below)));
        let all = (
            find(&self.bundles, "bundles".into()),
            find(&self.onnxruntime, library("libonnxruntime.so")),
            find(&self.pdfium, library("libpdfium.so")),
            find(&self.fonts, "fonts".into()),
        );
        match all {
            (Some(bundles), Some(onnxruntime), Some(pdfium), Some(fonts)) => {
                Ok(Assets { bundles, onnxruntime, pdfium, fonts })
            }
            _ => Err(AssetsError { searched: candidates }),
        }
    }
}

/// Folders that may hold the assets, the likeliest first.
fn candidates(program: Option<&Path>, working: Option<&Path>) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(INSTALLED)];
    for start in [program.and_then(Path::parent), working].into_iter().flatten() {
        for ancestor in start.ancestors() {
            // A folder named `assets` that holds no bundles is somebody else's.
            let place = ancestor.join(CHECKOUT).join("bundles");
            if let Some(parent) = place.parent().filter(|_| place.is_dir()) {
                places.push(parent.to_owned());
            }
        }
    }
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_set_by_itself_wins_over_the_folder() {
        let settings = AssetSettings {
            assets: Some("/srv/ocr".into()),
            pdfium: Some("/opt/libpdfium.so".into()),
            ..AssetSettings::default()
        };
        let assets = settings.resolve_from(Vec::new(), |_| false).unwrap();
        assert_eq!(assets.pdfium, Path::new("/opt/libpdfium.so"));
        assert_eq!(assets.bundles, Path::new("/srv/ocr/bundles"));
        assert!(assets.onnxruntime.starts_with("/srv/ocr/lib"));
    }

    #[test]
    fn the_first_folder_that_exists_is_used() {
        let places = vec![PathBuf::from("/missing"), PathBuf::from("/a"), PathBuf::from("/b")];
        let assets = AssetSettings::default().resolve_from(places, |place| place != Path::new("/missing")).unwrap();
        assert_eq!(assets.fonts, Path::new("/a/fonts"));
    }

    #[test]
    fn without_a_folder_the_message_says_where_it_looked_and_what_to_do() {
        let error = AssetSettings::default().resolve_from(vec!["/usr/share/ocr".into()], |_| false).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("/usr/share/ocr") && message.contains("make assets") && message.contains("OCR_ASSETS")
        );
    }

    #[test]
    fn a_checkout_is_found_from_a_folder_below_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("assets/bundles")).unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let places = candidates(None, Some(&root.path().join("a/b")));
        assert!(places.contains(&root.path().join("assets")));
    }
}
