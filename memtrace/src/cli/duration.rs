//! Times as people write them in options: `5s`, `500ms`, `2min`, `1.5`.

use std::time::Duration;

use memtrace::report::escape::one_line;

/// The longest that is accepted.
const LONGEST: f64 = 1e9;

/// Reads a time; without a unit it is in seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number
        .parse()
        .map_err(|_| "write a time such as 5s, 500ms or 2min".to_owned())?;
    let seconds = match unit.trim() {
        "" | "s" | "sec" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => {
            return Err(format!(
                "'{}' is not a unit of time; use ms, s, min or h",
                one_line(other)
            ));
        }
    };
    let seconds = number * seconds;
    if !(0.0..=LONGEST).contains(&seconds) {
        return Err("that is too long".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::duration;

    /// Every unit; seconds where there is none.
    #[test]
    fn times_are_read() {
        for (text, ms) in [
            ("5", 5000),
            ("0", 0),
            ("1.5", 1500),
            ("5s", 5000),
            ("500ms", 500),
            ("2min", 120_000),
            ("2 m", 120_000),
            ("1h", 3_600_000),
            ("0.25s", 250),
        ] {
            let read = duration(text).map(|time| time.as_millis());
            assert_eq!(read, Ok(ms), "{text}");
        }
        for text in [
            "",
            "s",
            "-1",
            "1.2.3",
            "5 years",
            "1e9",
            "nan",
            "inf",
            "99999999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
