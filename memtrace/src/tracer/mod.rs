//! Runs a command under observation: the library's entrance.

mod attach;
mod bases;
mod cross_check;
mod doubt;
mod ears;
mod error;
mod limits;
mod looking;
mod observe;
mod priority;
mod programs;
mod realtime;
mod record;
mod room;
mod roots;
mod run;
mod session;
mod setup;
mod snapshots;
mod so_far;
mod taken_over;
mod wait;
mod watch;
mod without_bpf;

use std::{io, time::Duration};

use memtrace_ebpf::SumScheme;

pub use attach::{Attached, Stop, TargetError};
pub use error::TraceError;
pub use looking::{Observer, Onlooker};
pub use record::{FileSink, Sink};
pub use run::Traced;
pub use so_far::{NoResult, SoFar};

use crate::{
    Live, PeakLimit,
    launch::Spec,
    phases::Checkpoints,
    probe::{Fentry, Handler, Resolution},
    targets::Target,
};

/// A failure of a system call of ours.
fn system(operation: &'static str) -> impl FnOnce(io::Error) -> TraceError {
    move |source| TraceError::System { operation, source }
}

/// How a tree is observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// [`Backend::Bpf`] where it is permitted and possible, else [`Backend::Ptrace`]. An
    /// error where memory or descriptors run short.
    #[default]
    Auto,
    /// Kernel events, exact. An error where that is not possible.
    Bpf,
    /// ptrace(2) and /proc: tier P, for users without privileges. Where tracing is not
    /// permitted either, [`Backend::Poll`].
    Ptrace,
    /// /proc alone. Nothing is traced, so that debuggers and set-user-ID programs work in
    /// the tree; what lives shorter than an interval is not seen.
    Poll,
}

/// When PSS and USS are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotUse {
    /// At settled peaks.
    #[default]
    Always,
    /// At settled peaks where 1 % of the sum of RSS or more may count more than once: they narrow down what
    /// was needed.
    WhereTheyTell,
    /// Not at all.
    Never,
}

/// Runs commands and measures the memory of their whole process trees.
///
/// ```no_run
/// use memtrace::Tracer;
///
/// let traced = Tracer::run(["cc", "-c", "main.c"])?;
/// println!("peak: {} bytes", traced.summary().tree.peak_rss);
/// # Ok::<(), memtrace::TraceError>(())
/// ```
///
/// Exact results need `CAP_BPF` and `CAP_PERFMON` (or root); without, see [`Backend`]. Call it from the main thread of a
/// program with a single thread: the command is forked from the caller, and signals
/// that arrive meanwhile are passed on to it.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    pub(crate) wait_tree: bool,
    pub(crate) sum_scheme: Option<SumScheme>,
    pub(crate) max_images: Option<u32>,
    pub(crate) max_processes: Option<u32>,
    pub(crate) ring_bytes: Option<u32>,
    pub(crate) timeline: Option<Resolution>,
    pub(crate) timeline_ring_bytes: Option<u32>,
    pub(crate) no_cross_checks: bool,
    pub(crate) snapshots: SnapshotUse,
    pub(crate) classic: bool,
    pub(crate) fentry: Fentry,
    pub(crate) handler: Handler,
    pub(crate) simulated_cpus: u32,
    pub(crate) root_tree: u32,
    pub(crate) vm_events: bool,
    pub(crate) segments: bool,
    pub(crate) events: bool,
    pub(crate) log_programs: bool,
    pub(crate) backend: Backend,
    pub(crate) notice: Option<fn(&str)>,
    pub(crate) limit: Option<PeakLimit>,
    pub(crate) live: Option<Live>,
    pub(crate) checkpoints: Option<Checkpoints>,
    pub(crate) totals: bool,
    pub(crate) own_cgroup: bool,
}

impl Tracer {
    /// Defaults: the result is given when the command itself has ended.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a command with the defaults.
    ///
    /// # Errors
    ///
    /// When the kernel does not let itself be observed, or the command cannot be run.
    pub fn run(
        command: impl IntoIterator<Item = impl Into<std::ffi::OsString>>,
    ) -> Result<Traced, TraceError> {
        Self::new().trace(&Spec::new(command))
    }

    /// Waits until every process of the tree has ended, not just the command.
    #[must_use]
    pub const fn wait_tree(mut self, wait: bool) -> Self {
        self.wait_tree = wait;
        self
    }

    /// Chooses how per-CPU shares of the kernel's counters are summed; by default
    /// by the number of CPUs. Results do not depend on it.
    #[must_use]
    pub const fn sum_scheme(mut self, scheme: Option<SumScheme>) -> Self {
        self.sum_scheme = scheme;
        self
    }

