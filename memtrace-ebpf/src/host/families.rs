//! Families of processes that fork, write, free, execute and end in any order: what the maps say against
//! what every page says.

extern crate std;

use std::{rc::Rc, vec, vec::Vec};

use memtrace_ebpf::{Branch, Image, MEMBERS, Member, Stat, Timeline, Tree, rss};
use proptest::prelude::*;

use super::{
    kernel::{self, BRANCHES},
    machine::Machine,
    state::{self, Point},
    windows,
};
use crate::kernel::config;

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
    Lend,
    Map(u16),
    Unmap(u16),
    Exec,
    /// Begins to exit, or goes on.
    Exit,
    Pass(u64),
}

/// What a kernel is like.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// A process tells of its end before its memory is gone, as since 6.16.
    tells_first: bool,
    /// It takes spin locks in programs.
    spin_lock: bool,
    /// The timeline's windows are recorded.
    windows: bool,
}

const KERNELS: [Kernel; 8] = [
    Kernel::new(true, true, false),
    Kernel::new(true, false, false),
    Kernel::new(false, true, false),
    Kernel::new(false, false, false),
    Kernel::new(true, true, true),
    Kernel::new(true, false, true),
    Kernel::new(false, true, true),
    Kernel::new(false, false, true),
];

impl Kernel {
    const fn new(tells_first: bool, spin_lock: bool, windows: bool) -> Self {
        Self {
            tells_first,
            spin_lock,
            windows,
        }
    }

    fn machine(self) -> Machine {
        kernel::use_config(self.spin_lock, self.windows);
        Machine::new(self.tells_first)
    }

    /// With a program that nobody follows.
    fn unfollowed(self) -> Machine {
        kernel::use_config(self.spin_lock, self.windows);
        let machine = Machine::unfollowed(self.tells_first);
        machine.exec(0);
        machine
    }
}

fn kernels() -> impl Strategy<Value = Kernel> {
    proptest::sample::select(&KERNELS[..])
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    proptest::collection::vec((0_usize..6, step()), 0..80)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..PLACES).prop_map(Step::Write),
        // The first place is the stack's: no process is without a page.
        3 => (1..PLACES).prop_map(Step::Free),
        2 => (0..PLACES).prop_map(Step::Read),
        2 => (0..PLACES).prop_map(Step::SwapOut),
        2 => Just(Step::Grow),
        1 => Just(Step::Fault),
        1 => Just(Step::Thread),
        3 => Just(Step::Fork),
        1 => Just(Step::Lend),
        3 => (0..PLACES).prop_map(Step::Map),
        1 => (0..PLACES).prop_map(Step::Unmap),
        1 => Just(Step::Exec),
        8 => Just(Step::Exit),
        3 => (0..LONG_NS).prop_map(Step::Pass),
    ]
}

fn take(machine: &Machine, who: usize, step: Step) {
    if who >= machine.len() {
        return;
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
        Step::Lend if machine.len() < 6 => machine.lend(who),
        Step::Fork | Step::Lend => {}
        Step::Map(place) => machine.map(who, place),
        Step::Unmap(place) => machine.unmap_shared(who, place),
        Step::Exec => machine.exec(who),
        Step::Exit => machine.exit(who),
        Step::Pass(ns) => state::pass(ns),
    }
}

/// The low bound is one at any time.
fn check_low(machine: &Machine, in_flight: i64) {
    let low = state::tree(0).map_or(0, |tree| {
        // SAFETY: a map value of this thread's.
        let tree = unsafe { *tree };
        let mapped = tree.cur[Member::File as usize] + tree.cur[Member::Shmem as usize];
        tree.rss - tree.shared - tree.held_shared - (mapped - tree.files)
    });
    let most = machine.different() as i64 + in_flight;
    assert!(low <= most, "{low} are too many");
}

