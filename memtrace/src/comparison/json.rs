//! The comparison for programs: the contract `memtrace.compare/1`.
//!
//! Bytes and nanoseconds, named as such; means and deviations are of the same unit and need
//! not be whole numbers. Fields may be added within version 1, never renamed or removed.

use std::io;

use serde::Serialize;

use super::{
    Command, Comparison, Quantity, Run, Statistics,
    hyperfine::{ResultDoc, results},
};
use crate::model::Verdict;

/// Name and version of the contract.
pub const SCHEMA: &str = "memtrace.compare/1";

/// Writes the comparison as one line of JSON with a newline.
///
/// # Errors
///
/// Those of the writer.
pub fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    let (peaks, averages, times) = (
        Column::new(comparison, Quantity::Peak),
        Column::new(comparison, Quantity::Average),
        Column::new(comparison, Quantity::Time),
    );
    let commands = comparison
        .commands
        .iter()
        .enumerate()
        .map(|(index, command)| CommandDoc {
            command: &command.text,
            argv: &command.argv,
            certificate: CertificateDoc::from(command.worst()),
            failures: command.failures(),
            peak_rss_bytes: peaks.at(index),
            average_rss_bytes: averages.at(index),
            wall_ns: times.at(index),
            runs: runs(command),
        })
        .collect();
    let document = Document {
        schema: SCHEMA,
        order: if comparison.interleaved {
            "interleaved"
        } else {
            "sequential"
        },
        warmup: comparison.warmup,
        page_size_bytes: comparison.page_size,
        commands,
        results: results(comparison),
    };
    serde_json::to_writer(&mut *out, &document).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    order: &'static str,
    warmup: u32,
    page_size_bytes: u64,
    commands: Vec<CommandDoc<'a>>,
    /// The same under hyperfine's names.
    results: Vec<ResultDoc<'a>>,
}

#[derive(Serialize)]
struct CommandDoc<'a> {
    command: &'a str,
    argv: &'a [String],
    /// Of the least exact run.
    certificate: CertificateDoc,
    failures: usize,
    peak_rss_bytes: Option<StatisticsDoc>,
    average_rss_bytes: Option<StatisticsDoc>,
    wall_ns: Option<StatisticsDoc>,
    runs: Vec<RunDoc>,
}

#[derive(Serialize)]
struct CertificateDoc {
    verdict: &'static str,
    within_bytes: u64,
}

impl From<Verdict> for CertificateDoc {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict: verdict.name(),
            within_bytes: match verdict {
                Verdict::Within(bytes) => bytes,
                Verdict::Exact | Verdict::Incomplete => 0,
            },
        }
    }
}

#[derive(Serialize)]
struct StatisticsDoc {
    mean: f64,
    stddev: Option<f64>,
    median: f64,
    min: u64,
    max: u64,
    outliers: usize,
    /// The mean as a multiple of the least mean of all commands.
    relative: Option<f64>,
    relative_stddev: Option<f64>,
}

#[derive(Serialize)]
struct RunDoc {
    peak_rss_bytes: u64,
    average_rss_bytes: u64,
    wall_ns: u64,
    user_ns: u64,
    system_ns: u64,
    processes: usize,
    exit_status: Option<u8>,
    signal: Option<u8>,
    certificate: CertificateDoc,
}

/// One quantity of all commands.
struct Column {
    all: Vec<Option<Statistics>>,
    best: Option<usize>,
}

impl Column {
    fn new(comparison: &Comparison, quantity: Quantity) -> Self {
        let (all, best) = comparison.all(quantity);
        Self { all, best }
    }

    fn at(&self, index: usize) -> Option<StatisticsDoc> {
        let statistics = self.all.get(index)?.as_ref()?;
        let best = self.best.and_then(|best| self.all.get(best)?.as_ref());
        let relative = best.and_then(|best| statistics.relative_to(best));
        Some(StatisticsDoc {
            mean: statistics.mean,
            stddev: statistics.sigma,
            median: statistics.median,
            min: statistics.min,
            max: statistics.max,
            outliers: statistics.outliers,
            relative: relative.map(|(ratio, _)| ratio),
            relative_stddev: relative
                .filter(|_| self.best != Some(index))
                .and_then(|(_, sigma)| sigma),
        })
    }
}

fn runs(command: &Command) -> Vec<RunDoc> {
    let doc = |run: &Run| RunDoc {
        peak_rss_bytes: run.peak_rss,
        average_rss_bytes: run.average_rss,
        wall_ns: run.wall_ns,
        user_ns: run.user_ns,
        system_ns: run.system_ns,
        processes: run.processes,
        exit_status: run.exit_status,
        signal: run.signal,
        certificate: CertificateDoc::from(run.verdict),
    };
    command.runs.iter().map(doc).collect()
}
