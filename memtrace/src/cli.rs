//! The command line: types only, parsing never acts.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

// With their paths, so that the fuzz targets, which take in this file from elsewhere, find them.
#[path = "cli/attach.rs"]
pub(crate) mod attach;
#[path = "cli/budgets.rs"]
mod budgets;
#[path = "cli/compare.rs"]
mod compare;
#[path = "cli/completions.rs"]
pub(crate) mod completions;
#[path = "cli/diff.rs"]
mod diff;
#[path = "cli/duration.rs"]
mod duration;
#[path = "cli/export.rs"]
pub(crate) mod export;
#[path = "cli/live.rs"]
mod live;
#[path = "cli/maps.rs"]
pub(crate) mod maps;
#[path = "cli/outputs.rs"]
pub(crate) mod outputs;
#[path = "cli/pictures.rs"]
pub(crate) mod pictures;
#[path = "cli/record.rs"]
pub(crate) mod record;
#[path = "cli/report.rs"]
pub(crate) mod report;
#[path = "cli/room.rs"]
mod room;
#[path = "cli/top.rs"]
pub(crate) mod top;

pub(crate) use budgets::{AnnotationsArg, BudgetArgs, UndecidedArg};
pub(crate) use compare::CompareArgs;
pub(crate) use diff::DiffArgs;
pub(crate) use duration::duration;
pub(crate) use live::LiveArgs;

/// Exact memory use of commands and process trees, from kernel events.
#[derive(Debug, Parser)]
#[command(
    name = "memtrace",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    override_usage = USAGE,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The short form is not clap's to know.
const USAGE: &str = "\
memtrace <COMMAND> [OPTIONS] ...
       memtrace -- CMD [ARGUMENT]...    short for: memtrace run -- CMD [ARGUMENT]...";

const EXAMPLES: &str = "\
Examples:
  memtrace -- make -j8                   peak of the whole build, and who held it
  memtrace run --per-process -- ./job    one line per process
  memtrace run --json out.json -- ./job  the same for scripts
  memtrace run --max-peak 2GiB -- ./job  fail if it needs more
  memtrace run -o job.memtrace -- ./job  the whole timeline, for memtrace report
  memtrace attach 1234                   a process that runs already
  memtrace time -v ./job                 GNU time's report with exact numbers
  memtrace compare -- 'cmd1' 'cmd2'      which needs less, with statistics
  memtrace check                         what this machine can do, with a self-test";

/// What `run --help` begins with.
const RUN_INTRODUCTION: &str = "\
Run a command and print what memory its whole process tree used

Examples:
  memtrace run -- make -j8                     peak of the whole build, and who held it
  memtrace run --per-process -- ./job          one line per process
  memtrace run -v -- ./job                     every number
  memtrace run --json out.json -- ./job        the same for scripts
  memtrace run --max-peak 2GiB --kill -- ./job fail if it needs more, and end it then
  memtrace run --live -- ./job                 a line per second while it runs
  memtrace run --tui -- ./job                  the screen of memtrace top while it runs
  memtrace run -o job.memtrace -- ./job        the whole timeline, for memtrace report
  memtrace run --backend ptrace -- ./job       without privileges: sampled, with bounds";

const RUN_NOTES: &str = "\
The result goes to standard error, or to the FILE of --text: then standard error only has
why it is not exact, and budgets that were missed. Standard input, output and error, the
terminal, signals and the exit status are the command's own.

Exit status: the command's; if a signal ended it, memtrace dies of the same signal.
124 if the command succeeded but missed a budget, or if --kill ended it; 125 if memtrace
failed, 126 if the command cannot be run, 127 if it is not found.

With --tui the screen has the terminal. The command has no input, unless that is redirected. What it
prints is kept, unless that is redirected, and shown when it has ended, before the result. `q` leaves
the screen, and memtrace waits for the command; Ctrl-C and Ctrl-Z are the command's as without.
Processes that run on after the result have nobody who reads what they print (SIGPIPE): redirect it.

