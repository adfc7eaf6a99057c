//! Sizes and choices that are fixed at load.

use memtrace_ebpf::SumScheme;

use super::Resolution;
use crate::kernel::SegmentSources;

/// Whether programs on kernel functions (fentry and fexit) are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fentry {
    /// Where a number depends on them and the kernel lets them in.
    #[default]
    Auto,
    /// Always, if the kernel lets them in.
    Try,
    /// Always; it is an error if the kernel refuses them.
    On,
    /// Never, as on kernels that refuse them.
    Off,
}

/// What became of [`Fentry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FentryState {
    /// Attached.
    Attached,
    /// Not needed on this kernel, or not wanted.
    Unused,
    /// The kernel refused them for this reason.
    Refused(String),
}

/// Which of the programs that do the same are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handler {
    /// The quickest that the kernel lets in.
    #[default]
    Optimised,
    /// Those for the oldest kernels, which use nothing that came later: no atomics that return
    /// something, no plain loads of the kernel's memory. Tests compare the two.
    Plain,
    /// The quickest, with the fences of CPUs that read in any order, as others than x86 may. Tests
    /// compare it too.
    Fenced,
    /// The quickest, with the lock for kernels that do not take a spin lock in them
    /// ([`TreeLock::Word`](super::TreeLock::Word)). Tests compare it too.
    Locked,
}

/// Sizes and choices that are fixed at load.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many images can be followed at once.
    pub max_images: u32,
    /// How many processes can be followed at once.
    pub max_processes: u32,
    /// Bytes of the ring buffer, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// What of the timeline is recorded, if anything.
    pub timeline: Option<Resolution>,
    /// Bytes of the timeline's own ring buffer, as for [`Options::ring_bytes`]; `None` is
    /// enough for a busy machine. It is as small as can be without a timeline.
    pub timeline_ring_bytes: Option<u32>,
    /// Take values from the classic tracepoint even if the counters' layout is known;
    /// the offset of `size` in its record (see [`crate::kernel::tracefs`]).
    pub classic_size: Option<u32>,
    /// Log what the programs do, through the `log` crate.
    pub log: bool,
    /// How per-CPU shares are summed; `None` chooses by the number of CPUs.
    pub scheme: Option<SumScheme>,
    /// Whether programs on kernel functions are used.
    pub fentry: Fentry,
    /// Look at virtual sizes at the end of every system call, too.
    pub vm_events: bool,
    /// Tell apart what pages are for.
    pub segments: Option<SegmentSources>,
    /// Record calls that change mappings, and major page faults. For a timeline only.
    pub events: bool,
    /// Tell the exact CPU times of processes that end.
    pub cpu_times: bool,
    /// How many threads can be followed at once where threads hold back changes of the
    /// counters (kernels up to 6.1).
    pub max_threads: u32,
    /// Which programs are loaded.
    pub handler: Handler,
    /// Highest possible CPU number plus one.
    pub cpus: u32,
    /// As many CPUs in what counters are summed over, for benchmarks; results stay the same.
    pub simulated_cpus: u32,
    /// What is followed runs already: nobody registers. So many processes can be asked for; 0: none.
    pub attached: u32,
    /// How many roots there are whose totals are wanted each; 0 with a single one.
    pub branches: u32,
    /// Index of the command's tree, below [`MAX_TREES`](memtrace_ebpf::MAX_TREES); results do not
    /// depend on it.
    pub root_tree: u32,
    /// Bytes per page.
    pub page_size: u64,
}

/// Above this many CPUs the shares of all of them are too many to read at every event.
const MAX_CPUS_SUMMED: u32 = 16;

/// Room for what all CPUs can send until userspace, which is woken when a quarter is full, gets one
/// of them: the end of 10,000 processes in one moment needs between 512 KiB and 1 MiB with two.
fn ring_bytes(cpus: u32) -> u32 {
    const PER_CPU: u32 = 1 << 20;
    cpus.clamp(2, 8).next_power_of_two() * PER_CPU
}

impl Options {
    /// Defaults for a machine.
    #[must_use]
    pub fn new(cpus: u32, page_size: u64) -> Self {
        Self {
            max_images: 16 * 1024,
            max_processes: 32 * 1024,
            ring_bytes: ring_bytes(cpus),
            timeline: None,
            timeline_ring_bytes: None,
            classic_size: None,
            log: false,
            scheme: None,
            fentry: Fentry::Auto,
            vm_events: false,
            segments: None,
            events: false,
            cpu_times: false,
            max_threads: 64 * 1024,
            handler: Handler::Optimised,
            cpus,
            simulated_cpus: 0,
            attached: 0,
            branches: 0,
            root_tree: 0,
            page_size,
        }
    }

    /// Bytes of the timeline's ring. Userspace looks at it every 50 ms, and may have to wait
    /// for a CPU: windows are a few thousand records in that time, changes up to 100,000.
    pub(super) fn timeline_bytes(&self) -> u32 {
        match (self.timeline, self.timeline_ring_bytes) {
            (None, _) => u32::try_from(self.page_size).unwrap_or(4096),
            (Some(_), Some(bytes)) => bytes,
            (Some(Resolution::Window(_)), None) => 8 << 20,
            (Some(Resolution::EveryChange), None) => 32 << 20,
        }
    }

    /// The scheme in effect.
    #[must_use]
    pub const fn scheme(&self) -> SumScheme {
        match self.scheme {
            Some(scheme) => scheme,
            None if self.cpus <= MAX_CPUS_SUMMED && self.simulated_cpus <= MAX_CPUS_SUMMED => {
                SumScheme::AllCpus
            }
            None => SumScheme::Touched,
        }
    }
}
