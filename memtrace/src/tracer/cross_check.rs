//! Compares our numbers with the kernel's own while the command runs.
//!
//! A comparison counts only if no counter update of the image was booked between
//! our two looks at it: then what /proc says in between must equal what we have.

use std::{fs, time::Duration};

use memtrace_ebpf::{Image, ImageState, Member, Segment, SegmentsRecord};

use super::doubt::Doubt;
use crate::{
    kernel,
    model::CrossChecks,
    probe::{Probe, ProbeError},
    procfs::{
        Status,
        smaps::{self, Layout},
    },
};

/// The first comparison comes after this time, each next one after twice the time before.
const FIRST: Duration = Duration::from_millis(5);
/// But no later than this.
const SLOWEST: Duration = Duration::from_secs(1);
/// `TASK_RSS_EVENTS_THRESH`-like slack does not exist on kernels with per-CPU
/// counters; there, an approximate reading is off by up to `batch - 1` pages per CPU
/// (`percpu_counter_batch`, `lib/percpu_counter.c`).
const MIN_BATCH: u64 = 32;

/// From how many pages on a CPU moves its share into the count (`percpu_counter_batch`).
pub(super) fn batch(cpus: u64) -> u64 {
    MIN_BATCH.max(2 * cpus)
}

/// Whether /proc shows this image of a process. Not while it is torn down: from `exec_mmap()` on, long before
/// anything tells that another program is executed, it shows the next one.
pub(super) fn is_in_use(image: &Image) -> bool {
    image.state == ImageState::Active as u32 && image.end_reason == 0
}

/// Whether nothing was booked to an image's segments between two looks.
fn is_same(one: &SegmentsRecord, other: &SegmentsRecord) -> bool {
    (one.image, one.cur) == (other.image, other.cur)
}

/// What counters were compared of: the image, and how many updates of it there had been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    image: u64,
    events: u64,
}

/// Makes the comparisons of one run.
#[derive(Debug)]
pub(super) struct CrossChecker {
    page_size: u64,
    cpus: u64,
    pause: Duration,
    result: CrossChecks,
    /// Comparisons that may have to be made again.
    counters: Doubt<State>,
    segments: Doubt<Box<SegmentsRecord>>,
    /// What tells mappings of a program apart, by the image that it was read for.
    layout: Option<(u64, Layout)>,
}

impl CrossChecker {
    pub(super) fn new(page_size: u64, cpus: u32) -> Self {
        Self {
            page_size,
            cpus: cpus.into(),
            pause: FIRST,
            result: CrossChecks::default(),
            counters: Doubt::default(),
            segments: Doubt::default(),
            layout: None,
        }
    }

