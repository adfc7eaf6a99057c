//! Amounts, times and shares as people read them. Units are always 1024-based and
//! say so.

/// The IEC units above a byte.
const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// An amount of memory, rounded to one decimal: `0 B`, `1.5 KiB`, `224.0 MiB`.
///
/// Amounts below 1 KiB are exact. Never shows `1024.0` of a unit.
///
/// ```
/// use memtrace::units::human;
/// assert_eq!(human(1_546_188_226), "1.4 GiB");
/// ```
#[must_use]
pub fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scale: u128 = 1024;
    for unit in UNITS {
        let tenths = (u128::from(bytes) * 10 + scale / 2) / scale;
        if tenths < 10_240 || unit == "EiB" {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        scale *= 1024;
    }
    format!("{bytes} B")
}

/// A number with a comma after every three digits: `1,546,188,226`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of things: `1 process`, `2 processes`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// A duration in the largest sensible unit: `850 ns`, `12.3 us`, `4.567 ms`,
/// `12.304 s`, `3 min 20.5 s`, `2 h 05 min`.
#[must_use]
pub fn duration(ns: u64) -> String {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    const MIN: u64 = 60 * S;
    const H: u64 = 60 * MIN;
    if ns < US {
        format!("{ns} ns")
    } else if ns < MS {
        format!("{}.{} us", ns / US, ns % US / 100)
    } else if ns < S {
        format!("{}.{:03} ms", ns / MS, ns % MS / US)
    } else if ns < MIN {
        seconds(ns)
    } else if ns < H {
        format!(
            "{} min {:02}.{} s",
            ns / MIN,
            ns % MIN / S,
            ns % S / (100 * MS)
        )
    } else {
        format!("{} h {:02} min", ns / H, ns % H / MIN)
    }
}

/// A time in seconds with milliseconds, cut, not rounded: `12.304 s`.
#[must_use]
pub fn seconds(ns: u64) -> String {
    format!(
        "{}.{:03} s",
        ns / 1_000_000_000,
        ns % 1_000_000_000 / 1_000_000
    )
}

/// Whether two amounts differ by more than 1 % of the larger one.
#[must_use]
pub const fn differ(a: u64, b: u64) -> bool {
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    ((large - small) as u128) * 100 > large as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every unit, its first value, and values that round up to the next one.
    #[test]
    fn amounts() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (4096 * 31, "124.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_048_576, "1.0 MiB"),
            (224 << 20, "224.0 MiB"),
            (1_546_188_226, "1.4 GiB"),
            (5 << 40, "5.0 TiB"),
            (7 << 50, "7.0 PiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human(bytes), text, "{bytes}");
        }
    }

    /// Commas fall on thousands.
    #[test]
    fn digits_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (1_546_188_226, "1,546,188,226"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    /// Every unit of time.
    #[test]
    fn durations() {
        for (ns, text) in [
            (0, "0 ns"),
            (850, "850 ns"),
            (12_345, "12.3 us"),
            (4_567_890, "4.567 ms"),
            (999_999_999, "999.999 ms"),
            (12_304_000_000, "12.304 s"),
            (200_500_000_000, "3 min 20.5 s"),
            (65_000_000_000, "1 min 05.0 s"),
            (7_500_000_000_000, "2 h 05 min"),
        ] {
            assert_eq!(duration(ns), text, "{ns}");
        }
        assert_eq!(seconds(850), "0.000 s");
    }

    /// One per cent itself does not count as a difference.
    #[test]
    fn one_per_cent() {
        assert!(!differ(100, 99));
        assert!(differ(1000, 989));
        assert!(differ(989, 1000));
        assert!(!differ(0, 0));
        assert!(differ(0, 1));
        assert!(differ(u64::MAX, 0));
    }
}
