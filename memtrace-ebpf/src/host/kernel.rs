//! A kernel: where it has what, and its structs.

extern crate std;

use std::cell::Cell;

use memtrace_ebpf::{ABSENT, Config, CounterLayout, Member, Offsets, SumScheme, Timeline};

use super::state;
use crate::{departure, kernel::Typed};

/// Where this kernel has the fields that it has.
pub(crate) static OFFSETS: Offsets = Offsets {
    mm_users: 0,
    mm_owner: 8,
    mm_rss_stat: 16,
    counter_count: 0,
    counter_lock: 8,
    counter_stride: 16,
    mm_total_vm: 80,
    mm_hiwater_vm: 88,
    mm_hiwater_rss: 96,
    mm_hugetlb_usage: 104,
    task_pid: 0,
    task_tgid: 4,
    task_mm: 8,
    task_signal: 16,
    task_group_leader: 24,
    task_min_flt: 32,
    task_maj_flt: 40,
    task_start_boottime: 48,
    task_comm: 56,
    task_thread_pid: 72,
    task_real_parent: 80,
    pid_level: 0,
    pid_numbers: 8,
    upid_nr: 0,
    upid_stride: 16,
    signal_nr_threads: 0,
    signal_live: 4,
    signal_min_flt: 8,
    signal_maj_flt: 16,
    ..Offsets::UNKNOWN
};

/// How many roots can be asked for.
pub(crate) const BRANCHES: usize = 2;

/// Width of the timeline's windows: some steps long, where no time is let pass.
const WINDOW_NS: u64 = 200;

/// Counters without shares.
const CONFIG: Config = Config {
    layout: CounterLayout::PerCpu as u32,
    scheme: SumScheme::AllCpus as u32,
    cpus: 1,
    real_cpus: 1,
    ends_at_exit_mmap: 1,
    attached: 1,
    branches: BRANCHES as u32,
    ..Config::UNSET
};

/// The kernel takes spin locks in programs, or does not; windows of the timeline are recorded, or are not.
static CONFIGS: [[Config; 2]; 2] = [
    [with(0, Timeline::Off), with(0, Timeline::Windows)],
    [with(1, Timeline::Off), with(1, Timeline::Windows)],
];

const fn with(spin_lock: u32, timeline: Timeline) -> Config {
    Config {
        spin_lock,
        timeline: timeline as u32,
        window_ns: WINDOW_NS,
        ..CONFIG
    }
}

std::thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    static USED: Cell<&'static Config> = const { Cell::new(&CONFIGS[1][0]) };
}

/// What the programs were told.
pub(crate) fn config() -> &'static Config {
    USED.get()
}

/// What the programs are told from now on: see [`CONFIGS`].
pub(crate) fn use_config(spin_lock: bool, windows: bool) {
    USED.set(&CONFIGS[usize::from(spin_lock)][usize::from(windows)]);
}

/// The address of the task that runs.
pub(crate) fn current() -> u64 {
    CURRENT.get()
}

/// Another task runs.
pub(crate) fn switch_to(task: u64) {
    CURRENT.set(task);
}

pub(crate) fn current_tgid() -> u32 {
    Struct(current()).get(OFFSETS.task_tgid)
}

/// A struct of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Struct(u64);

impl Struct {
    /// No struct.
    pub(super) const NONE: Self = Self(0);

    /// One of zeros, whose address is not used again as long as the machine is the same.
    pub(super) fn new() -> Self {
        Self(state::place::<[u64; 16]>() as u64)
    }

    /// It is freed, and used again at once for another of its kind.
    pub(super) fn clear(self) {
        self.set(0, [0_u64; 16]);
    }

    pub(super) fn get<T: Copy>(self, offset: u32) -> T {
        assert_ne!(offset, ABSENT, "this kernel has no such field");
        // SAFETY: the field of a struct that stays.
        unsafe { ((self.0 + u64::from(offset)) as *const T).read() }
    }

    pub(super) fn set<T: Copy>(self, offset: u32, value: T) {
        assert_ne!(offset, ABSENT, "this kernel has no such field");
        // SAFETY: the field of a struct that stays.
        unsafe { ((self.0 + u64::from(offset)) as *mut T).write(value) }
    }

    pub(super) fn add(self, offset: u32, by: i64) {
        self.set(offset, self.get::<i64>(offset) + by);
    }

    /// A counter of this `mm_struct` changes.
    pub(crate) fn count(self, member: Member, by: i64) {
        let at = OFFSETS.mm_rss_stat + member as u32 * OFFSETS.counter_stride;
        self.add(at, by);
    }

    /// This `mm_struct` has so many huge pages.
    pub(crate) fn set_huge(self, pages: i64) {
        self.set(OFFSETS.mm_hugetlb_usage, pages);
    }

    /// A CPU begins to move its share of a counter of this `mm_struct`, or is done.
    pub(crate) fn lock(self, member: Member, held: bool) {
        let at = OFFSETS.mm_rss_stat + member as u32 * OFFSETS.counter_stride;
        self.set(at + OFFSETS.counter_lock, u32::from(held));
    }

    pub(crate) const fn address(self) -> u64 {
        self.0
    }

    pub(crate) const fn typed(self) -> Typed {
        Typed::new(self.0 as *const u8)
    }

    /// The tracepoint `sched_process_exit` of this task.
    pub(crate) fn tell_exit(self) {
        switch_to(self.0);
        let tgid: u32 = self.get(OFFSETS.task_tgid);
        if let Some(process) = state::process(tgid) {
            // SAFETY: its entry.
            unsafe { departure::exited(self.typed(), tgid, process) };
        }
    }
}
