//! `cargo xtask fuzz`: runs the fuzz targets for a while.

use std::{
    path::Path,
    process::{Command, Output},
    sync::Mutex,
    thread,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

/// What to install if it is missing.
const INSTALL: &str = "cargo install cargo-fuzz --version 0.13.2 --locked";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Targets that run at the same time
    #[arg(long, default_value_t = 2)]
    jobs: u8,
    /// Targets; all if none is named
    targets: Vec<String>,
}

pub(crate) fn run(root: &Path, options: Options) -> Result<()> {
    let Options {
        seconds,
        jobs,
        targets,
    } = options;
    let mut targets = if targets.is_empty() {
        all(root)?
    } else {
        targets
    };
    let count = targets.len();
    build(root)?;
    // The last ones first, as they are taken from the end.
    targets.reverse();
    let waiting = Mutex::new(targets);
    let next = || waiting.lock().ok().and_then(|mut targets| targets.pop());
    let work = || -> Result<()> {
        while let Some(target) = next() {
            one(root, &target, seconds)?;
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| {
            let ended = worker.join().ok().context("a thread panicked");
            ended.and_then(|result| result)
        });
        // All of them end before the first failure is told.
        results.collect::<Vec<_>>().into_iter().collect()
    })?;
    println!("{count} fuzz targets, {seconds} s each: nothing found");
    Ok(())
}

/// `cargo fuzz ...` from the repository's root.
fn cargo_fuzz(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    // libFuzzer's instrumentation is unstable on every channel but nightly.
    cargo
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        .arg("fuzz");
    cargo
}

fn build(root: &Path) -> Result<()> {
    let mut cargo = cargo_fuzz(root);
    cargo.arg("build");
    let status = cargo
        .status()
        .with_context(|| format!("failed to run {cargo:?}"))?;
    if !status.success() {
        bail!("{cargo:?} failed: {status} (cargo-fuzz is needed: `{INSTALL}`)");
    }
    Ok(())
}

/// Runs one target to the end of its time.
fn one(root: &Path, target: &str, seconds: u32) -> Result<()> {
    let corpus = root.join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
    let mut cargo = cargo_fuzz(root);
    cargo
        .args(["run", target])
        // What is found goes to the first directory; the second is in the repository.
        .args([
            format!("fuzz/corpus/{target}"),
            format!("fuzz/seeds/{target}"),
        ])
        .args(["--", &format!("-max_total_time={seconds}")]);
    let Output { status, stderr, .. } = cargo
        .output()
        .with_context(|| format!("failed to run {cargo:?}"))?;
    let log = String::from_utf8_lossy(&stderr);
    if !status.success() {
        bail!("fuzz target {target} failed: {cargo:?}\n{log}");
    }
    let done = log.lines().find(|line| line.starts_with("Done "));
    // A target that never ran would find nothing either.
    let done = done.with_context(|| format!("fuzz target {target} did not run:\n{log}"))?;
    println!("{target}: {done}");
    Ok(())
}

fn all(root: &Path) -> Result<Vec<String>> {
    let directory = root.join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&directory)
        .with_context(|| format!("failed to list {}", directory.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem()
        {
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}
