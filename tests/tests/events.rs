//! `--events`: calls that change mappings, and major page faults.

use std::path::PathBuf;

use anyhow::{Context, Result};
use memtrace_tests::{Lab, memtrace, page, require_privileges};
use serde_json::Value;

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    call: String,
    /// Pages.
    len: u64,
    argument: u64,
    /// Pages.
    rss_change: i64,
}

/// Records a script, and gives the rows of all its calls, from the first that maps `marker` pages.
fn rows(lab: &Lab, words: &str, marker: u64) -> Result<Vec<(Row, Value)>> {
    let recording = lab.path("r.memtrace").display().to_string();
    let run = lab.trace_with(&["--force", "--events", "-o", &recording], words)?;
    run.summary.assert_exact();
    let line = [
        &memtrace()?.display().to_string(),
        "export",
        &recording,
        "--format",
        "ndjson",
        "--table",
        "events",
    ];
    let finished = lab.to_end(&mut lab.fixed(&line))?.success()?;
    let mut rows = Vec::new();
    for line in finished.stdout.lines() {
        let row: Value = serde_json::from_str(line)?;
        let number = |key: &str| row[key].as_i64().with_context(|| key.to_owned());
        let page = i64::try_from(page())?;
        rows.push((
            Row {
                call: row["call"].as_str().context("a call")?.to_owned(),
                len: u64::try_from(number("len")? / page)?,
                argument: u64::try_from(number("argument")?)?,
                rss_change: number("rss_change_bytes")? / page,
            },
            row.clone(),
        ));
    }
    let first = rows
        .iter()
        .position(|(row, _)| row.call == "mmap" && row.len == marker);
    Ok(rows.split_off(first.context("the first mapping of the script")?))
}

/// Every call of a script, in order, with what it did to the RSS.
#[test]
fn each_call_is_recorded() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "map 111 touch 40 dontneed unmap brk 20 brk-down 15 reserve 50 allow forbid unmap anon 30 move grow 12";
    let found = rows(&lab, words, 111)?;
    let row = |call: &str, len, argument, rss_change| Row {
        call: call.to_owned(),
        len,
        argument,
        rss_change,
    };
    let (read_write, no_huge_pages) = (3, 15);
    let expected = [
        row("mmap", 111, read_write, 0),
        row("madvise", 111, no_huge_pages, 0),
        row("madvise", 111, 4, -40),
        row("munmap", 111, 0, 0),
        row("mmap", 50, 0, 0),
        row("madvise", 50, no_huge_pages, 0),
        row("mprotect", 50, read_write, 0),
        row("mprotect", 50, 0, 0),
        row("munmap", 50, 0, 0),
        row("mmap", 30, read_write, 0),
        row("madvise", 30, no_huge_pages, 0),
        row("mmap", 30, read_write, 0),
        row("madvise", 30, no_huge_pages, 0),
        row("mremap", 30, 30 * page(), 0),
        row("mremap", 30, 42 * page(), 0),
    ];
    // Without arguments that mean nothing.
    let calls: Vec<Row> = found
        .iter()
        .filter(|(row, _)| row.call != "brk")
        .map(|(found, _)| Row {
            argument: if found.call == "munmap" {
                0
            } else {
                found.argument
            },
            call: found.call.clone(),
            ..*found
        })
        .collect();
    assert_eq!(calls, expected);
    // Of brk: by how much the end moved, and the RSS with it.
    let page = i64::try_from(page())?;
    let moves: Vec<(i64, i64)> = found
        .iter()
        .filter(|(row, _)| row.call == "brk")
        .filter_map(|(row, value)| {
            let moved = value["result"].as_i64()? - value["len"].as_i64()?;
            Some((moved / page, row.rss_change))
        })
        .filter(|(moved, _)| *moved != 0)
        .collect();
    assert_eq!(moves, [(20, 0), (-15, -15)]);
    Ok(())
}

/// As many major page faults as the kernel counts.
#[test]
fn each_major_fault_is_recorded() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // On a disk, unlike what is in memory alone.
    let file =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("major-{}", std::process::id()));
    let name = file.display();
    let words = format!("make-file {name} 3000 drop {name} map 111 unmap file {name} 3000");
    let found = rows(&lab, &words, 111)?;
    let told: i64 = found
        .iter()
        .filter(|(row, _)| row.call == "major-fault")
        .filter_map(|(_, value)| value["result"].as_i64())
        .sum();
    let summary: Value = serde_json::from_slice(&std::fs::read(lab.path("summary.json"))?)?;
    let counted = summary["processes"][0]["major_faults"].as_i64();
    let counted = counted.context("the kernel's count")?;
    std::fs::remove_file(&file)?;
    assert!(counted > 0, "nothing was read from the disk");
    // Before the first mapping of the script there can be some.
    assert!(told <= counted && told > 0, "{told} of {counted}");
    assert!(told + 20 > counted, "{told} of {counted}");
    Ok(())
}

/// The list for people, and what is said where nothing was recorded.
#[test]
fn the_report_lists_them() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let recording = lab.path("r.memtrace").display().to_string();
    lab.trace_with(&["--events", "-o", &recording], "anon 77 unmap")?;
    let binary = memtrace()?.display().to_string();
    let report = |lab: &Lab| {
        let line = [&binary, "report", "--events", &recording];
        lab.to_end(&mut lab.fixed(&line))
    };
    let text = report(&lab)?.success()?.stdout;
    let length = 77 * page();
    for wanted in [
        format!(", {length}, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS) = 0x"),
        format!(", {length}, MADV_NOHUGEPAGE) = "),
        format!(", {length}) = 0 [script]"),
    ] {
        assert!(text.contains(&wanted), "{wanted}: {text}");
    }
    lab.trace_with(&["--force", "-o", &recording], "anon 77 unmap")?;
    let finished = report(&lab)?.success()?;
    assert_eq!(finished.stdout, "");
    assert!(finished.stderr.contains("--events"), "{}", finished.stderr);
    Ok(())
}
