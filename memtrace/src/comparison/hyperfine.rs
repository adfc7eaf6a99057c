//! The same runs as hyperfine's JSON has them, so that scripts made for it read ours.
//!
//! Names and units are hyperfine's: seconds, and one number per run in `times`,
//! `memory_usage_byte` and `exit_codes`. Here the memory is the exact peak of the whole tree.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Command, Comparison, Quantity, Run};

const SECOND: f64 = 1e9;

/// A command, as in the array `results` of hyperfine's JSON.
#[derive(Serialize)]
pub(super) struct ResultDoc<'a> {
    command: &'a str,
    mean: Option<f64>,
    stddev: Option<f64>,
    median: Option<f64>,
    user: f64,
    system: f64,
    min: Option<f64>,
    max: Option<f64>,
    times: Vec<f64>,
    memory_usage_byte: Vec<u64>,
    exit_codes: Vec<Option<u8>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<&'a str, &'a str>,
}

/// A column of hyperfine's tables: its name, and its value in seconds.
pub(super) type Time = (&'static str, Option<f64>);

/// The times of a command in the order of hyperfine's columns.
pub(super) fn times(comparison: &Comparison, command: &Command) -> [Time; 7] {
    let statistics = comparison.statistics(command, Quantity::Time);
    let of = statistics.as_ref();
    let mean_of = |get: fn(&Run) -> u64| {
        let sum: f64 = command.runs.iter().map(|run| get(run) as f64).sum();
        of.map(|_| sum / command.runs.len() as f64 / SECOND)
    };
    [
        ("mean", of.map(|of| of.mean / SECOND)),
        (
            "stddev",
            of.and_then(|of| of.sigma).map(|sigma| sigma / SECOND),
        ),
        ("median", of.map(|of| of.median / SECOND)),
        ("user", mean_of(|run| run.user_ns)),
        ("system", mean_of(|run| run.system_ns)),
        ("min", of.map(|of| of.min as f64 / SECOND)),
        ("max", of.map(|of| of.max as f64 / SECOND)),
    ]
}

/// All commands.
pub(super) fn results(comparison: &Comparison) -> Vec<ResultDoc<'_>> {
    let one = |command| result(comparison, command);
    comparison.commands.iter().map(one).collect()
}

fn result<'a>(comparison: &Comparison, command: &'a Command) -> ResultDoc<'a> {
    let [mean, stddev, median, user, system, min, max] =
        times(comparison, command).map(|(_, value)| value);
    let runs = || command.runs.iter();
    let parameters = command.parameters.iter();
    ResultDoc {
        command: &command.text,
        mean,
        stddev,
        median,
        user: user.unwrap_or(0.0),
        system: system.unwrap_or(0.0),
        min,
        max,
        times: runs().map(|run| run.wall_ns as f64 / SECOND).collect(),
        memory_usage_byte: runs().map(|run| run.peak_rss).collect(),
        exit_codes: runs().map(|run| run.exit_status).collect(),
        parameters: parameters
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
    }
}
