//! Families of processes that fork, write, free, execute and end in any order: what the maps say against
//! what every page says.

extern crate std;

use std::{vec, vec::Vec};

use memtrace_ebpf::Stat;
use proptest::prelude::*;

use super::{kernel::Machine, state};

/// How many places each process has.
const PLACES: u16 = 8;

/// So long that some looks come too late for what the recent past remembers.
const LONG_NS: u64 = 100_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u16),
    Free(u16),
    Read(u16),
    SwapOut(u16),
    Grow,
    Fault,
    Thread,
    Fork,
    Exec,
    /// Begins to exit, or goes on.
    Exit,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        12 => (0..PLACES).prop_map(Step::Write),
        // The first place is the stack's: no process is without a page.
        3 => (1..PLACES).prop_map(Step::Free),
        2 => (0..PLACES).prop_map(Step::Read),
        2 => (0..PLACES).prop_map(Step::SwapOut),
        2 => Just(Step::Grow),
        1 => Just(Step::Fault),
        1 => Just(Step::Thread),
        3 => Just(Step::Fork),
        1 => Just(Step::Exec),
        8 => Just(Step::Exit),
        3 => (0..LONG_NS).prop_map(Step::Pass),
    ];
    proptest::collection::vec((0_usize..6, step), 0..80)
}

fn run(steps: &[(usize, Step)], tells_first: bool) -> Machine {
    let mut machine = Machine::new(tells_first);
    for &(who, step) in steps {
        if who >= machine.len() {
            continue;
        }
        match step {
            Step::Write(place) => machine.write(who, place),
            Step::Free(place) => machine.free(who, place),
            Step::Read(place) => machine.read(who, place),
            Step::SwapOut(place) => machine.swap_out(who, place),
            Step::Grow => machine.grow(who),
            Step::Fault => machine.fault(who),
            Step::Thread => machine.thread(who),
            Step::Fork if machine.len() < 6 => machine.fork(who),
            Step::Fork => {}
            Step::Exec => machine.exec(who),
            Step::Exit => machine.exit(who),
            Step::Pass(ns) => state::pass(ns),
        }
        check_low(&machine);
    }
    machine
}

/// The low bound is one at any time.
fn check_low(machine: &Machine) {
    let low = state::tree(0).map_or(0, |tree| {
        // SAFETY: a map value of this thread's.
        unsafe { (*tree).rss - (*tree).shared }
    });
    assert!(low <= machine.different() as i64, "{low} are too many");
}

/// Compares the tree with what is known of it.
fn check(steps: &[(usize, Step)], tells_first: bool) -> Result<(), TestCaseError> {
    let mut machine = run(steps, tells_first);
    let tree = state::tree(0).ok_or_else(|| TestCaseError::fail("no tree"))?;
    // SAFETY: a map value of this thread's.
    let rss = |tree: *mut memtrace_ebpf::Tree| unsafe { (*tree).rss };
    prop_assert_eq!(rss(tree), Machine::booked());
    machine.end();
    // SAFETY: a map value of this thread's.
    let tree = unsafe { *tree };
    prop_assert_eq!(tree.rss, 0);
    prop_assert_eq!((tree.shared, tree.uncertain), (0, 0), "left over");
    prop_assert_eq!(tree.family_lost, 0);
    prop_assert!(state::images().is_empty());
    for stat in [
        Stat::Healed,
        Stat::Outlived,
        Stat::ReadFailed,
        Stat::Residual,
    ] {
        prop_assert_eq!(state::counted(stat), 0, "{:?}", stat);
    }
    prop_assert_eq!(tree.peak_rss, machine.most_summed as i64);
    let most = machine.most as i64;
    let (low, high) = (tree.peak_footprint_low, tree.peak_footprint_high);
    prop_assert!(
        low <= most && most <= high,
        "{} is not within {} and {}",
        most,
        low,
        high
    );
    prop_assert!(high <= tree.peak_rss);
    Ok(())
}

/// As many histories as `PROPTEST_CASES` says, or enough for seconds.
fn config() -> ProptestConfig {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default()
    } else {
        ProptestConfig::with_cases(3000)
    }
}

proptest! {
    #![proptest_config(config())]

    /// The sum is right, and the truth lies within the footprint's bounds, whatever a family does
    /// in whatever order.
    #[test]
    fn the_truth_lies_within_the_bounds(steps in steps()) {
        check(&steps, true)?;
    }

    /// The same where a process tells of its end when its memory is gone, as up to 6.15.
    #[test]
    fn the_truth_lies_within_the_bounds_of_old_kernels(steps in steps()) {
        check(&steps, false)?;
    }
}

