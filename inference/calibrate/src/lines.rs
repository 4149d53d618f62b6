//! The lines that are read: each has a number, and is the same whatever other lines are drawn.

use std::fs;
use std::path::Path;

use ab_glyph::FontRef;
use anyhow::{Context as _, Result, ensure};
use ocr_api::manifest::Recogniser;
use ocr_inference::engine::Tensor;
use ocr_inference::recognise::{LineFormat, cut, line};

use crate::draw::draw;
use crate::random::Random;
use crate::text;

/// How many lines a record is made by.
pub const ALL: u32 = 300;

/// A line.
pub struct Line {
    pub text: String,
    /// As the network takes it.
    pub input: Tensor,
}

/// Draws lines.
pub struct Lines {
    /// Contents of the font files, by name.
    fonts: Vec<Vec<u8>>,
    format: LineFormat,
}

impl Lines {
    /// Lines as a recogniser takes them, in the fonts of a folder.
    pub fn new(folder: &Path, recogniser: &Recogniser) -> Result<Self> {
        let unreadable = || format!("failed to read {}: run `ocr-assets fetch` first", folder.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "ttf") {
                paths.push(path);
            }
        }
        paths.sort();
        ensure!(!paths.is_empty(), "no fonts in {}: run `ocr-assets fetch` first", folder.display());
        let fonts = paths.iter().map(fs::read).collect::<Result<Vec<_>, _>>().with_context(unreadable)?;
        for (font, path) in fonts.iter().zip(&paths) {
            FontRef::try_from_slice(font).with_context(|| format!("{} is no font", path.display()))?;
        }
        Ok(Self { fonts, format: LineFormat::from(recogniser) })
    }

    /// The line of that number.
    pub fn draw(&self, number: u32) -> Result<Line> {
        let mut random = Random::of(number);
        let text = text::line(&mut random);
        let font = random.pick(&self.fonts).map(Vec::as_slice).unwrap_or_default();
        let font = FontRef::try_from_slice(font).context("a font is none any more")?;
        let drawn = draw(&text, &font, &mut random).with_context(|| format!("nothing to draw in {text:?}"))?;
        #[expect(clippy::cast_precision_loss, reason = "sides of a line are far below 2^24")]
        let (width, height) = (drawn.width() as f32, drawn.height() as f32);
        let corners = [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]];
        Ok(Line { text, input: line(&drawn, &cut(corners, &self.format), &self.format) })
    }
}
