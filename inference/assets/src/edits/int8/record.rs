//! What calibration saw, as it is committed beside a bundle's manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::numbers::Grid;
use super::targets::Target;
use crate::edits::EditError;

/// Largest correction: whole numbers up to here are 32-bit floats.
const MAX_CORRECTION: i32 = 1 << 24;
/// Longest line of the file.
const WIDTH: usize = 120;

/// What calibration saw of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Format of the file. Only [`Record::SCHEMA`] is read.
    pub schema: String,
    /// SHA-256 of the network of 32-bit floats that the lines were read with.
    pub network: String,
    /// How many lines were read.
    pub lines: u32,
    /// A range for each tensor that becomes bytes, in the network's order.
    pub tensors: Vec<Entry>,
}

/// A tensor that becomes bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    pub tensor: String,
    /// The value that the byte 0 stands for; at most 0.
    pub low: f32,
    /// The value that the byte 255 stands for; at least 0.
    pub high: f32,
    /// For each convolution that reads the tensor, by the name of its weights, and each of its output channels: what is
    /// added so that rounding to bytes changes nothing on average. In units of the product of two bytes, which are the
    /// tensor's scale x the channel's.
    pub corrections: BTreeMap<String, Vec<i32>>,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("is no calibration record")]
    Parse(#[source] yaml_serde::Error),
    #[error("has schema {found}, this version reads {}", Record::SCHEMA)]
    Schema { found: String },
    #[error("is of the network {found}, not of {expected}: calibrate again with `ocr-calibrate record`")]
    Network { expected: String, found: String },
    #[error("has no range for tensor {tensor}, which becomes bytes")]
    Missing { tensor: String },
    #[error("has a range for tensor {tensor}, which does not become bytes")]
    Superfluous { tensor: String },
    #[error("has two ranges for tensor {tensor}")]
    Twice { tensor: String },
    #[error("has the range {low} to {high} for tensor {tensor}; it must hold 0 and more than it")]
    Range { tensor: String, low: f32, high: f32 },
    #[error("has no corrections for convolution {convolution}, which reads tensor {tensor}")]
    MissingCorrections { tensor: String, convolution: String },
    #[error("has corrections for convolution {convolution}, which does not read tensor {tensor}")]
    SuperfluousCorrections { tensor: String, convolution: String },
    #[error("has {found} corrections for convolution {convolution}, which has {expected} channels")]
    Channels { convolution: String, expected: usize, found: usize },
    #[error("has the correction {value} for convolution {convolution}, beyond {MAX_CORRECTION}")]
    Correction { convolution: String, value: i32 },
}

impl Record {
    /// The value of `schema` that this version reads.
    pub const SCHEMA: &'static str = "ocrpool.dev/calibration/v1";

    /// Reads a record.
    ///
    /// # Errors
    /// If it is none of this version.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let record: Self = yaml_serde::from_str(text).map_err(RecordError::Parse)?;
        if record.schema == Self::SCHEMA { Ok(record) } else { Err(RecordError::Schema { found: record.schema }) }
    }

    /// The record as a file: YAML with its lists in lines of full width, where a library would give each number its own.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::from("# Made by ocr-calibrate record. Do not edit.\n");
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "schema: {}\nnetwork: \"{}\"\nlines: {}\ntensors:", self.schema, self.network, self.lines);
        for Entry { tensor, low, high, corrections } in &self.tensors {
            let _ = writeln!(text, "  - tensor: {tensor}\n    low: {low:?}\n    high: {high:?}\n    corrections:");
            for (convolution, values) in corrections {
                let _ = writeln!(text, "      {convolution}:\n{}", wrapped(values));
            }
        }
        text
    }

    /// What was seen of a tensor.
    pub(super) fn entry(&self, tensor: &str) -> Result<&Entry, EditError> {
        let entry = self.tensors.iter().find(|entry| entry.tensor == tensor);
        entry.ok_or_else(|| EditError::pattern("range in the calibration record for", tensor))
    }

    /// Makes sure that the record is of that network.
    ///
    /// # Errors
    /// With both digests.
    pub fn check_network(&self, digest: &str) -> Result<(), RecordError> {
        if self.network == digest {
            return Ok(());
        }
        Err(RecordError::Network { expected: digest.to_owned(), found: self.network.clone() })
    }

    /// Makes sure that the record has what these convolutions need, and nothing else.
    ///
    /// # Errors
    /// With the name of what is missing, superfluous or wrong.
    pub fn check(&self, targets: &[Target]) -> Result<(), RecordError> {
        let mut known = BTreeSet::new();
        for entry in &self.tensors {
            let Entry { tensor, low, high, .. } = entry;
            if !known.insert(tensor.as_str()) {
                return Err(RecordError::Twice { tensor: tensor.clone() });
            }
            let readers: Vec<&Target> = targets.iter().filter(|target| target.input == *tensor).collect();
            if readers.is_empty() {
                return Err(RecordError::Superfluous { tensor: tensor.clone() });
            }
            if !(low.is_finite() && high.is_finite() && *low <= 0.0 && *high >= 0.0 && low < high) {
                return Err(RecordError::Range { tensor: tensor.clone(), low: *low, high: *high });
            }
            entry.check(&readers)?;
        }
        match targets.iter().find(|target| !known.contains(target.input.as_str())) {
            Some(target) => Err(RecordError::Missing { tensor: target.input.clone() }),
            None => Ok(()),
        }
    }
}

