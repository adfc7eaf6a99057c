//! `cargo xtask fuzz`: runs every fuzz target for a while.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Targets; all if none is named
    targets: Vec<String>,
}

pub(crate) fn run(root: &Path, options: Options) -> Result<()> {
    let Options { seconds, targets } = options;
    let targets = if targets.is_empty() {
        all(root)?
    } else {
        targets
    };
    for target in &targets {
        // libFuzzer's instrumentation is unstable on every channel but nightly.
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(root)
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", target, "--"])
            .arg(format!("-max_total_time={seconds}"));
        let status = cargo
            .status()
            .with_context(|| format!("failed to run {cargo:?}"))?;
        if !status.success() {
            bail!(
                "fuzz target {target} failed: {cargo:?} (cargo-fuzz is needed: `cargo install cargo-fuzz --locked`)"
            );
        }
    }
    println!(
        "{} fuzz targets, {seconds} s each: nothing found",
        targets.len()
    );
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
