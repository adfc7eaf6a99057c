//! Tasks of this repository: `cargo xtask --help`.

mod bench;
mod bpf;
mod broken;
mod full;
mod fuzz;
mod kernels;
mod man;
mod stamp;
mod toolchain;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Tasks of the memtrace repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure what memtrace costs, beside other tools
    Bench(bench::Options),
    /// Build the BPF object from source, or check the committed one
    Bpf(bpf::Options),
    /// Build memtrace so that it counts wrongly, and fail unless tests on this kernel notice
    Broken(broken::Options),
    /// Run everything, one after the other: every test at its full size here, and on every kernel
    Full(full::Options),
    /// Run the fuzz targets
    Fuzz(fuzz::Options),
    /// Run the end-to-end tests on other kernels, in QEMU
    Kernels(kernels::Options),
    /// Write the pages of the manual
    Man(man::Options),
}

fn main() -> Result<()> {
    let Cli { task } = Cli::parse();
    let root = root()?;
    match task {
        Task::Bench(options) => bench::run(&root, &options),
        Task::Bpf(options) => bpf::run(&root, options),
        Task::Broken(options) => broken::run(&root, &options),
        Task::Full(options) => full::run(&root, &options),
        Task::Fuzz(options) => fuzz::run(&root, options),
        Task::Kernels(options) => kernels::run(&root, &options),
        Task::Man(options) => man::run(&root, &options),
    }
}

/// The repository's root.
fn root() -> Result<PathBuf> {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .context("failed to find the repository's root")
}