impl Entry {
    /// What the tensor's bytes stand for, in the units of which the corrections are.
    pub(super) fn grid(&self) -> Grid {
        Grid::over(self.low, self.high)
    }

    fn check(&self, readers: &[&Target]) -> Result<(), RecordError> {
        let tensor = || self.tensor.clone();
        for Target { convolution, outputs, .. } in readers {
            let convolution = convolution.clone();
            let Some(values) = self.corrections.get(&convolution) else {
                return Err(RecordError::MissingCorrections { tensor: tensor(), convolution });
            };
            if values.len() != *outputs {
                return Err(RecordError::Channels { convolution, expected: *outputs, found: values.len() });
            }
            if let Some(&value) = values.iter().find(|value| value.unsigned_abs() > MAX_CORRECTION.unsigned_abs()) {
                return Err(RecordError::Correction { convolution, value });
            }
        }
        let read = |name: &&String| readers.iter().any(|reader| reader.convolution == **name);
        match self.corrections.keys().find(|name| !read(name)) {
            Some(name) => Err(RecordError::SuperfluousCorrections { tensor: tensor(), convolution: name.clone() }),
            None => Ok(()),
        }
    }
}

/// A list in lines of full width.
fn wrapped(values: &[i32]) -> String {
    let indent = " ".repeat(9);
    let mut text = format!("{:8}[", "");
    let mut length = indent.len();
    for (position, value) in values.iter().enumerate() {
        let word = value.to_string();
        // With the comma before it and the one behind it.
        if position > 0 && length + word.len() + 3 > WIDTH {
            text.push_str(",\n");
            text.push_str(&indent);
            length = indent.len();
        } else if position > 0 {
            text.push_str(", ");
            length += 2;
        }
        text.push_str(&word);
        length += word.len();
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{graph, record};
    use super::super::{prepare, targets};
    use super::*;

    fn check(change: impl FnOnce(&mut Record)) -> Result<(), RecordError> {
        let mut graph = graph();
        prepare(&mut graph).unwrap();
        let mut record = record();
        change(&mut record);
        record.check(&targets(&graph))
    }

    fn refused(change: impl FnOnce(&mut Record)) -> String {
        check(change).unwrap_err().to_string()
    }

    fn more(record: &mut Record, tensor: &str) {
        let entry = Entry { tensor: tensor.into(), ..record.tensors[0].clone() };
        record.tensors.push(entry);
    }

    #[test]
    fn a_record_of_every_tensor_that_becomes_bytes_passes() {
        check(|_| ()).unwrap();
    }

    #[test]
    fn a_missing_superfluous_or_doubled_range_is_refused_by_name() {
        assert!(refused(|record| drop(record.tensors.remove(0))).contains("no range for tensor weighed"));
        assert!(refused(|record| more(record, "sum")).contains("tensor sum, which does not become bytes"));
        assert!(refused(|record| more(record, "gelu")).contains("two ranges for tensor gelu"));
    }

    #[test]
    fn a_range_without_zero_or_without_width_is_refused() {
        for (low, high) in [(0.5, 1.0), (-1.0, -0.5), (0.0, 0.0), (f32::NAN, 1.0), (-1.0, f32::INFINITY)] {
            let change = |record: &mut Record| (record.tensors[0].low, record.tensors[0].high) = (low, high);
            assert!(refused(change).contains("for tensor weighed; it must hold 0"), "{low} to {high}");
        }
    }

    #[test]
    fn missing_superfluous_and_wrong_corrections_are_refused_by_name() {
        let of = |record: &mut Record| std::mem::take(&mut record.tensors[0].corrections);
        assert!(refused(|record| drop(of(record))).contains("no corrections for convolution first"));
        let extra = |record: &mut Record| {
            record.tensors[0].corrections.insert("head".into(), vec![1]);
        };
        assert!(refused(extra).contains("convolution head, which does not read tensor weighed"));
        let short = |record: &mut Record| {
            record.tensors[0].corrections.insert("first".into(), vec![1, 2]);
        };
        assert!(refused(short).contains("2 corrections for convolution first, which has 3 channels"));
        let large = |record: &mut Record| {
            record.tensors[0].corrections.insert("first".into(), vec![0, i32::MIN, 0]);
        };
        assert!(refused(large).contains("correction -2147483648 for convolution first"));
    }

    #[test]
    fn a_record_survives_writing_and_reading() {
        let mut record = record();
        record.tensors[0].low = -1.234;
        record.tensors[1].high = 1e-7;
        record.tensors[1].corrections.insert("second".into(), (-150..250).map(|value| value * 37).collect());
        let text = record.to_text();
        assert_eq!(Record::parse(&text).unwrap(), record);
        assert!(text.lines().all(|line| line.len() <= WIDTH && line.trim_end() == line), "{text}");
        assert!(text.lines().count() < 50, "{text}");
    }

    #[test]
    fn a_file_of_another_kind_or_version_is_refused() {
        assert!(matches!(Record::parse("just a text"), Err(RecordError::Parse(_))));
        let other = record().to_text().replace("calibration/v1", "calibration/v9");
        assert!(matches!(Record::parse(&other), Err(RecordError::Schema { .. })));
    }

    #[test]
    fn a_record_of_another_network_is_refused_with_the_next_step() {
        let record = record();
        record.check_network(&"0".repeat(64)).unwrap();
        let error = record.check_network(&"1".repeat(64)).unwrap_err().to_string();
        assert!(error.contains("calibrate again"), "{error}");
    }
}
