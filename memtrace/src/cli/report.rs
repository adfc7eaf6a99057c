//! Arguments of `memtrace report`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

use super::pictures::PictureArgs;

pub(crate) const NOTES: &str = "\
Times are since the tree's start: 12.3s, 500ms, 1m30s, +8.5s, peak, end.

Exit status: 0, also if the recording is cut or damaged: what is whole is shown, and what is
missing is said on standard error. 1 if it cannot be read, 125 for wrong arguments.";

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// A recording, as `memtrace run -o FILE` writes it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write everything as JSON to FILE instead; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "between"])]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pictures: PictureArgs,
    /// One line per call that changes mappings and per major page fault; recorded with --events
    #[arg(long, conflicts_with_all = ["json", "at", "between", "sort"])]
    pub(crate) events: bool,
    /// One line per process
    #[arg(long)]
    pub(crate) per_process: bool,
    /// The sum of RSS over time in one line, with the peak marked, below the summary; on a terminal it is there anyhow
    #[arg(long, conflicts_with_all = ["json", "events", "at", "between", "html", "svg"])]
    pub(crate) timeline: bool,
    /// Draw that line with ASCII characters, as in a locale without UTF-8
    #[arg(long, conflicts_with_all = ["json", "events", "at", "between", "html", "svg"])]
    pub(crate) ascii: bool,
    /// All numbers
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The state of every process at a moment
    #[arg(long, value_name = "TIME", conflicts_with = "between")]
    pub(crate) at: Option<TimePoint>,
    /// Peaks and averages between two moments
    #[arg(long, value_name = "TIME,TIME")]
    pub(crate) between: Option<TimeRange>,
    /// Order of the lines of a table [default: start for --per-process, else rss]
    #[arg(long, value_name = "KEY")]
    pub(crate) sort: Option<SortArg>,
    /// Only processes whose name or command line has PATTERN in it, or, with `*` and `?`,
    /// is like it
    #[arg(long, value_name = "PATTERN")]
    pub(crate) filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortArg {
    /// Resident memory, largest first: at the moment, on average within the range, or at the tree's peak
    Rss,
    /// Peak of resident memory, largest first
    Peak,
    /// Start, earliest first
    Start,
    /// Process id
    Pid,
    /// Name
    Name,
}

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimePoint {
    /// Nanoseconds since the tree's start.
    Ns(u64),
    /// The tree's peak.
    Peak,
    /// The end of the recording.
    End,
}

/// Two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) from: TimePoint,
    pub(crate) until: TimePoint,
}

const TIMES: &str = "times are like 12.3s, 500ms, 1m30s, +8.5s, peak or end";

impl FromStr for TimePoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "peak" => Ok(Self::Peak),
            "end" => Ok(Self::End),
            text => nanoseconds(text.strip_prefix('+').unwrap_or(text))
                .map(Self::Ns)
                .ok_or(TIMES),
        }
    }
}

impl FromStr for TimeRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, until) = text
            .split_once(',')
            .ok_or("two times with a comma between, like 1.5s,3s")?;
        let range = Self {
            from: from.parse()?,
            until: until.parse()?,
        };
        match (range.from, range.until) {
            (TimePoint::Ns(from), TimePoint::Ns(until)) if from > until => {
                Err("the second time is before the first")
            }
            _ => Ok(range),
        }
    }
}

/// Units from the largest to the smallest.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// `1m30.5s`: numbers with units, from larger to smaller ones, only the last with a fraction.
fn nanoseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum: u64 = 0;
    let mut units = UNITS.iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        // As reports print them: `512 us`.
        let after = after.strip_prefix(' ').unwrap_or(after);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let scale = units.find(|(name, _)| *name == unit)?.1;
        if number.contains('.') && !after.is_empty() {
            return None;
        }
        sum = sum.checked_add(scaled(number, scale)?)?;
        rest = after;
    }
    Some(sum)
}

/// A decimal number times a scale, cut to whole ones.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut sum = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().ok()?.checked_mul(scale)?
    };
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        sum = sum.checked_add(u64::from(digit.to_digit(10)?) * place)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What users write, and what they should not.
    #[test]
    fn moments() {
        let ns = |ns| Ok(TimePoint::Ns(ns));
        for (text, expected) in [
            ("12.3s", ns(12_300_000_000)),
            ("500ms", ns(500_000_000)),
            ("1m30s", ns(90_000_000_000)),
            ("+8.5s", ns(8_500_000_000)),
            ("1h", ns(3_600_000_000_000)),
            ("1h0.5s", ns(3_600_500_000_000)),
            (".5us", ns(500)),
            ("7ns", ns(7)),
            ("+512 us", ns(512_000)),
            ("1.4 ms", ns(1_400_000)),
            ("0s", ns(0)),
            (" peak ", Ok(TimePoint::Peak)),
            ("end", Ok(TimePoint::End)),
            ("", Err(TIMES)),
            ("+", Err(TIMES)),
            ("12", Err(TIMES)),
            ("s", Err(TIMES)),
            ("-1s", Err(TIMES)),
            ("1.2.3s", Err(TIMES)),
            ("1 2s", Err(TIMES)),
            ("1  s", Err(TIMES)),
            ("30s1m", Err(TIMES)),
            ("1.5m30s", Err(TIMES)),
            ("1parsec", Err(TIMES)),
            ("99999999999999h", Err(TIMES)),
        ] {
            assert_eq!(text.parse(), expected, "{text:?}");
        }
    }

    /// Ranges have a beginning and an end, in this order.
    #[test]
    fn ranges() {
        let range = "1s,peak".parse::<TimeRange>();
        assert_eq!(
            range,
            Ok(TimeRange {
                from: TimePoint::Ns(1_000_000_000),
                until: TimePoint::Peak
            })
        );
        for text in ["1s", "2s,1s", "1s,2", ",", "1s,2s,3s"] {
            assert!(text.parse::<TimeRange>().is_err(), "{text}");
        }
    }
}
