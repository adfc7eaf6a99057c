//! Recordings of real runs in other formats, as other programs read them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use memtrace_tests::{
    DuckDb, Finished, Lab, Summary, TraceProcessor, memtrace, page, require, require_privileges,
};
use serde_json::{Value, json};

/// Programs that overlap, fork without exec, and are gone quickly.
const COMMAND: [&str; 3] = [
    "sh",
    "-c",
    "for i in 4 8 16; do dd if=/dev/zero of=/dev/null bs=${i}M count=3 2>/dev/null & done; wait; \
     (true; true); i=0; while [ $i -lt 20 ]; do ls / >/dev/null; i=$((i + 1)); done",
];

/// Records a run; what memtrace said of it and the recording.
fn record(lab: &Lab, resolution: &str) -> Result<(Summary, PathBuf)> {
    let path = lab.path("run.memtrace");
    let file = path.display().to_string();
    let run = lab.run(
        &["-o", &file, "--force", "--resolution", resolution],
        &COMMAND,
    )?;
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    run.summary.assert_exact();
    Ok((run.summary, path))
}

fn export(lab: &Lab, recording: &Path, options: &[&str]) -> Result<Finished> {
    let mut line = vec![
        memtrace()?.display().to_string(),
        "export".to_owned(),
        recording.display().to_string(),
    ];
    line.extend(options.iter().map(|&option| option.to_owned()));
    lab.to_end(&mut lab.fixed(&line))
}

/// Each image once, by id.
fn images(summary: &Summary) -> Vec<(u64, u64)> {
    let mut images: Vec<(u64, u64)> = summary
        .processes
        .iter()
        .flat_map(|process| &process.images)
        .map(|image| (image.id, image.peak_rss_bytes))
        .collect();
    images.sort_unstable();
    images.dedup();
    images
}

/// `DuckDB` finds the peaks of the tree and of each image in the timeline's tables, and who
/// held what at the tree's peak sums to it; with windows and with every change.
#[test]
fn duckdb_finds_the_peaks() -> Result<()> {
    require_privileges!();
    require!(DuckDb::find());
    let duckdb = DuckDb::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    for resolution in ["10ms", "1ms", "0"] {
        let (summary, recording) = record(&lab, resolution)?;
        let tables = lab.path("tables");
        let output = tables.display().to_string();
        export(
            &lab,
            &recording,
            &["--format", "parquet", "-o", &output, "--force"],
        )?
        .success()?;
        let answers = duckdb.ask(
            &tables,
            &[
                "select max(rss_max_bytes) from 'tree.parquet'",
                "select image, max(rss_max_bytes) from 'timeline.parquet' group by image \
                 order by image",
                "select image, peak_rss_bytes from 'images.parquet' order by image",
                "select sum(rss_at_tree_peak_bytes) from 'images.parquet'",
                "select count(*) from 'processes.parquet'",
                "select count(*) from 'losses.parquet'",
                // At the row with the peak: what images held, or what they held last before.
                "with peak as (select * from 'tree.parquet' order by rss_max_bytes desc, \
                   time_ns limit 1), \
                 held as (select image, arg_max(case when t.time_ns = peak.time_ns \
                   then t.rss_at_tree_max_bytes else t.rss_last_bytes end, t.time_ns) as bytes \
                   from 'timeline.parquet' t, peak where t.time_ns <= peak.time_ns group by image) \
                 select (select sum(bytes) from held), (select rss_max_bytes from peak)",
            ],
        )?;
        let peak = summary.tree.peak_rss_bytes;
        assert_eq!(answers[0], json!([[peak]]), "{resolution}");
        assert_eq!(answers[1], json!(images(&summary)), "{resolution}");
        assert_eq!(answers[2], json!(images(&summary)), "{resolution}");
        assert_eq!(answers[3], json!([[peak]]), "{resolution}");
        assert_eq!(
            answers[4],
            json!([[summary.processes.len()]]),
            "{resolution}"
        );
        assert_eq!(answers[5], json!([[0]]), "{resolution}");
        // Where each change is a row, several can have one time.
        if resolution != "0" {
            assert_eq!(answers[6], json!([[peak, peak]]), "{resolution}");
        }
    }
    Ok(())
}

/// `trace_processor` finds the peaks of the tree and of each process, and nothing wrong.
#[test]
fn trace_processor_finds_the_peaks() -> Result<()> {
    require_privileges!();
    require!(TraceProcessor::find());
    let engine = TraceProcessor::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    for resolution in ["10ms", "0"] {
        let (summary, recording) = record(&lab, resolution)?;
        let trace = lab.path("trace");
        let output = trace.display().to_string();
        export(
            &lab,
            &recording,
            &["--format", "perfetto", "-o", &output, "--force"],
        )?
        .success()?;
        let answers = engine.ask(
            &trace,
            &[
                "select name, value from stats \
                 where severity in ('error', 'data_loss') and value > 0",
                "select max(value) as peak from counter join track on track_id = track.id \
                 where track.name = 'tree RSS'",
                "include perfetto module linux.memory.high_watermark; \
                 select p.pid, max(rss_high_watermark) as peak \
                 from memory_rss_high_watermark_per_process join process p using (upid) \
                 group by upid order by p.pid",
                "select count(*) as n from slice where category = 'exec'",
                "select count(*) as n from slice where category = 'exit'",
            ],
        )?;
        assert_eq!(answers[0], json!([]), "{resolution}");
        assert_eq!(
            answers[1][0]["peak"], summary.tree.peak_rss_bytes,
            "{resolution}"
        );
        let mut peaks: Vec<Value> = Vec::new();
        let mut processes: Vec<_> = summary.processes.iter().collect();
        processes.sort_by_key(|process| process.pid);
        for process in processes {
            let own = process
                .images
                .iter()
                .filter(|i| i.ran && i.kind != "shared");
            // One that lived in its creator's memory alone has no memory of its own.
            if let Some(peak) = own.map(|image| image.peak_rss_bytes).max() {
                peaks.push(json!({"pid": process.pid, "peak": peak}));
            }
        }
        assert_eq!(answers[2], json!(peaks), "{resolution}");
        let execs = summary.exec_images().count();
        assert_eq!(answers[3][0]["n"], execs, "{resolution}");
        assert_eq!(answers[4][0]["n"], summary.processes.len(), "{resolution}");
    }
    Ok(())
}

