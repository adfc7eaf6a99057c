//! The course of one run without BPF: choose how, say so, release, follow, read.

use std::{
    fmt, fs, io,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use memtrace_ebpf::CounterLayout;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    bounds::CounterError,
    follow::{self, Follower, lock, now},
    last::{Facts, last},
    poll::Poller,
    privileges, sample, status,
    subject::{Proof, Sampled},
    sys,
    teller::{News, Teller},
    tree::Tree,
};
use crate::{
    attend::Attendant,
    kernel::{Btf, Features, clock, cpus},
    launch::{
        Finished, LaunchError, Running, Signals, Spec, Stopped, exit_like, rusage::maxrss_bytes,
        spawn_stopped,
    },
    model::{Final, Model},
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Trace, if that is permitted; otherwise look at /proc only.
    pub(crate) ptrace: bool,
    /// Go on until every process of the tree has ended.
    pub(crate) wait_tree: bool,
    /// Takes one line for the user, before the command starts.
    pub(crate) notice: Option<fn(&str)>,
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
    wanted: Wanted,
    spec: &Spec,
    mut stopped: Stopped,
    signals: &mut Signals,
    why: Option<&str>,
    mut attendant: Attendant,
    sink: Option<&mut dyn FnMut(News<'_>)>,
) -> Result<Measured, LaunchError> {
    let mut teller = Teller::new(cpus::page_size(), sink);
    let tree = Arc::new(Mutex::new(Tree::new(teller.records())));
    let pid = stopped.pid();
    let kept = privileges::kept();
    let before = before_exec(pid, spec);
    // The kernel's types take memory, which may be scarce: not when the command has run.
    let error = CounterError::new(layout(), online_cpus(), cpus::page_size());
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
        *lock(&tree) = Tree::new(teller.records());
        failures.push(
            "processes that live shorter than the interval of the samples were not seen".to_owned(),
        );
        Method::Poll(Poller::new(pid, &tree))
    });
    if let Method::Ptrace(follower) = &mut method
        && let Some(reaped) = follower.take_reaped()
    {
        stopped.delegate(reaped);
    }
    if let Ok(Some(signal)) = signals.take_fatal() {
        // Asked to end before anything began: the waiting process goes with us.
        drop(stopped);
        signals.restore();
        exit_like(signal);
    }
    let mut running = stopped.release()?;
    attendant.begin(running.pid());
    let followed = match &mut method {
        Method::Ptrace(follower) => follow_tracer(
            follower,
            &running,
            signals,
            &tree,
            &mut attendant,
            &mut teller,
        ),
        Method::Poll(poller) => {
            poller.begin(&tree);
            follow_poller(
                poller,
                &mut running,
                signals,
                &tree,
                wanted.wait_tree,
                &mut attendant,
                &mut teller,
            )
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
        finished,
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
    wanted: Wanted,
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

/// Samples and passes signals on until the tracer has ended.
fn follow_tracer(
    follower: &Follower,
    running: &Running,
    signals: &Signals,
    tree: &Mutex<Tree>,
    attendant: &mut Attendant,
    teller: &mut Teller<'_>,
) -> io::Result<()> {
    let mut next = Instant::now();
    let subject = Sampled {
        tree,
        proof: Proof::Traced(&follower.hold),
    };
    loop {
        let timeout = until(next, attendant);
        let (signal, done) = wait(signals, Some(follower.done.as_fd()), timeout)?;
        if signal && let Err(error) = signals.forward_pending(running) {
            log::warn!("cannot pass a signal on to the command: {error}");
        }
        if done {
            return Ok(());
        }
        if Instant::now() >= next {
            let pause = sample::all(tree);
            next = Instant::now() + pause;
            teller.tell(&mut lock(tree), now());
        }
        attendant.look(&subject, false);
    }
}

/// The same where nothing tells of the end but the command's own.
fn follow_poller(
    poller: &mut Poller,
    running: &mut Running,
    signals: &Signals,
    tree: &Mutex<Tree>,
    wait_tree: bool,
    attendant: &mut Attendant,
    teller: &mut Teller<'_>,
) -> io::Result<()> {
    let mut next = Instant::now();
    let mut ended = false;
    loop {
        if !ended && let Some(finished) = running.try_wait()? {
            ended = true;
            poller.root_ended(tree, finished.status, maxrss_bytes(&finished.rusage));
        }
        let subject = Sampled {
            tree,
            proof: Proof::Started(poller.members()),
        };
        if ended && (!wait_tree || poller.is_empty()) && attendant.is_over(&subject) {
            // Who ended in the meantime is no survivor.
            poller.look(tree);
            return Ok(());
        }
        attendant.look(&subject, ended);
        let timeout = until(next, attendant);
        let pidfd = running.pidfd().filter(|_| !ended);
        let (signal, _) = wait(signals, pidfd, timeout)?;
        if signal && let Err(error) = signals.forward_pending(running) {
            log::warn!("cannot pass a signal on to the command: {error}");
        }
        if Instant::now() >= next {
            let pause = poller.look(tree);
            next = Instant::now() + pause;
            teller.tell(&mut lock(tree), now());
        }
    }
}

/// How long nothing has to be done.
fn until(next: Instant, attendant: &Attendant) -> Duration {
    let next = attendant.next().map_or(next, |other| other.min(next));
    next.saturating_duration_since(Instant::now())
}

/// Waits for a signal or the other descriptor; tells which of them is readable.
fn wait(
    signals: &Signals,
    other: Option<std::os::fd::BorrowedFd<'_>>,
    timeout: Duration,
) -> io::Result<(bool, bool)> {
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(other.map(|other| PollFd::new(other, PollFlags::POLLIN)));
    // Rounded up, so that it does not spin below a millisecond.
    let timeout = timeout + Duration::from_micros(999);
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
    Ok((ready(0), ready(1)))
}

/// How this kernel keeps its counters, if it says so.
fn layout() -> Option<CounterLayout> {
    let btf = Btf::from_sys_fs().ok()?;
    Features::from_btf(&btf)
        .ok()
        .map(|features| features.layout)
}

fn online_cpus() -> u64 {
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    let online = online.ok().flatten().and_then(|n| u64::try_from(n).ok());
    online.unwrap_or_else(|| cpus::possible().map_or(1, u64::from))
}

/// Whether commands can be traced with ptrace(2), by trying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// They can.
    Granted,
    /// They cannot, for this reason.
    Refused(String),
}

impl Permission {
    /// The most likely reason for a refusal.
    fn explain(error: &io::Error) -> String {
        if !matches!(
            error.raw_os_error(),
            Some(libc::EPERM | libc::EACCES | libc::ESRCH)
        ) {
            return error.to_string();
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let tracer = field("TracerPid:").filter(|pid| *pid != "0");
        // Below 2, a parent may trace its children.
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        let scope = scope.trim().parse::<u32>().unwrap_or(0);
        if let Some(tracer) = tracer {
            format!("process {tracer} traces memtrace and what it starts")
        } else if scope >= 2 {
            format!("the sysctl kernel.yama.ptrace_scope is {scope}")
        } else if field("Seccomp:").is_some_and(|mode| mode != "0") {
            "a seccomp filter may refuse it".to_owned()
        } else {
            error.to_string()
        }
    }
}

/// Finds out whether a command could be traced.
#[must_use]
pub fn permission() -> Permission {
    let tried = Signals::take_over()
        .and_then(|signals| {
            spawn_stopped(&Spec::new(["true"]), signals.inherited()).map_err(io::Error::other)
        })
        .and_then(|stopped| sys::try_seize(stopped.pid()));
    match tried {
        Ok(()) => Permission::Granted,
        Err(error) => Permission::Refused(Permission::explain(&error)),
    }
}
