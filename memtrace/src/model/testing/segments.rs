//! How far segments are believed.

use memtrace_ebpf::{SegmentsRecord, Stat};

use super::{
    super::{
        CrossChecks, Final, Missed,
        segments::{Segments, floor},
    },
    PAGE, last, tree,
};
use crate::blank;

fn floor_after(change: impl FnOnce(&mut Final)) -> Option<u64> {
    let mut end = last(tree(), 100);
    change(&mut end);
    floor(&end)
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
    assert_eq!(
        floor_after(|end| end.stats.set(Stat::SegmentsFull, 1)),
        None
    );
}

/// What smaps contradicts is not exact, whatever was told.
#[test]
fn a_contradiction_bounds_all() {
    let floor = floor_after(|end| {
        end.cross_checks = CrossChecks {
            segments: 3,
            segment_difference_bytes: 8192,
            ..CrossChecks::default()
        };
    });
    assert_eq!(floor, Some(8192));
    let record = SegmentsRecord {
        untold: 1,
        residual: 2,
        ..blank::SEGMENTS
    };
    let within = |floor| Segments::new(&record, PAGE, floor, true).within;
    assert_eq!(within(Some(8192)), Some(3 * PAGE));
    assert_eq!(within(Some(5 * PAGE)), Some(5 * PAGE));
    assert_eq!(within(None), None);
}

/// Two threads' changes at the same moment are seen as one.
#[test]
fn several_threads_leave_no_bound() {
    let record = SegmentsRecord {
        residual: 2,
        ..blank::SEGMENTS
    };
    let segments = Segments::new(&record, PAGE, Some(0), false);
    assert_eq!((segments.within, segments.left), (None, 2 * PAGE));
}
