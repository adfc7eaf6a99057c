//! What an image's pages are for.

use std::collections::BTreeMap;

use memtrace_ebpf::{
    MEMBERS, Member, Pages, SEGMENTS, Segment, SegmentHooks, SegmentsRecord, Stat,
};

use super::{
    certificate::{Findings, records_calls, sees_system_calls, tells_segments},
    final_state::Final,
    measured::{Measured, bytes, signed_bytes},
};

/// How segments were told apart, and how far to believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentsSeen {
    /// By what.
    pub by: SegmentHooks,
    /// No segment of any image is wrong by more bytes; `None` if there is no bound.
    pub within: Option<u64>,
    /// Images whose segments are exact.
    pub exact: usize,
    /// Images with segments.
    pub images: usize,
    /// Comparisons with `/proc/PID/smaps`.
    pub compared: u64,
}

impl SegmentsSeen {
    /// What all images' segments are worth together.
    pub(super) fn of(last: &Final, told: &[&Segments]) -> Option<Self> {
        let ground = Ground::of(last);
        let mut seen = Self {
            by: ground.by,
            within: Some(0),
            exact: 0,
            images: told.len(),
            compared: last.cross_checks.segments,
        };
        for segments in told {
            seen.exact += usize::from(segments.within == Some(0));
            seen.within = seen
                .within
                .zip(segments.within)
                .map(|(all, one)| all.max(one));
        }
        (seen.images > 0).then_some(seen)
    }
}

/// The tier's `C` stands for page faults and system calls, in place of functions.
fn by_hints(last: &Final) -> bool {
    last.tier.split('+').any(|part| part == "C")
}

/// What all images' segments have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    /// Bytes per page.
    page: u64,
    /// No image's segments are known better than this, bytes; `None` if nothing is known of them.
    floor: Option<u64>,
    /// By what they were told apart.
    by: SegmentHooks,
}

impl Ground {
    pub(super) fn of(last: &Final) -> Self {
        Self {
            page: last.page_size,
            floor: floor(last),
            by: if by_hints(last) {
                SegmentHooks::Hints
            } else {
                SegmentHooks::Functions
            },
        }
    }

    /// How far the segments of one image can be wrong, bytes; `None` without a bound. `alone`: no two threads can
    /// have been in it at a time.
    fn within(self, record: &SegmentsRecord, alone: bool) -> Option<u64> {
        // By hints, a mapping that another thread changes meanwhile is not told for certain.
        let ordered = alone || (record.watched == 1 && self.by == SegmentHooks::Functions);
        let own = record.untold.saturating_add(record.residual);
        self.floor
            .filter(|_| ordered && record.mixed == 0)
            .map(|floor| floor.max(own.saturating_mul(self.page)))
    }
}

/// See [`Ground::floor`].
fn floor(last: &Final) -> Option<u64> {
    let hints = by_hints(last);
    let lost = |program: &str| {
        tells_segments(program) || !records_calls(program) && (hints || !sees_system_calls(program))
    };
    let skipped = last
        .missed
        .iter()
        .any(|missed| missed.count > 0 && lost(&missed.program));
    // The later ones: a reading that has more or less than what was changed leaves that to the next one's, and a
    // process that was not seen at its creation can share the address space.
    let untold = skipped
        || [
            Stat::SegmentsFull,
            Stat::SegmentsCaughtUp,
            Stat::Unverified,
            Stat::Negative,
            Stat::CacheOverlap,
            Stat::ProcessHealed,
        ]
        .iter()
        .any(|stat| last.stats.get(*stat) > 0);
    // What /proc contradicts is not exact, whatever was told.
    (!untold).then_some(last.cross_checks.segment_difference_bytes)
}

