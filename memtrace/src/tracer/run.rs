//! The course of one run: fork, load, register, release, follow, read.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    time::{Duration, Instant},
};

use memtrace_ebpf::{COMM_LEN, CounterLayout, Stat, Tree};

use super::{
    Backend, TraceError, Tracer,
    cross_check::{self, CrossChecker},
    limits,
    room::Room,
    watch::{Watched, watch},
};
use crate::{
    kernel::{self, Btf, Features},
    launch::{Finished, Running, Signals, Spec, Stopped, exit_like, spawn_stopped},
    model::{self, Final, Model, Summary},
    probe::{FentryState, Options, Probe, ProbeError},
    ptrace,
};

/// How often a tree without news is looked at again under `--wait-tree`.
const TREE_POLL: Duration = Duration::from_millis(20);

/// A command that was run and measured.
#[derive(Debug)]
pub struct Traced {
    summary: Summary,
    finished: Finished,
}

impl Traced {
    /// Everything that was measured.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
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
fn prepare(tracer: &Tracer, stopped: &mut Stopped) -> Result<Ready, TraceError> {
    let btf = Btf::from_sys_fs().map_err(kernel::KernelError::from)?;
    let features = Features::from_btf(&btf)?;
    let options = options(tracer, &features)?;
    let mut probe = load(&btf, &features, &options)?;
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
) -> Result<Traced, TraceError> {
    let wanted = ptrace::Wanted {
        ptrace: tracer.backend != Backend::Poll,
        wait_tree: tracer.wait_tree,
        notice: tracer.notice,
    };
    let (summary, finished) = ptrace::trace(wanted, spec, stopped, signals, why)?;
    Ok(Traced { summary, finished })
}

pub(super) fn trace(tracer: &Tracer, spec: &Spec) -> Result<Traced, TraceError> {
    // Forked before anything else: what is set up from here on must not be inherited.
    let mut signals = Signals::take_over().map_err(system("take over signals"))?;
    let mut stopped = spawn_stopped(spec, signals.inherited())?;
    let _room = Room::make();

    if matches!(tracer.backend, Backend::Ptrace | Backend::Poll) {
        return without_bpf(tracer, spec, stopped, &mut signals, None);
    }
    let Ready {
        features,
        options,
        mut probe,
        root_tgid,
    } = match prepare(tracer, &mut stopped) {
        Ok(ready) => ready,
        Err(error) if tracer.backend == Backend::Auto && error.is_of_bpf() => {
            log::info!("BPF cannot be used: {error}");
            let why = error.cause();
            return without_bpf(tracer, spec, stopped, &mut signals, Some(&why));
        }
        Err(error) => return Err(error),
    };
    let offset = kernel::clock::realtime_offset()?;
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
    let (ring, signal) = {
        let _context = runtime.enter();
        (
            watch(&probe).map_err(system("wait for records"))?,
            watch(&signals).map_err(system("wait for signals"))?,
        )
    };
    let mut running = stopped.release()?;

    let mut model = Model::new();
    let mut checker = CrossChecker::new(options.page_size, options.cpus);
    let followed = runtime.block_on(async {
        let checks = (!tracer.no_cross_checks).then_some(&mut checker);
        follow(
            tracer,
            &mut probe,
            &mut running,
            (&ring, &signal, &signals),
            &mut model,
            checks,
            root_tgid,
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
    signals.restore();

    let lost = |source: ProbeError| TraceError::Lost {
        source: source.into(),
        finished: Box::new(finished),
    };
    probe.stop().map_err(lost)?;
    // Not before the programs have stopped: averages reach up to here.
    let ended_at = kernel::clock::boottime()?;
    let remains = probe.remains().map_err(lost)?;
    probe.drain(|event| model.apply(&event));
    let tree_started = i64::try_from(remains.tree.started_at).unwrap_or(0);
    let summary = model.finish(Final {
        ended_at,
        tree: remains.tree,
        images: remains.images,
        processes: remains.processes,
        stats: remains.stats,
        missed: remains.missed,
        undecodable: probe.undecodable(),
        cross_checks: checker.result(),
        tier: tier(probe.fentry()).to_owned(),
        limits: features
            .limits
            .iter()
            .map(limits::of_kernel)
            .chain(limits::of_machine(options.cpus))
            .chain(limits::of_overlaps(
                remains.stats.get(Stat::CacheOverlap),
                remains.tree.peak_threads,
                options.page_size,
            ))
            .chain(unseen_faults(&features, &probe, &remains.tree, &options))
            .collect(),
        page_size: options.page_size,
        command: spec
            .argv()
            .iter()
            .map(|arg| arg.as_bytes().to_vec())
            .collect(),
        wait_status: Some(finished.status),
        wall_ns: u64::try_from(finished.elapsed().as_nanos()).unwrap_or(u64::MAX),
        user_ns: nanoseconds(finished.rusage.ru_utime),
        system_ns: nanoseconds(finished.rusage.ru_stime),
        maxrss_bytes: u64::try_from(finished.rusage.ru_maxrss)
            .ok()
            .map(|kib| kib.saturating_mul(1024)),
        started_unix_ns: u64::try_from(tree_started.saturating_add(offset)).ok(),
    });
    Ok(Traced { summary, finished })
}

/// Follows the run until its end, and passes signals on meanwhile.
async fn follow(
    tracer: &Tracer,
    probe: &mut Probe,
    running: &mut Running,
    (ring, signal, signals): (&Watched, &Watched, &Signals),
    model: &mut Model,
    mut checks: Option<&mut CrossChecker>,
    root_tgid: u32,
) -> Result<Finished, TraceError> {
    // Without a descriptor the command is looked at now and then.
    let pidfd = running.pidfd().and_then(|pidfd| watch(pidfd).ok());
    let pid = running.pid();
    let mut finished: Option<Finished> = None;
    let mut teardown = Teardown::default();
    let first = checks.as_mut().map_or(TREE_POLL, |checks| checks.pause());
    let mut next_look = tokio::time::Instant::now() + first;
    loop {
        if let Some(finished) = finished
            && (!tracer.wait_tree || probe.tree().is_ok_and(|tree| teardown.is_over(&tree)))
        {
            return Ok(finished);
        }
        tokio::select! {
            ready = ring.readable() => {
                let mut ready = ready.map_err(system("wait for records"))?;
                ready.clear_ready();
                probe.drain(|event| model.apply(&event));
            }
            ready = signal.readable() => {
                let mut ready = ready.map_err(system("wait for signals"))?;
                ready.clear_ready();
                if let Err(error) = signals.forward_pending(running) {
                    log::warn!("cannot pass a signal on to the command: {error}");
                }
            }
            () = ended(pidfd.as_ref()), if finished.is_none() => {
                finished = running.try_wait().map_err(system("wait for the command"))?;
            }
            () = tokio::time::sleep_until(next_look) => {
                let mut pause = TREE_POLL;
                if finished.is_none() && let Some(checks) = checks.as_mut() {
                    if let Err(error) = checks.check(probe, pid, root_tgid) {
                        log::debug!("comparison with /proc failed: {error}");
                    }
                    pause = checks.pause();
                }
                next_look = tokio::time::Instant::now() + pause;
            }
        }
    }
}

/// Waits, under `--wait-tree`, until the memory of the last process is given back, too:
/// since 6.16 `sched_process_exit` comes before `exit_mm()`.
#[derive(Debug, Default)]
struct Teardown {
    /// When no process was left.
    began: Option<Instant>,
}

impl Teardown {
    /// An address space can outlive its processes for as long as someone else holds on to
    /// it; that is not waited for.
    const LIMIT: Duration = Duration::from_secs(2);

    fn is_over(&mut self, tree: &Tree) -> bool {
        if tree.live > 0 {
            self.began = None;
            return false;
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        tree.rss == 0 || began.elapsed() > Self::LIMIT
    }
}

/// Returns when the command may have ended.
async fn ended(pidfd: Option<&Watched>) {
    match pidfd {
        Some(pidfd) => {
            if let Ok(mut ready) = pidfd.readable().await {
                // A process that has ended stays so: nothing to clear.
                ready.retain_ready();
            }
        }
        None => tokio::time::sleep(Duration::from_millis(1)).await,
    }
}

/// Loads the programs. A signal that stops this process, a freezer or a debugger interrupts
/// the verifier, which then gives up with EAGAIN (`bpf_check()`, kernel/bpf/verifier.c).
fn load(btf: &Btf, features: &Features, options: &Options) -> Result<Probe, TraceError> {
    const TRIES: u32 = 20;
    let mut tries = 0;
    loop {
        tries += 1;
        match Probe::load(btf, features, options, root_name()?) {
            Err(error) if error.errno() == Some(libc::EAGAIN) && tries < TRIES => {
                log::debug!("loading was interrupted, and is tried again: {error}");
            }
            result => return result.map_err(TraceError::refused),
        }
    }
}

fn options(tracer: &Tracer, features: &Features) -> Result<Options, TraceError> {
    let cpus = kernel::cpus::possible()?;
    let mut options = Options::new(cpus, cross_check::page_size());
    options.scheme = tracer.sum_scheme;
    options.fentry = tracer.fentry;
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
    if let Some(bytes) = tracer.ring_bytes {
        let page = u32::try_from(options.page_size).unwrap_or(4096);
        options.ring_bytes = bytes.clamp(page, 1 << 30).next_power_of_two();
    }
    Ok(options)
}

/// The tier in use: A, or with programs on kernel functions A+B.
fn tier(fentry: &FentryState) -> &'static str {
    match fentry {
        FentryState::Attached => "A+B",
        FentryState::Unused | FentryState::Refused(_) => "A",
    }
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
        FentryState::Unused => "the program that sees them was not wanted",
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
