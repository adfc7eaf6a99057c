//! What becomes of a result, of `run` and of `attach`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Write everything as JSON to FILE; `-` is standard output, with `run` only if --stdout sends the
    /// command's own elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the text to FILE instead of printing it, also with -q; `-` as for --json
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// One line per process
    #[arg(long)]
    pub(crate) per_process: bool,
    /// Print nothing, unless the result is not exact
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// All numbers; -vv also logs what memtrace and its BPF programs do
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print what memtrace itself took, at the end
    #[arg(long)]
    pub(crate) self_stats: bool,
    /// Say at each point that it is reached on the socket at PATH, and wait there for an answer: for tests
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) checkpoints: Option<PathBuf>,
}
