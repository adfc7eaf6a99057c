//! One recording of a real parallel build in every format, each read by the tool it is for.
//!
//! The page is read in `html.rs`, the details of each format in `export.rs`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use memtrace_tests::{
    DuckDb, Lab, Missing, Mprof, PerfettoUi, Run, TraceProcessor, memtrace, require,
    require_privileges, workloads::installed, write_many_units,
};
use serde_json::{Value, json};

/// Each is three processes.
const UNITS: usize = 70;

fn tools() -> Result<(), Missing> {
    match ["make", "gcc"].iter().find(|name| !installed(name)) {
        Some(name) => Err(Missing(format!(
            "no {name}; install the package `build-essential`"
        ))),
        None => Ok(()),
    }
}

/// A recorded `make -j2` of more than 200 processes.
fn build(lab: &Lab) -> Result<Run> {
    write_many_units(lab, UNITS)?;
    let run = lab.run(&["-o", "build.memtrace"], &["make", "-s", "-j2", "CC=gcc"])?;
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    run.summary.assert_exact();
    assert!(run.summary.processes.len() > 3 * UNITS);
    Ok(run)
}

fn export(lab: &Lab, words: &[&str]) -> Result<()> {
    let mut line = vec![memtrace()?.display().to_string(), "export".to_owned()];
    line.push("build.memtrace".to_owned());
    line.extend(words.iter().map(|&word| word.to_owned()));
    let done = lab.to_end(&mut lab.fixed(&line))?.success()?;
    assert_eq!(done.stderr, "", "{words:?}");
    Ok(())
}

/// `DuckDB` reads the three kinds of tables, and what a sampler's tools read, by the file's name alone.
#[test]
fn tables_of_a_build() -> Result<()> {
    require_privileges!();
    require!(tools());
    require!(DuckDb::find());
    let duckdb = DuckDb::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    let run = build(&lab)?;
    let peak = run.summary.tree.peak_rss_bytes;
    for format in ["parquet", "csv", "ndjson"] {
        export(&lab, &["--format", format, "-o", format])?;
        let answers = duckdb.ask(
            &lab.path(format),
            &[
                &format!("select max(rss_max_bytes) from 'tree.{format}'"),
                &format!("select sum(rss_at_tree_peak_bytes)::bigint from 'images.{format}'"),
                &format!("select count(*) from 'processes.{format}'"),
                &format!("select count(*) from 'processes.{format}' where name = 'cc1'"),
            ],
        )?;
        assert_eq!(answers[0], json!([[peak]]), "{format}");
        assert_eq!(answers[1], json!([[peak]]), "{format}");
        let processes = run.summary.processes.len();
        assert_eq!(answers[2], json!([[processes]]), "{format}");
        assert_eq!(answers[3], json!([[UNITS]]), "{format}");
    }
    export(&lab, &["--format", "prmon", "-o", "prmon.txt"])?;
    let answers = duckdb.ask(
        lab.dir(),
        &[
            "select max(rss), min(nprocs) >= 0, max(vmem) > max(rss) \
             from read_csv('prmon.txt', delim = '\t', header = true)",
            "select count(*) - count(distinct \"Time\"), max(\"Time\") - min(\"Time\") = max(wtime) \
             from read_csv('prmon.txt', delim = '\t', header = true)",
        ],
    )?;
    assert_eq!(answers[0], json!([[peak / 1024, true, true]]));
    assert_eq!(answers[1], json!([[0, true]]));
    Ok(())
}

/// `mprof` finds the peak.
#[test]
fn mprof_reads_a_build() -> Result<()> {
    require_privileges!();
    require!(tools());
    require!(Mprof::find());
    let mprof = Mprof::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    let run = build(&lab)?;
    export(&lab, &["--format", "mprof", "-o", "build.dat"])?;
    let mib = run.summary.tree.peak_rss_bytes as f64 / f64::from(1 << 20);
    assert_eq!(mprof.peak(&lab.path("build.dat"))?, format!("{mib:.3}"));
    Ok(())
}

/// The flame graph of inferno is of the peak's bytes.
#[test]
fn a_flame_graph_of_a_build() -> Result<()> {
    require_privileges!();
    require!(tools());
    let lab = Lab::new()?;
    let run = build(&lab)?;
    export(&lab, &["--format", "folded", "-o", "build.folded"])?;
    let folded = fs::read(lab.path("build.folded"))?;
    let mut options = inferno::flamegraph::Options::default();
    options.count_name = "bytes".to_owned();
    let mut picture = Vec::new();
    inferno::flamegraph::from_reader(&mut options, folded.as_slice(), &mut picture)?;
    let picture = String::from_utf8(picture)?.replace(',', "");
    let all = format!(
        "<title>all ({} bytes 100%)</title>",
        run.summary.tree.peak_rss_bytes
    );
    assert!(picture.contains(&all), "{all} is not in {picture}");
    assert!(picture.contains("<title>cc1 ("), "{picture}");
    Ok(())
}

fn trace(lab: &Lab) -> Result<Run> {
    let run = build(lab)?;
    export(lab, &["--format", "perfetto", "-o", "build.pftrace"])?;
    Ok(run)
}

/// `trace_processor` finds the peaks of the tree and of each process.
#[test]
fn trace_processor_reads_a_build() -> Result<()> {
    require_privileges!();
    require!(tools());
    require!(TraceProcessor::find());
    let engine = TraceProcessor::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    let run = trace(&lab)?;
    let answers = engine.ask(
        &lab.path("build.pftrace"),
        &[
            "select name, value from stats \
             where severity in ('error', 'data_loss') and value > 0",
            "select max(value) as peak from counter join track on track_id = track.id \
             where track.name = 'tree RSS'",
            "include perfetto module linux.memory.high_watermark; \
             select max(rss_high_watermark) as peak from memory_rss_high_watermark_per_process",
            "select count(*) as n from process where name glob '*cc1'",
        ],
    )?;
    assert_eq!(answers[0], json!([]));
    let summary = &run.summary;
    assert_eq!(answers[1][0]["peak"], summary.tree.peak_rss_bytes);
    let images = summary.exec_images().map(|image| image.peak_rss_bytes);
    assert_eq!(answers[2][0]["peak"], images.max().context("an image")?);
    assert_eq!(answers[3][0]["n"], UNITS);
    Ok(())
}

/// Perfetto's UI opens it, and has the tree before its many processes.
#[test]
fn perfettos_ui_opens_a_build() -> Result<()> {
    require_privileges!();
    require!(tools());
    require!(PerfettoUi::find());
    let ui = PerfettoUi::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    trace(&lab)?;
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("perfetto-ui.png");
    let seen = ui.open(&lab.path("build.pftrace"), &picture)?;
    let place = |list: &str, part: &str| {
        let titles = seen[list].as_array().map_or(&[][..], Vec::as_slice);
        let mut titles = titles.iter().filter_map(Value::as_str);
        let found = titles.position(|title| title.contains(part));
        found.with_context(|| format!("no {part} among the {list}: {seen}"))
    };
    let (tree, compiler) = (place("groups", "memtrace: make")?, place("groups", "cc1")?);
    assert!(tree < compiler, "{seen}");
    for counter in ["tree RSS", "tree anonymous", "processes"] {
        place("tracks", counter)?;
    }
    assert_eq!(seen["dialogs"], json!([]));
    Ok(())
}