type Outcome = Result<(), TestCaseError>;

/// The same for each of some places.
fn each(places: std::ops::Range<u16>, step: impl Fn(u16) -> (usize, Step)) -> Vec<(usize, Step)> {
    places.map(step).collect()
}

/// Steps of one family, with either order of ends.
fn check_both(parts: &[Vec<(usize, Step)>]) -> Outcome {
    let steps = parts.concat();
    check(&steps, true)?;
    check(&steps, false)
}

/// Where nobody writes after a fork, both bounds are the truth.
#[test]
fn what_is_only_inherited_counts_once() -> Outcome {
    check_both(&[
        each(0..PLACES, |place| (0, Step::Write(place))),
        vec![(0, Step::Fork), (0, Step::Fork)],
        vec![(1, Step::Exit); 8],
    ])?;
    let tree = state::tree(0).ok_or_else(|| TestCaseError::fail("no tree"))?;
    // SAFETY: a map value of this thread's.
    let tree = unsafe { *tree };
    let pages = i64::from(PLACES);
    assert_eq!(
        (tree.peak_footprint_low, tree.peak_footprint_high),
        (pages, pages)
    );
    assert_eq!(tree.peak_rss, 3 * pages);
    Ok(())
}

/// A third process has rewritten what it shared, without a change of any counter, when the first of the
/// family and its oldest heir end at the same time: those look at each other only.
#[test]
fn who_is_left_alone_is_looked_at() -> Outcome {
    check_both(&[
        each(0..PLACES, |place| (0, Step::Write(place))),
        vec![(0, Step::Fork), (0, Step::Fork)],
        each(0..PLACES, |place| (2, Step::Write(place))),
        // Alternately.
        vec![[(0, Step::Exit), (1, Step::Exit)]; 20].concat(),
    ])
}

/// What the first and its oldest heir gave back, the younger one has alone: here while the first is torn
/// down, when the heir shares nothing any more.
#[test]
fn what_elder_ones_gave_back_is_the_youngest_ones() -> Outcome {
    check_both(&[
        each(0..PLACES, |place| (0, Step::Write(place))),
        vec![(0, Step::Fork), (0, Step::Fork)],
        vec![(0, Step::Exit); 5],
        each(1..PLACES, |place| (1, Step::Free(place))),
        vec![(2, Step::Grow)],
    ])
}

/// So it is when the oldest heir ends, before the first of the family has left.
#[test]
fn what_an_ending_heir_had_is_its_younger_siblings() -> Outcome {
    check_both(&[
        vec![(0, Step::Fork), (1, Step::Exit), (0, Step::Fork)],
        vec![(0, Step::Exit), (0, Step::Exit), (0, Step::Exit)],
        vec![(1, Step::Exit), (1, Step::Exit), (2, Step::Grow)],
    ])
}

/// What an ending process has left can be its own.
#[test]
fn what_an_ending_process_has_left_can_be_its_own() -> Outcome {
    check_both(&[
        each(0..4, |place| (0, Step::Write(place))),
        vec![(0, Step::Fork)],
        each(4..PLACES, |place| (1, Step::Write(place))),
        vec![(1, Step::Exit); 4],
        vec![(0, Step::Grow)],
    ])
}

/// Doubts about an ended one's heirs outlive it.
#[test]
fn doubts_are_inherited() -> Outcome {
    check_both(&[
        vec![(0, Step::Fork), (0, Step::Exit), (1, Step::Fork)],
        vec![(0, Step::Exit), (1, Step::Exit), (1, Step::Exit)],
        vec![(0, Step::Exit), (0, Step::Exit), (2, Step::Grow)],
    ])
}

/// What was written to before the peak counts for it, however long ago that was when it is found.
#[test]
fn what_is_found_very_late_counts_for_the_peak() -> Outcome {
    check_both(&[
        each(0..PLACES, |place| (0, Step::Write(place))),
        vec![(0, Step::Fork), (0, Step::Fork)],
        each(0..PLACES, |place| (2, Step::Write(place))),
        vec![(0, Step::Grow)],
        vec![
            [
                (0, Step::Pass(LONG_NS)),
                (0, Step::Free(1)),
                (0, Step::Write(1))
            ];
            10
        ]
        .concat(),
    ])
}
