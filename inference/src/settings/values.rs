//! Values as people write them: resolutions, confidences, languages.

/// Resolutions at which a PDF page may be rendered. Below 36 dpi no letter of a usual size is left; above 600 a page of
/// paper exceeds every sensible pixel limit.
pub const DPI: std::ops::RangeInclusive<u32> = 36..=600;

/// Reads a resolution within [`DPI`].
///
/// # Errors
/// With the range.
pub fn parse_dpi(text: &str) -> Result<u32, String> {
    text.parse::<u32>()
        .ok()
        .filter(|dpi| DPI.contains(dpi))
        .ok_or_else(|| format!("the resolution is a whole number from {} to {} dpi", DPI.start(), DPI.end()))
}

/// Reads a confidence from 0 to 1.
///
/// # Errors
/// With the range.
pub fn parse_min_confidence(text: &str) -> Result<f32, String> {
    text.parse::<f32>()
        .ok()
        .filter(|confidence| (0.0..=1.0).contains(confidence))
        .ok_or_else(|| "the confidence is a number from 0 to 1, such as 0.5".to_owned())
}

/// Reads a language tag such as `en` or `zh-Hant`.
pub(super) fn parse_language(text: &str) -> Result<String, String> {
    let mut parts = text.split('-');
    let primary = parts.next().unwrap_or_default();
    let primary_fits = (2..=3).contains(&primary.len()) && primary.bytes().all(|byte| byte.is_ascii_alphabetic());
    let rest_fits =
        parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if primary_fits && rest_fits {
        Ok(text.to_owned())
    } else {
        Err("a language is a tag such as en, de or zh-Hant; several are separated by commas".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confidence_is_a_number_from_zero_to_one() {
        assert_eq!(parse_min_confidence("0.25"), Ok(0.25));
        for text in ["NaN", "-0.1", "1.01", "inf", "half", ""] {
            assert!(parse_min_confidence(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_resolution_has_a_range() {
        assert_eq!((parse_dpi("36"), parse_dpi("600")), (Ok(36), Ok(600)));
        assert!(parse_dpi("35").is_err() && parse_dpi("601").is_err() && parse_dpi("1e2").is_err());
    }

    #[test]
    fn a_language_is_a_tag() {
        for text in ["en", "zh-Hant", "sr-Latn-RS", "yue"] {
            assert!(parse_language(text).is_ok(), "{text}");
        }
        for text in ["", "e", "english", "en-", "en_US", "../x"] {
            assert!(parse_language(text).is_err(), "{text}");
        }
    }
}
