//! The tracer: a thread of its own that is told of every process, program and end.
//!
//! ptrace(2) ties tracees to one *thread*. With a thread that does nothing else, waiting
//! for "whatever I trace" (`__WNOTHREAD`) sees no other child of the program that uses this
//! library, and the end of the thread lets all tracees go on by themselves.
//!
//! Rules that keep a tracee unaware: signals are delivered as they came; a group-stop is
//! left as it is until SIGCONT (`PTRACE_LISTEN`); nothing is ever waited for while a tracee
//! is held, so that a lost event (a second SIGKILL) cannot hang anybody.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use super::{
    privileges, sample, status,
    sys::{self, News, Reaped, What},
    tree::Tree,
};
use crate::{
    kernel::clock,
    launch::rusage::{maxrss_bytes, nanoseconds},
    model::Usage,
};

/// A running tracer.
#[derive(Debug)]
pub(super) struct Follower {
    thread: JoinHandle<io::Result<()>>,
    /// Readable when the tracer has ended.
    pub(super) done: UnixStream,
    /// Whether the tracer goes on when the command has ended, until all have.
    pub(super) hold: Arc<AtomicBool>,
    /// The end of the command.
    reaped: Option<mpsc::Receiver<Reaped>>,
}

/// What the tracer thread needs.
struct Tracer {
    tree: Arc<Mutex<Tree>>,
    root: i32,
    wait_tree: Arc<AtomicBool>,
    reaped: mpsc::Sender<Reaped>,
    /// Set-user-ID programs lose their privileges under this tracer.
    weakens: bool,
}

/// Begins to trace a process that has not begun to run.
///
/// # Errors
///
/// When the kernel forbids to trace it, or no thread can be made.
pub(super) fn follow(
    pid: i32,
    tree: &Arc<Mutex<Tree>>,
    wait_tree: bool,
    weakens: bool,
) -> io::Result<Follower> {
    let (done, theirs) = UnixStream::pair()?;
    let (reaped, receiver) = mpsc::channel();
    let (started, begun) = mpsc::channel();
    let hold = Arc::new(AtomicBool::new(wait_tree));
    let tracer = Tracer {
        tree: Arc::clone(tree),
        root: pid,
        wait_tree: Arc::clone(&hold),
        reaped,
        weakens,
    };
    let thread = std::thread::Builder::new()
        .name("memtrace-ptrace".to_owned())
        .spawn(move || {
            // Closed when this thread ends, in whatever way.
            let _done = theirs;
            lock(&tracer.tree).root(pid, now());
            let seized = sys::seize(pid);
            let may_go_on = seized.is_ok();
            // The other side waits for it.
            let _ = started.send(seized);
            if may_go_on { tracer.run() } else { Ok(()) }
        })?;
    begun
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the tracer's thread died")))?;
    Ok(Follower {
        thread,
        done,
        hold,
        reaped: Some(receiver),
    })
}

impl Follower {
    /// Where the end of the command will come from; can be had once.
    pub(super) fn take_reaped(&mut self) -> Option<mpsc::Receiver<Reaped>> {
        self.reaped.take()
    }

    /// Waits for the tracer's end, and says why it ended if that was too early.
    pub(super) fn join(self) -> io::Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the tracer's thread panicked")))
    }
}

/// The tree, also after a panic of another thread: what was counted is still right.
pub(super) fn lock(tree: &Mutex<Tree>) -> MutexGuard<'_, Tree> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `CLOCK_BOOTTIME`, nanoseconds. It can always be read where a command can be run.
pub(super) fn now() -> u64 {
    clock::boottime().unwrap_or(0)
}

impl Tracer {
    fn run(&self) -> io::Result<()> {
        loop {
            let news = match sys::peek() {
                Ok(news) => news,
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
                Err(error) => return Err(error),
            };
            let News { tid, what } = news;
            match what {
                What::Ended => {
                    if self.ended(tid) && !self.wait_tree.load(Ordering::SeqCst) {
                        self.last_look();
                        return Ok(());
                    }
                }
                What::Signal(signal) => self.go_on(tid, signal),
                What::Event { event, signal } => self.event(tid, event, signal),
            }
        }
    }

    /// Lets a tracee go on. It may have been killed meanwhile; its end is the next news.
    fn go_on(&self, tid: i32, signal: i32) {
        lock(&self.tree).resumed(tid, now());
        if sys::resume(tid, signal).is_err() {
            std::thread::yield_now();
        }
    }