Budgets: a result that is not exact is a range. A budget is surely kept, surely missed, or
cannot be decided: then the measured number decides, unless --undecided says otherwise.
memtrace.toml, for --budgets:
  [[budget]]
  command = \"make *\"         # which runs (name or line, with or without directory); any if absent
  max-peak = \"2GiB\"          # also max-process-peak, max-average
  [[budget]]
  program = \"cc1plus\"        # each image of these programs on its own
  max-peak = \"600MiB\"        # also max-average";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command and print what memory its whole process tree used
    #[command(long_about = RUN_INTRODUCTION, after_help = RUN_NOTES)]
    Run(Box<RunArgs>),
    /// Measure processes that run already, with all their descendants
    #[command(
        long_about = attach::INTRODUCTION,
        after_help = attach::NOTES,
        override_usage = attach::USAGE
    )]
    Attach(Box<attach::AttachArgs>),
    /// Show what processes hold now, and what those that have ended held at most
    #[command(long_about = top::INTRODUCTION, after_help = top::NOTES)]
    Top(Box<top::TopArgs>),
    /// Run a command and print what GNU time prints, with exact numbers
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Time(TimeArgs),
    /// Run commands several times and compare their memory, with statistics
    #[command(after_help = compare::NOTES)]
    Compare(CompareArgs),
    /// Compare two results: what grew, in total and per program
    #[command(after_help = diff::NOTES)]
    Diff(DiffArgs),
    /// Print the result of a recording, or what was at any moment of it
    #[command(after_help = report::NOTES)]
    Report(Box<report::ReportArgs>),
    /// Print what a process's memory is for: text, data, heap, stack, libraries and so on
    #[command(after_help = maps::NOTES)]
    Maps(maps::MapsArgs),
    /// Write a recording in a format of other tools
    #[command(after_help = export::NOTES)]
    Export(export::ExportArgs),
    /// Show what this kernel and this user can do, and test it to the page
    Check(CheckArgs),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = completions::NOTES)]
    Completions(completions::CompletionsArgs),
    /// Print this help, or that of a command
    Help(HelpArgs),
    /// Print the version
    Version,
    /// The process that `check` measures
    #[command(name = "self-test-workload", hide = true)]
    SelfTestWorkload(WorkloadArgs),
    /// Write pages of the manual, for `cargo xtask man` and packages
    #[command(name = "man-pages", hide = true)]
    ManPages(ManPagesArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) outputs: outputs::OutputArgs,
    /// Send the command's standard output to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) stdout: Option<PathBuf>,
    /// Show the screen of `memtrace top` while the command runs; see below
    #[arg(long)]
    pub(crate) tui: bool,
    /// What to print when the command has ended
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: TextFormat,
    /// Wait for every process of the tree, not only for the command itself
    #[arg(long)]
    pub(crate) wait_tree: bool,
    /// Run the command as this user (name or id)
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Run the command in a cgroup v2 of its own, and print beside memtrace's numbers what the kernel's accounting
    /// says of it, which includes page cache and memory of the kernel. Costs a little at the start and the
    /// end. Needs a cgroup that may be divided; memtrace says if it is not
    #[arg(long)]
    pub(crate) own_cgroup: bool,
    /// How to observe the tree
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) backend: BackendArg,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    #[command(flatten)]
    pub(crate) budgets: BudgetArgs,
    #[command(flatten)]
    pub(crate) record: record::RecordArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "COMMAND",
        value_hint = ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Tuning")]
