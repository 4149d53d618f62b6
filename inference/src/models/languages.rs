//! Which recogniser reads which language.

/// Whether a language that was asked for is among those that a recogniser lists: itself, or itself without its region
/// or variant (`en` reads `en-GB`). The script is never dropped: `zh` does not stand for `zh-Hant`, nor `sr` for
/// `sr-Latn`.
pub fn reads(listed: &[String], wanted: &str) -> bool {
    let mut tag = wanted;
    loop {
        if listed.iter().any(|language| language.eq_ignore_ascii_case(tag)) {
            return true;
        }
        let Some((shorter, last)) = tag.rsplit_once('-') else { return false };
        let is_script = last.len() == 4 && last.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_script {
            return false;
        }
        tag = shorter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Vec<String> {
        ["en", "zh", "sr-Latn", "fil"].map(String::from).to_vec()
    }

    #[test]
    fn a_language_is_read_with_any_region_and_in_any_case() {
        for wanted in ["en", "EN", "en-GB", "en-GB-oxendict", "zh-CN", "sr-Latn", "sr-latn-RS", "fil-PH"] {
            assert!(reads(&listed(), wanted), "{wanted}");
        }
    }

    #[test]
    fn another_script_is_another_language() {
        for wanted in ["zh-Hant", "zh-Hant-TW", "sr", "sr-Cyrl", "hi", "e", "en_GB", ""] {
            assert!(!reads(&listed(), wanted), "{wanted}");
        }
    }
}
