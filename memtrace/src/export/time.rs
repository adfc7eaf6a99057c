//! Times as text.

use std::fmt;

const NS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Days from 1 March of the year 0 to 1 January 1970.
const EPOCH_DAYS: i64 = 719_468;
/// Days in 400 years, after which the calendar repeats.
const CYCLE_DAYS: i64 = 146_097;

/// Nanoseconds since 1970 as RFC 3339 in UTC: `2026-11-26T09:58:31.000000001Z`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rfc3339(pub(super) i64);

/// Seconds since 1970 in UTC in the basic format of ISO 8601, which fits into names of files: `20261126T095831Z`.
#[must_use]
pub fn utc_stamp(seconds: i64) -> String {
    let text = Rfc3339(seconds.saturating_mul(NS_PER_SECOND)).to_string();
    let (whole, _) = text.split_once('.').unwrap_or((&text, ""));
    let mut stamp: String = whole.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    stamp.push('Z');
    stamp
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(NS_PER_SECOND);
        let ns = self.0.rem_euclid(NS_PER_SECOND);
        let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
        let second = seconds.rem_euclid(SECONDS_PER_DAY);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ns:09}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// Year, month and day of a day counted from 1 January 1970, in the Gregorian calendar.
/// Years are counted from March, so that the leap day is a year's last.
const fn date(day: i64) -> (i64, i64, i64) {
    let day = day + EPOCH_DAYS;
    let cycle = day.div_euclid(CYCLE_DAYS);
    let day = day.rem_euclid(CYCLE_DAYS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year + cycle * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::{Rfc3339, utc_stamp};

    #[test]
    fn stamps_of_names() {
        assert_eq!(utc_stamp(0), "19700101T000000Z");
        assert_eq!(utc_stamp(1_764_151_111), "20251126T095831Z");
        // What no calendar has is a name all the same.
        assert!(utc_stamp(i64::MAX).ends_with('Z'));
    }

    /// Moments of which `date --utc --iso-8601=ns` was asked.
    #[test]
    fn times_are_those_of_date() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (1_709_251_200_000_000_000, "2024-03-01T00:00:00.000000000Z"),
            (4_102_444_800_000_000_007, "2100-01-01T00:00:00.000000007Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ] {
            assert_eq!(Rfc3339(ns).to_string(), text);
        }
    }
}
