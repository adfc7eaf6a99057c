//! The result: plain data, in bytes and in nanoseconds since the tree's start.
//!
//! Reports are functions of a [`Summary`] and of nothing else. Images are stored
//! once, in [`Summary::images`]; processes refer to them by index, because an
//! address space can serve several processes (vfork, `CLONE_VM`).

use std::sync::Arc;

use super::{
    certificate::Certificate, final_state::EndedByLimit, own_cgroup::OwnCgroup, segments::Segments,
};

/// Amounts of the four kinds of memory that the kernel counts per address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Anonymous memory (`RssAnon`), bytes.
    pub anon: u64,
    /// Resident pages of file mappings (`RssFile`), bytes.
    pub file: u64,
    /// Resident shared memory (`RssShmem`: tmpfs, memfd, `SysV`, shared anonymous), bytes.
    pub shmem: u64,
    /// Swapped-out anonymous memory (`VmSwap`), bytes. Not resident.
    pub swap: u64,
}

impl Amounts {
    /// Resident set size: everything but swap.
    #[must_use]
    pub const fn rss(&self) -> u64 {
        self.anon
            .saturating_add(self.file)
            .saturating_add(self.shmem)
    }

    /// Sum of both, kind by kind.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            anon: self.anon.saturating_add(other.anon),
            file: self.file.saturating_add(other.file),
            shmem: self.shmem.saturating_add(other.shmem),
            swap: self.swap.saturating_add(other.swap),
        }
    }
}

/// What was executed. Bytes are as the kernel has them: any encoding, any control
/// characters. Escape them before they reach a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The arguments, from argv\[0\]. Where they could not be read: the path, else
    /// the name of the process.
    pub args: Vec<Vec<u8>>,
    /// There were more or longer arguments than a record holds.
    pub truncated: bool,
    /// The path as given to execve(2); empty if unknown.
    pub path: Vec<u8>,
    /// The kernel's name for the process (`comm`, at most 15 bytes) at that time.
    pub comm: Vec<u8>,
}

impl Program {
    /// A short name: the file name of argv\[0\], else of the path, else `comm`.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let base = |path: &[u8]| path.rsplit(|&b| b == b'/').next().map_or(0, <[u8]>::len);
        let candidates = [
            self.args.first().map_or(&[][..], Vec::as_slice),
            &self.path,
            &self.comm,
        ];
        for candidate in candidates {
            let len = base(candidate);
            if len > 0 {
                return candidate.get(candidate.len() - len..).unwrap_or_default();
            }
        }
        b"?"
    }
}

/// How a process ended, from its wait(2) status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status; `None` if a signal ended it.
    pub exit_status: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// It dumped core.
    pub core_dumped: bool,
}

impl Outcome {
    /// Reads a status as wait(2) encodes it.
    #[must_use]
    pub const fn from_wait_status(status: u32) -> Self {
        let signal = (status & 0x7f) as u8;
        if signal == 0 {
            let exit_status = Some((status >> 8 & 0xff) as u8);
            Self {
                exit_status,
                signal: None,
                core_dumped: false,
            }
        } else {
            Self {
                exit_status: None,
                signal: Some(signal),
                core_dumped: status & 0x80 != 0,
            }
        }
    }
}

/// Peaks of the sizes of virtual memory, bytes. Those other than
/// [`VmPeaks::size`] are exact at every page fault, but do not see mappings that
/// were made and removed without a single touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmPeaks {
    /// `VmPeak`: all mappings. Exact.
    pub size: u64,
    /// `VmData`: private writable mappings, without stacks.
    pub data: u64,
    /// `VmStk`.
    pub stack: u64,
    /// All executable mappings, `VmExe` + `VmLib`.
    pub exec: u64,
    /// `VmExe`: the main program's text.
    pub text: u64,
    /// `VmLib`: executable mappings other than the main program's text.
    pub lib: u64,
    /// The heap between `start_brk` and `brk`.
    pub heap: u64,
    /// `VmPTE`: page tables of all levels.
    pub page_tables: u64,
    /// `VmLck`.
    pub locked: u64,
    /// `VmPin`: pages that a device may write to.
    pub pinned: u64,
}

