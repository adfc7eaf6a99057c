//! `cargo xtask bench`: builds a release of memtrace and measures what it costs.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, exit},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Names and options of the benchmark, see `cargo xtask bench --help`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<String>,
}

/// Ends with the exit status of the benchmark. `MEMTRACE_BIN` names another memtrace to
/// measure than the one of these sources.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let memtrace = match env::var_os("MEMTRACE_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(root)?,
    };
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "memtrace-bench"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--")
        .args(&options.arguments)
        .env("MEMTRACE_BIN", memtrace)
        .status()
        .context("run cargo")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => exit(code),
        None => bail!("the benchmark ended with {status}"),
    }
}

/// Builds memtrace as it is released; returns its path.
fn build(root: &Path) -> Result<PathBuf> {
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--package", "memtrace"])
        .status()
        .context("run cargo")?;
    if !status.success() {
        bail!("cargo build --release --package memtrace failed: {status}");
    }
    Ok(target(root)?.join("release/memtrace"))
}

/// Where Cargo builds to.
fn target(root: &Path) -> Result<PathBuf> {
    let output = Command::new("cargo")
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("understand cargo metadata")?;
    let directory = metadata.get("target_directory").and_then(Value::as_str);
    Ok(PathBuf::from(
        directory.context("cargo metadata names no target directory")?,
    ))
}
