//! The course of following what runs already: load, take in, follow, read.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use super::{
    TraceError, Tracer,
    looking::Onlooker,
    record::{Feed, Sink},
    roots::Living,
    session::{Ending, Root, Session},
    system,
    taken_over::{TakenOver, Use, take_over},
    without_bpf,
};
use crate::{
    launch::Signals,
    model::Summary,
    phases::Phases,
    targets::{Target, TargetsError},
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
    /// It is this one.
    #[error("process {0} is memtrace itself, which it does not measure")]
    Own(i32),
    /// It was asked for twice.
    #[error("process {0} is asked for more than once: by its id, or as one of several groups")]
    Twice(i32),
    /// All of a group ended before they could be attached to.
    #[error("nobody is left of what was asked for: all ended before they could be attached to")]
    Nobody,
    /// It is not known which are meant.
    #[error(transparent)]
    Unknown(#[from] TargetsError),
    /// It is there, and the kernel does not show it.
    #[error("process {0} runs, but is not among those that this kernel shows to BPF programs")]
    Hidden(i32),
}

/// Why a tree is not followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All processes that were attached to have ended; with
    /// [`Tracer::wait_tree`] their descendants too.
    Ended,
    /// This process got a signal of this number.
    Signal(i32),
    /// The time was over.
    Time,
    /// Who looked on had enough.
    Enough,
}

/// What was measured of processes that ran already.
#[derive(Debug)]
pub struct Attached {
    pub(super) summary: Summary,
    pub(super) stop: Stop,
    pub(super) phases: Phases,
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

/// The processes that are attached to, and when that is enough.
struct Attachment {
    living: Living,
    began: Instant,
    deadline: Option<Instant>,
    signal: Option<i32>,
}

impl Root for Attachment {
    type End = Stop;

    fn pid(&self) -> i32 {
        self.living.pid()
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.living.any()?.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    fn end(&mut self) -> io::Result<Option<Stop>> {
        Ok(self.living.have_ended().then_some(Stop::Ended))
    }

    fn wall_ns(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    fn take_signals(&mut self, signals: &Signals, stops: &mut dyn FnMut(bool)) {
        match signals.take_fatal_around(stops) {
            Ok(signal) => self.signal = self.signal.or(signal),
            Err(error) => log::warn!("cannot read signals: {error}"),
        }
    }

    fn deadline(&self) -> Option<(Instant, Stop)> {
        self.deadline.map(|deadline| (deadline, Stop::Time))
    }

    fn left(&self) -> Option<Stop> {
        Some(Stop::Enough)
    }

    fn enough(&self) -> Option<Stop> {
        self.signal.map(Stop::Signal)
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn attach<'a>(
    tracer: &'a Tracer,
    targets: &[Target],
    duration: Option<Duration>,
    sink: Option<&'a mut (dyn Sink + 'a)>,
    onlooker: Option<Onlooker<'a>>,
) -> Result<Attached, TraceError> {
    let mut phases = Phases::begin(tracer.checkpoints.clone());
    let feed = Feed::new(sink);
    let mut signals = Signals::take_over_interrupts().map_err(system("take over signals"))?;
    let wanted_for = Use {
        recorded: feed.is_wanted(),
        result: true,
    };
    let taken = || take_over(tracer, targets, wanted_for, &signals, &mut phases);
    let taken = match without_bpf::instead(tracer, taken)? {
        Ok(taken) => taken,
        Err(why) => {
            let asked = (targets, duration);
            let watched = (feed, onlooker);
            let attached =
                without_bpf::attach(tracer, asked, watched, &signals, why.as_deref(), phases);
            signals.restore();
            return attached;
        }
    };
    let TakenOver {
        loaded,
        runtime,
        watching,
        living,
        first_tgid,
        command,
        began,
        began_at: _,
        kept: _kept,
    } = taken;
    let root = (living.pid(), first_tgid);
    let mut session = Session::begin(tracer, loaded, root, command, (feed, onlooker)).map_err(
        |error| match error {
            TraceError::Recording(source) => TraceError::Unrecorded(source),
            other => other,
        },
    )?;
    session.drain();
    if tracer.segments {
        session.find_bases();
        phases.done("what its pages are for is read");
    }
    let mut attachment = Attachment {
        living,
        began,
        deadline: duration.map(|duration| began + duration),
        signal: None,
    };
    let stop = runtime.block_on(session.follow(&mut attachment, &watching))?;
    drop(watching);
    phases.at("it is over");
    let ending = Ending {
        wall_ns: attachment.wall_ns(),
        ..Ending::default()
    };
    let summary = session
        .finish(ending, None)
        .map_err(|source| TraceError::Unread { source })?;
    signals.restore();
    phases.at("everything is read");
    Ok(Attached {
        summary,
        stop,
        phases,
    })
}
