//! The same lines read in two precisions.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use ocr_api::manifest::{self, Precision};
use ocr_assets::recipes::Recipe;
use ocr_inference::engine::{Engine as _, OnnxEngine, OnnxRuntime, OnnxSettings, Provider, Stop, Tensor};
use ocr_inference::models::{Bundle, Dictionary, Recogniser};
use ocr_inference::recognise::{Reading, Steps, read};
use rustix::time::{ClockId, clock_gettime};
use strsim::levenshtein;

use crate::Places;
use crate::lines::{Line, Lines};

/// Number of the first line: none is one of those that the record was made by.
const OTHER_LINES: u32 = 10_000;
/// Most characters, as a share, that may be read otherwise than in 32-bit floats, and most by which more of them may be
/// wrong. A fifth of the lines are characters at random in the blur and noise of a bad scan, where the two highest classes
/// are often nearly level. Seen of the small bundle in bytes: 0.0010 and 0.0000 on 40 lines, 0.0016 and 0.0000 on 300.
const MOST_OTHERWISE: f64 = 0.006;
const MOST_WORSE: f64 = 0.002;
/// Most that the confidences may be apart on the whole: what shows a small fault first. Seen: 0.0035 and 0.0024. With the
/// corrections the wrong way round: 0.0085 and 0.0058.
const MOST_APART: f32 = 0.005;
/// The same of bytes whose zero is 0, which have half the steps behind a Gelu. Seen: 0.0055 and 0.0035. With the corrections
/// the wrong way round: 0.0099 and 0.0066.
const MOST_APART_QDQ: f32 = 0.0065;

/// Reads lines in 32-bit floats and in another precision, in turns, and prints how far they are apart and what each took.
pub fn compare(places: &Places, recipe: &Recipe, count: u32, precision: Precision) -> Result<()> {
    ensure!(count > 0, "there is nothing to compare on 0 lines");
    let runtime = OnnxRuntime::load(&places.runtime())?;
    let bundle = Bundle::open(&places.assets.join("bundles").join(recipe.bundle))?;
    let recogniser = bundle.recognisers().iter().find(|one| one.parameters.file_in(precision).is_some());
    let none = || format!("bundle {} has no recogniser in {}", recipe.bundle, precision.name());
    let Recogniser { parameters, dictionary } = recogniser.with_context(none)?;
    let lines = Lines::new(&places.assets.join("fonts"), parameters)?;

    let open = |precision: Precision| -> Result<Reader<'_>> {
        let path = bundle.recogniser_file(parameters, precision)?.with_context(none)?;
        let settings = OnnxSettings {
            network: precision.name(),
            path,
            threads: 1,
            shrink: false,
            provider: Provider::Cpu { arena: true },
            warm_up: Vec::new(),
        };
        Ok(Reader { engine: runtime.open(settings)?, parameters, dictionary, seconds: 0.0 })
    };
    let (mut exact, mut other) = (open(Precision::Fp32)?, open(precision)?);
    // The first time a network is run it takes longer.
    for reader in [&mut exact, &mut other] {
        reader.read(&lines.draw(OTHER_LINES)?.input)?;
        reader.seconds = 0.0;
    }
    let mut found = Difference::default();
    for number in 0..count {
        let Line { text, input } = lines.draw(OTHER_LINES + number)?;
        found.add(&text, &exact.read(&input)?, &other.read(&input)?);
    }

    println!(
        "{} {}: {found}, {:.2} of the CPU time of fp32 ({:.1} ms a line)",
        recipe.bundle,
        precision.name(),
        other.seconds / exact.seconds,
        other.seconds * 1000.0 / f64::from(count),
    );
    found.check(if precision == Precision::Int8Qdq { MOST_APART_QDQ } else { MOST_APART })
}

/// A network and what it needs to give text.
struct Reader<'bundle> {
    engine: OnnxEngine,
    parameters: &'bundle manifest::Recogniser,
    dictionary: &'bundle Dictionary,
    /// CPU time of the network so far. It runs on this thread alone.
    seconds: f64,
}

impl Reader<'_> {
    fn read(&mut self, input: &Tensor) -> Result<Reading> {
        let before = thread_seconds();
        let outputs = self.engine.run(input, &Stop::default())?;
        self.seconds += thread_seconds() - before;
        let steps = Steps::new(&outputs, self.parameters)?;
        Ok(read(&steps, self.dictionary, self.parameters.space_threshold))
    }
}