/// One segment of an image, bytes. Those of [`Segment::Unknown`] are below 0 where pages left
/// that belong to other segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// Which.
    pub segment: Segment,
    /// Resident when the image's RSS was at its peak.
    pub resident_at_peak: i64,
    /// Of that, anonymous memory: what the process wrote.
    pub anon_at_peak: i64,
    /// Swapped out then.
    pub swapped_at_peak: i64,
    /// Largest resident size.
    pub peak_resident: u64,
    /// Largest swapped-out size.
    pub peak_swapped: u64,
    /// Size in virtual memory when RSS was at its peak, where it is known.
    pub mapped_at_peak: Option<u64>,
    /// Largest size in virtual memory, as seen at page faults, where it is known.
    pub peak_mapped: Option<u64>,
}

impl SegmentUse {
    /// Whether there was anything in it at any time.
    #[must_use]
    pub const fn held_anything(&self) -> bool {
        self.peak_resident | self.peak_swapped != 0 || self.resident_at_peak != 0
    }
}

/// All segments of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// One each, in the order of [`Segment::ALL`].
    pub table: [SegmentUse; SEGMENTS],
    /// None of them is wrong by more, bytes; `None` without a bound. When two threads, or reclaim and a thread,
    /// change one counter at the same moment, an update shows what both did, and it is not told what each did:
    /// the sum is right, and the one's pages can be booked to the other's segment. That it happened is noticed,
    /// because one of the two then finds nothing to book.
    ///
    /// Of an image that lives it does not have what only shows at the end, when nothing may be left.
    pub within: Option<u64>,
    /// What was left in its segments when it had ended, in absolute numbers, bytes: pages that were booked to
    /// one and left another.
    pub left: u64,
}

/// The members that are resident.
pub(super) fn resident(pages: &Pages) -> i64 {
    pages[Member::File as usize]
        .saturating_add(pages[Member::Anon as usize])
        .saturating_add(pages[Member::Shmem as usize])
}

impl Segments {
    /// `alone` if no two threads can have been in it at a time.
    pub(super) fn new(record: &SegmentsRecord, ground: Ground, alone: bool) -> Self {
        let page = ground.page;
        let table = Segment::ALL.map(|segment| {
            let index = segment as usize;
            let at_peak = &record.at_peak[index];
            // Those have fields of their own in the kernel.
            let known =
                record.mapped_known == 1 || matches!(segment, Segment::Heap | Segment::Stack);
            let mapped = |pages: u64| known.then(|| pages.saturating_mul(page));
            SegmentUse {
                segment,
                resident_at_peak: signed_bytes(resident(at_peak), page),
                anon_at_peak: signed_bytes(at_peak[Member::Anon as usize], page),
                swapped_at_peak: signed_bytes(at_peak[Member::Swap as usize], page),
                peak_resident: bytes(record.peak_resident[index], page),
                peak_swapped: bytes(record.peak_swapped[index], page),
                mapped_at_peak: mapped(record.mapped_at_peak[index]),
                peak_mapped: mapped(record.peak_mapped[index]),
            }
        });
        Self {
            table,
            within: ground.within(record, alone),
            left: record.residual.saturating_mul(page),
        }
    }
}

/// Segments of ended and living images by the image's id, and checks that they add up.
pub(super) fn all(
    ended: BTreeMap<u64, SegmentsRecord>,
    living: &[SegmentsRecord],
    images: &BTreeMap<u64, Measured>,
    findings: &mut Findings,
) -> BTreeMap<u64, SegmentsRecord> {
    let mut all = ended;
    for record in living {
        all.entry(record.image).or_insert(*record);
    }
    for (id, record) in &all {
        let Some(image) = images.get(id) else {
            continue;
        };
        for member in 0..MEMBERS {
            let sum = record
                .at_peak
                .iter()
                .fold(0_i64, |sum, pages| sum.saturating_add(pages[member]));
            if sum != image.own_peak[member] {
                findings.gap("images whose segments do not add up", || {
                    format!("image {id}: {sum} of {} pages", image.own_peak[member])
                });
                break;
            }
        }
    }
    all
}
