//! Wall and CPU time of workloads with all tools, interleaved.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use memtrace_tests::Lab;

use crate::{
    once::{self, Run},
    progress,
    results::Wall,
    statistics::{Pair, median, quantile, ratio},
    tools::{Tool, UNTRACED},
    workloads::{START, Workload},
};

/// A peer that takes longer than this for a workload has made its point: it is not run again.
const LONG_MS: f64 = 15_000.0;

/// Times of each workload with each tool, in the order of the rounds.
#[derive(Debug, Default)]
struct Times(BTreeMap<(&'static str, &'static str), Vec<Run>>);

impl Times {
    /// Whether a run took very long.
    fn has_long(&self, pair: (&'static str, &'static str)) -> bool {
        let runs = self.0.get(&pair);
        runs.into_iter().flatten().any(|run| run.wall_ms > LONG_MS)
    }

    fn of(&self, workload: &'static str, tool: &'static str, what: fn(&Run) -> f64) -> Vec<f64> {
        let runs = self.0.get(&(workload, tool));
        runs.into_iter().flatten().map(what).collect()
    }
}

/// Runs everything. Each round has one run of each workload with each tool, so that what else the
/// machine does meets all of them; a workload's tools follow each other directly, in an order that
/// is another one in each round. `rounds` overrides the workloads' own numbers of rounds.
pub(crate) fn measure(
    lab: &Lab,
    workloads: &[Workload],
    tools: &[Tool],
    quick: bool,
    rounds: Option<usize>,
    remarks: &mut Vec<String>,
) -> Result<Vec<Wall>> {
    let rounds_of = |workload: &Workload| rounds.unwrap_or_else(|| workload.rounds(quick));
    let most = workloads.iter().map(rounds_of).max().unwrap_or(0);
    let mut times = Times::default();
    // A peer that fails on a workload is left out there and named; memtrace may not fail.
    let mut failed = BTreeSet::new();
    for round in 0..most {
        progress(&format!("wall time, round {} of {most}", round + 1));
        for workload in workloads.iter().filter(|&one| round < rounds_of(one)) {
            for at in 0..tools.len() {
                let Some(tool) = tools.get((at + round) % tools.len()) else {
                    continue;
                };
                let pair = (workload.name, tool.name);
                if failed.contains(&pair) || (tool.is_peer() && times.has_long(pair)) {
                    continue;
                }
                let run = once::run(lab, &tool.line(&workload.line), &workload.directory)
                    .with_context(|| format!("{} with {}", workload.name, tool.name));
                let run = match run {
                    Err(error) if tool.is_peer() => {
                        remarks.push(format!("not measured: {error:#}"));
                        failed.insert(pair);
                        continue;
                    }
                    other => other?,
                };
                if tool.is_memtrace() && !run.stderr.is_empty() && round == 0 {
                    let said = run.stderr.lines().next().unwrap_or_default();
                    remarks.push(format!("{} with {}: {said}", workload.name, tool.name));
                }
                times.0.entry(pair).or_default().push(run);
            }
        }
    }
    let mut rows = Vec::new();
    for workload in workloads.iter().filter(|&one| rounds_of(one) > 0) {
        for tool in tools {
            if failed.contains(&(workload.name, tool.name)) {
                continue;
            }
            rows.push(row(&times, workload, tool).context("a time is missing")?);
        }
    }
    Ok(rows)
}

fn row(times: &Times, workload: &Workload, tool: &Tool) -> Option<Wall> {
    let wall = |run: &Run| run.wall_ms;
    let cpu = |run: &Run| run.cpu_ms;
    let with = times.of(workload.name, tool.name, wall);
    let without = times.of(workload.name, UNTRACED, wall);
    let start = median(&times.of(START, tool.name, wall));
    let bare_start = median(&times.of(START, UNTRACED, wall));
    let pairs = with.iter().zip(&without);
    let ratios: Vec<f64> = pairs
        .clone()
        .filter_map(|(&with, &without)| ratio(with, without))
        .collect();
    let beyond: Vec<f64> = match (start, bare_start) {
        (Some(start), Some(bare_start)) if workload.name != START => pairs
            .filter_map(|(&with, &without)| {
                let pair = Pair {
                    with,
                    start,
                    without,
                    bare_start,
                };
                pair.beyond_start()
            })
            .collect(),
        _ => Vec::new(),
    };
    Some(Wall {
        workload: workload.name.to_owned(),
        title: workload.title.clone(),
        tool: tool.name.to_owned(),
        rounds: with.len(),
        wall_ms: median(&with)?,
        untraced_ms: median(&without)?,
        ratio: median(&ratios),
        beyond_start: median(&beyond),
        beyond_low: quantile(&beyond, 0.25),
        beyond_high: quantile(&beyond, 0.75),
        cpu_ms: median(&times.of(workload.name, tool.name, cpu))?,
        untraced_cpu_ms: median(&times.of(workload.name, UNTRACED, cpu))?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Run, START, Times, UNTRACED, Wall, row};
    use crate::{tools::Tool, workloads::Workload};

    fn runs(walls: &[f64]) -> Vec<Run> {
        let run = |&wall_ms: &f64| Run {
            wall_ms,
            cpu_ms: wall_ms / 2.0,
            stderr: String::new(),
        };
        walls.iter().map(run).collect()
    }

    #[test]
    fn a_long_run_is_noticed() {
        let mut times = Times::default();
        times.0.insert(("work", "quick"), runs(&[14_999.0]));
        times.0.insert(("work", "slow"), runs(&[15_001.0]));
        assert!(times.has_long(("work", "slow")));
        assert!(!times.has_long(("work", "quick")));
        assert!(!times.has_long(("work", "new")));
    }

    #[test]
    fn a_row_has_medians_and_ratios_round_by_round() {
        let mut times = Times::default();
        let mut add = |workload, tool, walls: &[f64]| {
            times.0.insert((workload, tool), runs(walls));
        };
        add(START, UNTRACED, &[1.0, 1.0, 9.0]);
        add(START, "tool", &[101.0, 101.0, 99.0]);
        // The machine is slow in the second round, for both.
        add("work", UNTRACED, &[1001.0, 2001.0, 1001.0]);
        add("work", "tool", &[1201.0, 2101.0, 1151.0]);
        let Wall {
            rounds,
            wall_ms,
            untraced_ms,
            beyond_start,
            cpu_ms,
            untraced_cpu_ms,
            ..
        } = row(&times, &Workload::fake("work"), &Tool::fake("tool")).unwrap_or_default();
        assert_eq!(rounds, 3);
        assert_eq!((wall_ms, untraced_ms), (1201.0, 1001.0));
        assert_eq!((cpu_ms, untraced_cpu_ms), (600.5, 500.5));
        // Of 1.1, 1.0 and 1.05.
        assert_eq!(beyond_start, Some(1.05));
    }

    #[test]
    fn start_up_itself_has_nothing_beyond() {
        let mut times = Times::default();
        times.0.insert((START, UNTRACED), runs(&[1.0]));
        times.0.insert((START, "tool"), runs(&[3.0]));
        let row = row(&times, &Workload::fake(START), &Tool::fake("tool")).unwrap_or_default();
        assert_eq!(row.beyond_start, None);
        assert_eq!(row.ratio, Some(3.0));
    }
}