    /// How long to wait before the next comparison.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(SLOWEST);
        pause
    }

    pub(super) fn result(&self) -> CrossChecks {
        self.result
    }

    /// Compares one process, as far as it holds still, and says when to look next. `pid` is its id as
    /// /proc shows it, `tgid` in the initial PID namespace.
    pub(super) fn look(&mut self, probe: &Probe, pid: i32, tgid: u32) -> Duration {
        if let Err(error) = self.compare_all(probe, pid, tgid) {
            log::debug!("comparison with /proc failed: {error}");
            self.forget_doubts();
        }
        self.next()
    }

    /// When to look next: where something differs, soon and again, for an update can have happened whose
    /// program has not run to its end yet, on a virtual CPU that was taken away in between.
    fn next(&mut self) -> Duration {
        let again = [self.counters.pause(), self.segments.pause()];
        let soonest = again.into_iter().flatten().min();
        soonest.unwrap_or_else(|| self.pause())
    }

    fn forget_doubts(&mut self) {
        self.counters.forget();
        self.segments.forget();
    }

    fn compare_all(&mut self, probe: &Probe, pid: i32, tgid: u32) -> Result<(), ProbeError> {
        let Some(process) = probe.process(tgid)? else {
            self.forget_doubts();
            return Ok(());
        };
        // A comparison that is open goes on by itself.
        if !self.counters.is_open() {
            let segments = self.compare_segments(probe, process.mm, pid)?;
            self.take_segments(segments);
        }
        if !self.segments.is_open() {
            let counters = self.compare(probe, process.mm, pid)?;
            self.take_counters(counters);
        }
        Ok(())
    }

    /// What a comparison of counters found.
    fn take_counters(&mut self, seen: Option<(State, u64)>) {
        let Some(difference) = self.counters.take(seen, |one, other| one == other) else {
            return;
        };
        self.result.count += 1;
        if difference == 0 {
            return;
        }
        if self.result.allowed_bytes == 0 && !status_is_exact(self.page_size) {
            let share = batch(self.cpus) - 1;
            self.result.allowed_bytes = share * self.cpus * self.page_size;
        }
        let largest = &mut self.result.largest_difference_bytes;
        *largest = difference.max(*largest);
    }

    /// The same of segments.
    fn take_segments(&mut self, seen: Option<(Box<SegmentsRecord>, u64)>) {
        let Some(difference) = self.segments.take(seen, |one, other| is_same(one, other)) else {
            return;
        };
        let result = &mut self.result;
        result.segments += 1;
        result.segment_difference_bytes = result.segment_difference_bytes.max(difference);
    }

    /// By how much a segment differs beyond its bound, bytes, and what it was compared with; `None` if the
    /// process did not hold still.
    fn compare_segments(
        &mut self,
        probe: &Probe,
        mm: u64,
        pid: i32,
    ) -> Result<Option<(Box<SegmentsRecord>, u64)>, ProbeError> {
        let (Some(before), Ok(pid)) = (probe.segments_of(mm)?, u32::try_from(pid)) else {
            return Ok(None);
        };
        let known = self
            .layout
            .take()
            .filter(|(image, _)| *image == before.image);
        let (_, layout) = &*self
            .layout
            .insert(known.unwrap_or_else(|| (before.image, Layout::of_process(pid))));
        let Ok(Some(theirs)) = smaps::of_process(pid, layout) else {
            return Ok(None);
        };
        let Some(after) = probe.segments_of(mm)?.filter(|a| is_same(&before, a)) else {
            return Ok(None);
        };
        let page = i64::try_from(self.page_size).unwrap_or(i64::MAX);
        let differs = |pages: i64, bytes: u64| {
            let ours = pages.saturating_mul(page);
            ours.abs_diff(i64::try_from(bytes).unwrap_or(i64::MAX))
        };
        // What could not be told is nothing that smaps has.
        let told = Segment::ALL.into_iter().filter(|s| *s != Segment::Unknown);
        let differences = told.map(|segment| {
            let [file, anon, swap, shmem] = after.cur[segment as usize];
            let theirs = &theirs[segment as usize];
            let resident = file.saturating_add(anon).saturating_add(shmem);
            // Swapped-out pages of shared memory are the file's; no process has them in its counters, but
            // smaps tells of them (`smap_gather_stats`, `shmem_swap_usage`).
            let swapped = match segment {
                Segment::Shmem => 0,
                _ => differs(swap, theirs.swapped),
            };
            differs(resident, theirs.resident).max(swapped)
        });
        let untold = after.untold.saturating_add(after.residual);
        let bound = untold.saturating_mul(self.page_size);
        let difference = differences.max().unwrap_or(0).saturating_sub(bound);
        Ok(Some((Box::new(after), difference)))
    }

    /// One comparison: of what, and the difference in bytes; `None` if the image changed meanwhile or is gone.
    fn compare(
        &self,
        probe: &Probe,
        mm: u64,
        pid: i32,
    ) -> Result<Option<(State, u64)>, ProbeError> {
        let look =
            || -> Result<Option<Image>, ProbeError> { Ok(probe.image(mm)?.filter(is_in_use)) };
        let Some(before) = look()? else {
            return Ok(None);
        };
        let Some(theirs) = status(pid) else {
            return Ok(None);
        };
        let Some(after) = look()? else {
            return Ok(None);
        };
        let state = |image: &Image| State {
            image: image.id,
            events: image.events,
        };
        let at = state(&after);
        if state(&before) != at {
            return Ok(None);
        }
        Ok(Some((at, self.difference(&after, &theirs))))
    }

    fn difference(&self, image: &Image, theirs: &[(Member, u64); 4]) -> u64 {
        theirs
            .iter()
            .map(|(member, bytes)| {
                let member = *member as usize;
                let pages = image.cur.get(member).copied().unwrap_or(0);
                // What threads hold back (up to 6.1), /proc leaves out.
                let held_back = image.held_back.get(member).copied().unwrap_or(0);
                let ours = u64::try_from(pages - held_back).unwrap_or(0) * self.page_size;
                ours.abs_diff(*bytes)
            })
            .max()
            .unwrap_or(0)
    }
}

/// What /proc/PID/status says about each counter, in bytes.
fn status(pid: i32) -> Option<[(Member, u64); 4]> {
    // Bytes: the process chooses its name, which need not be UTF-8.
    let text = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = Status::parse(&text);
    Some([
        (Member::File, status.bytes("RssFile")?),
        (Member::Anon, status.bytes("RssAnon")?),
        (Member::Swap, status.bytes("VmSwap")?),
        (Member::Shmem, status.bytes("RssShmem")?),
    ])
}