/// Time-weighted means of the sizes of virtual memory, bytes, as seen when
/// [`Certificate::sizes_seen`](super::Certificate) says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmMeans {
    /// `VmSize`: all mappings.
    pub size: u64,
    /// `VmData`.
    pub data: u64,
    /// `VmStk`.
    pub stack: u64,
    /// `VmExe`: the main program's text.
    pub text: u64,
    /// `VmLib`.
    pub lib: u64,
    /// The heap between `start_brk` and `brk`.
    pub heap: u64,
    /// `VmPTE`.
    pub page_tables: u64,
    /// `VmLck`.
    pub locked: u64,
    /// `VmPin`.
    pub pinned: u64,
}

/// How an image came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A copy of its parent's address space.
    Fork,
    /// A fresh address space for a program.
    Exec,
    /// It existed before tracing began, or its birth was missed.
    Found,
}

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Alive when tracing ended.
    Alive,
    /// It served a process and ended.
    Ended,
    /// Copied for a process that was never created, because fork failed.
    FailedFork,
    /// Built for a program that never ran, because execve failed. It was not
    /// part of the tree's sum, unless execve failed after the old image was gone.
    FailedExec,
    /// Still being built by fork or execve when tracing ended.
    Unfinished,
}

/// Bounds of a true peak, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakRange {
    /// It is not below this.
    pub low: u64,
    /// It is not above this; `None` if nothing is known.
    pub high: Option<u64>,
}

impl PeakRange {
    /// How far the true peak can be from this one; `None` if there is no bound.
    #[must_use]
    pub fn distance(&self, from: u64) -> Option<u64> {
        let above = self.high?.saturating_sub(from);
        Some(above.max(from.saturating_sub(self.low)))
    }
}

/// One address space.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// Unique number, from 1, in order of birth.
    pub id: u64,
    /// How it came to be.
    pub origin: Origin,
    /// What became of it.
    pub fate: Fate,
    /// Id of the image it was forked from.
    pub parent: Option<u64>,
    /// Index in [`Summary::processes`] of the process it was made for, or, if fork
    /// or execve failed, of the process that tried.
    pub owner: Option<usize>,
    /// That process's pid.
    pub pid: u32,
    /// What runs in it; a fork image has its parent's.
    pub program: Arc<Program>,
    /// When it was first seen.
    pub start_ns: u64,
    /// When it ended; `None` if it lives.
    pub end_ns: Option<u64>,
    /// From its start to its end, or to the end of tracing.
    pub lifetime_ns: u64,
    /// Counter updates seen.
    pub events: u64,
    /// Peak of RSS.
    pub peak_rss: u64,
    /// When that was.
    pub peak_at_ns: u64,
    /// Where the true peak lies, if `peak_rss` is not known to be it (tier P).
    pub peak_range: Option<PeakRange>,
    /// Peak of each kind, each at its own time.
    pub peak: Amounts,
    /// What it consisted of at the peak of RSS.
    pub own_peak: Amounts,
    /// Peak of RSS + swap.
    pub peak_rss_swap: u64,
    /// Peak of hugetlbfs pages (`HugetlbPages`), which are not in RSS: as seen when RSS changed.
    pub peak_huge: u64,
    /// Time-weighted mean of each kind over the lifetime.
    pub average: Amounts,
    /// Time-weighted mean of RSS.
    pub average_rss: u64,
    /// What it held when the tree was at its peak.
    pub at_tree_peak: Amounts,
    /// RSS that it got from its parent by fork.
    pub inherited: u64,
    /// Peaks of virtual sizes.
    pub vm: VmPeaks,
    /// Means of virtual sizes over the lifetime.
    pub vm_average: VmMeans,
    /// What its pages were for, where that was told apart; most often it is not, and it is large.
    pub segments: Option<Box<Segments>>,
    /// The kernel's own approximation of the RSS peak, `VmHWM`.
    pub kernel_hiwater_rss: u64,
    /// Sum of its counters when it ended, bytes; 0 unless something was lost.
    pub residual: i64,
}

