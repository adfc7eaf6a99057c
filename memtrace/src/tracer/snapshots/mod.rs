//! What the kernel says about the tree's share of memory (PSS, USS) when a peak has settled.
//!
//! The kernel walks the page tables for that, milliseconds per GiB, so a thread of its own
//! waits for it, and the loop that empties the kernel's buffers does not. A snapshot counts
//! only if the same processes with the same address spaces were there before and after it:
//! one that forks or ends meanwhile changes everybody's share.

mod policy;
mod walk;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use memtrace_ebpf::{Member, ProcessFlags, Tree};

use self::{
    policy::{Now, Policy},
    walk::Walked,
};
use super::SnapshotUse;
use crate::{attend::View, kernel::clock, model::PssSnapshot, probe::Probe};

/// How often the peak is looked at.
const INTERVAL: Duration = Duration::from_millis(20);
/// How often while the kernel is at it.
const SOON: Duration = Duration::from_millis(1);
/// A change of the tree's RSS meanwhile, as a part of it, that makes a snapshot meaningless.
const CHANGE_PART: u64 = 20;
/// Snapshots that are kept; then every second one goes.
const MOST: usize = 1024;
/// Enough for reading files; threads have little else to do here.
const STACK_BYTES: usize = 256 << 10;

/// Pages that count more than once in the sum of RSS, or may.
fn ambiguous(tree: &Tree) -> i64 {
    let files = [Member::File, Member::Shmem]
        .iter()
        .filter_map(|&member| tree.cur.get(member as usize))
        .fold(0_i64, |sum, &pages| sum.saturating_add(pages));
    files.saturating_sub(tree.files).saturating_add(tree.shared)
}

/// Processes as they must be again afterwards: id, start and address space.
type Cast = BTreeSet<(u32, u64, u64)>;

/// Takes the snapshots of one run.
#[derive(Debug)]
pub(super) struct Snapshots {
    policy: Policy,
    page_size: u64,
    began: Instant,
    /// `None`: not wanted, or not possible any more.
    next: Option<Instant>,
    running: Option<Running>,
    taken: Vec<PssSnapshot>,
}

/// One that is being taken.
#[derive(Debug)]
struct Running {
    thread: JoinHandle<Walked>,
    cancel: Arc<AtomicBool>,
    at: u64,
    rss: u64,
    peak: u64,
    cast: Cast,
    /// The processor time that the loop spent on it.
    own_cost: Duration,
}

impl Snapshots {
    pub(super) fn new(wanted: SnapshotUse, page_size: u64) -> Self {
        let now = Instant::now();
        Self {
            policy: if wanted == SnapshotUse::WhereTheyTell {
                Policy::to_narrow()
            } else {
                Policy::default()
            },
            page_size,
            began: now,
            next: (wanted != SnapshotUse::Never).then_some(now + INTERVAL),
            running: None,
            taken: Vec::new(),
        }
    }

    /// When to look next.
    pub(super) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Those that were taken so far, in the order of time.
    pub(super) fn taken(&self) -> &[PssSnapshot] {
        &self.taken
    }

    /// Looks, and begins or completes a snapshot.
    pub(super) fn look(&mut self, probe: &Probe, view: View) {
        let started = Instant::now();
        if self.next.is_none() {
            return;
        }
        if let Some(running) = self.running.take() {
            if running.thread.is_finished() {
                self.complete(running, probe);
            } else {
                self.running = Some(running);
                self.next = Some(started + SOON);
                return;
            }
        }
        self.next = Some(started + INTERVAL);
        if let (Ok(tree), Ok(at)) = (probe.tree(), clock::boottime())
            && self.policy.is_due(&self.now(&tree, at))
        {
            self.begin(&tree, at, probe, view);
        }
    }