/// Does this kernel's /proc/PID/status read exact sums (commit 82241a83cd15, 6.16,
/// and backports)? Touches single pages of its own and looks whether each shows.
fn status_is_exact(page_size: u64) -> bool {
    const PAGES: usize = 4;
    let Ok(page) = usize::try_from(page_size) else {
        return false;
    };
    // Large enough for fresh pages of its own.
    let mut memory = vec![0_u8; page * 64];
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let anon = || status(own).map(|values| values[1].1);
    let _ = anon(); // what reading allocates is there now
    (1..=PAGES).all(|at| {
        let before = anon();
        if let Some(byte) = memory.get_mut(at * 8 * page) {
            *byte = 1;
        }
        std::hint::black_box(&memory);
        matches!((before, anon()), (Some(before), Some(after)) if after == before + page_size)
    })
}

/// The page size as the kernel side uses it.
pub(super) fn page_size() -> u64 {
    kernel::cpus::page_size()
}

#[cfg(test)]
mod tests {
    use memtrace_ebpf::{Image, ImageState, SegmentsRecord};

    use super::{CrossChecker, State, is_in_use};
    use crate::blank;

    /// What is compared is what /proc shows, neither one that is built nor one that is torn down.
    #[test]
    fn only_images_in_use_are_compared() {
        let image = |state: ImageState, end_reason| Image {
            state: state as u32,
            end_reason,
            ..blank::IMAGE
        };
        assert!(is_in_use(&image(ImageState::Active, 0)));
        assert!(!is_in_use(&image(ImageState::Active, 4)));
        assert!(!is_in_use(&image(ImageState::Execing, 0)));
        assert!(!is_in_use(&image(ImageState::Forking, 0)));
    }

    const fn at(events: u64) -> State {
        State { image: 1, events }
    }

    fn next(checker: &mut CrossChecker) -> u128 {
        checker.next().as_millis()
    }

    /// The looks themselves get rarer; those at a difference come in between, and change nothing of that.
    #[test]
    fn looks_get_rarer_except_at_what_differs() {
        let mut checker = CrossChecker::new(4096, 2);
        let agree = |checker: &mut CrossChecker| {
            checker.take_counters(Some((at(1), 0)));
            next(checker)
        };
        assert_eq!([(); 3].map(|()| agree(&mut checker)), [5, 10, 20]);
        let differs = |checker: &mut CrossChecker| {
            checker.take_counters(Some((at(1), 4096)));
            next(checker)
        };
        assert_eq!(
            [(); 6].map(|()| differs(&mut checker)),
            [5, 10, 20, 40, 80, 40]
        );
        let result = checker.result();
        assert_eq!((result.count, result.largest_difference_bytes), (4, 4096));
        assert_eq!(
            [(); 6].map(|()| agree(&mut checker)),
            [80, 160, 320, 640, 1000, 1000]
        );
    }

    /// A difference that is booked while it is looked at again was none.
    #[test]
    fn what_is_booked_meanwhile_is_no_difference() {
        let mut checker = CrossChecker::new(4096, 2);
        for _ in 0..5 {
            checker.take_counters(Some((at(1), 4096)));
        }
        assert_eq!(checker.result().count, 0);
        // One more update of the image.
        checker.take_counters(Some((at(2), 4096)));
        assert_eq!(checker.result().count, 0);
        checker.take_counters(Some((at(2), 0)));
        let result = checker.result();
        assert_eq!((result.count, result.largest_difference_bytes), (1, 0));
    }

    /// So it is with segments, whose state is what they hold.
    #[test]
    fn segments_differ_if_they_do_so_for_as_long() {
        let mut checker = CrossChecker::new(4096, 2);
        let record = |file| {
            let mut record = SegmentsRecord {
                image: 1,
                ..blank::SEGMENTS
            };
            record.cur[0][0] = file;
            Box::new(record)
        };
        // The looks themselves are in another rhythm than those at a difference.
        checker.pause();
        for pause in [5, 10, 20, 40, 80] {
            checker.take_segments(Some((record(1), 8192)));
            assert_eq!(next(&mut checker), pause);
        }
        checker.take_segments(Some((record(2), 8192)));
        assert_eq!(checker.result().segments, 0);
        for _ in 0..6 {
            assert_eq!(checker.result().segments, 0);
            checker.take_segments(Some((record(2), 8192)));
        }
        let result = checker.result();
        assert_eq!(
            (result.segments, result.segment_difference_bytes),
            (1, 8192)
        );
    }
}
