//! The course of one run: fork, load, register, release, follow, read.

use std::{
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt as _},
};

use super::{
    Backend, TraceError, Tracer,
    looking::Onlooker,
    priority::Priority,
    record::{Feed, Sink},
    room::Room,
    session::{Ending, Root, Session, Watching},
    setup::{self, Loaded, Purpose},
    system, without_bpf,
};
use crate::{
    cgroup::Cgroup,
    kernel::{Obstacle, Proc, clock},
    launch::{
        Finished, Running, Signals, Spec, Stopped, exit_like, require_room,
        rusage::{maxrss_bytes, nanoseconds},
        spawn_stopped,
    },
    model::Summary,
    phases::Phases,
};

/// What the kernel's types, the programs and the buffers take until the command is let go:
/// 17 MiB with two CPUs.
pub(super) const ROOM: usize = 24 << 20;

/// What has to be left then.
const ROOM_TO_GROW: usize = 4 << 20;

/// A command that was run and measured.
#[derive(Debug)]
pub struct Traced {
    pub(super) summary: Summary,
    pub(super) finished: Finished,
    pub(super) phases: Phases,
}

impl Traced {
    /// Everything that was measured.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Where the time went until the command was let go.
    #[must_use]
    pub const fn phases(&self) -> &Phases {
        &self.phases
    }

    /// How the command ended.
    #[must_use]
    pub const fn finished(&self) -> &Finished {
        &self.finished
    }
}

/// Loads the programs and makes the waiting process known to them.
fn prepare(
    tracer: &Tracer,
    stopped: &mut Stopped,
    recorded: bool,
    phases: &mut Phases,
) -> Result<(Loaded, u32), TraceError> {
    let purpose = Purpose {
        recorded,
        result: true,
        attached: 0,
        branches: 0,
    };
    let mut loaded = setup::prepare(tracer, purpose, phases)?;
    stopped.rename(loaded.probe.root_name())?;
    let root_tgid = loaded.probe.registered().map_err(TraceError::refused)?;
    Ok((loaded, root_tgid))
}

impl Root for Running {
    type End = Finished;

    fn pid(&self) -> i32 {
        Self::pid(self)
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        Self::pidfd(self)
    }

    fn end(&mut self) -> io::Result<Option<Finished>> {
        self.try_wait()
    }

    fn wall_ns(&self) -> u64 {
        // Without a clock there is no end either.
        let now = clock::boottime().unwrap_or(0);
        now.saturating_sub(self.started_ns())
    }

    fn take_signals(&mut self, signals: &Signals, stops: &mut dyn FnMut(bool)) {
        if let Err(error) = signals.forward_pending_around(self, stops) {
            log::warn!("cannot pass a signal on to the command: {error}");
        }
    }
}

pub(super) fn trace<'a>(
    tracer: &'a Tracer,
    spec: &Spec,
    sink: Option<&'a mut (dyn Sink + 'a)>,
    onlooker: Option<Onlooker<'a>>,
) -> Result<Traced, TraceError> {
    let mut phases = Phases::begin(tracer.checkpoints.clone());
    let feed = Feed::new(sink);
    // Forked before anything else: what is set up from here on must not be inherited.
    let mut signals = Signals::take_over().map_err(system("take over signals"))?;
    // Before the command's process is there: this one may have to move, alone.
    let cgroup = tracer.own_cgroup.then(Cgroup::make).transpose()?;
    let mut stopped = spawn_stopped(spec, signals.inherited())?;
    if let Some(cgroup) = &cgroup {
        cgroup.take_in(stopped.pid())?;
    }
    let _room = Room::make();
    let _priority = Priority::raise();
    // Rust ends a program without memory: before that, and before the command runs, this does.
    require_room(ROOM)?;
    if Proc::mounted() == Proc::Missing {
        return Err(TraceError::Proc(Obstacle::NoProc));
    }
    phases.done("the command's process is made, and waits");

    if matches!(tracer.backend, Backend::Ptrace | Backend::Poll) {
        let parts = (stopped, cgroup);
        let watched = (feed, onlooker);
        return without_bpf::run(tracer, spec, parts, &mut signals, watched, None, phases);
    }
    let (loaded, root_tgid) = match prepare(tracer, &mut stopped, feed.is_wanted(), &mut phases) {
        Ok(prepared) => prepared,
        Err(error) if tracer.backend == Backend::Auto && error.is_of_bpf() => {
            log::info!("BPF cannot be used: {error}");
            if let TraceError::Refused { source, .. } = &error
                && let Some(lines) = source.verifier_lines(20)
            {
                log::info!("the verifier's last lines:\n{lines}");
            }
            let why = error.cause();
            let parts = (stopped, cgroup);
            let watched = (feed, onlooker);
            let why = Some(why.as_str());
            return without_bpf::run(tracer, spec, parts, &mut signals, watched, why, phases);
        }
        Err(error) => return Err(error),
    };
    let command = words(spec);
    if let Some(signal) = signals.take_fatal().map_err(system("read signals"))? {
        // Asked to end before anything began: the waiting process goes with us.
        drop(stopped);
        drop(cgroup);
        drop(loaded);
        signals.restore();
        exit_like(signal);
    }
    // All that can fail for want of descriptors comes before the command begins.
    let (runtime, watching) = Watching::begin(&loaded.probe, &signals)?;
    let root = (stopped.pid(), root_tgid);
    let mut session = Session::begin(tracer, loaded, root, command, (feed, onlooker))?;
    require_room(ROOM_TO_GROW)?;
    let mut running = stopped.release()?;
    phases.done("the command is let go");

    let followed = runtime.block_on(session.follow(&mut running, &watching));
    drop(watching);
    let finished = match followed {
        Ok(finished) => finished,
        Err(error) => {
            // The command goes on; so that it does not go on alone, wait for it.
            let finished = running.wait().map_err(system("wait for the command"))?;
            signals.restore();
            return Err(TraceError::Lost {
                source: Box::new(error),
                finished: Box::new(finished),
            });
        }
    };
    phases.at("the command has ended");
    signals.restore();
    // While the tree's last processes are as the command's end found them.
    let told = cgroup.map(|cgroup| Box::new(cgroup.finish()));
    let summary = session
        .finish(ending(&finished), told)
        .map_err(|source| TraceError::Lost {
            source,
            finished: Box::new(finished),
        })?;
    phases.at("everything is read");
    Ok(Traced {
        summary,
        finished,
        phases,
    })
}

/// What wait4(2) told.
fn ending(finished: &Finished) -> Ending {
    Ending {
        wait_status: Some(finished.status),
        wall_ns: finished.elapsed_ns(),
        user_ns: nanoseconds(finished.rusage.ru_utime),
        system_ns: nanoseconds(finished.rusage.ru_stime),
        maxrss_bytes: maxrss_bytes(&finished.rusage),
    }
}

/// The command and its arguments.
pub(super) fn words(spec: &Spec) -> Vec<Vec<u8>> {
    let words = spec.argv().iter();
    words.map(|word| word.as_bytes().to_vec()).collect()
}