    fn now(&self, tree: &Tree, at: u64) -> Now {
        Now {
            at: self.began.elapsed(),
            peak: self.bytes(tree.peak_rss),
            peak_age: Duration::from_nanos(at.saturating_sub(tree.peak_rss_at)),
            rss: self.bytes(tree.rss),
            processes: u64::try_from(tree.live).unwrap_or(0),
            ambiguous: self.bytes(ambiguous(tree)),
        }
    }

    fn begin(&mut self, tree: &Tree, at: u64, probe: &Probe, view: View) {
        let started = clock::thread_cpu();
        let cast = cast(probe);
        let spaces = view.of(probe).spaces();
        let own_cost = clock::thread_cpu().saturating_sub(started);
        let (Some(cast), Some((spaces, processes))) = (cast, spaces) else {
            return self.policy.came_to_nothing(self.began.elapsed(), own_cost);
        };
        if processes != cast.len() {
            return self.policy.came_to_nothing(self.began.elapsed(), own_cost);
        }
        let cancel = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&cancel);
        let thread = thread::Builder::new()
            .name("memtrace-pss".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || walk::walk(&spaces, &watched));
        match thread {
            Ok(thread) => {
                self.running = Some(Running {
                    thread,
                    cancel,
                    at,
                    rss: self.bytes(tree.rss),
                    peak: self.bytes(tree.peak_rss),
                    cast,
                    own_cost,
                });
                self.next = Some(Instant::now() + SOON);
            }
            Err(error) => {
                log::debug!("no snapshots of PSS: cannot start a thread: {error}");
                self.next = None;
            }
        }
    }

    fn complete(&mut self, running: Running, probe: &Probe) {
        let started = clock::thread_cpu();
        let Running {
            thread,
            at,
            rss,
            peak,
            cast: before,
            own_cost,
            ..
        } = running;
        // A panic in it was printed; there is nothing to learn from it here.
        let Ok(Walked { sum, cost }) = thread.join() else {
            self.next = None;
            return;
        };
        let after = probe.tree().ok().zip(clock::boottime().ok());
        let same = cast(probe).is_some_and(|after| after == before);
        let cost = own_cost + cost + clock::thread_cpu().saturating_sub(started);
        let now = self.began.elapsed();
        let snapshot = sum.zip(after).and_then(|(sum, (tree, until))| {
            let rss_after = self.bytes(tree.rss);
            let still = rss.abs_diff(rss_after) <= rss / CHANGE_PART;
            (same && still).then(|| PssSnapshot {
                at_ns: at.midpoint(until),
                pss: sum.pss,
                uss: sum.uss,
                rss: rss.midpoint(rss_after),
            })
        });
        match snapshot {
            Some(snapshot) => {
                log::debug!("snapshot of PSS in {cost:?}: {snapshot:?}");
                self.policy.taken(now, peak, cost);
                self.keep(snapshot);
            }
            None => {
                log::debug!("snapshot of PSS came to nothing in {cost:?}");
                self.policy.came_to_nothing(now, cost);
            }
        }
    }

    fn keep(&mut self, snapshot: PssSnapshot) {
        if self.taken.len() >= MOST {
            let mut keep = false;
            self.taken.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.taken.push(snapshot);
    }

    /// What was taken. Returns when nothing is being looked at any more: until then the
    /// kernel does not give back the memory of a process that has ended.
    pub(super) fn finish(self) -> Vec<PssSnapshot> {
        if let Some(running) = self.running {
            running.cancel.store(true, Ordering::Relaxed);
            let _ = running.thread.join();
        }
        self.taken
    }

    fn bytes(&self, pages: i64) -> u64 {
        u64::try_from(pages)
            .unwrap_or(0)
            .saturating_mul(self.page_size)
    }
}

/// The processes that live.
fn cast(probe: &Probe) -> Option<Cast> {
    let processes = probe.processes().ok()?;
    let living = processes
        .iter()
        .filter(|process| process.flags & ProcessFlags::EXITED == 0);
    Some(
        living
            .map(|process| (process.tgid, process.started_at, process.mm))
            .collect(),
    )
}