    /// Chooses between programs that do the same. Results do not depend on it.
    #[must_use]
    pub const fn handler(mut self, handler: Handler) -> Self {
        self.handler = handler;
        self
    }

    /// Looks at sizes of virtual memory at the end of every system call, too, and not only when
    /// pages come and go: then mappings count that are never touched. It costs each system call
    /// of every process on the machine.
    #[must_use]
    pub const fn vm_events(mut self, wanted: bool) -> Self {
        self.vm_events = wanted;
        self
    }

    /// Tells apart what pages are for: text, data, heap, stack, libraries and so on. It costs each
    /// page fault of the tree, and a little each one of the machine; without programs on kernel
    /// functions each system call, too.
    ///
    /// What pages are for that were there before [`Tracer::attach`] is read from `/proc/PID/smaps`.
    #[must_use]
    pub const fn segments(mut self, wanted: bool) -> Self {
        self.segments = wanted;
        self
    }

    /// Records each brk, mmap, munmap, mremap, mprotect and madvise, with arguments and result, and
    /// each major page fault. It costs every system call and page fault of every process on the machine.
    #[must_use]
    pub const fn events(mut self, wanted: bool) -> Self {
        self.events = wanted;
        self
    }

    /// Sums counters as if there were as many CPUs, to measure what that costs. Results do
    /// not depend on it.
    #[must_use]
    pub const fn simulate_cpus(mut self, cpus: u32) -> Self {
        self.simulated_cpus = cpus;
        self
    }

    /// The index of the command's tree among those that the programs know. Results do not depend on it.
    #[must_use]
    pub const fn root_tree(mut self, index: u32) -> Self {
        self.root_tree = index;
        self
    }

    /// How many address spaces can be followed at once.
    #[must_use]
    pub const fn max_images(mut self, images: Option<u32>) -> Self {
        self.max_images = images;
        self
    }

    /// How many processes can be followed at once.
    #[must_use]
    pub const fn max_processes(mut self, processes: Option<u32>) -> Self {
        self.max_processes = processes;
        self
    }

    /// Size of the buffer for records, in bytes; rounded up to a power of two.
    #[must_use]
    pub const fn ring_bytes(mut self, bytes: Option<u32>) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// Records a timeline with this resolution, or none. It goes to the sink of
    /// [`Tracer::trace_into`]; without one there is nobody to take it.
    #[must_use]
    pub const fn timeline(mut self, resolution: Option<Resolution>) -> Self {
        self.timeline = resolution;
        self
    }

    /// Size of the timeline's own buffer, in bytes; rounded up to a power of two.
    #[must_use]
    pub const fn timeline_ring_bytes(mut self, bytes: Option<u32>) -> Self {
        self.timeline_ring_bytes = bytes;
        self
    }

    /// Whether values are compared with /proc now and then while the command runs.
    #[must_use]
    pub const fn cross_checks(mut self, check: bool) -> Self {
        self.no_cross_checks = !check;
        self
    }

    /// When snapshots of the tree's PSS and USS are taken, after a peak has settled; through
    /// BPF only. They take about 5 % of the time of one more processor at most. While one is
    /// taken, the kernel keeps the address space that it walks (`show_smaps_rollup()`): one
    /// that ends just then ends some milliseconds later.
    #[must_use]
    pub const fn snapshots(mut self, take: SnapshotUse) -> Self {
        self.snapshots = take;
        self
    }

    /// Passes on what the BPF programs log, at level debug, through the `log` crate.
    #[must_use]
    pub const fn log_programs(mut self, log: bool) -> Self {
        self.log_programs = log;
        self
    }

    /// Whether programs on kernel functions (fentry, fexit) are used; by default where a
    /// number depends on them, which is so on kernels up to 6.1.
    #[must_use]
    pub const fn fentry(mut self, fentry: Fentry) -> Self {
        self.fentry = fentry;
        self
    }

    /// Takes values from the classic tracepoint, as on kernels whose counters have an
    /// unknown layout. Costs more and needs tracefs; results do not depend on it.
    #[must_use]
    pub const fn classic_tracepoint(mut self, classic: bool) -> Self {
        self.classic = classic;
        self
    }

    /// Chooses how the tree is observed.
    #[must_use]
    pub const fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Takes one line for the user, before the command starts, when the result will not be
    /// exact or the command will notice that it is observed: what is missing, and what
    /// will not work.
    #[must_use]
    pub const fn notice(mut self, notice: fn(&str)) -> Self {
        self.notice = Some(notice);
        self
    }

