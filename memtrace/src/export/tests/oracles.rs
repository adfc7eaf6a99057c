//! Perfetto's own `trace_processor` and `DuckDB` read what we write, and find the numbers of
//! the summary in it. `tests/export/install` installs them.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value as Json;

use super::{History, calls, data, history, segments};
#[cfg(feature = "parquet")]
use crate::export::{Table, csv, ndjson};
use crate::{
    export::{Data, ExportError, perfetto},
    model::{Loss, Outcome, Summary},
};

/// Where a script and a tool are, or `None` with a word on standard error. With
/// `MEMTRACE_REQUIRE_ALL=1` nothing may be skipped.
fn tool(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tools = std::env::var_os("MEMTRACE_EXPORT_TOOLS")
        .map_or_else(|| workspace.join("target/export-tools"), PathBuf::from);
    let path = tools.join(name);
    if path.exists() {
        return Some(path);
    }
    let message = format!(
        "SKIPPED {}: {} is missing; run tests/export/install",
        std::thread::current().name().unwrap_or("a test"),
        path.display()
    );
    assert!(
        std::env::var_os("MEMTRACE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "{message}"
    );
    let _ = writeln!(std::io::stderr(), "{message}");
    None
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/export")
        .join(name)
}

/// The answers of a program that gets queries as JSON and gives answers as JSON.
fn ask(command: &mut Command, queries: &[String]) -> Vec<Json> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let queries = serde_json::to_vec(queries).expect("JSON");
    stdin.write_all(&queries).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A directory that is removed in the end.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> Result<(), ExportError>,
    ) {
        let mut out = BufWriter::new(File::create(self.0.path().join(name)).expect("a file"));
        write(&mut out).expect("it writes");
        out.flush().expect("it writes");
    }
}

/// With everything that can happen: many processes, reused pids, hostile names, a kill, a loss.
fn eventful() -> History {
    let mut history = history::random(7, 2000);
    let killed = history.fork(0, 4_000_000);
    history.set(killed, [9, 9, 9, 9]);
    history.at += 1_000_000;
    history.oom(killed);
    let outcome = Outcome {
        exit_status: None,
        signal: Some(9),
        core_dumped: false,
    };
    history.exit(killed, outcome);
    history.losses.push(Loss {
        from_ns: 1_000,
        until_ns: 2_000,
        records: 1234,
        reason: "the ring was full".to_owned(),
    });
    history
}

fn own_peaks(summary: &Summary) -> Vec<u64> {
    let mut peaks = vec![0; summary.processes.len()];
    for image in &summary.images {
        let peak = &mut peaks[image.owner.expect("an owner")];
        *peak = image.peak_rss.max(*peak);
    }
    peaks
}

fn perfetto_finds_our_numbers(width: u64) {
    let Some(engine) = tool("trace-processor") else {
        return;
    };
    let history = eventful();
    let (summary, timeline) = (history.summary(), history.timeline(width));
    let data = data(&summary, &timeline);
    let directory = Directory::new();
    directory.write("trace", |out| perfetto::write(&data, out));
    let queries = [
        "select name, value from stats where severity in ('error', 'data_loss') and value > 0",
        "select max(value) as peak from counter join track on counter.track_id = track.id \
         where track.name = 'tree RSS'",
        "include perfetto module linux.memory.high_watermark; \
         select p.pid, p.start_ts, max(rss_high_watermark) as peak \
         from memory_rss_high_watermark_per_process join process p using (upid) \
         group by upid order by p.pid, p.start_ts",
        "select p.pid, p.start_ts, max(c.value) as peak from counter c \
         join process_counter_track t on c.track_id = t.id join process p using (upid) \
         where t.name = 'mem.rss.watermark' group by upid order by p.pid, p.start_ts",
        "select category, count(*) as n from slice group by category order by category",
        "select ts, name from slice where category in ('peak', 'loss', 'oom') order by category",
        // In the end every process that is gone holds nothing.
        "select count(*) as n from (select max(c.id), c.value from counter c \
         join process_counter_track t on c.track_id = t.id join process p using (upid) \
         where t.name = 'mem.rss' and p.end_ts is not null group by upid) where value > 0",
        "select count(*) as n from counter c join process_counter_track t on c.track_id = t.id \
         join process p using (upid) where c.ts >= p.end_ts or c.ts < p.start_ts",
    ];
    let queries = queries.map(str::to_owned);
    let mut command = Command::new("node");
    command
        .arg(script("query.mjs"))
        .arg(engine)
        .arg(directory.0.path().join("trace"));
    let answers = ask(&mut command, &queries);

    assert_eq!(answers[0], serde_json::json!([]));
    assert_eq!(answers[1][0]["peak"], summary.tree.peak_rss);
    let start = data.started_boot_ns.expect("known");
    let mut expected: Vec<(u64, u64, u64)> = summary
        .processes
        .iter()
        .zip(own_peaks(&summary))
        .map(|(process, peak)| (process.pid.into(), start + process.start_ns, peak))
        .collect();
    expected.sort_unstable();
    let reused = expected.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    assert!(reused.count() > 10, "the history reuses pids");
    for answer in &answers[2..4] {
        let found: Vec<(u64, u64, u64)> = answer
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| {
                let number = |name: &str| row[name].as_f64().expect("a number") as u64;
                (number("pid"), number("start_ts"), number("peak"))
            })
            .collect();
        let wrong: Vec<_> = found
            .iter()
            .zip(&expected)
            .filter(|(a, b)| a != b)
            .collect();
        assert_eq!(wrong, []);
        assert_eq!(found.len(), expected.len());
    }
    let execs = summary
        .images
        .iter()
        .filter(|image| image.parent.is_none())
        .count();
    let exits = summary
        .processes
        .iter()
        .filter(|process| process.end_ns.is_some())
        .count();
    assert_eq!(
        answers[4],
        serde_json::json!([
            {"category": "exec", "n": execs},
            {"category": "exit", "n": exits},
            {"category": "image", "n": summary.images.len()},
            {"category": "loss", "n": 1},
            {"category": "oom", "n": 1},
            {"category": "peak", "n": 1},
        ])
    );
    let killed = summary
        .processes
        .iter()
        .find(|process| process.oom_killed)
        .expect("one");
    let peak = crate::report::units::human(summary.tree.peak_rss);
    assert_eq!(
        answers[5],
        serde_json::json!([
            {"ts": start + 1_000, "name": "1,234 records lost"},
            {"ts": start + killed.end_ns.expect("dead"), "name": "OOM kill"},
            {"ts": start + summary.tree.peak_at_ns, "name": format!("peak {peak}")},
        ])
    );
    assert_eq!(answers[6][0]["n"], 0);
    assert_eq!(answers[7][0]["n"], 0);
}

