//! Sizes as people write them.

/// Units of a size in bytes, as Kubernetes writes quantities.
const UNITS: [(&str, u64); 6] =
    [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];

/// Reads a size in bytes: `10485760`, `10Mi`, `64Ki`, `1Gi`, or decimal `10M`.
///
/// # Errors
/// With what a size looks like.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1));
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits
        .then(|| digits.parse::<u64>().ok()?.checked_mul(factor))
        .flatten()
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "a size is a whole number of bytes above 0, with Ki, Mi, Gi, k, M or G, such as 10Mi".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        for (text, bytes) in
            [("1", 1), ("10Mi", 10 << 20), ("64Ki", 64 << 10), ("2Gi", 2 << 30), ("5k", 5_000), ("7M", 7_000_000)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "Mi", "0", "-1", "+1", "1.5Mi", "10 Mi", "10mb", "10MB", "99999999999Gi"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
