//! The difference for programs: the contract `memtrace.diff/1`.
//!
//! Bytes and nanoseconds, named as such; growth is the second minus the first. Fields may be
//! added within version 1, never renamed or removed.

use std::io;

use serde::Serialize;

use super::{Diff, Numbers, Pair, Side};
use crate::model::Verdict;

/// Name and version of the contract.
pub const SCHEMA: &str = "memtrace.diff/1";

/// Writes the difference as one line of JSON with a newline.
///
/// # Errors
///
/// Those of the writer.
pub fn write(diff: &Diff, before: &Side, after: &Side, out: &mut dyn io::Write) -> io::Result<()> {
    let document = Document {
        schema: SCHEMA,
        before: SideDoc::new(before),
        after: SideDoc::new(after),
        total: PairDoc::from(diff.total),
        programs: diff
            .programs
            .iter()
            .map(|program| ProgramDoc {
                name: &program.name,
                pair: program.pair.into(),
                images: program
                    .images
                    .iter()
                    .map(|image| ImageDoc {
                        number: image.number,
                        command: &image.command,
                        pair: image.pair.into(),
                    })
                    .collect(),
            })
            .collect(),
    };
    serde_json::to_writer(&mut *out, &document).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    before: SideDoc<'a>,
    after: SideDoc<'a>,
    total: PairDoc,
    /// Those whose peak grew most first.
    programs: Vec<ProgramDoc<'a>>,
}

#[derive(Serialize)]
struct SideDoc<'a> {
    command: &'a [String],
    verdict: &'static str,
    within_bytes: u64,
}

impl<'a> SideDoc<'a> {
    fn new(side: &'a Side) -> Self {
        Self {
            command: &side.command,
            verdict: side.verdict.name(),
            within_bytes: match side.verdict {
                Verdict::Within(bytes) => bytes,
                Verdict::Exact | Verdict::Incomplete => 0,
            },
        }
    }
}

#[derive(Serialize)]
struct ProgramDoc<'a> {
    name: &'a str,
    #[serde(flatten)]
    pair: PairDoc,
    images: Vec<ImageDoc<'a>>,
}

#[derive(Serialize)]
struct ImageDoc<'a> {
    number: usize,
    command: &'a [String],
    #[serde(flatten)]
    pair: PairDoc,
}

#[derive(Serialize)]
struct PairDoc {
    before: Option<NumbersDoc>,
    after: Option<NumbersDoc>,
    peak_rss_growth_bytes: i128,
    average_rss_growth_bytes: i128,
    at_tree_peak_growth_bytes: i128,
    count_growth: i128,
    time_growth_ns: i128,
}

impl From<Pair> for PairDoc {
    fn from(pair: Pair) -> Self {
        Self {
            before: pair.before.map(NumbersDoc::from),
            after: pair.after.map(NumbersDoc::from),
            peak_rss_growth_bytes: pair.growth(|side| side.peak),
            average_rss_growth_bytes: pair.growth(|side| side.average),
            at_tree_peak_growth_bytes: pair.growth(|side| side.at_tree_peak),
            count_growth: pair.growth(|side| side.count),
            time_growth_ns: pair.growth(|side| side.time_ns),
        }
    }
}

#[derive(Serialize)]
struct NumbersDoc {
    peak_rss_bytes: u64,
    average_rss_bytes: u64,
    at_tree_peak_bytes: u64,
    count: u64,
    time_ns: u64,
}

impl From<Numbers> for NumbersDoc {
    fn from(numbers: Numbers) -> Self {
        let Numbers {
            peak,
            average,
            at_tree_peak,
            count,
            time_ns,
        } = numbers;
        Self {
            peak_rss_bytes: peak,
            average_rss_bytes: average,
            at_tree_peak_bytes: at_tree_peak,
            count,
            time_ns,
        }
    }
}
