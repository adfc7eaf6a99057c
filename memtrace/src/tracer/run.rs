//! The course of one run: fork, load, register, release, follow, read.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    time::{Duration, Instant},
};

use memtrace_ebpf::{COMM_LEN, CounterLayout, SegmentHooks, Stat, Tree};

use super::{
    Backend, TraceError, Tracer,
    cross_check::{self, CrossChecker},
    limits,
    priority::Priority,
    record::{self, Feed, Sink},
    room::Room,
    snapshots::Snapshots,
    wait::{Teardown, ended, much, wake},
    watch::{Watched, watch},
};
use crate::{
    attend::{Attendant, View},
    kernel::{self, Btf, Features, Obstacle, Proc},
    launch::{Finished, Running, Signals, Spec, Stopped, exit_like, require_room, spawn_stopped},
    model::{self, CrossChecks, Final, Model, Summary},
    phases::Phases,
    probe::{Ahead, FentryState, Options, Probe, ProbeError, Resolution},
    ptrace,
    recording::Head,
};

/// How often a tree without news is looked at again under `--wait-tree`.
const TREE_POLL: Duration = Duration::from_millis(20);

/// What the kernel's types, the programs and the buffers take until the command is let go:
/// 17 MiB with two CPUs.
const ROOM: usize = 24 << 20;

/// What has to be left then.
const ROOM_TO_GROW: usize = 4 << 20;

