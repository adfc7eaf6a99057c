//! `cargo xtask man`: pages of the manual, written by memtrace itself (see
//! `memtrace/src/commands/man_pages.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Directory to write memtrace.1, memtrace-run.1 and so on to [default: target/man]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let default = || root.join("target/man");
    let out = options.out.clone().unwrap_or_else(default);
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--package", "memtrace", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .args(["--", "man-pages"])
        .arg(&out)
        .status()
        .context("run cargo")?;
    ensure!(status.success(), "memtrace man-pages: {status}");
    println!("{}", out.display());
    Ok(())
}
