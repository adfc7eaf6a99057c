//! Moments and ranges: the same from a snapshot on as from the beginning, and the same as
//! without any of this code.

use std::os::fd::AsRawFd as _;

use super::{
    super::{Head, Index, Writer},
    file, head,
    history::{History, Numbers, WIDTH, ZERO, changes, rss, windows},
};
use crate::event::Event;

/// An index of a history's recording.
fn index(history: &History, width_ns: u64) -> (std::fs::File, Index) {
    let file = file();
    let head = Head { width_ns, ..head() };
    let writer = Writer::create(file.try_clone().unwrap(), &head).unwrap();
    history.write(writer);
    let index = Index::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert_eq!(index.notes(), [] as [&str; 0]);
    (file, index)
}

fn check_moments(history: &History, width_ns: u64) {
    let (_file, mut index) = index(history, width_ns);
    let snapshots = index.places.iter().filter(|place| place.header.kind == 4);
    assert!(snapshots.count() > 3, "nothing is tested without snapshots");
    let ids: Vec<u64> = index
        .summary()
        .images
        .iter()
        .map(|image| image.id)
        .collect();
    let mut numbers = Numbers(7);
    for _ in 0..200 {
        let at_ns = numbers.below(index.end_ns());
        index.use_snapshots = true;
        let moment = index.at(at_ns).unwrap();
        index.use_snapshots = false;
        assert_eq!(index.at(at_ns).unwrap(), moment, "at {at_ns}");
        let expected = history.naive(ZERO + at_ns);
        let held: Vec<(u64, u64)> = moment
            .images
            .iter()
            .map(|(image, (held, _))| (ids[*image], held.rss() / 4096))
            .collect();
        // Images that never ended are in no summary here: they are not in the made-up end.
        let expected: Vec<(u64, u64)> = expected
            .iter()
            .filter(|(id, _)| ids.contains(id))
            .map(|(id, pages)| (*id, rss(pages).unsigned_abs()))
            .collect();
        assert_eq!(held, expected, "at {at_ns}");
    }
}

/// Each change.
#[test]
fn moments_of_changes() {
    check_moments(&changes(3000, 1), 0);
}

/// Windows, of which some come long after they were over.
#[test]
fn moments_of_windows() {
    check_moments(&windows(3000, 2), WIDTH);
}

/// Peaks within a range equal those of all values in it; means those of all steps.
#[test]
fn ranges_of_changes() {
    let history = changes(3000, 3);
    let (_file, mut index) = index(&history, 0);
    let mut numbers = Numbers(8);
    for _ in 0..50 {
        let a = numbers.below(index.end_ns());
        let b = a + 1 + numbers.below(index.end_ns() - a);
        index.use_snapshots = true;
        let range = index.between(a, b).unwrap();
        index.use_snapshots = false;
        assert_eq!(index.between(a, b).unwrap(), range, "{a} {b}");
        // All values of the sum, in order.
        let mut held = std::collections::BTreeMap::new();
        let mut sum = 0_i64;
        let (mut peak, mut least, mut integral, mut since) = (0, i64::MAX, 0_i128, ZERO + a);
        let mut begun = false;
        for event in &history.events {
            let Event::Change(change) = event else {
                continue;
            };
            let at = change.header.at;
            // What happens at the end belongs to the range.
            if at > ZERO + b {
                break;
            }
            if at >= ZERO + a {
                if !begun {
                    (peak, least, begun) = (sum, sum, true);
                }
                integral += i128::from(sum) * i128::from(at - since);
                since = at;
            }
            if change.member != 2 {
                let old = held
                    .insert((change.image, change.member), change.value)
                    .unwrap_or(0);
                sum += change.value - old;
            }
            if begun {
                (peak, least) = (peak.max(sum), least.min(sum));
            }
        }
        if !begun {
            (peak, least) = (sum, sum);
        }
        integral += i128::from(sum) * i128::from(ZERO + b + 1 - since);
        assert_eq!(range.peak_rss, peak.unsigned_abs() * 4096, "{a} {b}");
        assert_eq!(range.least_rss, least.unsigned_abs() * 4096, "{a} {b}");
        let mean = integral * 4096 / i128::from(b + 1 - a);
        assert_eq!(i128::from(range.average_rss), mean, "{a} {b}");
    }
}

/// With windows, peaks are the largest of all windows in the range.
#[test]
fn ranges_of_windows() {
    let history = windows(3000, 4);
    let (_file, mut index) = index(&history, WIDTH);
    let mut numbers = Numbers(9);
    for _ in 0..50 {
        let a = numbers.below(index.end_ns());
        let b = a + 1 + numbers.below(index.end_ns() - a);
        index.use_snapshots = true;
        let range = index.between(a, b).unwrap();
        index.use_snapshots = false;
        assert_eq!(index.between(a, b).unwrap(), range, "{a} {b}");
        assert!(range.from_ns <= a && b <= range.until_ns);
        assert!((ZERO + range.from_ns).is_multiple_of(WIDTH) || range.from_ns == 0);
        let inside = |start: u64| start >= ZERO + range.from_ns && start < ZERO + range.until_ns;
        let tree = history.events.iter().filter_map(|event| match event {
            Event::TreeWindow(window) => Some(window),
            _ => None,
        });
        let mut before = tree
            .clone()
            .filter(|window| window.start < ZERO + range.from_ns);
        let opening = before.next_back().map_or(0, |window| rss(&window.last));
        let most = tree
            .filter(|window| inside(window.start))
            .map(|window| window.max_rss)
            .fold(opening, i64::max);
        assert_eq!(range.peak_rss, most.unsigned_abs() * 4096, "{a} {b}");
    }
}

/// Beyond the end there is the end.
#[test]
fn moments_beyond_the_end() {
    let history = changes(100, 5);
    let (_file, mut index) = index(&history, 0);
    let end = index.at(index.end_ns()).unwrap();
    assert_eq!(index.at(u64::MAX).unwrap(), end);
    let range = index.between(u64::MAX, u64::MAX).unwrap();
    assert_eq!(range.until_ns - range.from_ns, 1);
}