/// A command that was run and measured.
#[derive(Debug)]
pub struct Traced {
    summary: Summary,
    finished: Finished,
    phases: Phases,
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

/// A failure of a system call of ours.
fn system(operation: &'static str) -> impl FnOnce(io::Error) -> TraceError {
    move |source| TraceError::System { operation, source }
}

/// The programs at work, with the command's process registered.
struct Ready {
    features: Features,
    options: Options,
    probe: Probe,
    root_tgid: u32,
}

/// Loads the programs and makes the waiting process known to them.
fn prepare(
    tracer: &Tracer,
    stopped: &mut Stopped,
    recorded: bool,
    phases: &mut Phases,
) -> Result<Ready, TraceError> {
    let mut ahead = Ahead::begin();
    let btf = Btf::from_sys_fs().map_err(kernel::KernelError::from)?;
    let mut features = Features::from_btf(&btf)?;
    phases.done("the kernel's types are read");
    let options = options(tracer, &btf, &mut features, recorded)?;
    let mut probe = load(&btf, &features, &options, &mut ahead, phases)?;
    stopped.rename(probe.root_name())?;
    let root_tgid = probe.registered().map_err(TraceError::refused)?;
    Ok(Ready {
        features,
        options,
        probe,
        root_tgid,
    })
}

/// Runs the command, which is stopped, without BPF.
fn without_bpf(
    tracer: &Tracer,
    spec: &Spec,
    stopped: Stopped,
    signals: &mut Signals,
    why: Option<&str>,
    phases: Phases,
) -> Result<Traced, TraceError> {
    // BPF has ids as this process sees them; here they are looked up in /proc.
    if Proc::mounted() != Proc::Own {
        return Err(TraceError::Proc(Obstacle::ProcOfOthers));
    }
    let wanted = ptrace::Wanted {
        ptrace: tracer.backend != Backend::Poll,
        wait_tree: tracer.wait_tree,
        notice: tracer.notice,
    };
    if let Some(notice) = tracer.notice
        && (tracer.segments || tracer.vm_events)
    {
        notice("--segments and --vm-events need BPF, and do nothing here");
    }
    let attendant = attendant(tracer);
    let (summary, finished) = ptrace::trace(wanted, spec, stopped, signals, why, attendant)?;
    Ok(Traced {
        summary,
        finished,
        phases,
    })
}

pub(super) fn trace<'a>(
    tracer: &Tracer,
    spec: &Spec,
    sink: Option<&'a mut (dyn Sink + 'a)>,
) -> Result<Traced, TraceError> {
    let mut phases = Phases::begin(tracer.checkpoints.clone());
    let mut feed = Feed::new(sink);
    // Forked before anything else: what is set up from here on must not be inherited.
    let mut signals = Signals::take_over().map_err(system("take over signals"))?;
    let mut stopped = spawn_stopped(spec, signals.inherited())?;
    let _room = Room::make();
    let _priority = Priority::raise();
    // Rust ends a program without memory: before that, and before the command runs, this does.
    require_room(ROOM)?;
    if Proc::mounted() == Proc::Missing {
        return Err(TraceError::Proc(Obstacle::NoProc));
    }
    phases.done("the command's process is made, and waits");

    if matches!(tracer.backend, Backend::Ptrace | Backend::Poll) {
        if feed.is_wanted() {
            return Err(TraceError::NoTimeline { cause: None });
        }
        return without_bpf(tracer, spec, stopped, &mut signals, None, phases);
    }
    let Ready {
        features,
        options,
        mut probe,
        root_tgid,
    } = match prepare(tracer, &mut stopped, feed.is_wanted(), &mut phases) {
        Ok(ready) => ready,
        Err(error) if tracer.backend == Backend::Auto && error.is_of_bpf() => {
            log::info!("BPF cannot be used: {error}");
            if let TraceError::Refused { source, .. } = &error
                && let Some(lines) = source.verifier_lines(20)
            {
                log::info!("the verifier's last lines:\n{lines}");
            }
            let why = error.cause();
            if feed.is_wanted() {
                return Err(TraceError::NoTimeline { cause: Some(why) });
            }
            return without_bpf(tracer, spec, stopped, &mut signals, Some(&why), phases);
        }
        Err(error) => return Err(error),
    };
    let offset = kernel::clock::realtime_offset()?;
    let command: Vec<Vec<u8>> = spec
        .argv()
        .iter()
        .map(|arg| arg.as_bytes().to_vec())
        .collect();
    if let Some(signal) = signals.take_fatal().map_err(system("read signals"))? {
        // Asked to end before anything began: the waiting process goes with us.
        drop(stopped);
        drop(probe);
        signals.restore();
        exit_like(signal);
    }
    // All that can fail for want of descriptors comes before the command begins.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(system("start the event loop"))?;
    let watched = {
        let _context = runtime.enter();
        let timeline = probe.timeline().map(watch).transpose();
        Watching {
            ring: watch(&probe).map_err(system("wait for records"))?,
            timeline: timeline.map_err(system("wait for the timeline"))?,
            signal: watch(&signals).map_err(system("wait for signals"))?,
            signals: &signals,
        }
    };
    let pid = stopped.pid();
    let view = View::new(&probe, options.page_size, pid, root_tgid);
    let known_limits: Vec<model::Limit> = features
        .limits
        .iter()
        .map(limits::of_kernel)
        .chain(limits::of_machine(options.cpus))
        .collect();
    feed.begin(&Head {
        page_size: options.page_size,
        width_ns: options.timeline.map_or(0, Resolution::width_ns),
        created_at: kernel::clock::boottime()?,
        realtime_offset_ns: offset,
        command: command.clone(),
        kernel: record::kernel_release(),
        memtrace: env!("CARGO_PKG_VERSION").to_owned(),
        tier: tier(&probe, options.vm_events),
        limits: known_limits.clone(),
        record_sizes: Head::own_record_sizes(),
    })?;
    require_room(ROOM_TO_GROW)?;
    let mut running = stopped.release()?;
    phases.done("the command is let go");
    let mut attendant = attendant(tracer);
    attendant.begin(pid);

    let mut model = Model::new();
    let mut checker = CrossChecker::new(options.page_size, options.cpus);
    let mut snapshots = Snapshots::new(tracer.snapshots, options.page_size);
    let mut teardown = Teardown::default();
    let followed = runtime.block_on(async {
        let checks = (!tracer.no_cross_checks).then_some(&mut checker);
        follow(
            tracer,
            &mut probe,
            &mut running,
            &watched,
            (&mut model, &mut feed),
            (checks, &mut snapshots),
            (&mut attendant, view, &mut teardown),
        )
        .await
    });
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

    let lost = |source: ProbeError| TraceError::Lost {
        source: source.into(),
        finished: Box::new(finished),
    };
    // Before the programs stop: what it holds on to is the tree's.
    let snapshots = snapshots.finish();
    let unsettled = probe.stop().map_err(lost)?;
    // Not before the programs have stopped: averages reach up to here.
    let ended_at = kernel::clock::boottime()?;
    let remains = probe.remains().map_err(lost)?;
    probe.drain(|event| {
        model.apply(&event);
        feed.event(&event);
    });
    phases.at("everything is read");
    let [.., most_swapped, _] = remains.tree.peak;
    let tree_started = i64::try_from(remains.tree.started_at).unwrap_or(0);
    let last = Final {
        ended_by_limit: attendant.finish(),
        snapshots,
        ended_at,
        tree: remains.tree,
        images: remains.images,
        segments: remains.segments,
        processes: remains.processes,
        stats: remains.stats,
        missed: remains.missed,
        undecodable: probe.undecodable(),
        cross_checks: checker.result(),
        tier: tier(&probe, options.vm_events),
        limits: known_limits
            .into_iter()
            .chain(limits::of_overlaps(
                remains.stats.get(Stat::CacheOverlap),
                remains.tree.peak_threads,
                options.page_size,
            ))
            .chain(limits::of_unverified(
                remains.stats.get(Stat::Unverified),
                options.cpus,
                options.page_size,
            ))
            .chain(limits::of_swap(
                most_swapped,
                options.cpus,
                options.page_size,
                kernel::cpus::is_realtime(),
            ))
            .chain(limits::of_unseen_ends(teardown.is_unseen()))
            .chain(limits::of_unsettled(unsettled.as_ref()))
            .chain(unseen_faults(&features, &probe, &remains.tree, &options))
            .collect(),
        page_size: options.page_size,
        command,
        wait_status: Some(finished.status),
        wall_ns: u64::try_from(finished.elapsed().as_nanos()).unwrap_or(u64::MAX),
        user_ns: nanoseconds(finished.rusage.ru_utime),
        system_ns: nanoseconds(finished.rusage.ru_stime),
        maxrss_bytes: u64::try_from(finished.rusage.ru_maxrss)
            .ok()
            .map(|kib| kib.saturating_mul(1024)),
        started_unix_ns: u64::try_from(tree_started.saturating_add(offset)).ok(),
    };
    feed.finish(&last);
    let summary = model.finish(last);
    Ok(Traced {
        summary,
        finished,
        phases,
    })
}