    fn event(&self, tid: i32, event: i32, signal: i32) {
        match event {
            sys::EVENT_STOP => {
                let known = lock(&self.tree).process_of(tid).is_some();
                if !known {
                    self.begun(tid);
                }
                // The four signals that stop; SIGTRAP is the first stop of a new tracee,
                // and the end of a group-stop.
                if [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal) {
                    if sys::listen(tid).is_err() {
                        std::thread::yield_now();
                    }
                    return;
                }
            }
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                if let Some(child) = self.message(tid) {
                    let vfork = event == libc::PTRACE_EVENT_VFORK;
                    lock(&self.tree).announce(tid, child, vfork);
                }
            }
            libc::PTRACE_EVENT_EXEC => {
                // Until this news is taken, the kernel refuses requests for a thread that
                // took over its leader's id: they might be meant for the leader, which is
                // gone (looks_like_a_spurious_pid(), kernel/ptrace.c, since 5.13).
                sys::take(tid);
                let former = self.message(tid).unwrap_or(tid);
                self.executed(tid, former);
            }
            libc::PTRACE_EVENT_EXIT => {
                let look = status::look(tid).ok();
                let at = now();
                let mut tree = lock(&self.tree);
                let last = tree.exiting(tid, look.as_ref(), at);
                let worth = last && sample::worth_it(&tree, look.as_ref(), at);
                drop(tree);
                if worth {
                    // It is at its end, and often at its top: while it is held, its
                    // memory cannot go away.
                    sample::with(&self.tree, tid);
                }
            }
            _ => {}
        }
        self.go_on(tid, 0);
    }

    fn message(&self, tid: i32) -> Option<i32> {
        sys::message(tid)
            .ok()
            .and_then(|message| i32::try_from(message).ok())
            .filter(|&id| id > 0)
    }

    /// The first stop of a new thread or process.
    fn begun(&self, tid: i32) {
        // Gone already if this fails; its end is the next news.
        let Ok(look) = status::look(tid) else {
            return;
        };
        if look.tgid != tid {
            let mut tree = lock(&self.tree);
            if let Some(process) = tree.find(look.tgid) {
                tree.thread(tid, process, now());
            }
            return;
        }
        let creator = lock(&self.tree).creator_of(tid, look.ppid);
        let shared = creator.and_then(|creator| sys::same_memory(creator, tid));
        let name = status::comm(tid);
        let mut tree = lock(&self.tree);
        let index = tree.process(&look, shared, now());
        if let Some(process) = tree.processes.get_mut(index) {
            process.comm = name;
        }
    }

    fn executed(&self, pid: i32, former: i32) {
        let look = status::look(pid).ok();
        let program = status::program(pid);
        let weakened = self.weakens && privileges::lost(pid);
        let mut tree = lock(&self.tree);
        let at = now();
        let Some(process) = tree.exec(pid, former, at) else {
            return;
        };
        if weakened {
            tree.unprivileged.push(program.name().to_vec());
        }
        tree.runs(process, program);
        if let Some(look) = look {
            tree.observe(process, &look, at);
        }
    }

    /// Reaps a thread or process; `true` if it was the command.
    fn ended(&self, tid: i32) -> bool {
        let leader = lock(&self.tree).find(tid).is_some();
        // A zombie still has its totals.
        let totals = leader.then(|| status::stat(tid).ok()).flatten();
        let name = if leader {
            status::comm(tid)
        } else {
            Vec::new()
        };
        let Some(reaped) = sys::reap(tid) else {
            std::thread::yield_now();
            return false;
        };
        let mut tree = lock(&self.tree);
        if !leader {
            tree.thread_ended(tid);
            return false;
        }
        tree.faults.ended(tid == self.root, totals.as_ref());
        let Some(process) = tree.ended(tid, now()) else {
            return false;
        };
        let Reaped { status, rusage } = reaped;
        process.status = Some(status);
        if !name.is_empty() {
            process.comm = name;
        }
        process.maxrss = maxrss_bytes(&rusage);
        process.usage = totals.map(|totals| Usage {
            // wait4 adds the children that it waited for; /proc has theirs by itself.
            user_ns: nanoseconds(rusage.ru_utime).saturating_sub(ticks(totals.children_user)),
            system_ns: nanoseconds(rusage.ru_stime).saturating_sub(ticks(totals.children_system)),
            // It can lack what ran since the last tick, and the children's are in ticks.
            cpu_exact: false,
            minor_faults: totals.minor_faults,
            major_faults: totals.major_faults,
            threads: process.threads_ever,
        });
        let root = tid == self.root;
        drop(tree);
        if root {
            // Nobody listens any more if the run was given up.
            let _ = self.reaped.send(reaped);
        }
        root
    }

    /// What lives on is read once more, as it will not be seen again.
    fn last_look(&self) {
        // A child that its parent told of may not have come to its first stop yet.
        let expected = lock(&self.tree).expected();
        for tid in expected {
            self.begun(tid);
        }
        let targets = lock(&self.tree).targets();
        for target in targets {
            if let Ok(look) = status::look(target.tid) {
                let mut tree = lock(&self.tree);
                if tree.image_of(target.process) == Some(target.image) {
                    tree.observe(target.process, &look, now());
                }
            }
        }
    }
}

/// Clock ticks as nanoseconds; `USER_HZ` is 100 wherever Linux runs but on alpha and ia64.
pub(super) const fn ticks(ticks: u64) -> u64 {
    ticks.saturating_mul(10_000_000)
}
