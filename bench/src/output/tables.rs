//! The tables that results make.

use super::table::Table;
use crate::{
    results::{Results, Verdict, Wall},
    tools::UNTRACED,
    workloads::START,
};

const MIB: f64 = (1 << 20) as f64;

/// A number with so many digits after the point, or a dash.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn mib(bytes: Option<u64>) -> String {
    number(bytes.map(|bytes| bytes as f64 / MIB), 1)
}

/// Budgets.
pub(crate) fn budgets(results: &Results) -> Table {
    let mut table = Table::new(
        "Budgets",
        1,
        &["what", "figure", "budget", "unit", "verdict"],
    );
    for budget in &results.budgets {
        let digits = match budget.unit.as_str() {
            "x" => 2,
            "" => 0,
            _ => 1,
        };
        let verdict = match budget.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::NotMeasured => "not measured",
        };
        table.rows.push(vec![
            budget.what.clone(),
            number(budget.figure, digits),
            number(Some(budget.budget), digits),
            budget.unit.clone(),
            verdict.to_owned(),
        ]);
    }
    table
}

/// What is reported.
pub(crate) fn reported(results: &Results) -> Table {
    let mut table = Table::new(
        "What is reported",
        3,
        &["what", "truth", "who", "reports, MiB"],
    );
    for row in &results.reported {
        table.rows.push(vec![
            row.what.clone(),
            row.truth.clone(),
            row.tool.clone(),
            mib(row.bytes),
        ]);
    }
    table
}

/// Ratios beyond start-up: a line per workload, a column per tool.
pub(crate) fn overview(results: &Results) -> Table {
    let mut tools: Vec<&str> = Vec::new();
    let mut workloads: Vec<&str> = Vec::new();
    for row in results.wall.iter().filter(|row| row.workload != START) {
        if row.tool != UNTRACED && !tools.contains(&row.tool.as_str()) {
            tools.push(&row.tool);
        }
        if !workloads.contains(&row.workload.as_str()) {
            workloads.push(&row.workload);
        }
    }
    let mut header = vec!["workload", UNTRACED];
    header.extend(&tools);
    let mut table = Table::new(
        "Wall time beyond start-up, ratio to the untraced run",
        1,
        &header,
    );
    for workload in workloads {
        let find = |tool: &str| {
            let mut rows = results.wall.iter();
            rows.find(|row| row.workload == workload && row.tool == tool)
        };
        let title = find(UNTRACED).map_or(workload, |row| &row.title);
        let mut cells = vec![title.to_owned(), "1".to_owned()];
        let ratio = |tool: &&str| number(find(tool).and_then(|row| row.beyond_start), 2);
        cells.extend(tools.iter().map(ratio));
        table.rows.push(cells);
    }
    table
}

/// All times.
pub(crate) fn wall(results: &Results) -> Table {
    let mut table = Table::new(
        "Wall and CPU time: medians",
        2,
        &[
            "workload",
            "tool",
            "runs",
            "wall, ms",
            "untraced, ms",
            "ratio",
            "beyond start-up",
            "quartiles",
            "CPU, ms",
            "untraced, ms",
        ],
    );
    for row in &results.wall {
        let Wall {
            beyond_low,
            beyond_high,
            ..
        } = row;
        let quartiles = match (beyond_low, beyond_high) {
            (Some(low), Some(high)) => format!("{low:.2}–{high:.2}"),
            _ => "–".to_owned(),
        };
        table.rows.push(vec![
            row.workload.clone(),
            row.tool.clone(),
            row.rounds.to_string(),
            format!("{:.1}", row.wall_ms),
            format!("{:.1}", row.untraced_ms),
            number(row.ratio, 2),
            number(row.beyond_start, 2),
            quartiles,
            format!("{:.1}", row.cpu_ms),
            format!("{:.1}", row.untraced_cpu_ms),
        ]);
    }
    table
}

/// The handler with few and with many images.
pub(crate) fn handler(results: &Results) -> Table {
    let mut table = Table::new(
        "Handler of a counter change, by images that are followed",
        1,
        &[
            "the process that faults",
            "other images",
            "rounds",
            "events",
            "of others, %",
            "empty program, ns",
            "net, ns",
            "RSS of memtrace, MiB",
            "its peak, MiB",
        ],
    );
    for row in &results.handler {
        let who = match (row.tracked, row.shares) {
            (true, true) => "followed, shares pages with a forked child",
            (true, false) => "followed",
            (false, _) => "not followed",
        };
        table.rows.push(vec![
            who.to_owned(),
            row.images.to_string(),
            row.rounds.to_string(),
            row.events.to_string(),
            format!("{:.1}", row.foreign * 100.0),
            format!("{:.1}", row.empty_ns),
            format!("{:.1}", row.net_ns),
            mib(row.rss_bytes),
            mib(row.rss_peak_bytes),
        ]);
    }
    table
}

