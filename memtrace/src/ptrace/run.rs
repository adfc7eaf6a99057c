//! The course of one run without BPF: choose how, say so, release, follow, read.

use std::{
    fmt, io,
    os::unix::ffi::OsStrExt as _,
    sync::{Arc, Mutex},
};

use super::{
    bounds::CounterError,
    course::Course,
    follow::{self, Follower, lock, now},
    last::{Ending, Facts, last},
    machine,
    permission::Permission,
    poll::Poller,
    privileges, sample, status,
    teller::{Listener, Teller},
    tree::Tree,
};
use crate::{
    attend::Attendant,
    cgroup::Cgroup,
    kernel::{clock, cpus},
    launch::{Finished, LaunchError, Signals, Spec, Stopped, exit_like},
    model::{Final, Model},
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Trace, if that is permitted; otherwise look at /proc only.
    pub(crate) ptrace: bool,
    /// Go on until every process of the tree has ended.
    pub(crate) wait_tree: bool,
    /// Takes one line for the user, before the command starts.
    pub(crate) notice: Option<fn(&str)>,
    /// The command's own cgroup, to remove it if this process ends before the command begins.
    pub(crate) cgroup: Option<&'a Cgroup>,
}

/// A command that was run.
pub(crate) struct Measured {
    /// All that happened.
    pub(crate) model: Model,
    /// What remains to be said at the end.
    pub(crate) last: Final,
    pub(crate) finished: Finished,
}

/// How the tree is followed.
enum Method {
    Ptrace(Follower),
    Poll(Poller),
}

/// Runs a stopped command to its end. `why` is the reason why BPF is not used, unless the
/// user did not want it.
///
/// # Errors
///
/// When the command cannot be run.
pub(crate) fn trace(
    wanted: Wanted<'_>,
    spec: &Spec,
    mut stopped: Stopped,
    signals: &mut Signals,
    why: Option<&str>,
    mut attendant: Attendant,
    listener: Option<&mut dyn Listener>,
) -> Result<Measured, LaunchError> {
    let mut teller = Teller::new(cpus::page_size(), listener);
    let tree = Arc::new(Mutex::new(Tree::new(teller.is_heard())));
    let pid = stopped.pid();
    let kept = privileges::kept();
    let before = before_exec(pid, spec);
    // The kernel's types take memory, which may be scarce: not when the command has run.
    let error = CounterError::new(machine::layout(), machine::online_cpus(), cpus::page_size());
    let mut failures = Vec::new();
    let mut method = None;
    if wanted.ptrace {
        match start(spec, pid, &tree, wanted.wait_tree, kept) {
            Ok(follower) => method = Some(Method::Ptrace(follower)),
            Err(obstacle) => failures.push(obstacle.to_string()),
        }
    }
    if let Some(text) = notice(why, wanted, kept, failures.first())
        && let Some(say) = wanted.notice
    {
        say(&text);
    }
    let mut method = method.unwrap_or_else(|| {
        // What a tracer that was refused had written down does not count.
        *lock(&tree) = Tree::new(teller.is_heard());
        failures.push(
            "processes that live shorter than the interval of the samples were not seen".to_owned(),
        );
        Method::Poll(Poller::of_command(pid, &tree))
    });
    if let Method::Ptrace(follower) = &mut method
        && let Some(reaped) = follower.take_reaped()
    {
        stopped.delegate(reaped);
    }
    if let Ok(Some(signal)) = signals.take_fatal() {
        // Asked to end before anything began: the waiting process goes with us.
        drop(stopped);
        if let Some(cgroup) = wanted.cgroup {
            cgroup.abandon();
        }
        signals.restore();
        exit_like(signal);
    }
    let mut running = stopped.release()?;
    attendant.begin(running.pid());
    let course = Course {
        signals,
        tree: &tree,
        attendant: &mut attendant,
        teller: &mut teller,
    };
    let followed = match &mut method {
        Method::Ptrace(follower) => course.with_tracer(follower, &running),
        Method::Poll(poller) => {
            poller.begin(&tree);
            course.with_poller(poller, &mut running, wanted.wait_tree)
        }
    };
    if let Err(error) = followed {
        failures.push(format!("waiting for news failed: {error}"));
    }
    let traced = matches!(method, Method::Ptrace(_));
    if let Method::Ptrace(follower) = method
        && let Err(error) = follower.join()
    {
        failures.push(format!("tracing ended early: {error}"));
    }
    let finished = running.wait().map_err(|source| LaunchError::System {
        operation: "wait for the command",
        source,
    })?;
    signals.restore();
    let facts = Facts {
        command: spec
            .argv()
            .iter()
            .map(|argument| argument.as_bytes().to_vec())
            .collect(),
        ending: Ending::from(&finished),
        realtime_offset: clock::realtime_offset().unwrap_or(0),
        page_size: cpus::page_size(),
        ended_at: now(),
        followed: traced,
        failures,
        before: error.of(1).saturating_add(before),
        error,
        ended_by_limit: attendant.finish(),
    };
    let mut tree = lock(&tree);
    let model = teller.finish(&mut tree);
    Ok(Measured {
        model,
        last: last(&tree, facts),
        finished,
    })
}

