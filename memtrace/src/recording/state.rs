//! The kernel side's state now and then, as items. The end has the same ones and more.

use memtrace_ebpf::{Image, Process, SegmentsRecord, Stat, Tree};

use super::{
    fields::{self, Put},
    items::Parts,
    last::read_final,
    varint::{Malformed, put, put_bytes, zigzag},
};
use crate::model::{BranchState, CrossChecks, Final, PssSnapshot, Stats};

/// Tags of a [`State`] and of a [`Final`].
pub(super) mod end {
    pub(in crate::recording) const AT: u64 = 1;
    pub(in crate::recording) const TREE: u64 = 2;
    pub(in crate::recording) const IMAGE: u64 = 3;
    pub(in crate::recording) const PROCESS: u64 = 4;
    pub(in crate::recording) const STAT: u64 = 5;
    pub(in crate::recording) const MISSED: u64 = 6;
    pub(in crate::recording) const UNDECODABLE: u64 = 7;
    pub(in crate::recording) const CROSS_CHECKS: u64 = 8;
    pub(in crate::recording) const TIER: u64 = 9;
    pub(in crate::recording) const LIMIT: u64 = 10;
    pub(in crate::recording) const PAGE_SIZE: u64 = 11;
    pub(in crate::recording) const ARGUMENT: u64 = 12;
    pub(in crate::recording) const WAIT_STATUS: u64 = 13;
    pub(in crate::recording) const DURATIONS: u64 = 14;
    pub(in crate::recording) const MAXRSS: u64 = 15;
    pub(in crate::recording) const STARTED: u64 = 16;
    pub(in crate::recording) const ENDED_BY_LIMIT: u64 = 17;
    pub(in crate::recording) const PSS: u64 = 18;
    pub(in crate::recording) const SEGMENTS: u64 = 19;
    pub(in crate::recording) const BRANCH: u64 = 20;
    pub(in crate::recording) const SAMPLED: u64 = 21;
    pub(in crate::recording) const SAMPLED_IMAGE: u64 = 22;
    pub(in crate::recording) const OWN_CGROUP: u64 = 23;
}

/// The kernel side's state while tracing goes on: the peaks so far.
#[derive(Clone, Debug)]
pub struct State {
    /// When it was read, `CLOCK_BOOTTIME` in nanoseconds.
    pub at: u64,
    /// The tree's totals.
    pub tree: Tree,
    /// Images that live.
    pub images: Vec<Image>,
    /// Processes that live.
    pub processes: Vec<Process>,
    /// Totals of the statistics counters.
    pub stats: Stats,
    /// Records that userspace could not decode so far.
    pub undecodable: u64,
    /// Comparisons with `/proc` so far.
    pub cross_checks: CrossChecks,
    /// Snapshots of PSS since the state before.
    pub snapshots: Vec<PssSnapshot>,
    /// Segments of images that live.
    pub segments: Vec<SegmentsRecord>,
}

impl State {
    pub(super) fn parts(&self) -> Parts {
        let Self {
            at,
            tree,
            images,
            processes,
            stats,
            undecodable,
            cross_checks,
            snapshots,
            segments,
        } = self;
        let mut parts = Parts::default();
        kernel_side(&mut parts, *at, tree, images, processes);
        statistics(&mut parts, stats, *undecodable, *cross_checks);
        put_snapshots(&mut parts, snapshots, *at);
        put_segments(&mut parts, segments);
        parts
    }

    /// # Errors
    ///
    /// If the time or the tree are missing, or something does not follow the format.
    pub(super) fn read(parts: &[Vec<u8>]) -> Result<Self, Malformed> {
        let Final {
            ended_at,
            tree,
            images,
            processes,
            stats,
            undecodable,
            cross_checks,
            snapshots,
            segments,
            ..
        } = read_final(parts)?;
        Ok(Self {
            at: ended_at,
            tree,
            images,
            processes,
            stats,
            undecodable,
            cross_checks,
            snapshots,
            segments,
        })
    }
}

/// What the maps hold.
pub(super) fn kernel_side(
    parts: &mut Parts,
    at: u64,
    tree: &Tree,
    images: &[Image],
    processes: &[Process],
) {
    parts.number(end::AT, at);
    parts.item(end::TREE, |body| {
        fields::tree(&mut Put(body), &mut { *tree }, at);
    });
    for image in images {
        parts.item(end::IMAGE, |body| {
            fields::image(&mut Put(body), &mut { *image }, at);
        });
    }
    for process in processes {
        parts.item(end::PROCESS, |body| {
            fields::process(&mut Put(body), &mut { *process }, at);
        });
    }
}

/// What the kernel said of shares of memory.
pub(super) fn put_snapshots(parts: &mut Parts, snapshots: &[PssSnapshot], at: u64) {
    for PssSnapshot {
        at_ns,
        pss,
        uss,
        rss,
    } in snapshots
    {
        parts.item(end::PSS, |body| {
            put(body, zigzag(at_ns.wrapping_sub(at).cast_signed()));
            put(body, *pss);
            put(body, *uss);
            put(body, *rss);
        });
    }
}

/// What the segments of living images hold.
pub(super) fn put_segments(parts: &mut Parts, segments: &[SegmentsRecord]) {
    for record in segments {
        parts.item(end::SEGMENTS, |body| {
            fields::segments(&mut Put(body), &mut { *record });
        });
    }
}

/// What each of several roots has.
pub(super) fn put_branches(parts: &mut Parts, branches: &[BranchState], at: u64) {
    for BranchState {
        name,
        roots,
        totals,
    } in branches
    {
        parts.item(end::BRANCH, |body| {
            put(body, name.is_some().into());
            put_bytes(body, name.as_deref().unwrap_or_default().as_bytes());
            put(body, roots.len() as u64);
            for root in roots {
                put(body, (*root).into());
            }
            fields::branch(&mut Put(body), &mut { *totals }, at);
        });
    }
}

/// What was counted.
pub(super) fn statistics(parts: &mut Parts, stats: &Stats, undecodable: u64, checks: CrossChecks) {
    for (stat, total) in stats.iter().filter(|(_, total)| *total > 0) {
        parts.item(end::STAT, |body| {
            put(body, stat_number(stat));
            put(body, total);
        });
    }
    parts.number(end::UNDECODABLE, undecodable);
    let CrossChecks {
        count,
        largest_difference_bytes,
        allowed_bytes,
        segments,
        segment_difference_bytes,
    } = checks;
    parts.item(end::CROSS_CHECKS, |body| {
        put(body, count);
        put(body, largest_difference_bytes);
        put(body, allowed_bytes);
        put(body, segments);
        put(body, segment_difference_bytes);
    });
}

/// The number by which the format knows a counter.
pub(super) const fn stat_number(stat: Stat) -> u64 {
    match stat {
        Stat::RingFull => 2,
        Stat::ImagesFull => 3,
        Stat::ProcessesFull => 4,
        Stat::MapBusy => 5,
        Stat::ReadFailed => 6,
        Stat::Negative => 7,
        Stat::Torn => 8,
        Stat::Unverified => 9,
        Stat::Healed => 10,
        Stat::ProcessHealed => 11,
        Stat::Residual => 12,
        Stat::CachesFull => 13,
        Stat::CacheOverlap => 14,
        Stat::Unlocked => 15,
        Stat::TimelineFull => 16,
        Stat::NotContinued => 17,
        Stat::SegmentsFull => 18,
        Stat::NoMemory => 19,
        Stat::Outlived => 20,
        Stat::Borrowed => 21,
        Stat::SegmentsCaughtUp => 22,
    }
}
