//! Arguments of `top`.

use std::time::Duration;

use clap::Args;
use memtrace::targets::Target;

use super::{TracingArgs, WatchArg, attach::GroupArgs, duration::duration};

/// What `top --help` begins with.
pub(crate) const INTRODUCTION: &str = "\
Show what processes hold now, and what those that have ended held at most

Examples:
  memtrace top                       every process of the machine
  memtrace top 1234 postgres         these, with their descendants
  memtrace top --unit nginx.service  all of a unit, or of a --cgroup, a --container
  memtrace top --batch --count 3     plain lines, three times";

pub(crate) const NOTES: &str = "\
No process is missed, however short it lives, and peaks are exact from the moment on at which it
begins: kernel events are counted as with `memtrace attach`. RES, SHR and VIRT are as in top(1); PEAK
is the largest that RES was. What has ended stays, dimmed. `?` lists the keys.

Without privileges /proc is looked at instead: short-lived processes and short peaks are missed,
and the screen says that it is not exact.

Exit status: 0; 125 if memtrace failed.";

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Print plain lines, as `top -b` does
    #[arg(short, long)]
    pub(crate) batch: bool,
    /// Look so often, as in 1s or 500ms [default: 250ms, with --batch 1s]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = interval)]
    pub(crate) interval: Option<Duration>,
    /// End after so many looks
    #[arg(short = 'n', long, value_name = "N", requires = "batch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print the N processes that hold most, and all that ended
    #[arg(long, value_name = "N", requires = "batch", default_value_t = 20)]
    pub(crate) rows: usize,
    /// Log what memtrace does; -vv also what its BPF programs do
    #[arg(short, long, action = clap::ArgAction::Count, requires = "batch")]
    pub(crate) verbose: u8,
    /// How to observe processes
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) backend: WatchArg,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
    #[command(flatten)]
    pub(crate) groups: GroupArgs,
    /// Processes, by id or by name
    #[arg(value_name = "PID|NAME", value_parser = process)]
    pub(crate) processes: Vec<Target>,
}

impl TopArgs {
    /// What is shown: all that was asked for, or everything.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let asked: Vec<Target> = self
            .processes
            .iter()
            .cloned()
            .chain(self.groups.targets())
            .collect();
        if asked.is_empty() {
            vec![Target::All]
        } else {
            asked
        }
    }
}

/// Numbers are ids; whoever means a name of digits has --name.
fn process(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Err("a process is given by its id or its name".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Target::Name(text.to_owned()));
    }
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(Target::Pid(pid)),
        _ => Err("ids are from 1 to 2147483647".to_owned()),
    }
}

/// More often nobody can see, and reading takes its time.
const SHORTEST: Duration = Duration::from_millis(20);

fn interval(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    if every < SHORTEST {
        return Err("the shortest interval is 20ms".to_owned());
    }
    Ok(every)
}
