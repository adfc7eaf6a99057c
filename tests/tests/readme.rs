//! What the README shows is what its commands print.

use std::{os::unix::fs::symlink, process::Command};

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, memtrace, require_privileges};

const README: &str = include_str!("../../README.md");

/// The labels of a report, in order: what stands in its first columns.
fn labels<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines
        .filter_map(|line| line.get(..10))
        .map(str::trim)
        .filter(|label| !label.is_empty())
        .collect()
}

/// The example that explains the report has its labels, and says of fork sharing what the README says.
#[test]
fn the_report_is_read_as_explained() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let (_, example) = README
        .split_once("## How to read the report\n\n")
        .context("the README explains no report")?;
    let mut example = example.lines().map_while(|line| line.strip_prefix("    "));
    let command = example
        .next()
        .and_then(|line| line.strip_prefix("$ sudo "))
        .context("the example has no command")?;
    // Nothing but what is meant: no other python3, no older memtrace.
    symlink(memtrace()?, lab.path("memtrace"))?;
    let path = format!("{}:/usr/bin:/bin", lab.dir().display());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env_clear().env("PATH", path);
    let said = lab.to_end(&mut shell)?.success()?.stderr;
    let mut expected = labels(example);
    // It is for those who use it for the first time.
    expected.push("next");
    assert_eq!(labels(said.lines()), expected, "{said}");
    let headline = said.lines().next().unwrap_or_default();
    assert!(
        headline.starts_with("memtrace: needs 2")
            && headline.contains("MiB of it shared after fork"),
        "{said}"
    );
    let low = said
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("footprint "))
        .map(|line| line.trim_start_matches("between "))
        .and_then(|line| line.split_once(" bytes"))
        .context("no footprint")?;
    let low: u64 = low.0.replace(',', "").parse()?;
    // 200 MiB, and what the interpreter needs for itself.
    assert!((200 << 20..230 << 20).contains(&low), "{said}");
    Ok(())
}
