//! The course of following what runs already: load, take in, follow, read.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use super::{
    Backend, TraceError, Tracer,
    priority::{Priority, Undisturbed},
    record::{Feed, Sink},
    room::Room,
    run::ROOM,
    session::{Ending, Root, Session, Watching},
    setup::{self, Purpose},
    system,
};
use crate::{
    kernel::{Obstacle, Proc},
    launch::{Signals, open_pidfd, require_room},
    model::Summary,
    phases::Phases,
    probe::TakenIn,
    ptrace,
};

/// Why a process cannot be attached to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nobody has this id.
    #[error("there is no process {0}")]
    NoProcess(i32),
    /// It is a thread's.
    #[error("{pid} is a thread of process {process}: attach to that")]
    Thread {
        /// The id.
        pid: i32,
        /// Its process's.
        process: i32,
    },
    /// It has ended, and is only waited for.
    #[error("process {0} has ended (a zombie): nothing is left to measure")]
    Zombie(i32),
    /// It has no address space.
    #[error("process {0} is a thread of the kernel, which has no memory of its own")]
    Kernel(i32),
    /// It has no address space any more.
    #[error("process {0} is ending, and has given its memory back")]
    Ending(i32),
    /// It has the memory of a process that does not belong to it.
    #[error(
        "process {pid} has the memory of process {owner} (vfork, CLONE_VM): attach to that, or again when it has executed a program"
    )]
    Borrows {
        /// The process.
        pid: i32,
        /// Whose memory it has, in the initial PID namespace.
        owner: u32,
    },
    /// What it holds cannot be read.
    #[error(
        "to attach, memtrace has to read the counters of processes that run, and the classic tracepoint (--classic-tracepoint, or a kernel whose counters memtrace does not know) does not give them"
    )]
    NotReadable,
    /// It ended before it could be attached to.
    #[error("process {0} ended before it could be attached to")]
    Gone(i32),
    /// It is there, and the kernel does not show it.
    #[error("process {0} runs, but is not among those that this kernel shows to BPF programs")]
    Hidden(i32),
}

/// Why a tree is not followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The process that was attached to has ended; with
    /// [`Tracer::wait_tree`] its descendants too.
    Ended,
    /// This process got a signal of this number.
    Signal(i32),
    /// The time was over.
    Time,
}

/// What was measured of processes that ran already.
#[derive(Debug)]
pub struct Attached {
    summary: Summary,
    stop: Stop,
    phases: Phases,
}

impl Attached {
    /// Everything that was measured.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Why that was all.
    #[must_use]
    pub const fn stop(&self) -> Stop {
        self.stop
    }

    /// Where the time went until they were followed.
    #[must_use]
    pub const fn phases(&self) -> &Phases {
        &self.phases
    }
}

/// `PF_KTHREAD` (include/linux/sched.h).
const PF_KTHREAD: u64 = 0x20_0000;

/// A process that runs and can be attached to.
#[derive(Debug)]
struct Target {
    pid: i32,
    /// When it was created, clock ticks: tells the users of an id apart.
    started: u64,
    pidfd: Option<OwnedFd>,
}

impl Target {
    fn find(pid: i32) -> Result<Self, TargetError> {
        // First: the descriptor stays this process's, whoever has the id later.
        let pidfd = match open_pidfd(pid) {
            Ok(pidfd) => Some(pidfd),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                return Err(TargetError::NoProcess(pid));
            }
            // A thread that is no process, or a kernel without them; looked at below.
            Err(_) => None,
        };
        let gone = |_| TargetError::NoProcess(pid);
        let stat = ptrace::stat(pid).map_err(gone)?;
        let look = ptrace::look(pid).map_err(gone)?;
        if look.tgid != pid {
            let process = look.tgid;
            return Err(TargetError::Thread { pid, process });
        }
        if look.memory.is_none() && look.threads <= 1 {
            return Err(match look.state {
                b'Z' | b'X' => TargetError::Zombie(pid),
                _ if stat.flags & PF_KTHREAD != 0 => TargetError::Kernel(pid),
                _ => TargetError::Ending(pid),
            });
        }
        Ok(Self {
            pid,
            started: stat.started,
            pidfd,
        })
    }

    fn has_ended(&self) -> bool {
        ptrace::stat(self.pid).map_or(true, |stat| {
            stat.started != self.started || (matches!(stat.state, b'Z' | b'X') && stat.threads <= 1)
        })
    }

    /// Why it was not found among all threads.
    fn missing(&self, owner: Option<u32>) -> TargetError {
        let pid = self.pid;
        if self.has_ended() || ptrace::look(pid).is_ok_and(|look| look.memory.is_none()) {
            TargetError::Gone(pid)
        } else if let Some(owner) = owner {
            TargetError::Borrows { pid, owner }
        } else {
            TargetError::Hidden(pid)
        }
    }

    /// Whether its id is another's by now.
    fn is_another(&self) -> bool {
        ptrace::stat(self.pid).is_ok_and(|stat| stat.started != self.started)
    }
}