impl ImageSummary {
    /// A process ran in it.
    #[must_use]
    pub const fn ran(&self) -> bool {
        matches!(self.fate, Fate::Alive | Fate::Ended)
    }
}

/// How a process came to use an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseKind {
    /// Its own copy, made by fork.
    Fork,
    /// A program it executed.
    Exec,
    /// Its creator's image, shared (vfork, `posix_spawn`, `CLONE_VM`).
    Shared,
    /// It never ran in this image: fork or execve failed, or tracing ended before
    /// they were done.
    Failed,
    /// An image that was not seen from its birth.
    Found,
}

/// A process's use of one image.
#[derive(Clone, Debug)]
pub struct ImageUse {
    /// Index in [`Summary::images`].
    pub image: usize,
    /// How it came to use it.
    pub kind: UseKind,
    /// From when.
    pub start_ns: u64,
    /// Until when; `None` if it still does.
    pub end_ns: Option<u64>,
    /// The kernel's `signal->maxrss` of the process when it left the image. It
    /// includes images before this one: shown for comparison only.
    pub kernel_maxrss: Option<u64>,
}

/// What the kernel knows of a process from before it was attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// How long it had run.
    pub age_ns: u64,
    /// `VmHWM` of the program that it was running: its peak of RSS up to then, bytes. Approximate, as
    /// [`ImageSummary::kernel_hiwater_rss`] is.
    pub kernel_hiwater_rss: u64,
}

/// CPU time and faults of a process over all its threads and images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user_ns: u64,
    /// CPU time in kernel mode.
    pub system_ns: u64,
    /// The sum of both is all that it ran. Otherwise it can lack what each of its threads ran since a clock tick, or
    /// is what the ticks themselves found.
    pub cpu_exact: bool,
    /// Minor faults.
    pub minor_faults: u64,
    /// Major faults.
    pub major_faults: u64,
    /// Threads ever created.
    pub threads: u32,
}

/// One process: a thread group from creation to end. A pid can occur more than
/// once; the kernel reuses them.
#[derive(Clone, Debug)]
pub struct ProcessSummary {
    /// pid in the initial PID namespace.
    pub pid: u32,
    /// pid in its own PID namespace.
    pub ns_pid: u32,
    /// pid of the process that created it (which reparenting does not change).
    pub ppid: u32,
    /// Index of that process in [`Summary::processes`]; `None` for the root.
    pub parent: Option<usize>,
    /// It is the command itself.
    pub root: bool,
    /// Its name when last seen.
    pub comm: Vec<u8>,
    /// When it was created.
    pub start_ns: u64,
    /// When its last thread began to exit; `None` if it was alive at the end.
    pub end_ns: Option<u64>,
    /// From creation to end, or to the end of tracing.
    pub lifetime_ns: u64,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The OOM killer chose it.
    pub oom_killed: bool,
    /// It was alive when tracing ended.
    pub survivor: bool,
    /// It ran before tracing began; then what it did until there is known to the kernel alone.
    pub before: Option<Before>,
    /// Totals, known once it has ended.
    pub usage: Option<Usage>,
    /// Its images in sequence.
    pub images: Vec<ImageUse>,
}

/// Bounds of what the tree needed when a page counts once, however many images map it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Peak of the low bound: every inherited page still present is still shared, and there are no
    /// more pages of files and shared memory than the image with most of them has.
    pub low: u64,
    /// When that was.
    pub low_at_ns: u64,
    /// Peak of the high bound: every page that may have been copied on write was, and all pages of
    /// files and shared memory are different ones but those shared after a fork.
    pub high: u64,
    /// When that was.
    pub high_at_ns: u64,
    /// Time-weighted mean of the low bound.
    pub average_low: u64,
}

