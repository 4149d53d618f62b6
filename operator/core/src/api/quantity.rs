//! An amount of CPU or memory, as Kubernetes writes it.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount of CPU (`500m`, `2`) or memory (`512Mi`, `2Gi`).
///
/// A subset of the quantities of Kubernetes: no sign, no exponent, at most three decimals. Kept in thousandths, so that
/// `1`, `1.0` and `1000m` are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    thousandths: u64,
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quantity: write a number and one of m, k, M, G, T, Ki, Mi, Gi, Ti, such as 500m or 2Gi")]
pub struct QuantityError(String);

/// What an API server must match, where it sees a text.
const PATTERN: &str = r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// Suffixes and how many thousandths each is, larger binary ones first: the order in which one is chosen for writing.
const SUFFIXES: [(&str, u64); 10] = [
    ("Ti", 1000 << 40),
    ("Gi", 1000 << 30),
    ("Mi", 1000 << 20),
    ("Ki", 1000 << 10),
    ("T", 1_000_000_000_000_000),
    ("G", 1_000_000_000_000),
    ("M", 1_000_000_000),
    ("k", 1_000_000),
    ("", 1000),
    ("m", 1),
];

impl Quantity {
    /// So many MiB.
    #[must_use]
    pub const fn mebibytes(mebibytes: u32) -> Self {
        Self { thousandths: (mebibytes as u64) * (1000 << 20) }
    }

    /// So many thousandths of a core.
    #[must_use]
    pub const fn millicores(millicores: u32) -> Self {
        Self { thousandths: millicores as u64 }
    }

    /// In whole units, rounded up: bytes of memory, cores of CPU.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.thousandths.div_ceil(1000)
    }

    /// In thousandths, exactly.
    #[must_use]
    pub const fn thousandths(self) -> u64 {
        self.thousandths
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let refused = || QuantityError(text.chars().take(40).collect());
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let (_, scale) = SUFFIXES.iter().find(|(known, _)| *known == suffix).ok_or_else(refused)?;
        let (whole, decimals) = number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
        if whole.is_empty() || whole.len() > 12 || decimals.is_some_and(|part| part.is_empty() || part.len() > 3) {
            return Err(refused());
        }
        let whole: u64 = whole.parse().map_err(|_| refused())?;
        let decimals: u64 = format!("{:0<3}", decimals.unwrap_or("")).parse().map_err(|_| refused())?;
        // Both factors are below 2^54: no overflow in 128 bits.
        let exact = (u128::from(whole) * 1000 + u128::from(decimals)) * u128::from(*scale);
        let thousandths = u64::try_from(exact.div_ceil(1000)).map_err(|_| refused())?;
        Ok(Self { thousandths })
    }
}

impl fmt::Display for Quantity {
    /// As the API server writes it: the largest binary suffix that leaves a whole number, else the plain number.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary_or_plain = |suffix: &str| suffix.ends_with('i') || suffix.is_empty() || suffix == "m";
        let (suffix, scale) = SUFFIXES
            .iter()
            .find(|(suffix, scale)| {
                binary_or_plain(suffix) && self.thousandths >= *scale && self.thousandths.is_multiple_of(*scale)
            })
            .unwrap_or(&("", 1000));
        write!(formatter, "{}{suffix}", self.thousandths / scale)
    }
}

impl From<Quantity> for k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a quantity, such as 500m, 2 or 2Gi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": PATTERN,
            "maxLength": 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Quantity> {
        text.parse().ok()
    }

    #[test]
    fn the_same_amount_is_equal_however_it_is_written() {
        for (one, other) in [("1", "1000m"), ("1.5", "1500m"), ("2Gi", "2048Mi"), ("1024Ki", "1Mi"), ("0.5Gi", "512Mi")]
        {
            assert_eq!(parse(one).unwrap(), parse(other).unwrap(), "{one} {other}");
        }
        assert_ne!(parse("1G"), parse("1Gi"));
        assert_eq!(parse("1G").unwrap().units(), 1_000_000_000);
        assert_eq!(parse("100m").unwrap().units(), 1);
    }

    #[test]
    fn it_is_written_as_the_api_server_writes_it() {
        for (text, written) in
            [("1000m", "1"), ("0.5", "500m"), ("2048Mi", "2Gi"), ("1536Mi", "1536Mi"), ("0", "0"), ("1G", "1000000000")]
        {
            assert_eq!(parse(text).unwrap().to_string(), written);
            assert_eq!(parse(written), parse(text));
        }
        assert_eq!(Quantity::mebibytes(1536).to_string(), "1536Mi");
        assert_eq!(Quantity::millicores(1500).to_string(), "1500m");
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_what_to_write() {
        for text in
            ["", "x", "-1", "1e3", "1.", ".5", "1.2345", "2gb", "1 Gi", "9999999999999", "999999999999Ti", "1..2"]
        {
            let error = text.parse::<Quantity>().unwrap_err();
            assert!(error.to_string().contains("such as 500m or 2Gi"), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_as_well_as_texts() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json);
        assert_eq!(read("2").unwrap(), parse("2").unwrap());
        assert_eq!(read("0.5").unwrap(), parse("500m").unwrap());
        assert_eq!(read("\"2Gi\"").unwrap(), parse("2Gi").unwrap());
        assert!(read("-2").is_err() && read("\"much\"").is_err() && read("[]").is_err());
    }
}
