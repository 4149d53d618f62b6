//! Fonts in the place of those that a PDF names and does not embed.
//!
//! The library would take two fonts of its own, whose shapes it bends to each document's widths, and it leaves them
//! bent: the same page then looks different after another document. And with a machine's fonts the same page looks
//! different on another machine. So every such font is answered with one of our folder, which has no such memory.
//! The fourteen standard fonts are the library's own, because those have the widths that documents count on.

use std::path::{Path, PathBuf};

use pdfium_render::prelude::{
    PdfFontCharacterSet, PdfFontWeight, PdfiumCustomFontProvider, PdfiumCustomFontProviderRequest,
    PdfiumCustomFontProviderResponse,
};

/// Names that the library asks for in place of the standard fonts and their many aliases.
const STANDARD_FONTS: [&str; 12] = [
    "Courier",
    "Courier-Bold",
    "Courier-BoldOblique",
    "Courier-Oblique",
    "Helvetica",
    "Helvetica-Bold",
    "Helvetica-BoldOblique",
    "Helvetica-Oblique",
    "Times-Roman",
    "Times-Bold",
    "Times-BoldItalic",
    "Times-Italic",
];

/// Parts of the names of well-known fonts with serifs. The library knows from the document whether a font has any,
/// but its binding does not pass that on.
const SERIF_NAMES: [&str; 12] = [
    "times",
    "serif",
    "roman",
    "georgia",
    "garamond",
    "palatino",
    "bookman",
    "book antiqua",
    "cambria",
    "century",
    "minion",
    "baskerville",
];

/// The fonts of a folder.
pub(super) struct FontFolder {
    fonts: Vec<Font>,
}

struct Font {
    name: String,
    path: PathBuf,
    style: Style,
    /// Read ahead where files cannot be opened later.
    bytes: Option<Vec<u8>>,
}

/// What tells one font of a family from another.
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Style {
    serif: bool,
    fixed: bool,
    bold: bool,
    italic: bool,
}

impl Style {
    /// The style that a font's or a file's name speaks of.
    fn of_name(name: &str) -> Self {
        let name = name.to_lowercase();
        let has = |part: &&str| name.contains(*part);
        Self {
            serif: SERIF_NAMES.iter().any(has) && !name.contains("sans"),
            fixed: ["mono", "courier", "consol", "typewriter"].iter().any(has),
            bold: ["bold", "black", "heavy"].iter().any(has),
            italic: ["italic", "oblique"].iter().any(has),
        }
    }

    /// How unlike another style it is: the width of its letters matters most, then their shape.
    fn distance(self, other: Self) -> u32 {
        8 * u32::from(self.fixed != other.fixed)
            + 4 * u32::from(self.serif != other.serif)
            + 2 * u32::from(self.bold != other.bold)
            + u32::from(self.italic != other.italic)
    }
}

impl FontFolder {
    /// Lists a folder's TrueType and OpenType fonts, in the order of their names.
    ///
    /// `read_ahead`: whether the fonts are kept in memory; otherwise each is read when a document needs it.
    pub(super) fn open(folder: &Path, read_ahead: bool) -> std::io::Result<Self> {
        let mut fonts = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let is_font = path.extension().is_some_and(|extension| {
                extension.eq_ignore_ascii_case("ttf") || extension.eq_ignore_ascii_case("otf")
            });
            let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_font) else { continue };
            let bytes = if read_ahead { Some(std::fs::read(&path)?) } else { None };
            fonts.push(Font { name: name.to_owned(), style: Style::of_name(name), bytes, path });
        }
        fonts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { fonts })
    }

    /// The font most like the one that is asked for.
    fn best(&self, style: Style) -> Option<(u64, &Font)> {
        // The library takes 0 for "none".
        (1..).zip(&self.fonts).min_by_key(|(_, font)| font.style.distance(style))
    }
}