/// One of several roots with its descendants: a part of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchSummary {
    /// By what name it was asked for; `None`: by its process.
    pub name: Option<String>,
    /// Its roots, indices in [`Summary::processes`].
    pub roots: Vec<usize>,
    /// How many processes there were, the roots included.
    pub processes: usize,
    /// Peak of the sum of RSS over its images, each image once.
    pub peak_rss: u64,
    /// When that was.
    pub peak_at_ns: u64,
    /// What it consisted of then.
    pub own_peak: Amounts,
    /// RSS that it held when the tree was at its peak.
    pub at_tree_peak: u64,
}

/// What one image held at the tree's peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Index in [`Summary::images`].
    pub image: usize,
    /// What it held then.
    pub held: Amounts,
    /// How much of it, at most, it still shared with the relatives it was forked
    /// from, bytes: what counts more than once in the sum of RSS.
    pub shared: u64,
}

/// What the kernel said about the whole tree's share of memory at one moment
/// (`/proc/PID/smaps_rollup` of each of its address spaces, summed up).
///
/// A snapshot: its parts were read one after another, so it is not exact, and no
/// number of the result depends on it. Where processes came, ended or executed
/// meanwhile, or the tree's RSS changed by more than 5 %, there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PssSnapshot {
    /// The middle of the time that reading took. In a [`Summary`] since the tree's
    /// start; in a [`Final`](super::Final) `CLOCK_BOOTTIME`; nanoseconds.
    pub at_ns: u64,
    /// Proportional set size, bytes: each page counts as the tree's part among all
    /// who map it, processes outside of the tree included.
    pub pss: u64,
    /// Unique set size, bytes: the pages that one address space alone maps.
    pub uss: u64,
    /// The tree's sum of RSS as the kernel side had it: the mean of before and after.
    pub rss: u64,
}

/// Totals of the tree.
#[derive(Clone, Debug)]
pub struct TreeSummary {
    /// From its first active image to the end of tracing.
    pub duration_ns: u64,
    /// Counter updates of its images.
    pub events: u64,
    /// Peak of the sum of RSS over its images, each image once.
    pub peak_rss: u64,
    /// When that was.
    pub peak_at_ns: u64,
    /// Where the true peak lies, if `peak_rss` is not known to be it (tier P).
    pub peak_range: Option<PeakRange>,
    /// Peak of the sum of each kind, each at its own time.
    pub peak: Amounts,
    /// Peak of the sum of RSS + swap.
    pub peak_rss_swap: u64,
    /// Peak of the sum of hugetlbfs pages, which are not in RSS: as seen when RSS changed.
    pub peak_huge: u64,
    /// Time-weighted mean of each kind's sum.
    pub average: Amounts,
    /// Time-weighted mean of the sum of RSS.
    pub average_rss: u64,
    /// The same with each page counted once.
    pub footprint: Footprint,
    /// Who held what at the peak of RSS, largest first; images that held nothing
    /// are left out. Sums to [`TreeSummary::peak_rss`], or the certificate says
    /// by how much not.
    pub at_peak: Vec<Holder>,
    /// Index of the image with the largest peak of its own, of those that ran.
    pub biggest: Option<usize>,
    /// Snapshots of PSS and USS, in the order of time.
    pub snapshots: Vec<PssSnapshot>,
    /// What each of several roots had with its descendants, in the order in which they were asked for; empty if
    /// there was but one.
    pub branches: Vec<BranchSummary>,
}

impl TreeSummary {
    /// The snapshot that tells most about the peak: the one with the least difference in RSS
    /// from it, of several the one closest in time.
    #[must_use]
    pub fn snapshot_at_peak(&self) -> Option<&PssSnapshot> {
        self.snapshots.iter().min_by_key(|snapshot| {
            (
                snapshot.rss.abs_diff(self.peak_rss),
                snapshot.at_ns.abs_diff(self.peak_at_ns),
            )
        })
    }

