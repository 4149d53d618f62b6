//! Whether the numbers of a manifest make sense: each has bounds, so that no manifest makes the program allocate
//! without measure, divide by zero, or wait for what cannot come.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use ocr_api::manifest::{Manifest, Normalise};

use super::error::Refusal;

/// Longest side that a network is given, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most lines of a batch.
const MAX_BATCH: u32 = 256;
/// Most classes of a recogniser; the largest of ours has 18,710.
const MAX_CLASSES: u32 = 1_000_000;

/// Checks the numbers and names of a manifest.
pub fn check(manifest: &Manifest) -> Result<(), Refusal> {
    is_name("name", &manifest.name)?;
    if let Some(size) = &manifest.page_size {
        within("pageSize.maxLength", size.max_length, 32..=MAX_SIDE)?;
        within("pageSize.minLength", size.min_length, 1..=size.max_length)?;
    }
    let detector = &manifest.detector;
    normalise("detector.normalise", &detector.normalise)?;
    within("detector.maxLength", detector.max_length, 32..=MAX_SIDE)?;
    within("detector.limitLength", detector.limit_length, 32..=detector.max_length)?;
    within("detector.threshold", detector.threshold, 0.0..=1.0)?;
    within("detector.boxThreshold", detector.box_threshold, 0.0..=1.0)?;
    within("detector.unclipRatio", detector.unclip_ratio, 0.0..=10.0)?;
    within("detector.maxCandidates", detector.max_candidates, 1..=100_000)?;

    if manifest.recognisers.is_empty() {
        return Err(value("recognisers", "one or more", "none"));
    }
    let mut names = BTreeSet::new();
    for recogniser in &manifest.recognisers {
        let field = |name: &str| format!("recognisers.{}.{name}", recogniser.name);
        is_name(&field("name"), &recogniser.name)?;
        if !names.insert(recogniser.name.as_str()) {
            return Err(value(&field("name"), "given once", "it twice"));
        }
        if recogniser.languages.is_empty() {
            return Err(value(&field("languages"), "one or more", "none"));
        }
        normalise(&field("normalise"), &recogniser.normalise)?;
        within(&field("classes"), recogniser.classes, 3..=MAX_CLASSES)?;
        within(&field("height"), recogniser.height, 8..=512)?;
        within(&field("maxWidth"), recogniser.max_width, 32..=MAX_SIDE)?;
        within(&field("minWidth"), recogniser.min_width, 1..=recogniser.max_width)?;
        within(&field("widthMultiple"), recogniser.width_multiple, 1..=recogniser.max_width)?;
        within(&field("batch"), recogniser.batch, 1..=MAX_BATCH)?;
        within(&field("dropScore"), recogniser.drop_score, 0.0..=1.0)?;
        within(&field("spaceThreshold"), recogniser.space_threshold.unwrap_or_default(), 0.0..=1.0)?;
    }

    if let Some(orientation) = &manifest.orientation {
        normalise("orientation.normalise", &orientation.normalise)?;
        within("orientation.resize", orientation.resize, 8..=4096)?;
        within("orientation.crop", orientation.crop, 8..=orientation.resize)?;
        within("orientation.threshold", orientation.threshold, 0.0..=1.0)?;
    }
    if let Some(line) = &manifest.line_orientation {
        normalise("lineOrientation.normalise", &line.normalise)?;
        within("lineOrientation.height", line.height, 8..=512)?;
        within("lineOrientation.width", line.width, 8..=4096)?;
        within("lineOrientation.threshold", line.threshold, 0.0..=1.0)?;
    }

    let cost = &manifest.cost;
    let positive = f64::MIN_POSITIVE..=1e9;
    within("cost.detectMegapixel", cost.detect_megapixel, positive.clone())?;
    within("cost.recogniseLine", cost.recognise_line, positive.clone())?;
    within("cost.unitsPerCoreSecond", cost.units_per_core_second, positive)
}

/// Not-a-number is in no range.
fn within<T: PartialOrd + Display + Copy>(field: &str, found: T, range: RangeInclusive<T>) -> Result<(), Refusal> {
    if range.contains(&found) {
        return Ok(());
    }
    let (low, high) = range.into_inner();
    Err(value(field, &format!("{low} to {high}"), &found.to_string()))
}

fn normalise(field: &str, normalise: &Normalise) -> Result<(), Refusal> {
    for mean in normalise.mean {
        within(&format!("{field}.mean"), mean, -10.0..=10.0)?;
    }
    for std in normalise.std {
        within(&format!("{field}.std"), std, 1e-3..=10.0)?;
    }
    Ok(())
}

/// Small letters, digits and hyphens: it becomes a label, a folder and a part of messages.
fn is_name(field: &str, name: &str) -> Result<(), Refusal> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = !name.is_empty() && name.len() <= 63 && name.bytes().all(inner);
    if fits && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(value(field, "1 to 63 small letters, digits and inner hyphens", name))
}

fn value(field: &str, expected: &str, found: &str) -> Refusal {
    Refusal::Value { field: field.to_owned(), expected: expected.to_owned(), found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use ocr_api::manifest::PageSize;

    use super::super::testing;
    use super::*;

    fn field(change: impl FnOnce(&mut Manifest)) -> String {
        let mut manifest = testing::manifest();
        change(&mut manifest);
        match check(&manifest) {
            Err(Refusal::Value { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_good_manifest_passes() {
        check(&testing::manifest()).unwrap();
    }

    #[test]
    fn a_number_outside_its_bounds_is_refused_by_name() {
        let size = PageSize { max_length: 2000, min_length: 2001 };
        assert_eq!(field(|manifest| manifest.page_size = Some(size)), "pageSize.minLength");
        assert_eq!(field(|manifest| manifest.detector.threshold = f32::NAN), "detector.threshold");
        assert_eq!(field(|manifest| manifest.detector.limit_length = 5000), "detector.limitLength");
        assert_eq!(field(|manifest| manifest.detector.normalise.std[1] = 0.0), "detector.normalise.std");
        assert_eq!(field(|manifest| manifest.recognisers[0].batch = 0), "recognisers.latin.batch");
        assert_eq!(field(|manifest| manifest.recognisers[0].width_multiple = 0), "recognisers.latin.widthMultiple");
        assert_eq!(
            field(|manifest| manifest.recognisers[0].space_threshold = Some(1.5)),
            "recognisers.latin.spaceThreshold"
        );
        assert_eq!(field(|manifest| manifest.orientation.as_mut().unwrap().crop = 300), "orientation.crop");
        assert_eq!(field(|manifest| manifest.cost.units_per_core_second = 0.0), "cost.unitsPerCoreSecond");
    }

    #[test]
    fn a_manifest_without_recognisers_or_with_two_of_one_name_is_refused() {
        assert_eq!(field(|manifest| manifest.recognisers.clear()), "recognisers");
        assert_eq!(field(|manifest| manifest.recognisers[1].name = "latin".into()), "recognisers.latin.name");
        assert_eq!(field(|manifest| manifest.recognisers[0].languages.clear()), "recognisers.latin.languages");
    }

    #[test]
    fn a_name_that_is_no_label_is_refused() {
        for name in ["", "../x", "A", "a b", "-a", "a-", &"a".repeat(64)] {
            assert_eq!(field(|manifest| manifest.name = name.into()), "name", "{name}");
        }
    }
}
