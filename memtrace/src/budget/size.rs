//! Amounts of memory as people write them in limits: `2GiB`, `500MiB`, `1.5G`, `4096`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use crate::report::escape::one_line;

/// An amount of memory in bytes, from text such as `2GiB`, `500 MiB`, `1.5G` or `4096`.
///
/// Units are 1024-based: `K`, `M`, `G`, `T` and `P`, with or without `iB`, in any case.
///
/// ```
/// use memtrace::budget::Size;
/// assert_eq!("1.5G".parse::<Size>().unwrap().bytes(), 1_610_612_736);
/// assert!("2GB".parse::<Size>().unwrap_err().to_string().contains("GiB"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// Why a text is no amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Nothing, or no number at the start.
    #[error("'{}' does not begin with a number; write an amount such as 2GiB, 500MiB or 4096", one_line(.0))]
    NoNumber(String),
    /// What follows the number is no unit.
    #[error("'{}' is not a unit of memory; use KiB, MiB, GiB, TiB, or none for bytes", one_line(.0))]
    Unit(String),
    /// `MB` means a million bytes to some and 1024 times 1024 to others.
    #[error(
        "{given} can mean 1000-based or 1024-based units: write {instead} (1024-based), or bytes without a unit"
    )]
    Ambiguous {
        /// The unit as given.
        given: String,
        /// The unit that says what it means.
        instead: &'static str,
    },
    /// A part of a byte.
    #[error("'{}' is not a whole number of bytes", one_line(.0))]
    Fraction(String),
    /// More than can be counted.
    #[error("'{}' is more than any machine has", one_line(.0))]
    TooLarge(String),
}

/// Letters of units and the power of two that each stands for.
const UNITS: [(&str, &str, &str, u32); 5] = [
    ("k", "kib", "KiB", 10),
    ("m", "mib", "MiB", 20),
    ("g", "gib", "GiB", 30),
    ("t", "tib", "TiB", 40),
    ("p", "pib", "PiB", 50),
];

/// Decimals that are looked at; a byte is the 50th part of a power of two at most.
const DECIMALS: usize = 18;

impl Size {
    /// That many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || decimals.contains('.') || number.ends_with('.') {
            return Err(SizeError::NoNumber(text.to_owned()));
        }
        let shift = shift(unit.trim_start())?;
        let too_large = || SizeError::TooLarge(text.to_owned());
        let whole: u128 = whole.parse().map_err(|_| too_large())?;
        let whole = whole.checked_mul(1 << shift).ok_or_else(too_large)?;
        let decimals = decimals.trim_end_matches('0');
        if shift == 0 && !decimals.is_empty() {
            return Err(SizeError::Fraction(text.to_owned()));
        }
        let decimals = decimals.get(..decimals.len().min(DECIMALS)).unwrap_or("");
        let parts = 10_u128.pow(u32::try_from(decimals.len()).unwrap_or(0));
        // Empty or digits, few enough.
        let fraction = (decimals.parse::<u128>().unwrap_or(0) << shift) / parts;
        let bytes = whole.checked_add(fraction).ok_or_else(too_large)?;
        u64::try_from(bytes).map(Self).map_err(|_| too_large())
    }
}

/// The power of two that a unit stands for.
fn shift(unit: &str) -> Result<u32, SizeError> {
    let lower = unit.to_ascii_lowercase();
    if matches!(&*lower, "" | "b" | "byte" | "bytes") {
        return Ok(0);
    }
    for (letter, full, instead, shift) in UNITS {
        if lower == letter || lower == full {
            return Ok(shift);
        }
        if lower.strip_suffix('b') == Some(letter) {
            return Err(SizeError::Ambiguous {
                given: unit.to_owned(),
                instead,
            });
        }
    }
    Err(SizeError::Unit(unit.to_owned()))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of memory such as \"2GiB\", or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes)
                    .map(Size)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Size, SizeError};
    use crate::report::escape::is_hostile;

    fn bytes(text: &str) -> Result<u64, SizeError> {
        text.parse().map(Size::bytes)
    }

    /// What is wrong is shown without what acts on a terminal.
    #[test]
    fn messages_are_one_harmless_line() {
        for text in ["\x1b[2J", "1\x1b[2J", "1\n.5", "1.\u{8}", "\u{202e}"] {
            let message = bytes(text).map_err(|error| error.to_string());
            assert!(
                message
                    .as_ref()
                    .is_err_and(|text| !text.contains(is_hostile)),
                "{message:?}"
            );
        }
    }

    /// Every unit, with and without `iB`, in any case, with decimals.
    #[test]
    fn amounts_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("12 bytes", 12),
            ("1K", 1024),
            ("1kib", 1024),
            ("500MiB", 524_288_000),
            ("500 MiB", 524_288_000),
            ("2GiB", 2_147_483_648),
            ("2g", 2_147_483_648),
            ("1.5G", 1_610_612_736),
            ("0.5KiB", 512),
            ("1.50M", 1_572_864),
            ("3T", 3_298_534_883_328),
            ("1PiB", 1_125_899_906_842_624),
            (" 7M ", 7_340_032),
            ("18446744073709551615", u64::MAX),
            // A third of a KiB: 341.33 bytes.
            ("0.33333333333333333333333K", 341),
            ("1.0", 1),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    /// Whoever writes something else is told what to write.
    #[test]
    fn other_text_is_refused_with_a_remedy() {
        for (text, part) in [
            ("", "does not begin with a number"),
            ("GiB", "does not begin with a number"),
            ("-1", "does not begin with a number"),
            ("1.", "does not begin with a number"),
            (".5G", "does not begin with a number"),
            ("1.2.3G", "does not begin with a number"),
            ("2GB", "write GiB"),
            ("500mb", "write MiB"),
            ("10kB", "write KiB"),
            ("5 apples", "'apples' is not a unit"),
            ("1e9", "'e9' is not a unit"),
            ("1.5", "not a whole number of bytes"),
            ("18446744073709551616", "more than any machine has"),
            (
                "99999999999999999999999999999999999999999999",
                "more than any machine has",
            ),
            ("16384P", "more than any machine has"),
            ("2GiB!", "'GiB!' is not a unit"),
        ] {
            match bytes(text) {
                Ok(bytes) => panic!("{text} is {bytes}"),
                Err(error) => assert!(error.to_string().contains(part), "{text}: {error}"),
            }
        }
    }

    proptest! {
        /// No text makes it panic.
        #[test]
        fn any_text_is_answered(text in "[0-9.]{0,40}[ a-zA-Z]{0,5}") {
            let _ = bytes(&text);
        }

        /// Bytes are read as they are.
        #[test]
        fn bytes_are_kept(number: u64) {
            prop_assert_eq!(bytes(&number.to_string()), Ok(number));
        }
    }
}