/// How large the command's process can be until its exec, as its `VmHWM` tells: a copy of this
/// program, which looks at no page that this one does not have, and the arguments and the
/// environment of the command, which the kernel charges to it (`acct_arg_size()`, fs/exec.c).
fn before_exec(pid: i32, spec: &Spec) -> u64 {
    let hwm = |pid| {
        let memory = status::look(pid).ok().and_then(|look| look.memory);
        memory.map_or(0, |memory| memory.hwm)
    };
    let own = std::process::id().cast_signed();
    let arguments = spec.argv().iter().map(|word| word.len() + 9);
    let variables = std::env::vars_os().map(|(name, value)| name.len() + value.len() + 10);
    let strings: usize = arguments.chain(variables).sum();
    hwm(pid).max(hwm(own)).saturating_add(strings as u64)
}

/// Why the tree is not traced.
#[derive(Debug)]
enum Untraced {
    SetUser(std::path::PathBuf),
    Refused(io::Error),
}

impl fmt::Display for Untraced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetUser(path) => write!(
                f,
                "{} runs with privileges of its own, which tracing would take away",
                path.display()
            ),
            Self::Refused(error) => {
                write!(f, "ptrace is not permitted: {}", Permission::explain(error))
            }
        }
    }
}

fn start(
    spec: &Spec,
    pid: i32,
    tree: &Arc<Mutex<Tree>>,
    wait_tree: bool,
    kept: bool,
) -> Result<Follower, Untraced> {
    if !kept && let Some(path) = privileges::of_command(spec) {
        return Err(Untraced::SetUser(path));
    }
    follow::follow(pid, tree, wait_tree, !kept).map_err(Untraced::Refused)
}

/// The line before the command starts, if there is anything to say.
fn notice(
    why: Option<&str>,
    wanted: Wanted<'_>,
    kept: bool,
    untraced: Option<&String>,
) -> Option<String> {
    let mut text = match why {
        Some(why) => format!("no BPF: {why}. "),
        None => String::new(),
    };
    match untraced {
        Some(untraced) => {
            text.push_str(&format!("{untraced}. Only /proc is looked at, every {} ms: short-lived processes and short peaks are missed", sample::INTERVAL.as_millis()));
        }
        None if !wanted.ptrace => {
            why?;
            text.push_str("Only /proc is looked at");
        }
        None => {
            if why.is_none() && kept {
                return None;
            }
            if why.is_some() {
                text.push_str("Using ptrace instead (tier P): process peaks are the kernel's approximate VmHWM, the tree's peak is sampled; debuggers cannot trace inside the tree");
            } else {
                text.push_str("tracing with ptrace: debuggers cannot trace inside the tree");
            }
            if !kept {
                text.push_str(", and set-user-ID programs in it run without their privileges");
            }
            text.push_str(" (--backend poll avoids that)");
        }
    }
    Some(text)
}