/// Every change: peaks of the tree and of each process, with reused pids.
#[test]
fn trace_processor_finds_the_peaks_in_changes() {
    perfetto_finds_our_numbers(0);
}

/// The same where the timeline has windows.
#[test]
fn trace_processor_finds_the_peaks_in_windows() {
    perfetto_finds_our_numbers(10_000_000);
}

/// Each call is a slice of the process that made it, though pids are used again.
#[test]
fn trace_processor_finds_each_call_in_its_process() {
    let Some(engine) = tool("trace-processor") else {
        return;
    };
    let history = eventful();
    let (summary, timeline) = (history.summary(), history.timeline(0));
    let mut made = calls::made(&summary);
    let told = segments::Told {
        timeline: &timeline,
        calls: made.iter().map(|(_, call)| *call).collect(),
    };
    let data = Data {
        spans: &told,
        ..data(&summary, &timeline)
    };
    let directory = Directory::new();
    directory.write("trace", |out| perfetto::write(&data, out));
    let queries = [
        "select name, value from stats where severity in ('error', 'data_loss') and value > 0",
        "select p.pid, s.ts, s.dur, s.name, t.name as track, \
         extract_arg(s.arg_set_id, 'debug.call') as call, \
         extract_arg(s.arg_set_id, 'debug.rss_change_bytes') as change \
         from slice s join process_track t on s.track_id = t.id join process p using (upid) \
         where s.category = 'call' order by s.ts, p.pid",
    ];
    let mut command = Command::new("node");
    command
        .arg(script("query.mjs"))
        .arg(engine)
        .arg(directory.0.path().join("trace"));
    let answers = ask(&mut command, &queries.map(str::to_owned));
    assert_eq!(answers[0], serde_json::json!([]));
    let start = data.started_boot_ns.expect("known");
    made.sort_by_key(|(pid, call)| (call.at_ns, *pid));
    let expected: Vec<Json> = made
        .iter()
        .map(|(pid, call)| {
            serde_json::json!({
                "pid": pid,
                "ts": start + call.at_ns,
                "dur": 0,
                "name": "munmap",
                "track": format!("calls of thread {}", call.tid),
                "call": "munmap(0x7ffffffff000, 4096) = 0",
                "change": -4096,
            })
        })
        .collect();
    assert!(expected.len() > 100);
    assert_eq!(answers[1], Json::Array(expected));
}

#[cfg(feature = "parquet")]
fn write_tables(directory: &Directory, data: &Data<'_>) {
    for table in Table::ALL {
        let name = table.name();
        directory.write(&format!("{name}.csv"), |out| csv::write(data, table, out));
        directory.write(&format!("{name}.ndjson"), |out| {
            ndjson::write(data, table, out)
        });
        directory.write(&format!("{name}.parquet"), |out| {
            crate::export::parquet::write(data, table, out)
        });
    }
}