    /// What the tree consisted of at the peak of RSS.
    #[must_use]
    pub fn own_peak(&self) -> Amounts {
        self.at_peak
            .iter()
            .fold(Amounts::default(), |sum, holder| sum.plus(&holder.held))
    }
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes.
    pub processes: u64,
    /// Images, those that failed among them.
    pub images: u64,
}

/// Everything known about one traced command.
///
/// Times are nanoseconds since the tree's start, the moment in which its first
/// image became active; what began earlier starts at 0.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The command and its arguments as given to memtrace; of what was [attached to](Summary::attached), what ran in the one
    /// process, or of [several](Summary::is_of_several) what was asked for, as in `process 12`. See
    /// [`subject`](crate::report::subject::subject).
    pub command: Vec<Vec<u8>>,
    /// How it ended, or the process that was attached to; `None` if it was still running.
    pub outcome: Option<Outcome>,
    /// Wall-clock duration of the command.
    pub wall_ns: u64,
    /// CPU time in user mode of the command and its waited-for children; 0 of what was [attached
    /// to](Summary::attached).
    pub user_ns: u64,
    /// CPU time in kernel mode of the same.
    pub system_ns: u64,
    /// `ru_maxrss` as wait4(2) gave it, bytes.
    pub kernel_maxrss: Option<u64>,
    /// Wall-clock time of the tree's start, nanoseconds since 1970.
    pub started_unix_ns: Option<u64>,
    /// Bytes per page.
    pub page_size: u64,
    /// How memtrace ended the tree, if it did because of a limit.
    pub ended_by_limit: Option<EndedByLimit>,
    /// What the kernel's own accounting says, if the command had a cgroup to itself.
    pub own_cgroup: Option<Box<OwnCgroup>>,
    /// How exact all this is.
    pub certificate: Certificate,
    /// The tree.
    pub tree: TreeSummary,
    /// Processes in order of creation.
    pub processes: Vec<ProcessSummary>,
    /// Images by id.
    pub images: Vec<ImageSummary>,
    /// Those that are in no list, because [only totals](super::Model::of_totals) were wanted: they had ended, held
    /// nothing at the tree's peak, and were not the largest. All numbers of the tree, and the certificate, include
    /// them.
    pub only_counted: Counts,
}

impl Summary {
    /// How many processes and images there were, in the lists and only counted.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        Counts {
            processes: self.only_counted.processes + self.processes.len() as u64,
            images: self.only_counted.images + self.images.len() as u64,
        }
    }

    /// The command itself among the processes.
    #[must_use]
    pub fn root(&self) -> Option<&ProcessSummary> {
        self.processes.iter().find(|process| process.root)
    }

    /// The process that was attached to, and what the kernel knows of it from before; `None` of a command that was
    /// run.
    #[must_use]
    pub fn attached(&self) -> Option<(&ProcessSummary, Before)> {
        let root = self.root()?;
        root.before.map(|before| (root, before))
    }

    /// Whether more than one process was attached to.
    #[must_use]
    pub fn is_of_several(&self) -> bool {
        let mut roots = self.processes.iter().filter(|process| process.root);
        self.attached().is_some() && (!self.tree.branches.is_empty() || roots.nth(1).is_some())
    }

    /// Processes that were alive when tracing ended.
    pub fn survivors(&self) -> impl Iterator<Item = &ProcessSummary> {
        self.processes.iter().filter(|process| process.survivor)
    }

    /// The image a process used last.
    #[must_use]
    pub fn last_image(&self, process: &ProcessSummary) -> Option<&ImageSummary> {
        process
            .images
            .iter()
            .rev()
            .find(|used| used.kind != UseKind::Failed)
            .and_then(|used| self.images.get(used.image))
    }
}