/// CPU time of this thread, which nobody else's work is part of.
fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "seconds of a short program")]
    let seconds = time.tv_sec as f64;
    seconds + f64::from(nanoseconds) / 1e9
}

/// How far two readings of the same lines are apart.
#[derive(Clone, Debug, Default, PartialEq)]
struct Difference {
    lines: u32,
    /// Of what was drawn.
    characters: usize,
    /// Lines and characters that are read otherwise.
    lines_otherwise: u32,
    otherwise: usize,
    /// Characters that are not what was drawn, in 32-bit floats and in the other precision.
    wrong: [usize; 2],
    /// Of the confidences, summed.
    apart: f32,
}

impl Difference {
    fn add(&mut self, truth: &str, expected: &Reading, found: &Reading) {
        let texts = [expected.text(), found.text()];
        let otherwise = levenshtein(&texts[0], &texts[1]);
        self.lines += 1;
        self.characters += truth.chars().count();
        self.lines_otherwise += u32::from(otherwise > 0);
        self.otherwise += otherwise;
        for (wrong, text) in self.wrong.iter_mut().zip(&texts) {
            *wrong += levenshtein(truth, text);
        }
        self.apart += (expected.confidence - found.confidence).abs();
    }

    /// As a share of the characters drawn.
    fn share(&self, characters: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "characters of a few hundred lines")]
        let share = characters as f64 / self.characters.max(1) as f64;
        share
    }

    fn apart(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred lines")]
        let lines = self.lines.max(1) as f32;
        self.apart / lines
    }

    fn check(&self, most_apart: f32) -> Result<()> {
        let [exact, other] = self.wrong.map(|wrong| self.share(wrong));
        ensure!(
            self.share(self.otherwise) <= MOST_OTHERWISE,
            "more than {:.1} % of the characters are read otherwise",
            MOST_OTHERWISE * 100.0
        );
        ensure!(other <= exact + MOST_WORSE, "{:.2} % more characters are wrong", (other - exact) * 100.0);
        ensure!(self.apart() <= most_apart, "the confidences are more than {most_apart} apart");
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [exact, other] = self.wrong.map(|wrong| self.share(wrong) * 100.0);
        write!(
            formatter,
            "{} of {} lines and {:.2} % of the characters are read otherwise, {other:.2} % are wrong (in fp32 {exact:.2}), \
             confidence {:.4} apart",
            self.lines_otherwise,
            self.lines,
            self.share(self.otherwise) * 100.0,
            self.apart(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocr_inference::recognise::Glyph;

    fn reading(text: &str, confidence: f32) -> Reading {
        let glyph = |character: char| Glyph { text: character.to_string().into(), probability: None, step: 0 };
        Reading { glyphs: text.chars().map(glyph).collect(), confidence, ..Reading::default() }
    }

    /// A hundred lines of ten characters; in so many of them the other precision reads a character otherwise.
    fn difference(otherwise: usize, exact: &str, other: &str) -> Difference {
        let mut difference = Difference::default();
        for line in 0..100 {
            let found = if line < otherwise { other } else { exact };
            difference.add("total 1.23", &reading(exact, 0.5), &reading(found, 0.5));
        }
        difference
    }

    #[test]
    fn characters_read_otherwise_are_counted_whether_they_are_wrong_or_not() {
        let difference = difference(3, "tota1 1.23", "total 1.23");
        assert_eq!((difference.lines_otherwise, difference.otherwise, difference.characters), (3, 3, 1000));
        assert_eq!(difference.wrong, [100, 97]);
        difference.check(MOST_APART).unwrap();
    }

    #[test]
    fn more_wrong_characters_than_allowed_fail_and_so_do_too_many_others() {
        difference(2, "total 1.23", "tota1 1.23").check(MOST_APART).unwrap();
        let error = difference(3, "total 1.23", "tota1 1.23").check(MOST_APART).unwrap_err().to_string();
        assert!(error.contains("0.30 % more characters are wrong"), "{error}");
        difference(6, "tota1 1.23", "totaI 1.23").check(MOST_APART).unwrap();
        let error = difference(7, "tota1 1.23", "totaI 1.23").check(MOST_APART).unwrap_err().to_string();
        assert!(error.contains("read otherwise"), "{error}");
    }

    #[test]
    fn confidences_far_apart_fail_though_every_character_is_the_same() {
        let mut difference = Difference::default();
        difference.add("a", &reading("a", 0.9), &reading("a", 0.88));
        assert!(difference.check(MOST_APART).is_err());
    }
}
