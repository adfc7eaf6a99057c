//! Arguments of `attach`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use memtrace::targets::Target;

use super::{
    BudgetArgs, LiveArgs, TracingArgs, WatchArg, duration::duration, outputs::OutputArgs,
    record::RecordArgs,
};

/// What `attach --help` begins with.
pub(crate) const INTRODUCTION: &str = "\
Measure processes that run already, with all their descendants

Examples:
  memtrace attach 1234                   until it has ended, or Ctrl-C
  memtrace attach --duration 10s 1234    for ten seconds
  memtrace attach --live 1234            a line per second meanwhile
  memtrace attach --tui 1234             the screen of memtrace top meanwhile
  memtrace attach 1234 1300              each of several, and their sum
  memtrace attach --name postgres        every process of that name
  memtrace attach --unit nginx.service   all of a unit, or of a --cgroup, a --container
  memtrace attach --segments -v 1234     what its pages are for
  memtrace attach --max-peak 2GiB 1234   fail if it needs more from now on
  memtrace attach -o job.memtrace 1234   the whole timeline, for memtrace report";

/// As the options of all kinds of targets would have no room.
pub(crate) const USAGE: &str = "memtrace attach [OPTIONS] PID...\n       memtrace attach [OPTIONS] --name NAME | --cgroup PATH | --unit UNIT | --container ID";

pub(crate) const NOTES: &str = "\
From the moment at which memtrace attaches each change of the process's memory is seen, as with
`memtrace run`; the process does not notice, goes on afterwards, and keeps its exit status. What was
before is known to the kernel alone: its VmHWM is shown. Which pages its processes shared from
before is not known, so that what they needed together is a range. With
--segments, what pages are for that were there before is read from /proc/PID/smaps, in a moment in
which nothing changes, if there is one.

Of several processes, as of those of a name, each is a tree of its own, and all together are one
more. A cgroup, a unit or a container is a single tree: all that is in it at the beginning, and
what that creates.

The result goes to standard output, with --json - to standard error.

Without privileges /proc is looked at every 20 ms: what is shorter is missed, and the result is not called
exact.

Budgets are those of `memtrace run`. What the processes hold when memtrace attaches counts,
what they held before does not. In the file of --budgets, `command` is what the process runs that
is attached to; of several, what each of them runs. --kill ends all that is attached to, with all
descendants.

Exit status: 0; 124 if a budget was missed, or if --kill ended the processes; 125 if memtrace
failed.";

/// Processes that are meant otherwise than by their ids.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which processes")]
pub(crate) struct GroupArgs {
    /// Every process of this name, as for `pgrep -x`. This option and the next ones can be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// All processes of a cgroup and of those below it: a path in /sys/fs/cgroup, or as /proc/PID/cgroup has it
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Vec<PathBuf>,
    /// All processes of a unit of systemd, as in nginx.service
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit: Vec<String>,
    /// All processes of a container: its id, or the beginning of that
    #[arg(long, value_name = "ID")]
    pub(crate) container: Vec<String>,
}

impl GroupArgs {
    /// All of them.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let Self {
            name,
            cgroup,
            unit,
            container,
        } = self;
        let names = name.iter().cloned().map(Target::Name);
        names
            .chain(cgroup.iter().cloned().map(Target::Cgroup))
            .chain(unit.iter().cloned().map(Target::Unit))
            .chain(container.iter().cloned().map(Target::Container))
            .collect()
    }
}

#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// End after this time, as in 10s or 500ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Show the screen of `memtrace top` meanwhile; `q` leaves it and ends memtrace, with all else that was asked for
    #[arg(long)]
    pub(crate) tui: bool,
    /// Wait for every process of the tree, not only for those that are attached to
    #[arg(long)]
    pub(crate) wait_tree: bool,
    /// How to observe the tree
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) backend: WatchArg,
    #[command(flatten)]
    pub(crate) outputs: OutputArgs,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    #[command(flatten)]
    pub(crate) budgets: BudgetArgs,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
    #[command(flatten)]
    pub(crate) groups: GroupArgs,
    /// Those with these ids
    #[arg(value_name = "PID", required_unless_present_any = ["name", "cgroup", "unit", "container"],
        value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Vec<i32>,
}

impl AttachArgs {
    /// All that is attached to.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let pids = self.pid.iter().copied().map(Target::Pid);
        pids.chain(self.groups.targets()).collect()
    }
}
