//! Whether calibrating again gives what is committed.

use anyhow::{Result, ensure};
use ocr_assets::edits::int8::{Entry, Record};

/// The largest product of two bytes, in which corrections are measured.
const LARGEST_PRODUCT: f32 = 255.0 * 127.0;

/// How far two calibrations may be apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tolerance {
    /// Each end of a range, as a share of its width.
    range: f32,
    /// The middle one of a convolution's corrections, as a share of [`LARGEST_PRODUCT`].
    correction: f32,
}

/// Of the same lines: another machine sums floats in another order, and a range is one of 25 shares of what was seen.
const SAME_LINES: Tolerance = Tolerance { range: 0.035, correction: 0.002 };
/// Of some of the lines: they have not seen as much. Seen with 24 lines: 0.25 and 0.0012.
const FEWER_LINES: Tolerance = Tolerance { range: 0.5, correction: 0.004 };

/// Compares a committed record with one found now, and prints how far they are apart.
pub fn check(committed: &Record, found: &Record) -> Result<()> {
    let Record { schema: _, network, lines, tensors } = committed;
    ensure!(*network == found.network, "is of another network: calibrate again with `ocr-calibrate record`");
    let tolerance = if *lines == found.lines { SAME_LINES } else { FEWER_LINES };
    ensure!(tensors.len() == found.tensors.len(), "has {} tensors, found {}", tensors.len(), found.tensors.len());
    let mut farthest = Tolerance { range: 0.0, correction: 0.0 };
    for (committed, found) in tensors.iter().zip(&found.tensors) {
        ensure!(committed.tensor == found.tensor, "has tensor {} in the place of {}", committed.tensor, found.tensor);
        let apart = apart(committed, found);
        ensure!(
            apart.range <= tolerance.range && apart.correction <= tolerance.correction,
            "tensor {}: {apart:?} is more than {tolerance:?}; if that is meant, run `ocr-calibrate record`",
            found.tensor
        );
        farthest.range = farthest.range.max(apart.range);
        farthest.correction = farthest.correction.max(apart.correction);
    }
    println!(
        "{} of {lines} lines: ranges at most {:.4} of their width apart (allowed {}), corrections {:.5} (allowed {})",
        found.lines, farthest.range, tolerance.range, farthest.correction, tolerance.correction
    );
    Ok(())
}

fn apart(one: &Entry, other: &Entry) -> Tolerance {
    let range = (one.low - other.low).abs().max((one.high - other.high).abs()) / (one.high - one.low);
    let of_convolutions = one.corrections.iter().map(|(convolution, corrections)| {
        let others = other.corrections.get(convolution).map(Vec::as_slice).unwrap_or_default();
        let mut differences: Vec<u32> =
            corrections.iter().zip(others).map(|(one, other)| one.abs_diff(*other)).collect();
        differences.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a measure of distance")]
        let middle = differences.get(differences.len() / 2).map_or(f32::INFINITY, |&middle| middle as f32);
        middle / LARGEST_PRODUCT
    });
    Tolerance { range, correction: of_convolutions.fold(0.0, f32::max) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record(lines: u32, high: f32, corrections: [i32; 3]) -> Record {
        let corrections = BTreeMap::from([("w".to_owned(), corrections.to_vec())]);
        let entry = Entry { tensor: "t".into(), low: 0.0, high, corrections };
        Record { schema: Record::SCHEMA.into(), network: "n".into(), lines, tensors: vec![entry] }
    }

    #[test]
    fn the_same_again_passes_and_another_range_does_not() {
        let committed = record(300, 10.0, [1000, 0, -1000]);
        check(&committed, &committed).unwrap();
        let error = check(&committed, &record(300, 12.0, [1000, 0, -1000])).unwrap_err().to_string();
        assert!(error.contains("tensor t") && error.contains("range: 0.2"), "{error}");
        check(&committed, &record(10, 12.0, [1000, 0, -1000])).unwrap();
    }

    #[test]
    fn corrections_are_compared_by_the_middle_one() {
        let committed = record(300, 10.0, [1000, 0, -1000]);
        check(&committed, &record(300, 10.0, [9000, 0, -1000])).unwrap();
        assert!(check(&committed, &record(300, 10.0, [9000, 9000, -1000])).is_err());
    }

    #[test]
    fn a_record_of_another_network_or_with_other_tensors_is_refused() {
        let committed = record(300, 10.0, [0; 3]);
        let mut other = committed.clone();
        other.network = "m".into();
        assert!(check(&committed, &other).unwrap_err().to_string().contains("another network"));
        let mut other = committed.clone();
        other.tensors.clear();
        assert!(check(&committed, &other).is_err());
    }
}