impl PdfiumCustomFontProvider for FontFolder {
    fn provide(&mut self, request: PdfiumCustomFontProviderRequest) -> Option<PdfiumCustomFontProviderResponse> {
        let latin = matches!(request.character_set, PdfFontCharacterSet::Ansi | PdfFontCharacterSet::Default);
        let standard = latin && STANDARD_FONTS.contains(&request.font_face.as_str());
        // A font called symbolic is often a text font; the library asks again for it as one.
        if standard || matches!(request.character_set, PdfFontCharacterSet::Symbol) {
            return None;
        }
        let named = Style::of_name(&request.font_face);
        let style = Style {
            serif: named.serif || request.is_serif,
            fixed: named.fixed || request.is_fixed_pitch,
            bold: named.bold || is_bold(request.weight),
            italic: named.italic || request.is_italic,
        };
        let (id, font) = self.best(style)?;
        let data = match &font.bytes {
            Some(bytes) => bytes.clone(),
            None => std::fs::read(&font.path).ok()?,
        };
        Some(PdfiumCustomFontProviderResponse {
            id,
            font_face: font.name.clone(),
            character_set: request.character_set,
            data,
        })
    }
}

fn is_bold(weight: PdfFontWeight) -> bool {
    match weight {
        PdfFontWeight::Weight600
        | PdfFontWeight::Weight700Bold
        | PdfFontWeight::Weight800
        | PdfFontWeight::Weight900 => true,
        PdfFontWeight::Custom(weight) => weight >= 600,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, FontFolder) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["Sans.ttf", "Sans-Bold.ttf", "SansMono.ttf", "Serif.ttf", "Serif-Italic.otf", "README.txt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let fonts = FontFolder::open(folder.path(), false).unwrap();
        (folder, fonts)
    }

    fn request(
        face: &str,
        character_set: PdfFontCharacterSet,
        weight: PdfFontWeight,
    ) -> PdfiumCustomFontProviderRequest {
        PdfiumCustomFontProviderRequest {
            font_face: face.into(),
            character_set,
            weight,
            is_italic: false,
            is_fixed_pitch: false,
            is_serif: false,
            is_cursive: false,
        }
    }

    #[test]
    fn a_font_is_answered_with_the_one_most_like_it() {
        let (_folder, mut fonts) = folder();
        let cases = [
            ("Calibri", "Sans"),
            ("Calibri-Bold", "Sans-Bold"),
            ("Georgia", "Serif"),
            ("Cambria-Italic", "Serif-Italic"),
            ("Consolas", "SansMono"),
            ("MS Sans Serif", "Sans"),
        ];
        for (face, expected) in cases {
            let answer =
                fonts.provide(request(face, PdfFontCharacterSet::Ansi, PdfFontWeight::Weight400Normal)).unwrap();
            assert_eq!(answer.font_face, expected, "{face}");
            assert!(answer.data.starts_with(expected.as_bytes()), "{face}");
            assert_ne!(answer.id, 0);
        }
        let bold = fonts.provide(request("Foo", PdfFontCharacterSet::Greek, PdfFontWeight::Custom(650))).unwrap();
        assert_eq!(bold.font_face, "Sans-Bold");
    }

    #[test]
    fn standard_and_symbolic_fonts_are_left_to_the_library() {
        let (_folder, mut fonts) = folder();
        let normal = || PdfFontWeight::Weight400Normal;
        assert!(fonts.provide(request("Helvetica", PdfFontCharacterSet::Ansi, normal())).is_none());
        assert!(fonts.provide(request("Helvetica", PdfFontCharacterSet::Greek, normal())).is_some());
        assert!(fonts.provide(request("Wingdings", PdfFontCharacterSet::Symbol, normal())).is_none());
    }

    #[test]
    fn fonts_read_ahead_need_no_file() {
        let (folder, _) = folder();
        let mut fonts = FontFolder::open(folder.path(), true).unwrap();
        drop(folder);
        let answer = fonts.provide(request("Foo", PdfFontCharacterSet::Ansi, PdfFontWeight::Weight400Normal));
        assert_eq!(answer.unwrap().data, b"Sans.ttf");
    }
}