/// Both find what pages were for: in the tables by the peak and over time, in the trace as counters.
#[test]
fn segments_are_found() -> Result<()> {
    require_privileges!();
    require!(DuckDb::find());
    require!(TraceProcessor::find());
    let duckdb = DuckDb::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let engine = TraceProcessor::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    let recording = lab.path("run.memtrace");
    let file = recording.display().to_string();
    let options = ["--segments", "-o", &file, "--resolution", "0"];
    let words = "brk 70 brk-down 70 nap-us 20000 anon 500 brk 40";
    let run = lab.trace_with(&options, words)?;
    run.summary.assert_exact();
    let (_, peak) = *images(&run.summary).first().context("an image")?;
    let heap = 70 * page();
    let tables = lab.path("tables");
    let output = tables.display().to_string();
    export(&lab, &recording, &["--format", "parquet", "-o", &output])?.success()?;
    let answers = duckdb.ask(
        &tables,
        &[
            "select sum(at_peak_bytes) from 'segments.parquet'",
            "select peak_bytes, at_peak_bytes from 'segments.parquet' where segment = 'heap'",
            "select max(heap_bytes) from 'segment_times.parquet'",
        ],
    )?;
    assert_eq!(answers[0], json!([[peak]]));
    assert_eq!(answers[1], json!([[heap, 40 * page()]]));
    assert_eq!(answers[2], json!([[heap]]));
    let trace = lab.path("trace.pftrace");
    let output = trace.display().to_string();
    export(&lab, &recording, &["--format", "perfetto", "-o", &output])?.success()?;
    let answers = engine.ask(
        &trace,
        &[
            "select max(value) as peak from counter join track on counter.track_id = track.id \
           where track.name = 'segment heap'",
        ],
    )?;
    assert_eq!(answers[0][0]["peak"], heap, "{answers:?}");
    Ok(())
}

/// Outputs go where they are asked to, are not replaced unasked, and a terminal gets no
/// binary; a reader that leaves is no error.
#[test]
fn outputs_are_handled_with_care() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let (summary, recording) = record(&lab, "0")?;

    let tree = ["--format", "csv", "--table", "tree"];
    let printed = export(&lab, &recording, &tree)?.success()?;
    assert_eq!(printed.stderr, "");
    let file = lab.path("tree.csv");
    let name = file.display().to_string();
    export(&lab, &recording, &[&tree[..], &["-o", &name]].concat())?.success()?;
    assert_eq!(fs::read_to_string(&file)?, printed.stdout);
    let again = export(&lab, &recording, &[&tree[..], &["-o", &name]].concat())?;
    assert_eq!(again.code(), Some(1));
    assert!(again.stderr.contains("already exists"), "{}", again.stderr);
    fs::write(&file, "old")?;
    export(
        &lab,
        &recording,
        &[&tree[..], &["-o", &name, "--force"]].concat(),
    )?
    .success()?;
    assert_eq!(fs::read_to_string(&file)?, printed.stdout);

    let folded = export(&lab, &recording, &["--format", "folded"])?.success()?;
    let sum: u64 = folded
        .stdout
        .lines()
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum();
    assert_eq!(sum, summary.tree.peak_rss_bytes);

    for (options, says) in [
        (&["--format", "csv"][..], "--table"),
        (&["--format", "ndjson", "-o", "-"], "--table"),
        (&["--format", "folded", "--table", "tree"], "--table is for"),
        (&["--format", "csv", "--weight", "peak"], "--weight is for"),
    ] {
        let refused = export(&lab, &recording, options)?;
        assert_eq!(refused.code(), Some(125), "{options:?}");
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }

    let program = memtrace()?.display().to_string();
    let of = recording.display().to_string();
    let on_terminal = Command::new("script")
        .args([
            "-qec",
            &format!("{program} export {of} --format perfetto"),
            "/dev/null",
        ])
        .stdin(Stdio::null())
        .output()
        .context("run script(1)")?;
    assert_eq!(on_terminal.status.code(), Some(125));
    let text = String::from_utf8_lossy(&on_terminal.stdout).into_owned();
    assert!(text.contains("terminal"), "{text:?}");

    for format in ["ndjson", "parquet", "perfetto"] {
        let table = if format == "perfetto" {
            ""
        } else {
            "--table timeline"
        };
        let command = format!(
            "{program} export {of} --format {format} {table} | true; \
             echo ${{PIPESTATUS[0]}}"
        );
        let left = Command::new("bash").args(["-c", &command]).output()?;
        assert_eq!(String::from_utf8_lossy(&left.stdout), "0\n", "{format}");
        assert_eq!(String::from_utf8_lossy(&left.stderr), "", "{format}");
    }
    Ok(())
}
