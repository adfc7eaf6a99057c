//! `cargo xtask broken`: tests of the tests. memtrace is built so that it counts wrongly, and
//! tests on this kernel have to notice.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum as _};

use crate::bpf::{self, Broken};

/// Test programs one of which has to notice. Values are absolute, so that the next event heals most
/// of what a lost one leaves out: few tests can see that one in a thousand is missing.
const PROGRAMS: [&str; 2] = ["counts", "spawns"];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Ways to count wrongly; all if none is named
    how: Vec<Broken>,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let ways = if options.how.is_empty() {
        Broken::value_variants()
    } else {
        &options.how
    };
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    for &how in ways {
        let objects = target.join("broken-bpf");
        bpf::write(root, &objects, Some(how), false)?;
        let mut noticed = 0;
        for program in PROGRAMS {
            let mut build = cargo(root, &objects, program);
            let status = build.arg("--no-run").status().context("run cargo")?;
            ensure!(status.success(), "{build:?} failed: {status}");
            let failed = failed(&mut cargo(root, &objects, program))?;
            println!("{how:?}: {program}: noticed by {}", failed.join(", "));
            noticed += failed.len();
        }
        ensure!(
            noticed > 0,
            "memtrace counts wrongly ({how:?}), and no test of {} fails",
            PROGRAMS.join(" and ")
        );
    }
    println!("{} passed, 0 failed", ways.len());
    Ok(())
}

/// `cargo test` of a program with these objects embedded. Of the whole workspace, as in CI, so that
/// dependencies are those that were built already.
fn cargo(root: &Path, objects: &Path, program: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["test", "--workspace", "--locked", "--test", program])
        .env("MEMTRACE_BPF_OBJECTS", objects)
        .stdin(Stdio::null());
    cargo
}

/// The tests that fail: they themselves, not what surrounds them.
fn failed(cargo: &mut Command) -> Result<Vec<String>> {
    let output = cargo.output().context("run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    Ok(failed.map(str::to_owned).collect())
}
