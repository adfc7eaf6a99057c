//! No peak is lost, however long it lasts.

use proptest::{collection::vec, prelude::*};

use crate::screen::history::{Highest, History, LOOKS, SPANS};

const SECOND: u64 = 1_000_000_000;

fn push(history: &mut History, at_ns: u64, rss: u64) {
    history.push(at_ns, rss, Highest { bytes: 0, at_ns: 0 });
}

/// Days of looks stay in bounds, and the one spike of the first minute is still there.
#[test]
fn a_spike_outlasts_days() {
    let mut history = History::default();
    let looks = 300_000;
    for look in 0..looks {
        let rss = if look == 42 { 1_000_000 } else { look % 100 };
        push(&mut history, look * SECOND, rss);
    }
    assert!(history.kept() <= LOOKS + SPANS);
    let now = (looks - 1) * SECOND;
    let highest = history.highest(0, now).expect("some");
    assert_eq!(highest.bytes, 1_000_000);
    let columns = history.columns(0, now, now, 140);
    let most = columns.iter().flatten().map(|column| column.high).max();
    assert_eq!(most, Some(1_000_000));
    // Where it was, as exactly as a screen can show it.
    assert_eq!(columns[0].map(|column| column.high), Some(1_000_000));
    assert!(columns.iter().all(Option::is_some));
    // The latest are still what they were.
    assert_eq!(
        history.highest(now - 10 * SECOND, now).map(|h| h.bytes),
        Some(99)
    );
    assert_eq!(history.at(now - 5 * SECOND), Some((looks - 6) % 100));
}

/// A peak between two looks is at its own moment, once.
#[test]
fn peaks_between_looks() {
    let mut history = History::default();
    history.push(10, 5, Highest { bytes: 9, at_ns: 4 });
    history.push(
        20,
        6,
        Highest {
            bytes: 50,
            at_ns: 13,
        },
    );
    history.push(
        30,
        7,
        Highest {
            bytes: 50,
            at_ns: 13,
        },
    );
    assert_eq!(history.highest(0, 12).map(|h| h.bytes), Some(9));
    assert_eq!(
        history.highest(11, 30),
        Some(Highest {
            bytes: 50,
            at_ns: 13
        })
    );
    assert_eq!(
        history.highest(14, 30),
        Some(Highest {
            bytes: 7,
            at_ns: 30
        })
    );
    assert_eq!(history.columns(0, 30, 30, 3)[1].map(|c| c.high), Some(50));
}

proptest! {
    /// Over any window, the largest drawn is the largest of the looks in it, together with what
    /// it was when the window began.
    #[test]
    fn the_largest_of_a_window_is_drawn(
        steps in vec((0..5_u64, 0..1_000_u64), 1..200),
        from in 0..400_u64,
        length in 0..400_u64,
        width in 1..50_usize,
    ) {
        let mut history = History::default();
        let mut looks = Vec::new();
        let mut at = 0;
        for (step, rss) in steps {
            at += step;
            push(&mut history, at, rss);
            looks.push((at, rss));
        }
        let to = from + length;
        let entered = looks.iter().rev().find(|(at, _)| *at <= from);
        let inside = looks.iter().filter(|(at, _)| (from..=to).contains(at));
        let expected = inside.chain(entered).map(|(_, rss)| *rss).max();
        let columns = history.columns(from, to, to, width);
        prop_assert_eq!(columns.len(), width);
        let highest = history.highest(from, to).map(|highest| highest.bytes);
        prop_assert_eq!(highest, expected);
        let drawn = columns.iter().flatten().map(|column| column.high).max();
        if looks.iter().any(|(at, _)| (from..=to).contains(at)) || at >= to {
            prop_assert_eq!(drawn, expected);
        }
    }
}