pub(crate) struct TracingArgs {
    /// CPUs whose shares of a counter are read at each event: all, or those that the
    /// address space was seen on [default: all up to 16 CPUs]. Use `touched` if memtrace slows the
    /// command down on a machine with many CPUs
    #[arg(long, value_name = "WHICH")]
    pub(crate) sum_cpus: Option<SumCpus>,
    /// Address spaces followed at once [default: 16384]. Raise it if the result says that images
    /// were lost
    #[arg(long, value_name = "N", value_parser = room::followed)]
    pub(crate) max_images: Option<u32>,
    /// Processes followed at once [default: 32768]. Raise it if the result says that processes
    /// were lost
    #[arg(long, value_name = "N", value_parser = room::followed)]
    pub(crate) max_processes: Option<u32>,
    /// Buffer for records, in KiB [default: 1024 for each CPU, at least 2048, at most 8192].
    /// Raise it if the result says that records were lost
    #[arg(long, value_name = "KIB", value_parser = room::buffer)]
    pub(crate) ring_size: Option<u32>,
    /// Take values from the classic tracepoint, as on kernels with unknown counters;
    /// needs tracefs. Use it to see whether two ways of reading counters agree
    #[arg(long)]
    pub(crate) classic_tracepoint: bool,
    /// Programs on kernel functions: used where numbers depend on them, always, or never. Use
    /// `on` to get an error rather than a bound, `off` if they slow the command down
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) fentry: FentryUse,
    /// See sizes of virtual memory at the end of every system call, too, so that mappings count
    /// which are never touched. Use it if sizes of data or libraries matter to you.
    /// Costs every system call of every process on the machine a little
    #[arg(long)]
    pub(crate) vm_events: bool,
    /// Tell apart what pages are for: text, data, heap, stack, libraries, files and so on. Use it to
    /// find out what grows. Costs page faults a little; on kernels that refuse programs on functions, every system call, too
    #[arg(long)]
    pub(crate) segments: bool,
    /// Which of the programs that do the same are loaded, for tests
    #[arg(long, value_name = "WHICH", default_value = "optimised", hide = true)]
    pub(crate) handler: HandlerUse,
    /// Sum counters as if there were so many CPUs, for benchmarks
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) simulate_cpus: u32,
    /// Index of the command's tree among those that the programs know, for tests
    #[arg(long, value_name = "N", default_value_t = 0, hide = true,
          value_parser = clap::value_parser!(u32).range(..i64::from(memtrace::abi::MAX_TREES)))]
    pub(crate) tree: u32,
    /// Do not compare numbers with /proc while the command runs. Use it where even a look at
    /// /proc now and then disturbs, as when very small times are measured
    #[arg(long)]
    pub(crate) no_cross_checks: bool,
    /// Take no snapshots of PSS and USS at settled peaks, which narrow down what is needed where
    /// processes share memory, and which -v and recordings show. Use it if memory must be given back at
    /// once: that of a process that ends during a snapshot is only when it is done, milliseconds per GiB.
    /// They take at most 5 % of the time, beside the command
    #[arg(long, alias = "no-pss")]
    pub(crate) no_snapshots: bool,
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

/// The same for what runs already, which nobody traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchArg {
    /// BPF where it is permitted, else poll
    #[default]
    Auto,
    /// Kernel events: exact, or an error
    Bpf,
    /// /proc alone, without privileges: sampled, short-lived processes are missed
    Poll,
}

impl From<WatchArg> for BackendArg {
    fn from(how: WatchArg) -> Self {
        match how {
            WatchArg::Auto => Self::Auto,
            WatchArg::Bpf => Self::Bpf,
            WatchArg::Poll => Self::Poll,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SumCpus {
    /// All possible CPUs
    All,
    /// CPUs on which the address space was seen
    Touched,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum HandlerUse {
    /// The quickest that the kernel lets in
    #[default]
    Optimised,
    /// Those for the oldest kernels
    Plain,
    /// Those for CPUs that read in any order
    Fenced,
    /// Those for kernels that refuse them a spin lock
    Locked,
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
        value_name = "ARGUMENTS",
        value_hint = ValueHint::CommandWithArguments
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
pub(crate) struct HelpArgs {
    /// The command to tell about
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct WorkloadArgs {
    /// Pages of each kind of memory
    pub(crate) pages: usize,
}

#[derive(Args, Debug)]
pub(crate) struct ManPagesArgs {
    /// The directory to write them to, made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// A number to turn is of no use to who does not know when to turn it.
    #[test]
    fn each_tuning_option_says_when_to_use_it() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").expect("the command");
        let tuning: Vec<_> = run
            .get_arguments()
            .filter(|option| {
                option.get_help_heading() == Some("Tuning")
                    && !option.is_positional()
                    && !option.is_hide_set()
            })
            .collect();
        assert!(tuning.len() >= 10, "{}", tuning.len());
        for option in tuning {
            let help = option.get_long_help().or(option.get_help());
            let help = help.expect("a help text").to_string();
            let says = ["Use it ", "Use `", "Use\n`", "Raise it "];
            assert!(says.iter().any(|says| help.contains(says)), "{help}");
        }
    }

    /// clap's own consistency checks.
    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