/// `DuckDB` reads the Parquet files and finds the peaks, sums and times; CSV and NDJSON have
/// the same rows.
#[cfg(feature = "parquet")]
#[test]
fn duckdb_finds_the_summary_in_the_tables() {
    let Some(python) = tool("python/bin/python") else {
        return;
    };
    let history = eventful();
    let (mut summary, timeline) = (history.summary(), history.timeline(10_000_000));
    segments::tell(&mut summary);
    let told = segments::Told {
        timeline: &timeline,
        calls: segments::calls(&summary),
    };
    let data = Data {
        spans: &told,
        ..data(&summary, &timeline)
    };
    let directory = Directory::new();
    write_tables(&directory, &data);
    let mut queries: Vec<String> = [
        "select max(rss_max_bytes) from 'tree.parquet'",
        "select image, max(rss_max_bytes) from 'timeline.parquet' group by image order by image",
        "select image, peak_rss_bytes from 'images.parquet' order by image",
        "select sum(rss_at_tree_peak_bytes) from 'images.parquet'",
        "select sum(rss_at_tree_peak_bytes) from 'processes.parquet'",
        "select count(*) from 'images.parquet' where epoch_ns(start_time) \
         <> 1700000000000000000 + start_ns",
        "select count(*) from parquet_kv_metadata('tree.parquet') \
         where decode(key) = 'memtrace.column.rss_max_bytes' and decode(value) like 'bytes: %'",
        "select name from 'images.parquet' where name like 'a;b%' limit 1",
        "select image, sum(at_peak_bytes) from 'segments.parquet' group by image order by image",
    ]
    .map(str::to_owned)
    .to_vec();
    let own = queries.len();
    let mut times = Vec::new();
    for table in Table::ALL {
        let name = table.name();
        // Times are written in a form of their own.
        let columns: Vec<String> = table
            .columns()
            .iter()
            .filter(|column| column.kind != crate::export::tables::Kind::Time)
            .map(|column| format!("{0}::varchar as {0}", column.name))
            .collect();
        let columns = columns.join(", ");
        let parquet = format!("select {columns} from '{name}.parquet'");
        for other in [
            format!(
                "read_csv('{name}.csv', all_varchar = true, header = true, \
                 allow_quoted_nulls = false)"
            ),
            format!("'{name}.ndjson'"),
        ] {
            let other = format!("select {columns} from {other}");
            queries.push(format!(
                "select (select count(*) from ({parquet})), (select count(*) from ({other})), \
                 (select count(*) from ({parquet} except all {other}))"
            ));
        }
        times.extend(
            table
                .columns()
                .iter()
                .filter(|column| column.kind == crate::export::tables::Kind::Time)
                .map(|column| (name, column.name)),
        );
    }
    let compared = queries.len();
    for (table, column) in &times {
        queries.push(format!(
            "select count(*) from (select {column}::timestamp_ns from '{table}.parquet' \
             except all select replace({column}, 'Z', '')::timestamp_ns from \
             read_csv('{table}.csv', all_varchar = true, header = true))"
        ));
    }
    let mut command = Command::new(python);
    command.arg(script("query.py")).arg(directory.0.path());
    let answers = ask(&mut command, &queries);

    let json = |value: u64| serde_json::json!([[value]]);
    let peaks: Vec<(u64, u64)> = summary
        .images
        .iter()
        .map(|image| (image.id, image.peak_rss))
        .collect();
    assert_eq!(answers[0], json(summary.tree.peak_rss));
    assert_eq!(answers[1], serde_json::json!(peaks));
    assert_eq!(answers[2], serde_json::json!(peaks));
    assert_eq!(answers[3], json(summary.tree.peak_rss));
    assert_eq!(answers[4], json(summary.tree.peak_rss));
    assert_eq!(answers[5], json(0));
    assert_eq!(answers[6], json(1));
    assert_eq!(answers[7], serde_json::json!([["a;b c,\"d\"\\ne"]]));
    assert_eq!(answers[8], serde_json::json!(peaks));
    let counts = [
        summary.processes.len(),
        summary.images.len(),
        timeline.tree.len(),
        timeline.images.iter().map(Vec::len).sum(),
        1,
        segments::parts(&summary),
        timeline.images.iter().map(Vec::len).sum(),
        summary.images.len(),
    ];
    let tables = answers[own..compared].chunks(2);
    for ((answers, count), table) in tables.zip(counts).zip(Table::ALL) {
        for answer in answers {
            assert_eq!(*answer, serde_json::json!([[count, count, 0]]), "{table:?}");
        }
    }
    for (answer, time) in answers[compared..].iter().zip(&times) {
        assert_eq!(*answer, json(0), "{time:?}");
    }
}
