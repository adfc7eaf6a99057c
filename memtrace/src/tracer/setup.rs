//! What is loaded for a run, and how.

use std::{fs, io::Read as _};

use memtrace_ebpf::{COMM_LEN, CounterLayout, SegmentHooks, Tree};

use super::{TargetError, TraceError, Tracer, cross_check, limits, system};
use crate::{
    kernel::{self, Btf, Features},
    model,
    phases::Phases,
    probe::{Ahead, FentryState, Options, Probe, ProbeError},
};

/// The programs at work; nothing is followed yet.
pub(super) struct Loaded {
    pub(super) features: Features,
    pub(super) options: Options,
    pub(super) probe: Probe,
    /// What limits the result beside the kernel.
    pub(super) limits: Vec<model::Limit>,
}

/// Finds out what the kernel has, and loads the programs.
pub(super) fn prepare(
    tracer: &Tracer,
    purpose: Purpose,
    phases: &mut Phases,
) -> Result<Loaded, TraceError> {
    let mut ahead = Ahead::begin();
    let btf = Btf::from_sys_fs().map_err(kernel::KernelError::from)?;
    let mut features = Features::from_btf(&btf)?;
    phases.done("the kernel's types are read");
    let options = options(tracer, &btf, &mut features, purpose)?;
    let probe = load(&btf, &features, &options, &mut ahead, phases)?;
    Ok(Loaded {
        features,
        options,
        probe,
        limits: Vec::new(),
    })
}

/// What they are loaded for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    /// There is somebody who takes the timeline.
    pub(super) recorded: bool,
    /// There is a result in the end.
    pub(super) result: bool,
    /// So many processes can be asked for that run already.
    pub(super) attached: u32,
    /// So many of them can be roots whose totals are wanted each; 0: none.
    pub(super) branches: u32,
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
    Purpose {
        recorded,
        result,
        attached,
        branches,
    }: Purpose,
) -> Result<Options, TraceError> {
    let cpus = kernel::cpus::possible()?;
    let mut options = Options::new(cpus, cross_check::page_size());
    options.attached = attached;
    options.branches = branches;
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
    if attached > 0 && options.classic_size.is_some() {
        return Err(TargetError::NotReadable.into());
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
    // Of processes that are only counted or looked at, nobody asks for them.
    options.cpu_times = result && !tracer.totals && features.has_cpu_times();
    // For nobody it would only cost.
    options.timeline = tracer.timeline.filter(|_| recorded);
    options.timeline_ring_bytes = tracer.timeline_ring_bytes.map(ring_bytes);
    Ok(options)
}

/// The tier in use: A for tracepoints; B with programs on kernel functions, C where page faults and
/// system calls have to tell segments apart without, V where the ends of system calls are seen.
pub(super) fn tier(probe: &Probe, vm_events: bool) -> String {
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
pub(super) fn unseen_faults(
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
