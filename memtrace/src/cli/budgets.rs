//! Arguments of budgets.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use memtrace::budget::Size;

use super::duration::duration;

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Budgets")]
pub(crate) struct BudgetArgs {
    /// Limit the peak of the tree's sum of RSS, as in 2GiB, 500MiB, 1.5G or 4096
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_peak: Option<Size>,
    /// Limit the peak of RSS of each single process
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_process_peak: Option<Size>,
    /// Limit the time-weighted mean of the tree's sum of RSS
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_average: Option<Size>,
    /// Limits from a file such as memtrace.toml, for the commands and programs it names
    #[arg(long, value_name = "FILE")]
    pub(crate) budgets: Option<PathBuf>,
    /// What a budget counts as that the certificate does not allow to decide
    #[arg(long, value_name = "AS", default_value = "measured")]
    pub(crate) undecided: UndecidedArg,
    /// End the tree when its peak crosses --max-peak (or max-peak of the file): SIGTERM, then
    /// SIGKILL; noticed within 10 ms, also if the crossing was shorter; without BPF at the next sample
    #[arg(long)]
    pub(crate) kill: bool,
    /// With --kill: how long after SIGTERM what is left gets SIGKILL, as in 5s or 500ms
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", requires = "kill")]
    pub(crate) kill_after: Duration,
    /// Say on standard error, in the form that a CI system reads, what was missed
    #[arg(long, value_name = "SYSTEM")]
    pub(crate) annotations: Option<AnnotationsArg>,
    // Not a doc comment: backticks would show in the help.
    #[arg(
        long,
        value_name = "FILE",
        help = "Write a JUnit report to FILE, with a test case for each budget"
    )]
    pub(crate) junit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UndecidedArg {
    /// What the measured number says, as if it were exact
    #[default]
    Measured,
    /// Kept
    Kept,
    /// Missed
    Missed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnnotationsArg {
    /// Workflow commands of GitHub Actions
    Github,
}