    /// Ends the tree when the sum of its RSS crosses a limit. That is noticed within about
    /// 10 ms, from the peak that the kernel side keeps, also where the crossing was shorter;
    /// without BPF, from samples. [`Summary::ended_by_limit`](crate::model::Summary::ended_by_limit)
    /// tells how it went.
    #[must_use]
    pub const fn limit(mut self, limit: Option<PeakLimit>) -> Self {
        self.limit = limit;
        self
    }

    /// Keeps only the totals of processes that have ended, hold nothing at the tree's peak and are not the largest
    /// ([`Summary::only_counted`](crate::model::Summary::only_counted)): then any number of processes takes
    /// bounded memory, instead of some 3 KiB each. Not where [segments](Tracer::segments) are told apart, nor
    /// without BPF.
    #[must_use]
    pub const fn only_totals(mut self, only: bool) -> Self {
        self.totals = only;
        self
    }

    /// Runs the command in a cgroup of version 2 of its own, below that of this process, and tells beside our numbers
    /// what the kernel's accounting says of it
    /// ([`Summary::own_cgroup`](crate::model::Summary::own_cgroup)). The cgroup is removed at the end, unless
    /// processes are left in it. Where that is not possible, [`TraceError::Cgroup`] says so before the command runs.
    #[must_use]
    pub const fn own_cgroup(mut self, wanted: bool) -> Self {
        self.own_cgroup = wanted;
        self
    }

    /// Has somebody look on while the command runs.
    #[must_use]
    pub fn live(mut self, live: Option<Live>) -> Self {
        self.live = live;
        self
    }

    /// Holds the run at each of its points until somebody says that it may go on: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn checkpoints(mut self, checkpoints: Option<Checkpoints>) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// Runs a command.
    ///
    /// # Errors
    ///
    /// As [`Tracer::run`].
    pub fn trace(&self, spec: &Spec) -> Result<Traced, TraceError> {
        run::trace(self, spec, None, None)
    }

    /// Runs a command and passes on what happens, as it happens.
    ///
    /// # Errors
    ///
    /// As [`Tracer::run`], and when the sink cannot begin.
    pub fn trace_into(&self, spec: &Spec, sink: &mut dyn Sink) -> Result<Traced, TraceError> {
        run::trace(self, spec, Some(sink), None)
    }

    /// Runs a command while somebody looks on, who can have enough before the end; what happens goes to the sink, if
    /// there is one.
    ///
    /// # Errors
    ///
    /// As [`Tracer::run`], and when the sink cannot begin.
    pub fn trace_watched<'a>(
        &'a self,
        spec: &Spec,
        sink: Option<&'a mut (dyn Sink + 'a)>,
        onlooker: Onlooker<'a>,
    ) -> Result<Traced, TraceError> {
        run::trace(self, spec, sink, Some(onlooker))
    }

    /// Follows processes that run already, all their descendants and all that they create, from now on: until they
    /// have ended, the time is over or this process gets a signal to end. They go on as if nothing was. Of several
    /// each is a root of its own; the tree is all of them.
    ///
    /// What it holds is read when it is taken in, and each change after that is seen. What was before is known
    /// to the kernel alone; see [`ProcessSummary::before`](crate::model::ProcessSummary::before).
    ///
    /// # Errors
    ///
    /// When there is no such process, or it cannot be followed.
    pub fn attach(
        &self,
        targets: &[Target],
        duration: Option<Duration>,
    ) -> Result<Attached, TraceError> {
        attach::attach(self, targets, duration, None, None)
    }

    /// Follows processes that run already as [`Tracer::attach`] does, and tells every so often what all of them
    /// hold and who has ended with what peak. No result is kept, so that it can go on for as long as one likes.
    ///
    /// # Errors
    ///
    /// As [`Tracer::attach`].
    pub fn observe(
        &self,
        targets: &[Target],
        every: Duration,
        observer: &mut dyn Observer,
    ) -> Result<Stop, TraceError> {
        observe::observe(self, targets, every, observer)
    }

    /// The same, and passes on what happens, as it happens.
    ///
    /// # Errors
    ///
    /// As [`Tracer::attach`], and when the sink cannot begin.
    pub fn attach_into(
        &self,
        targets: &[Target],
        duration: Option<Duration>,
        sink: &mut dyn Sink,
    ) -> Result<Attached, TraceError> {
        attach::attach(self, targets, duration, Some(sink), None)
    }

    /// The same while somebody looks on, who ends it by having enough; what happens goes to the sink, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Tracer::attach`], and when the sink cannot begin.
    pub fn attach_watched<'a>(
        &'a self,
        targets: &[Target],
        duration: Option<Duration>,
        sink: Option<&'a mut (dyn Sink + 'a)>,
        onlooker: Onlooker<'a>,
    ) -> Result<Attached, TraceError> {
        attach::attach(self, targets, duration, sink, Some(onlooker))
    }
}
