//! Arguments of `attach`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{LiveArgs, TracingArgs, duration::duration, record::RecordArgs};

/// What `attach --help` begins with.
pub(crate) const INTRODUCTION: &str = "\
Measure a process that runs already, with all its descendants

Examples:
  memtrace attach 1234                   until it has ended, or Ctrl-C
  memtrace attach --duration 10s 1234    for ten seconds
  memtrace attach --live 1234            a line per second meanwhile
  memtrace attach -o job.memtrace 1234   the whole timeline, for memtrace report";

pub(crate) const NOTES: &str = "\
From the moment at which memtrace attaches each change of the process's memory is seen, as with
`memtrace run`; the process does not notice, goes on afterwards, and keeps its exit status. What was
before is known to the kernel alone: its VmHWM is shown. Which pages its processes shared from
before is not known, so that what they needed together is a range.

The result goes to standard output, with --json - to standard error.

Exit status: 0; 125 if memtrace failed.";

#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// End after this time, as in 10s or 500ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Wait for every process of the tree, not only for the one that is attached to
    #[arg(long)]
    pub(crate) wait_tree: bool,
    /// Write everything as JSON to FILE; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the text to FILE instead of standard output, also with -q
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
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
    /// The process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: i32,
}