/// Compares the tree with what is known of it.
fn check(steps: &[(usize, Step)], kernel: Kernel) -> Result<(), TestCaseError> {
    let machine = kernel.machine();
    for &(who, step) in steps {
        take(&machine, who, step);
        check_low(&machine, 0);
    }
    check_end(&machine, 0)
}

/// The same where a family is attached to that has taken the first `before` steps. The first process lives until
/// then. The process `second`, if there is one, is a root of its own.
fn check_attached(
    steps: &[(usize, Step)],
    before: usize,
    second: usize,
    kernel: Kernel,
) -> Outcome {
    let machine = kernel.unfollowed();
    let (before, after) = steps.split_at(before.min(steps.len()));
    for &(who, step) in before {
        if who != 0 || !matches!(step, Step::Exit) {
            take(&machine, who, step);
        }
    }
    machine.attach(second);
    check_low(&machine, 0);
    for &(who, step) in after {
        take(&machine, who, step);
        check_low(&machine, 0);
    }
    check_branches(&machine)?;
    check_end(&machine, 0)
}

/// What each root has with its descendants adds up to what all have, and had the peak that is known.
fn check_branches(machine: &Machine) -> Outcome {
    let tree = state::tree(0).ok_or_else(|| TestCaseError::fail("no tree"))?;
    let branches: Vec<_> = (0..BRANCHES as u32).filter_map(state::branch).collect();
    // SAFETY: map values of this thread's.
    let (tree, branches): (Tree, Vec<Branch>) =
        unsafe { (*tree, branches.iter().map(|branch| **branch).collect()) };
    let mut sum = [0; MEMBERS];
    for (branch, most) in branches.iter().zip(machine.most_of()) {
        prop_assert_eq!(branch.rss, rss(&branch.cur));
        prop_assert_eq!(branch.peak_rss, most);
        prop_assert_eq!(rss(&branch.at_peak), branch.peak_rss);
        for (sum, own) in sum.iter_mut().zip(branch.cur) {
            *sum += own;
        }
    }
    prop_assert_eq!(sum, tree.cur);
    Ok(())
}

/// Compares the tree with what is known of it. `in_flight`: so many pages could be counted by the kernel and
/// not be booked yet while another CPU booked.
fn check_end(machine: &Machine, in_flight: i64) -> Result<(), TestCaseError> {
    let tree = state::tree(0).ok_or_else(|| TestCaseError::fail("no tree"))?;
    // SAFETY: a map value of this thread's.
    let summed = |tree: *mut Tree| unsafe { (*tree).rss };
    prop_assert_eq!(summed(tree), Machine::booked());
    machine.end();
    // SAFETY: a map value of this thread's.
    let tree = unsafe { *tree };
    prop_assert_eq!(tree.rss, 0);
    let left = (tree.shared, tree.uncertain, tree.held_shared);
    prop_assert_eq!(left, (0, 0, 0), "left over");
    prop_assert_eq!(tree.family_lost, 0);
    prop_assert!(state::images().is_empty());
    for stat in [Stat::Healed, Stat::ReadFailed, Stat::Residual] {
        prop_assert_eq!(state::counted(stat), 0, "{:?}", stat);
    }
    if in_flight == 0 {
        prop_assert_eq!(state::counted(Stat::Outlived), 0);
    }
    // What each image held at the peak adds up to it.
    let at_peak = |image: &Image| held_at_peak(image, &tree);
    let stacked: i64 = state::ended().iter().map(at_peak).sum();
    prop_assert_eq!(stacked, tree.peak_rss);
    for image in state::ended() {
        prop_assert_eq!(rss(&image.own_peak), image.peak_rss, "{:?}", image);
    }
    let (most, most_summed) = machine.most();
    let off = (tree.peak_rss - most_summed).abs();
    prop_assert!(
        off <= in_flight,
        "{} instead of {}",
        tree.peak_rss,
        most_summed
    );
    let (low, high) = (tree.peak_footprint_low, tree.peak_footprint_high);
    prop_assert!(
        low <= most + in_flight && most <= high + in_flight,
        "{} is not within {} and {}",
        most,
        low,
        high
    );
    prop_assert!(high <= tree.peak_rss);
    windows::check(&tree)
}

