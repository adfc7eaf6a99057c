//! A view of the tree while it runs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::Subject;
use crate::ptrace;

/// Sizes of the command's own process as the kernel shows them in `/proc/PID/status`, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootSizes {
    /// `VmPeak`.
    pub vm_peak: u64,
    /// `VmSize`.
    pub vm_size: u64,
    /// `VmLck`.
    pub vm_lck: u64,
    /// `VmPin`.
    pub vm_pin: u64,
    /// `VmHWM`.
    pub vm_hwm: u64,
    /// `VmRSS`.
    pub vm_rss: u64,
    /// `VmData`.
    pub vm_data: u64,
    /// `VmStk`.
    pub vm_stk: u64,
    /// `VmExe`.
    pub vm_exe: u64,
    /// `VmLib`.
    pub vm_lib: u64,
    /// `VmPTE`.
    pub vm_pte: u64,
    /// `VmSwap`.
    pub vm_swap: u64,
}

/// What a live view shows of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since the command was let go, nanoseconds.
    pub at_ns: u64,
    /// The command's own process; `None` once it has no memory any more.
    pub root: Option<RootSizes>,
    /// Sum of RSS over the tree, bytes.
    pub rss: u64,
    /// Its peak so far, bytes: exact where the result is, however short it was.
    pub peak_rss: u64,
    /// Processes alive.
    pub processes: u64,
}

/// Asks for a view at regular times while the command runs.
#[derive(Clone)]
pub struct Live {
    every: Duration,
    observer: Arc<dyn Fn(&Moment) + Send + Sync>,
}

impl Live {
    /// Has `observer` called about every so often. It is called by what follows the tree, and
    /// must return at once: while it does not, records of the kernel are not taken in.
    pub fn new(every: Duration, observer: impl Fn(&Moment) + Send + Sync + 'static) -> Self {
        Self {
            every,
            observer: Arc::new(observer),
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// Shows one run.
#[derive(Debug)]
pub(super) struct Viewer {
    live: Live,
    root: i32,
    began: Instant,
    next: Instant,
}

impl Viewer {
    pub(super) fn new(live: &Live) -> Self {
        let now = Instant::now();
        Self {
            live: live.clone(),
            root: 0,
            began: now,
            next: now,
        }
    }

    pub(super) fn begin(&mut self, root: i32, now: Instant) {
        self.root = root;
        self.began = now;
        self.next = now + self.live.every;
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn look(&mut self, subject: &dyn Subject, now: Instant) {
        if now < self.next {
            return;
        }
        // After a delay (a stopped memtrace), one view instead of all that were missed.
        self.next = (self.next + self.live.every).max(now);
        let Some(totals) = subject.totals() else {
            return;
        };
        let memory = ptrace::look(self.root).ok().and_then(|look| look.memory);
        (self.live.observer)(&Moment {
            at_ns: u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX),
            root: memory.map(|memory| RootSizes {
                vm_peak: memory.vm.size,
                vm_size: memory.vm_size,
                vm_lck: memory.vm.locked,
                vm_pin: memory.vm.pinned,
                vm_hwm: memory.hwm,
                vm_rss: memory.now.rss(),
                vm_data: memory.vm.data,
                vm_stk: memory.vm.stack,
                vm_exe: memory.vm.text,
                vm_lib: memory.vm.lib,
                vm_pte: memory.vm.page_tables,
                vm_swap: memory.now.swap,
            }),
            rss: totals.rss,
            peak_rss: totals.peak_rss,
            processes: totals.processes,
        });
    }
}
