//! What remains to be read when tracing has ended: the second input of the model,
//! after the events.

use memtrace_ebpf::{Branch, Image, Process, SegmentsRecord, Stat, Tree};

use super::{own_cgroup::OwnCgroup, sampled::Sampled, summary::PssSnapshot};

/// Everything userspace reads once the programs are detached and the ring
/// buffer is drained, plus what only the launcher knows.
///
/// Order of reading matters: detach, then drain the ring, then read the maps.
/// Otherwise a process can be in a map while its record is still unread, and the
/// certificate would call that incomplete.
#[derive(Clone, Debug)]
pub struct Final {
    /// When tracing ended, `CLOCK_BOOTTIME` in nanoseconds: the end of every
    /// lifetime and average that is still running.
    pub ended_at: u64,
    /// The tree's totals.
    pub tree: Tree,
    /// Images in the map: those still alive.
    pub images: Vec<Image>,
    /// Processes in the map: those still alive. Entries flagged
    /// [`EXITED`](memtrace_ebpf::ProcessFlags::EXITED) are taken for ended.
    pub processes: Vec<Process>,
    /// Totals of the statistics counters over all CPUs.
    pub stats: Stats,
    /// `recursion_misses` of every program (`bpf_prog_info`), by program name.
    pub missed: Vec<Missed>,
    /// Records that were dropped in userspace or could not be decoded.
    pub undecodable: u64,
    /// Comparisons with `/proc` made during the run.
    pub cross_checks: CrossChecks,
    /// The tier in use, `A` for tracepoints only.
    pub tier: String,
    /// What this kernel or these options cannot give.
    pub limits: Vec<Limit>,
    /// Bytes per page.
    pub page_size: u64,
    /// The command and its arguments as given to memtrace.
    pub command: Vec<Vec<u8>>,
    /// The command's status as wait(2) encodes it; `None` while it runs.
    pub wait_status: Option<i32>,
    /// Wall-clock duration of the command.
    pub wall_ns: u64,
    /// CPU time in user mode of the command and its waited-for children (`ru_utime`).
    pub user_ns: u64,
    /// CPU time in kernel mode of the same (`ru_stime`).
    pub system_ns: u64,
    /// `ru_maxrss` as wait4(2) gave it, in bytes: shown for comparison only.
    pub maxrss_bytes: Option<u64>,
    /// Wall-clock time of the tree's start, nanoseconds since 1970.
    pub started_unix_ns: Option<u64>,
    /// memtrace ended the tree, because it crossed a limit.
    pub ended_by_limit: Option<EndedByLimit>,
    /// Snapshots of PSS and USS taken during the run, in the order of time.
    pub snapshots: Vec<PssSnapshot>,
    /// Segments of images that live, where they were told apart.
    pub segments: Vec<SegmentsRecord>,
    /// What each of several roots has with its descendants; empty if there is but one.
    pub branches: Vec<BranchState>,
    /// The numbers were read now and then instead of counted, and this is what they are worth.
    pub sampled: Option<Box<Sampled>>,
    /// What the command's own cgroup told, if it had one.
    pub own_cgroup: Option<Box<OwnCgroup>>,
}

/// One of several roots with its descendants: a part of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BranchState {
    /// By what name it was asked for; `None`: by the id of its process.
    pub name: Option<String>,
    /// tgids of its roots, in the initial PID namespace: of processes that ran before tracing began.
    pub roots: Vec<u32>,
    /// Its totals.
    pub totals: Branch,
}

/// How memtrace ended a tree that crossed its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedByLimit {
    /// The limit, bytes.
    pub limit: u64,
    /// The peak of RSS when the crossing was noticed, bytes.
    pub seen_rss: u64,
    /// When that was, nanoseconds since the command was let go.
    pub noticed_at_ns: u64,
    /// Processes that got SIGTERM.
    pub terminated: u64,
    /// Processes that had to be ended by SIGKILL.
    pub killed: u64,
    /// The command itself had ended before; what it left behind was ended.
    pub command_had_ended: bool,
    /// Why some could not be signalled.
    pub failures: Vec<String>,
}

/// How many kinds of statistics there are.
const STATS: usize = Stat::ALL.len();

/// Totals of the statistics counters, by [`Stat`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats([u64; STATS]);

impl Stats {
    /// The total of one counter.
    #[must_use]
    pub fn get(&self, stat: Stat) -> u64 {
        self.0.get(stat as usize).copied().unwrap_or(0)
    }

    /// Sets the total of one counter.
    pub fn set(&mut self, stat: Stat, total: u64) {
        if let Some(slot) = self.0.get_mut(stat as usize) {
            *slot = total;
        }
    }

    /// All counters with their totals.
    pub fn iter(&self) -> impl Iterator<Item = (Stat, u64)> + '_ {
        Stat::ALL.into_iter().map(|stat| (stat, self.get(stat)))
    }
}

impl FromIterator<(Stat, u64)> for Stats {
    fn from_iter<I: IntoIterator<Item = (Stat, u64)>>(totals: I) -> Self {
        let mut stats = Self::default();
        for (stat, total) in totals {
            stats.set(stat, total);
        }
        stats
    }
}

/// How often the kernel skipped a program because it was already running on
/// that CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The program's name.
    pub program: String,
    /// Its `recursion_misses`.
    pub count: u64,
}

/// Comparisons of our values with those in `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrossChecks {
    /// How many were made.
    pub count: u64,
    /// The largest difference found, bytes.
    pub largest_difference_bytes: u64,
    /// The difference that the kernel's own reading explains on this kernel,
    /// bytes; 0 where `/proc` reads exact sums. Larger ones limit the certificate.
    pub allowed_bytes: u64,
    /// Comparisons of segments with `/proc/PID/smaps`.
    pub segments: u64,
    /// By how much more than its bound a segment differed at most, bytes.
    pub segment_difference_bytes: u64,
}

/// A fact that limits, or might be thought to limit, how exact the result is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The fact, as a clause that reads well in a list.
    pub reason: String,
    /// By how many bytes results may be wrong because of it: 0 for a remark that
    /// changes no number, `None` if there is no bound (the result is incomplete).
    pub bound_bytes: Option<u64>,
    /// What it limits.
    pub of: Limited,
}

/// Which numbers a [`Limit`] is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limited {
    /// RSS, and with it everything.
    #[default]
    Rss,
    /// RSS + swap alone.
    RssSwap,
}
