//! What the kernel's own accounting says of a command that had a cgroup to itself.

/// What a cgroup of version 2 told when the command had ended.
///
/// Another quantity than RSS: pages are charged to the cgroup whose process touched them first, and stay charged
/// until they are freed (Documentation/admin-guide/cgroup-v2.rst, "Memory Ownership"). So it has the page cache of
/// files that were read or written, and memory that the kernel took for the command; it has nothing that others had
/// in memory before. Charges are taken in batches for each CPU (`MEMCG_CHARGE_BATCH`, mm/memcontrol.c), which the
/// amounts include.
///
/// `None`: this kernel has no such number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnCgroup {
    /// Its path from the root of the hierarchy, as `/proc/PID/cgroup` had it.
    pub path: Vec<u8>,
    /// The most that was charged at once (`memory.peak`, since Linux 5.19), bytes.
    pub peak: Option<u64>,
    /// What was charged when the command had ended (`memory.current`), bytes.
    pub current: Option<u64>,
    /// The most that was in swap at once (`memory.swap.peak`, since Linux 6.5), bytes.
    pub swap_peak: Option<u64>,
    /// What that at the end consisted of.
    pub stat: CgroupStat,
    /// What happened at its limits and at those above it.
    pub events: CgroupEvents,
    /// The cgroup could not be removed, because processes were left in it or it had cgroups of its own.
    pub remains: bool,
}

/// Amounts of `memory.stat`, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupStat {
    /// Anonymous memory (`anon`).
    pub anon: Option<u64>,
    /// Page cache, with tmpfs and shared memory (`file`).
    pub file: Option<u64>,
    /// Of it, what is tmpfs and shared memory (`shmem`).
    pub shmem: Option<u64>,
    /// Of the page cache, what processes have mapped (`file_mapped`).
    pub file_mapped: Option<u64>,
    /// Everything of the kernel (`kernel`, since Linux 5.18): the next four and more.
    pub kernel: Option<u64>,
    /// Objects of the kernel (`slab`).
    pub slab: Option<u64>,
    /// Stacks of threads in the kernel (`kernel_stack`).
    pub kernel_stack: Option<u64>,
    /// Page tables (`pagetables`).
    pub page_tables: Option<u64>,
    /// Memory of the kernel that each CPU has its own of (`percpu`).
    pub percpu: Option<u64>,
    /// Buffers of sockets (`sock`).
    pub sock: Option<u64>,
}

/// Counts of `memory.events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupEvents {
    /// Times that processes were slowed down, because more was used than `memory.high` allows.
    pub high: Option<u64>,
    /// Times that usage was about to go over `memory.max`.
    pub max: Option<u64>,
    /// Times that an allocation was about to fail at the limit.
    pub oom: Option<u64>,
    /// Processes that the OOM killer ended, of this cgroup or of the whole machine.
    pub oom_kill: Option<u64>,
}

/// How many numbers it has.
pub(crate) const NUMBERS: usize = 17;

impl OwnCgroup {
    /// All numbers, in the order in which recordings have them. New ones go to the end.
    pub(crate) const fn numbers(&mut self) -> [&mut Option<u64>; NUMBERS] {
        let Self {
            path: _,
            peak,
            current,
            swap_peak,
            stat:
                CgroupStat {
                    anon,
                    file,
                    shmem,
                    file_mapped,
                    kernel,
                    slab,
                    kernel_stack,
                    page_tables,
                    percpu,
                    sock,
                },
            events:
                CgroupEvents {
                    high,
                    max,
                    oom,
                    oom_kill,
                },
            remains: _,
        } = self;
        [
            peak,
            current,
            swap_peak,
            anon,
            file,
            shmem,
            file_mapped,
            kernel,
            slab,
            kernel_stack,
            page_tables,
            percpu,
            sock,
            high,
            max,
            oom,
            oom_kill,
        ]
    }
}