fn held_at_peak(image: &Image, tree: &Tree) -> i64 {
    if image.seq == tree.peak_seq {
        rss(&image.at_peak)
    } else {
        rss(&image.cur)
    }
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
    fn the_truth_lies_within_the_bounds(kernel in kernels(), steps in steps()) {
        check(&steps, kernel)?;
    }

    /// The same of a family that is attached to, at any time.
    #[test]
    fn the_truth_lies_within_the_bounds_after_attaching(
        kernel in kernels(),
        steps in steps(),
        before in 0_usize..60,
        second in 0_usize..6,
    ) {
        check_attached(&steps, before, second, kernel)?;
    }

    /// The same while another process does something between two steps of a program, as on another
    /// CPU: up to what is in flight then.
    #[test]
    fn the_truth_lies_within_the_bounds_on_two_cpus(
        kernel in kernels(),
        steps in proptest::collection::vec(beside(), 0..80),
    ) {
        check_beside(&steps, kernel)?;
    }
}

/// A step of one process, and perhaps one of another, or of another thread, within it.
#[derive(Clone, Copy, Debug)]
struct Beside {
    who: usize,
    step: Step,
    other: Option<(Point, usize, Step)>,
}

fn beside() -> impl Strategy<Value = Beside> {
    let point = prop_oneof![3 => Just(Point::Moment), 1 => Just(Point::Lock)];
    let other = proptest::option::of((point, 0_usize..6, step()));
    (0_usize..6, step(), other).prop_map(|(who, step, other)| Beside { who, step, other })
}

/// Whether a thread can do it beside others of its process, and it concerns no other one.
fn is_own(step: Step) -> bool {
    matches!(
        step,
        Step::Write(_)
            | Step::Free(_)
            | Step::Map(_)
            | Step::Unmap(_)
            | Step::Grow
            | Step::Fault
            | Step::Pass(_)
    )
}

/// Whether it leaves alone a page that is just moved to swap or back: that is done under the locks of the tables
/// that it is in.
fn leaves_pages(step: Step) -> bool {
    matches!(
        step,
        Step::Map(_) | Step::Unmap(_) | Step::Grow | Step::Fault | Step::Thread | Step::Pass(_)
    )
}

/// What another CPU can do now: while the lock is held, only what needs none.
fn take_meanwhile(machine: &Machine, who: usize, step: Step) {
    if machine.moves_pages() && !leaves_pages(step) {
        return;
    }
    // It takes so long that windows end meanwhile.
    let is_long = matches!(step, Step::Grow) && config!(timeline) != Timeline::Off as u32;
    let needs_none = is_own(step) && !is_long && who < machine.len() && machine.is_alone(who);
    if !state::is_locked() || needs_none {
        take(machine, who, step);
    }
}

/// The most pages that one event is about, see [`Machine::begin_fork`].
const IN_FLIGHT: i64 = 3;

fn check_beside(steps: &[Beside], kernel: Kernel) -> Result<(), TestCaseError> {
    let machine = Rc::new(kernel.machine());
    for &Beside { who, step, other } in steps {
        if let Some((point, other, act)) = other
            && (other != who || (is_own(step) && is_own(act)))
        {
            let machine = Rc::clone(&machine);
            state::meanwhile(point, move || take_meanwhile(&machine, other, act));
        }
        take(&machine, who, step);
        state::nothing_meanwhile();
        check_low(&machine, IN_FLIGHT);
    }
    check_end(&machine, IN_FLIGHT)
}

type Outcome = Result<(), TestCaseError>;

/// The same for each of some places.
fn each(places: std::ops::Range<u16>, step: impl Fn(u16) -> (usize, Step)) -> Vec<(usize, Step)> {
    places.map(step).collect()
}