/// The process that is attached to, and when that is enough.
struct Attachment {
    target: Target,
    deadline: Option<Instant>,
    signal: Option<i32>,
}

impl Root for Attachment {
    type End = Stop;

    fn pid(&self) -> i32 {
        self.target.pid
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.target.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    fn end(&mut self) -> io::Result<Option<Stop>> {
        Ok(self.target.has_ended().then_some(Stop::Ended))
    }

    fn take_signals(&mut self, signals: &Signals) {
        match signals.take_fatal() {
            Ok(signal) => self.signal = self.signal.or(signal),
            Err(error) => log::warn!("cannot read signals: {error}"),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn enough(&self, now: Instant) -> Option<Stop> {
        if let Some(signal) = self.signal {
            return Some(Stop::Signal(signal));
        }
        let over = self.deadline.is_some_and(|deadline| now >= deadline);
        over.then_some(Stop::Time)
    }
}

pub(super) fn attach<'a>(
    tracer: &'a Tracer,
    pid: i32,
    duration: Option<Duration>,
    sink: Option<&'a mut (dyn Sink + 'a)>,
) -> Result<Attached, TraceError> {
    let mut phases = Phases::begin(tracer.checkpoints.clone());
    let feed = Feed::new(sink);
    let mut signals = Signals::take_over_interrupts().map_err(system("take over signals"))?;
    if Proc::mounted() != Proc::Own {
        return Err(TraceError::Proc(Obstacle::ProcOfOthers));
    }
    let target = Target::find(pid)?;
    if matches!(tracer.backend, Backend::Ptrace | Backend::Poll) {
        return Err(TraceError::NotAttached { cause: None });
    }
    let _room = Room::make();
    let _priority = Priority::raise();
    require_room(ROOM)?;
    let purpose = Purpose {
        recorded: feed.is_wanted(),
        attached: true,
    };
    let mut loaded = setup::prepare(tracer, purpose, &mut phases)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(system("start the event loop"))?;
    let watching = {
        let _context = runtime.enter();
        Watching::new(&loaded.probe, &signals)?
    };
    let program = ptrace::program(pid);
    let began = Instant::now();
    let taken_in = {
        let _undisturbed = Undisturbed::begin();
        loaded.probe.take_in(&[pid.cast_unsigned()])
    };
    let TakenIn { root_tgid, owner } = taken_in.map_err(TraceError::refused)?;
    let root_tgid = root_tgid
        .filter(|_| !target.is_another())
        .ok_or_else(|| target.missing(owner))?;
    phases.done("what runs is taken in");
    let root = (pid, root_tgid);
    let mut session =
        Session::begin(tracer, loaded, root, program.args, feed).map_err(|error| match error {
            TraceError::Recording(source) => TraceError::Unrecorded(source),
            other => other,
        })?;
    session.drain();
    let mut attachment = Attachment {
        target,
        deadline: duration.map(|duration| began + duration),
        signal: None,
    };
    let stop = runtime.block_on(session.follow(&mut attachment, &watching))?;
    drop(watching);
    phases.at("it is over");
    let ending = Ending {
        wall_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        ..Ending::default()
    };
    let summary = session
        .finish(ending)
        .map_err(|source| TraceError::Unread { source })?;
    signals.restore();
    phases.at("everything is read");
    Ok(Attached {
        summary,
        stop,
        phases,
    })
}
