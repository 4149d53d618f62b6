//! Reads the text form of Prometheus metrics.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

/// All samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line: a name, its labels and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Errors
    /// At the first line that is no sample.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| parse_sample(line).with_context(|| format!("not a sample: {line}")))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { samples })
    }

    /// All samples of a name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// True where the name has a sample; a histogram has it as `NAME_count`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some() || self.named(&format!("{name}_count")).next().is_some()
    }

    /// Sum over all labels.
    ///
    /// # Errors
    /// If there is no such metric: the sum of nothing would pass for zero.
    pub fn sum(&self, name: &str) -> anyhow::Result<f64> {
        if self.named(name).next().is_none() {
            bail!("no metric {name}");
        }
        Ok(self.named(name).map(|sample| sample.value).sum())
    }

    /// Every label's value, for searching what must not stand there.
    pub fn label_values(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().flat_map(|sample| sample.labels.values().map(String::as_str))
    }

    /// The names of all samples, for messages.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.samples.iter().map(|sample| sample.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn parse_sample(line: &str) -> anyhow::Result<Sample> {
    let (series, value) = match line.split_once('}') {
        Some((series, value)) => (series, value),
        None => line.split_once(' ').context("no value")?,
    };
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    // A timestamp may follow the value.
    let value = value.split_whitespace().next().context("no value")?.parse().context("value is no number")?;
    let mut parsed = BTreeMap::new();
    let mut rest = labels;
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = split_quoted(after).context("label without its closing quote")?;
        parsed.insert(label.trim_start_matches(',').to_owned(), value);
        rest = after;
    }
    Ok(Sample { name: name.to_owned(), labels: parsed, value })
}

/// The text up to the closing quote, unescaped, and what follows.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "sums of small numbers are exact")]
mod tests {
    use super::*;

    const SCRAPE: &str = "# HELP ocr_requests_total Total OCR requests\n# TYPE ocr_requests_total counter\n\
        ocr_requests_total{code=\"ok\",route=\"/v1/ocr\"} 3\nocr_requests_total{code=\"a \\\"b\\\" \\\\\",route=\"x\"} 4.5\n\
        ocr_processing_seconds_bucket{le=\"+Inf\"} 7\nocr_processing_seconds_count 7\nocr_queue 1e3 1700000000\n";

    #[test]
    fn samples_are_read_with_their_labels() {
        let metrics = Metrics::parse(SCRAPE).unwrap();
        assert_eq!(metrics.sum("ocr_requests_total").unwrap(), 7.5);
        assert_eq!(metrics.sum("ocr_queue").unwrap(), 1000.0);
        let labels: Vec<_> = metrics.named("ocr_requests_total").map(|sample| &sample.labels["code"]).collect();
        assert_eq!(labels, ["ok", "a \"b\" \\"]);
        assert!(metrics.has("ocr_processing_seconds"), "a histogram is there by its count");
        assert!(metrics.label_values().any(|value| value == "/v1/ocr"));
    }

    #[test]
    fn a_metric_that_is_not_there_has_no_sum() {
        assert!(Metrics::parse(SCRAPE).unwrap().sum("ocr_pages_total").is_err());
        assert!(Metrics::parse("no value\nocr_x").is_err());
    }
}
