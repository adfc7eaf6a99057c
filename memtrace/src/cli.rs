//! The command line: types only, parsing never acts.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Exact memory use of commands and process trees, from kernel events.
#[derive(Debug, Parser)]
#[command(
    name = "memtrace",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  memtrace run -- make -j8               peak of the whole build, and who held it
  memtrace run --per-process -- ./job    one line per process
  memtrace run --json out.json -- ./job  the same for scripts
  memtrace time -v ./job                 GNU time's report with exact numbers
  memtrace check                         what this machine can do, with a self-test";

const RUN_NOTES: &str = "\
The result goes to standard error; standard input, output and error, the terminal,
signals and the exit status are the command's own.

Exit status: the command's; if a signal ended it, memtrace dies of the same signal.
125 if memtrace failed, 126 if the command cannot be run, 127 if it is not found.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command and print what memory its whole process tree used
    #[command(after_help = RUN_NOTES)]
    Run(Box<RunArgs>),
    /// Run a command and print what GNU time prints, with exact numbers
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Time(TimeArgs),
    /// Show what this kernel and this user can do, and test it to the page
    Check(CheckArgs),
    /// The process that `check` measures
    #[command(name = "self-test-workload", hide = true)]
    SelfTestWorkload(WorkloadArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Write everything as JSON to FILE; `-` is standard output, if --stdout sends the
    /// command's own elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Send the command's standard output to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) stdout: Option<PathBuf>,
    /// What to print when the command has ended
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: TextFormat,
    /// One line per process
    #[arg(long)]
    pub(crate) per_process: bool,
    /// Wait for every process of the tree, not only for the command itself
    #[arg(long)]
    pub(crate) wait_tree: bool,
    /// Run the command as this user (name or id)
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// How to observe the tree
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) backend: BackendArg,
    /// Print nothing, unless the result is not exact
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// All numbers; -vv also logs what memtrace and its BPF programs do
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Tuning")]
pub(crate) struct TracingArgs {
    /// CPUs whose shares of a counter are read at each event: all, or those that the
    /// address space was seen on [default: all up to 16 CPUs]
    #[arg(long, value_name = "WHICH")]
    pub(crate) sum_cpus: Option<SumCpus>,
    /// Address spaces followed at once [default: 16384]
    #[arg(long, value_name = "N")]
    pub(crate) max_images: Option<u32>,
    /// Processes followed at once [default: 32768]
    #[arg(long, value_name = "N")]
    pub(crate) max_processes: Option<u32>,
    /// Buffer for records, in KiB [default: 8192]
    #[arg(long, value_name = "KIB")]
    pub(crate) ring_size: Option<u32>,
    /// Take values from the classic tracepoint, as on kernels with unknown counters;
    /// needs tracefs
    #[arg(long)]
    pub(crate) classic_tracepoint: bool,
    /// Programs on kernel functions: used where numbers depend on them, always, or never
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) fentry: FentryUse,
    /// Do not compare numbers with /proc while the command runs
    #[arg(long)]
    pub(crate) no_cross_checks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// Summary for people
    Text,
    /// The block that Heng Li's runit prints
    Runit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendArg {
    /// BPF where it is permitted, else ptrace
    #[default]
    Auto,
    /// Kernel events: exact, or an error
    Bpf,
    /// ptrace and /proc, without privileges: sampled, with bounds
    Ptrace,
    /// /proc alone: sampled, short-lived processes are missed, nothing is traced
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SumCpus {
    /// All possible CPUs
    All,
    /// CPUs on which the address space was seen
    Touched,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FentryUse {
    /// Where a number depends on them (kernels up to 6.1) and the kernel allows them
    #[default]
    Auto,
    /// Always; fails if the kernel refuses them
    On,
    /// Never
    Off,
}

#[derive(Args, Debug)]
pub(crate) struct TimeArgs {
    /// GNU time's own options, then the command
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct WorkloadArgs {
    /// Pages of each kind of memory
    pub(crate) pages: usize,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// clap's own consistency checks.
    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