/// What goes on beside the tracing.
fn attendant(tracer: &Tracer) -> Attendant {
    Attendant::new(tracer.limit, tracer.live.as_ref())
}

/// What is waited for while the command runs.
struct Watching<'a> {
    ring: Watched,
    timeline: Option<Watched>,
    signal: Watched,
    signals: &'a Signals,
}

/// Takes in what waits in the rings.
fn drain(probe: &mut Probe, model: &mut Model, feed: &mut Feed<'_>) {
    probe.drain(|event| {
        model.apply(&event);
        feed.event(&event);
    });
}

/// Follows the run until its end, and passes signals on meanwhile.
async fn follow(
    tracer: &Tracer,
    probe: &mut Probe,
    running: &mut Running,
    watched: &Watching<'_>,
    (model, feed): (&mut Model, &mut Feed<'_>),
    (mut checks, snapshots): (Option<&mut CrossChecker>, &mut Snapshots),
    (attendant, view, teardown): (&mut Attendant, View, &mut Teardown),
) -> Result<Finished, TraceError> {
    // Without a descriptor the command is looked at now and then.
    let pidfd = running.pidfd().and_then(|pidfd| watch(pidfd).ok());
    let pid = running.pid();
    let mut finished: Option<Finished> = None;
    let first = checks.as_mut().map_or(TREE_POLL, |checks| checks.pause());
    let mut next_look = tokio::time::Instant::now() + first;
    let mut next_drain = tokio::time::Instant::now() + record::LOOK;
    loop {
        if let Some(finished) = finished
            && (!tracer.wait_tree
                || probe.tree().is_ok_and(|tree| {
                    teardown.is_over(&tree, Instant::now(), || view.of(probe).is_deserted())
                }))
            && attendant.is_over(&view.of(probe))
        {
            return Ok(finished);
        }
        tokio::select! {
            ready = watched.ring.readable() => {
                let mut ready = ready.map_err(system("wait for records"))?;
                ready.clear_ready();
                drain(probe, model, feed);
            }
            ready = much(watched.timeline.as_ref()) => {
                ready.map_err(system("wait for the timeline"))?;
                drain(probe, model, feed);
            }
            () = tokio::time::sleep_until(next_drain), if feed.is_wanted() => {
                drain(probe, model, feed);
                let so_far = checks.as_ref().map_or_else(CrossChecks::default, |c| c.result());
                feed.look(probe, so_far, snapshots.taken());
                next_drain = tokio::time::Instant::now() + record::LOOK;
            }
            ready = watched.signal.readable() => {
                let mut ready = ready.map_err(system("wait for signals"))?;
                ready.clear_ready();
                if let Err(error) = watched.signals.forward_pending(running) {
                    log::warn!("cannot pass a signal on to the command: {error}");
                }
            }
            () = ended(pidfd.as_ref()), if finished.is_none() => {
                finished = running.try_wait().map_err(system("wait for the command"))?;
            }
            () = wake(attendant.next()) => {
                attendant.look(&view.of(probe), finished.is_some());
            }
            () = wake(snapshots.next()) => snapshots.look(probe, view),
            () = tokio::time::sleep_until(next_look) => {
                let mut pause = TREE_POLL;
                if finished.is_none() && let Some(checks) = checks.as_mut() {
                    pause = checks.look(probe, pid, view.root_tgid);
                }
                next_look = tokio::time::Instant::now() + pause;
            }
        }
    }
}

/// Loads the programs. A signal that stops this process, a freezer or a debugger interrupts
/// the verifier, which then gives up with EAGAIN (`bpf_check()`, kernel/bpf/verifier.c).
fn load(
    btf: &Btf,
    features: &Features,
    options: &Options,
    ahead: &mut Ahead,
    phases: &mut Phases,
) -> Result<Probe, TraceError> {
    const TRIES: u32 = 20;
    let mut tries = 0;
    loop {
        tries += 1;
        match Probe::load(btf, features, options, root_name()?, ahead, phases) {
            Err(error) if error.errno() == Some(libc::EAGAIN) && tries < TRIES => {
                log::debug!("loading was interrupted, and is tried again: {error}");
            }
            result => return result.map_err(TraceError::refused),
        }
    }
}

fn options(
    tracer: &Tracer,
    btf: &Btf,
    features: &mut Features,
    recorded: bool,
) -> Result<Options, TraceError> {
    let cpus = kernel::cpus::possible()?;
    let mut options = Options::new(cpus, cross_check::page_size());
    options.scheme = tracer.sum_scheme;
    options.fentry = tracer.fentry;
    options.handler = tracer.handler;
    options.simulated_cpus = tracer.simulated_cpus;
    options.root_tree = tracer.root_tree;
    options.vm_events = tracer.vm_events;
    if tracer.events && recorded {
        if !features.find_calls(btf)? {
            return Err(TraceError::refused(ProbeError::NoCalls));
        }
        options.events = true;
    }
    options.segments = tracer
        .segments
        .then(|| features.find_segments(btf))
        .transpose()?;
    options.log = tracer.log_programs;
    if tracer.classic || features.layout == CounterLayout::Classic {
        options.classic_size = Some(kernel::tracefs::rss_stat_size()?);
    }
    if let Some(images) = tracer.max_images {
        options.max_images = images.max(1);
    }
    if let Some(processes) = tracer.max_processes {
        options.max_processes = processes.max(1);
    }
    let page = u32::try_from(options.page_size).unwrap_or(4096);
    let ring_bytes = |bytes: u32| bytes.clamp(page, 1 << 30).next_power_of_two();
    if let Some(bytes) = tracer.ring_bytes {
        options.ring_bytes = ring_bytes(bytes);
    }
    // For nobody it would only cost.
    options.timeline = tracer.timeline.filter(|_| recorded);
    options.timeline_ring_bytes = tracer.timeline_ring_bytes.map(ring_bytes);
    Ok(options)
}

/// The tier in use: A for tracepoints; B with programs on kernel functions, C where page faults and
/// system calls have to tell segments apart without, V where the ends of system calls are seen.
fn tier(probe: &Probe, vm_events: bool) -> String {
    let attached = *probe.fentry() == FentryState::Attached;
    let segments = probe.segments();
    let mut tier = String::from("A");
    for (is_on, letter) in [
        (attached || segments == SegmentHooks::Functions, "+B"),
        (segments == SegmentHooks::Hints, "+C"),
        (vm_events, "+V"),
    ] {
        if is_on {
            tier.push_str(letter);
        }
    }
    tier
}

/// What is missing where threads hold back changes and nothing looks at them.
fn unseen_faults(
    features: &Features,
    probe: &Probe,
    tree: &Tree,
    options: &Options,
) -> Option<model::Limit> {
    let classic = options.classic_size.is_some();
    let why = match probe.fentry() {
        _ if classic => "the classic tracepoint does not show them",
        FentryState::Attached => return None,
        FentryState::Unused => "the program that sees them was not wanted (--fentry off)",
        FentryState::Refused(why) => why,
    };
    features
        .task_caches
        .then(|| limits::of_threads(tree.peak_threads, options.page_size, why))
}

/// A name that no other process has: 15 characters, mostly random.
fn root_name() -> Result<[u8; COMM_LEN], TraceError> {
    let mut random = [0_u8; 6];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(system("read /dev/urandom"))?;
    let text = random.iter().fold(String::from("mt-"), |text, byte| {
        format!("{text}{byte:02x}")
    });
    let mut name = [0_u8; COMM_LEN];
    for (to, from) in name.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    Ok(name)
}

fn nanoseconds(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds * 1_000_000_000 + micros * 1_000
}
