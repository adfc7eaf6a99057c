//! How far segments are believed.

use memtrace_ebpf::{SegmentsRecord, Stat};

use super::{
    super::{
        CrossChecks, Final, Missed,
        segments::{Ground, Segments},
    },
    PAGE, last, tree,
};
use crate::blank;

fn ground_after(change: impl FnOnce(&mut Final)) -> Ground {
    let mut end = last(tree(), 100);
    change(&mut end);
    Ground::of(&end)
}

/// The bound of an image of which nothing is unknown.
fn floor_after(change: impl FnOnce(&mut Final)) -> Option<u64> {
    Segments::new(&blank::SEGMENTS, ground_after(change), true).within
}

fn skipped(tier: &str, program: &str) -> Option<u64> {
    floor_after(|end| {
        end.tier = tier.to_owned();
        end.missed.push(Missed {
            program: program.to_owned(),
            count: 1,
        });
    })
}

/// A program that did not run can have missed whose page it was.
#[test]
fn what_was_skipped_leaves_no_bound() {
    assert_eq!(floor_after(|_| ()), Some(0));
    assert_eq!(skipped("A+B", "segment_fault"), None);
    assert_eq!(skipped("A+B", "rss_stat"), None);
    // It tells of sizes only; in the other tier, calls tell whose pages go.
    assert_eq!(skipped("A+B", "sys_exit"), Some(0));
    assert_eq!(skipped("A+C", "sys_exit"), None);
    // No number depends on those.
    assert_eq!(skipped("A+B", "call_exit"), Some(0));
    for stat in [
        Stat::SegmentsFull,
        Stat::SegmentsCaughtUp,
        Stat::Unverified,
        Stat::Negative,
        Stat::CacheOverlap,
        Stat::ProcessHealed,
    ] {
        assert_eq!(floor_after(|end| end.stats.set(stat, 1)), None, "{stat:?}");
    }
}

/// What smaps contradicts is not exact, whatever was told.
#[test]
fn a_contradiction_bounds_all() {
    let record = SegmentsRecord {
        untold: 1,
        residual: 2,
        ..blank::SEGMENTS
    };
    let within = |difference| {
        let ground = ground_after(|end| {
            end.cross_checks = CrossChecks {
                segments: 3,
                segment_difference_bytes: difference,
                ..CrossChecks::default()
            };
        });
        Segments::new(&record, ground, true).within
    };
    assert_eq!(within(8192), Some(3 * PAGE));
    assert_eq!(within(5 * PAGE), Some(5 * PAGE));
}

/// Two threads' changes at the same moment are seen as one.
#[test]
fn several_threads_leave_no_bound_unless_it_was_watched_that_they_took_turns() {
    let record = |watched, mixed| SegmentsRecord {
        residual: 2,
        watched,
        mixed,
        ..blank::SEGMENTS
    };
    let by = |tier: &str| ground_after(|end| end.tier = tier.to_owned());
    let within = |watched, mixed, tier, alone| {
        let segments = Segments::new(&record(watched, mixed), by(tier), alone);
        assert_eq!(segments.left, 2 * PAGE);
        segments.within
    };
    assert_eq!(within(0, 0, "A+B", false), None);
    assert_eq!(within(1, 0, "A+B", false), Some(2 * PAGE));
    assert_eq!(within(1, 1, "A+B", false), None);
    // Threads change mappings, too.
    assert_eq!(within(1, 0, "A+C", false), None);
    // Reclaim, or another process with the same memory.
    assert_eq!(within(1, 1, "A+B", true), None);
    assert_eq!(within(1, 1, "A+C", true), None);
    assert_eq!(within(0, 0, "A+C", true), Some(2 * PAGE));
}
