//! Pages whose text is known, read before a way of computing is trusted: how many characters it gets wrong is part of
//! what a pod attests.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ocr_api::{ErrorDetail, golden as built_in, status::GoldenStatus};

use super::{
    Inner,
    networks::Networks,
    trial::{self, MOST_PAGES, TrialError},
};
use crate::engine::EngineError;

/// Most bytes of a file of a folder: what a ConfigMap holds.
const MOST_BYTES: u64 = 1 << 20;
/// Most bytes of a page's text: comparing takes time by its square. A full page has 5,000.
const MOST_TEXT_BYTES: u64 = 32 << 10;

/// What pages are judged by.
#[derive(Clone, Debug)]
pub struct GoldenSettings {
    /// Folder of further pages: images or PDFs, each with its text in a file of the same name that ends in `.txt`.
    pub folder: Option<PathBuf>,
    /// Most characters read wrongly, in percent.
    pub max_error_percent: f64,
}

/// A page whose text is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GoldenPage {
    pub name: String,
    pub bytes: Vec<u8>,
    pub text: String,
}

/// Why the pages do not speak for a way of computing.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    #[error(
        "{error_percent:.2} % of the golden pages' characters are read wrongly, {limit:.2} % are allowed (worst: {worst})"
    )]
    TooMany { error_percent: f64, limit: f64, worst: String },
    #[error("the golden page {name} cannot be decoded ({cause}); replace the file, or take it away with its text")]
    Undecodable { name: String, cause: String },
    #[error("the golden page {name} could not be read: {cause}; replace it")]
    Page { name: String, cause: String },
    /// Nothing that the page or its text is to blame for.
    #[error("the golden page {name} was not read: {error}")]
    Engine { name: String, error: EngineError },
    #[error("golden pages in {}: {cause}", folder.display())]
    Folder { folder: PathBuf, cause: String },
}

impl GoldenError {
    fn of(name: &str, error: TrialError) -> Self {
        let name = name.to_owned();
        match error {
            TrialError::Engine(error) => Self::Engine { name, error },
            TrialError::Decode(detail) => Self::Undecodable { name, cause: detail.message },
            TrialError::Page(cause) => Self::Page { name, cause },
        }
    }
}

/// The pages of a folder, by name.
///
/// # Errors
/// If there are none or too many, one is too large, or an image or its text is missing.
pub(super) fn pages_of(folder: &Path) -> Result<Vec<GoldenPage>, GoldenError> {
    let failed = |cause: String| GoldenError::Folder { folder: folder.to_owned(), cause };
    let unreadable = |error: io::Error| failed(error.to_string());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // A mounted ConfigMap has folders of its own beside the links to its files.
        let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let is_text = |path: &Path| path.extension().is_some_and(|extension| extension == "txt");
    let images: Vec<&PathBuf> = files.iter().filter(|path| !is_text(path)).collect();
    if images.is_empty() {
        return Err(failed("there is no image and no PDF; put some there, each with its text as NAME.txt".to_owned()));
    }
    if count(images.len()) > u64::from(MOST_PAGES) {
        return Err(failed(format!("{} pages are more than {MOST_PAGES}; take some away", images.len())));
    }
    let read = |path: &Path, most: u64| -> Result<Vec<u8>, GoldenError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = fs::metadata(path).map_err(|error| failed(format!("{name}: {error}")))?.len();
        if bytes > most {
            return Err(failed(format!("{name} has {bytes} bytes, more than {most}; make it smaller")));
        }
        fs::read(path).map_err(|error| failed(format!("{name}: {error}")))
    };
    let page = |image: &PathBuf| {
        let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = read(&image.with_extension("txt"), MOST_TEXT_BYTES)?;
        let text = String::from_utf8(text).map_err(|_| failed(format!("the text of {name} is not UTF-8")))?;
        Ok(GoldenPage { bytes: read(image, MOST_BYTES)?, text, name })
    };
    images.into_iter().map(page).collect()
}

/// Decodes every page of the folder, where there is one, and keeps none: no way of computing is to blame for pages that
/// cannot be used.
///
/// # Errors
/// Those of [`pages_of`]; if a page cannot be decoded, or the files have too many pages together.
pub(super) async fn check(inner: &Inner) -> Result<(), GoldenError> {
    let Some(folder) = &inner.golden.folder else { return Ok(()) };
    let mut pages: u32 = 0;
    for GoldenPage { name, bytes, .. } in pages_of(folder)? {
        let undecodable = |detail: ErrorDetail| GoldenError::Undecodable { name: name.clone(), cause: detail.message };
        let mut document = trial::open(inner, bytes).await.map_err(undecodable)?;
        pages = pages.saturating_add(document.page_count);
        if pages > MOST_PAGES {
            let cause = format!("with {name} they are more than {MOST_PAGES} pages; take some away");
            return Err(GoldenError::Folder { folder: folder.clone(), cause });
        }
        for index in 0..document.page_count {
            document.page(index).await.map_err(undecodable)?;
        }
    }
    Ok(())
}