/// Steps of one family, with either order of ends.
fn check_both(parts: &[Vec<(usize, Step)>]) -> Outcome {
    let steps = parts.concat();
    KERNELS
        .into_iter()
        .try_for_each(|kernel| check(&steps, kernel))
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

/// What an image shared at the peak is kept when that changes, by itself or by a relative.
#[test]
fn what_was_shared_at_the_peak_is_kept() -> Outcome {
    let shared = |steps: &[Vec<(usize, Step)>]| -> Result<Vec<i64>, TestCaseError> {
        check_both(steps)?;
        let ended = state::ended();
        Ok(ended.iter().map(|image| image.at_peak_shared).collect())
    };
    let pages = i64::from(PLACES);
    for who in [0, 1] {
        let found = shared(&[
            each(0..PLACES, |place| (0, Step::Write(place))),
            vec![(0, Step::Fork), (0, Step::Write(PLACES))],
            each(1..5, |place| (who, Step::Free(place))),
        ])?;
        // The command's and its child's.
        assert_eq!(found, [0, pages], "freed by {who}");
    }
    Ok(())
}

/// What a process writes to an address space that was lent to it is looked at when it leaves; if the one that it
/// is shared with leaves before, it is taken for anything.
#[test]
fn what_a_borrower_wrote_counts() -> Outcome {
    check_both(&[
        vec![(0, Step::Fork), (0, Step::Fork), (0, Step::Write(0))],
        vec![(0, Step::Fork), (3, Step::Lend), (3, Step::Lend)],
        vec![(4, Step::Write(0)), (0, Step::Write(0))],
    ])
}

/// A look at the owner does not tell what a borrower wrote to before.
#[test]
fn a_look_at_the_owner_is_none_at_the_borrower() -> Outcome {
    check_both(&[
        vec![(0, Step::Fork), (1, Step::Lend), (2, Step::Write(0))],
        vec![(0, Step::Grow), (1, Step::Write(1))],
        vec![(0, Step::Pass(20_000_000)), (0, Step::Map(0))],
    ])
}

/// Nor the other way round.
#[test]
fn a_look_at_the_borrower_is_none_at_the_owner() -> Outcome {
    check_both(&[
        vec![(0, Step::Fork); 4],
        vec![(1, Step::Map(0)), (4, Step::Write(0)), (0, Step::Grow)],
        vec![(0, Step::Pass(20_000_000)), (0, Step::Exec)],
        vec![(4, Step::Lend), (5, Step::Exec)],
    ])
}

/// Up to 6.15 a borrower can have let go of it without having been looked at when it ends.
#[test]
fn a_borrower_that_has_let_go_was_not_looked_at() -> Outcome {
    check_both(&[
        each(0..PLACES, |place| (0, Step::Write(place))),
        vec![(0, Step::Fork), (1, Step::Lend)],
        each(0..PLACES, |place| (2, Step::Write(place))),
        vec![(0, Step::Grow), (2, Step::Exit)],
        vec![(1, Step::Exit); 20],
    ])
}

/// What a process wrote to counts when it executes a program, if another one has what it leaves.
#[test]
fn what_a_lender_wrote_before_it_executes_counts() -> Outcome {
    check_both(&[
        vec![(0, Step::Write(5)), (0, Step::Fork), (1, Step::Exit)],
        vec![(0, Step::Write(0)), (0, Step::Lend), (2, Step::Exit)],
        vec![(0, Step::Write(5)), (0, Step::Exec)],
    ])
}

/// While a page is swapped in it counts before its entry in swap does not any more: it can be one that a
/// relative has.
#[test]
fn what_is_swapped_in_may_be_shared() -> Outcome {
    check_both(&[
        vec![(0, Step::Write(1)), (0, Step::Fork)],
        vec![
            (0, Step::SwapOut(1)),
            (0, Step::Read(1)),
            (1, Step::Read(1)),
        ],
    ])
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
