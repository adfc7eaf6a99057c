//! Runs a command under observation: the library's entrance.

mod cross_check;
mod error;
mod limits;
mod room;
mod run;
mod watch;

use memtrace_ebpf::SumScheme;

pub use error::TraceError;
pub use run::Traced;

use crate::{launch::Spec, probe::Fentry};

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
    pub(crate) no_cross_checks: bool,
    pub(crate) classic: bool,
    pub(crate) fentry: Fentry,
    pub(crate) log_programs: bool,
    pub(crate) backend: Backend,
    pub(crate) notice: Option<fn(&str)>,
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

    /// Whether values are compared with /proc now and then while the command runs.
    #[must_use]
    pub const fn cross_checks(mut self, check: bool) -> Self {
        self.no_cross_checks = !check;
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

    /// Runs a command.
    ///
    /// # Errors
    ///
    /// As [`Tracer::run`].
    pub fn trace(&self, spec: &Spec) -> Result<Traced, TraceError> {
        run::trace(self, spec)
    }
}