/// Reads all golden pages with these networks.
///
/// # Errors
/// If a page cannot be read, or more characters are wrong than is allowed.
pub(super) async fn read(inner: &Arc<Inner>, networks: &Arc<Networks>) -> Result<GoldenStatus, GoldenError> {
    let mut pages: Vec<GoldenPage> = Vec::new();
    if built_in::LINES.iter().all(|line| inner.dictionary.can_write(line)) {
        pages.push(GoldenPage {
            name: "built-in".to_owned(),
            bytes: built_in::page(),
            text: built_in::LINES.join("\n"),
        });
    }
    if let Some(folder) = &inner.golden.folder {
        pages.extend(pages_of(folder)?);
    }
    let mut status = GoldenStatus { max_error_percent: inner.golden.max_error_percent, ..GoldenStatus::default() };
    let mut worst = (0.0, String::new());
    for page in pages {
        let read =
            trial::read(inner, networks, page.bytes).await.map_err(|error| GoldenError::of(&page.name, error))?;
        let (errors, characters) = errors(&page.text, &read.text);
        status.pages += read.pages;
        status.characters += characters;
        status.errors += errors;
        let percent = percent(errors, characters);
        if percent >= worst.0 {
            worst = (percent, page.name);
        }
    }
    status.error_percent = percent(status.errors, status.characters);
    if status.error_percent > status.max_error_percent {
        let (error_percent, limit) = (status.error_percent, status.max_error_percent);
        return Err(GoldenError::TooMany { error_percent, limit, worst: worst.1 });
    }
    Ok(status)
}

/// Characters to insert, delete or replace (Levenshtein), and those of the truth. White space does not count: older models
/// do not all see it, and where a line ends is no matter of reading.
fn errors(truth: &str, read: &str) -> (u64, u64) {
    let characters = |text: &str| text.split_whitespace().collect::<String>();
    let (truth, read) = (characters(truth), characters(read));
    (count(strsim::levenshtein(&truth, &read)), count(truth.chars().count()))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Of nothing, what is wrong is all.
fn percent(errors: u64, characters: u64) -> f64 {
    // Some thousand characters: exact.
    #[expect(clippy::cast_precision_loss)]
    let percent = 100.0 * errors as f64 / characters.max(1) as f64;
    percent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn errors_are_counted_by_character_and_without_spaces() {
        let rows =
            [("ab c", "abc", 0, 3), ("abc", "", 3, 3), ("", "x", 1, 0), ("größe", "grösse", 2, 5), ("", "", 0, 0)];
        for (truth, read, wrong, characters) in rows {
            assert_eq!(errors(truth, read), (wrong, characters), "{truth} {read}");
        }
        assert_eq!([percent(1, 50), percent(1, 0), percent(0, 0)], [2.0, 100.0, 0.0]);
    }

    #[test]
    fn a_folder_s_pages_come_by_name_with_their_text() {
        let folder =
            folder(&[("b.png", "B"), ("b.txt", "text of b"), ("a.pdf", "A"), ("a.txt", "text of a"), (".hidden", "")]);
        let pages = pages_of(folder.path()).unwrap();
        let names: Vec<_> = pages.iter().map(|page| (page.name.as_str(), page.text.as_str())).collect();
        assert_eq!(names, [("a.pdf", "text of a"), ("b.png", "text of b")]);
    }

    #[test]
    fn a_folder_that_cannot_be_used_says_what_to_do() {
        let told = |files: &[(&str, &str)]| pages_of(folder(files).path()).unwrap_err().to_string();
        assert!(told(&[]).contains("there is no image"));
        assert!(told(&[("a.txt", "only text")]).contains("there is no image"));
        assert!(told(&[("a.png", "")]).contains("a.txt: No such file"));
        let large = "x".repeat(usize::try_from(MOST_BYTES).unwrap() + 1);
        assert!(told(&[("a.png", &large), ("a.txt", "")]).contains("a.png has 1048577 bytes"));
        assert!(told(&[("a.png", ""), ("a.txt", &large)]).contains("a.txt has 1048577 bytes"));
        let many: Vec<String> = (0..=MOST_PAGES).map(|number| format!("{number}.png")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        assert!(told(&many).contains("33 pages are more than 32"));
        assert!(
            pages_of(Path::new("/nowhere")).unwrap_err().to_string().contains("golden pages in /nowhere: No such file")
        );
    }
}