/// Many CPUs.
pub(crate) fn many_cpus(results: &Results) -> Table {
    let mut table = Table::new(
        "Handler of a counter change, by CPUs",
        3,
        &[
            "shares summed over",
            "--sum-cpus",
            "programs",
            "CPUs",
            "rounds",
            "net, ns",
            "verified instructions",
        ],
    );
    for row in &results.many_cpus {
        let which = if row.simulated {
            "CPUs that are simulated, beside the machine's"
        } else {
            "the machine's CPUs"
        };
        table.rows.push(vec![
            which.to_owned(),
            row.sum_cpus.clone(),
            row.handler.clone(),
            row.cpus.to_string(),
            row.rounds.to_string(),
            format!("{:.1}", row.net_ns),
            row.verified
                .map_or_else(|| "–".to_owned(), |count| count.to_string()),
        ]);
    }
    table
}

/// Each BPF program.
pub(crate) fn programs(results: &Results) -> Table {
    let mut table = Table::new(
        "BPF programs, one run",
        2,
        &[
            "while",
            "program on the event",
            "runs",
            "measured, ns",
            "net, ns",
            "verified instructions",
            "machine code, bytes",
        ],
    );
    for row in &results.programs {
        table.rows.push(vec![
            row.situation.clone(),
            // Names are cut by the kernel.
            if row.on.is_empty() {
                &row.program
            } else {
                &row.on
            }
            .clone(),
            row.runs.to_string(),
            number(row.gross_ns, 1),
            number(row.net_ns, 1),
            number(row.verified.map(f64::from), 0),
            row.jited_bytes.to_string(),
        ]);
    }
    table
}

/// memtrace's own process.
pub(crate) fn own(results: &Results) -> Table {
    let mut table = Table::new(
        "CPU time of memtrace's process while the command runs",
        2,
        &[
            "workload",
            "how",
            "rounds",
            "memtrace, ms",
            "command, ms",
            "%",
            "largest RSS, MiB",
        ],
    );
    for row in &results.own {
        table.rows.push(vec![
            row.workload.clone(),
            row.tool.clone(),
            row.rounds.to_string(),
            format!("{:.1}", row.own_ms),
            format!("{:.0}", row.traced_ms),
            number(row.percent, 2),
            mib(row.rss_peak_bytes),
        ]);
    }
    table
}

/// Recordings.
pub(crate) fn recordings(results: &Results) -> Table {
    let mut table = Table::new(
        "Recordings",
        2,
        &[
            "workload",
            "resolution",
            "bytes",
            "changes or windows",
            "lost",
            "bytes each",
        ],
    );
    for row in &results.recordings {
        let each = crate::statistics::ratio(row.bytes as f64, row.entries as f64);
        table.rows.push(vec![
            row.workload.clone(),
            row.resolution.clone(),
            row.bytes.to_string(),
            row.entries.to_string(),
            row.lost.to_string(),
            number(each, 2),
        ]);
    }
    table
}

/// Processes.
pub(crate) fn lost(results: &Results) -> Table {
    let mut table = Table::new(
        "A storm of processes",
        0,
        &["created", "reported", "none lost, says the certificate"],
    );
    if let Some(lost) = &results.lost {
        let says = if lost.none_lost { "yes" } else { "no" };
        table.rows.push(vec![
            lost.created.to_string(),
            lost.reported.to_string(),
            says.to_owned(),
        ]);
    }
    table
}

/// Whoever looks on.
pub(crate) fn storm(results: &Results) -> Table {
    let mut table = Table::new(
        "A storm of forks, and who looks on",
        1,
        &[
            "who",
            "forks",
            "rounds",
            "wall, ms",
            "ratio",
            "quartiles",
            "its CPU, ms",
            "ratio of that",
            "screens per second",
            "CPU of memtrace, ms",
            "largest RSS of memtrace, MiB",
        ],
    );
    for row in &results.storm {
        table.rows.push(vec![
            row.how.clone(),
            row.forks.to_string(),
            row.rounds.to_string(),
            format!("{:.0}", row.wall_ms),
            number(row.ratio, 2),
            format!("{}–{}", number(row.low, 2), number(row.high, 2)),
            format!("{:.0}", row.cpu_ms),
            number(row.cpu_ratio, 2),
            number(row.screens_per_second, 1),
            format!("{:.1}", row.own_ms),
            mib(row.rss_peak_bytes),
        ]);
    }
    table
}

/// Instructions.
pub(crate) fn instructions(results: &Results) -> Table {
    let mut table = Table::new(
        "Instructions, counted by callgrind",
        2,
        &["part", "operation", "instructions each"],
    );
    for row in &results.instructions {
        table.rows.push(vec![
            row.part.clone(),
            row.operation.clone(),
            format!("{:.0}", row.each),
        ]);
    }
    table
}

/// Tools.
pub(crate) fn tools(results: &Results) -> Table {
    let mut table = Table::new("Tools", 3, &["tool", "line", "left out"]);
    for tool in &results.tools {
        table.rows.push(vec![
            tool.name.clone(),
            format!("`{}`", tool.line),
            tool.left_out.clone().unwrap_or_default(),
        ]);
    }
    table
}
