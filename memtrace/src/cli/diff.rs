//! Arguments of `memtrace diff`.

use std::path::PathBuf;

use clap::Args;
use memtrace::diff::Threshold;

pub(crate) const NOTES: &str = "\
BEFORE and AFTER are recordings (memtrace run -o FILE) or JSON (memtrace run --json FILE).
Images are grouped by program; within one, the same command lines belong together, then
what is left in order of start.

Exit status: 0; 124 if the peak grew more than --fail-above allows; 125 if memtrace failed
or the command line is wrong. Where a certificate does not allow to decide that, the measured
numbers do, and it is said.";

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The result to compare with
    #[arg(value_name = "BEFORE")]
    pub(crate) before: PathBuf,
    /// The result that may have grown
    #[arg(value_name = "AFTER")]
    pub(crate) after: PathBuf,
    /// Fail if the tree's peak grew by more, as in 10MiB or 5%
    #[arg(long, value_name = "SIZE|PERCENT")]
    pub(crate) fail_above: Option<Threshold>,
    /// A line for each process image, too
    #[arg(long)]
    pub(crate) per_process: bool,
    /// Also what is the same in both
    #[arg(long)]
    pub(crate) all: bool,
    /// Write a page to FILE that shows both runs over time, of two recordings
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write everything as JSON to FILE; `-` is standard output, instead of the text
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
