//! `cargo xtask broken`: tests of the tests. memtrace is built so that it counts wrongly, and
//! tests on this kernel have to notice.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum as _};

use crate::bpf::{self, Broken};

/// Test programs one of which has to notice, first the one that sees most. Values are absolute, so
/// that the next event heals most of what a lost one leaves out: few tests can see that one in a
/// thousand is missing.
const PROGRAMS: [&str; 2] = ["spawns", "counts"];

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
    let result = ways.iter().try_for_each(|&how| one(root, &target, how));
    // Nobody shall take what counts wrongly for what it looks like. Cargo makes it anew.
    let built = target.join("debug/memtrace");
    if built.exists() {
        fs::remove_file(&built).with_context(|| format!("remove {}", built.display()))?;
    }
    result?;
    println!("{} passed, 0 failed", ways.len());
    Ok(())
}

/// Builds memtrace so, and has the tests look at it: the object first that their runs take on most
/// kernels, then, if nothing was noticed, the others too.
fn one(root: &Path, target: &Path, how: Broken) -> Result<()> {
    let objects = target.join("broken-bpf");
    bpf::copy(root, &objects)?;
    for lean in [true, false] {
        bpf::write(root, &objects, Some(how), false, |name| {
            (name == bpf::LEAN) == lean
        })?;
        for program in PROGRAMS {
            if is_noticed(root, target, &objects, program, how)? {
                return Ok(());
            }
        }
    }
    bail!(
        "memtrace counts wrongly ({how:?}), and no test of {} fails",
        PROGRAMS.join(" and ")
    );
}

/// Whether a test of this program fails with these objects.
fn is_noticed(
    root: &Path,
    target: &Path,
    objects: &Path,
    program: &str,
    how: Broken,
) -> Result<bool> {
    let mut build = cargo(root, objects, program);
    let status = build.arg("--no-run").status().context("run cargo")?;
    ensure!(status.success(), "{build:?} failed: {status}");
    // Whose programs do not even load, or that does not run, would fail every test, and so may who counts wrongly.
    let mut run = Command::new(target.join("debug/memtrace"));
    run.args(["run", "-q", "--backend", "bpf", "--", "true"]);
    let status = run.status().context("run memtrace")?;
    ensure!(status.success(), "{run:?} failed: {status}");
    let output = cargo(root, objects, program)
        .output()
        .context("run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = ended(&text, "FAILED");
    println!("{how:?}: {program}: noticed by {}", failed.join(", "));
    Ok(!failed.is_empty())
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

/// The tests that ended so, as Rust's test runner says it.
fn ended<'a>(text: &'a str, how: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .filter(|(_, end)| *end == how)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::ended;

    #[test]
    fn tests_are_told_apart_by_their_end() {
        let text = "running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ok\n\ntest result: FAILED. 2 passed";
        assert_eq!(ended(text, "FAILED"), ["b"]);
        assert_eq!(ended(text, "ok"), ["a", "c"]);
    }
}
