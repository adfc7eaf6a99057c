//! What the timeline's windows say of a machine that has ended, against what was after each moment.

extern crate std;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use memtrace_ebpf::{
    Image, ImageState, ImageWindow, MEMBERS, Pages, Timeline, Tree, TreeWindow, rss,
};
use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};

use super::state;
use crate::kernel::config;

/// What was after a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Truth {
    at: u64,
    tree: Pages,
    /// Of each image by its id, and whether it counts.
    images: BTreeMap<u64, (Pages, bool)>,
}

impl Truth {
    fn of(&self, image: u64) -> (Pages, bool) {
        self.images.get(&image).copied().unwrap_or_default()
    }
}

std::thread_local! {
    static TRUTH: RefCell<Vec<Truth>> = const { RefCell::new(Vec::new()) };
}

fn are_on() -> bool {
    config!(timeline) == Timeline::Windows as u32
}

/// Another machine begins.
pub(super) fn reset() {
    TRUTH.with_borrow_mut(Vec::clear);
}

/// A moment of the tree is over.
pub(crate) fn look(tree: *mut Tree) {
    if !are_on() {
        return;
    }
    // SAFETY: map values of this thread's.
    let now = unsafe {
        let images = state::images().into_iter().map(|image| {
            let counts = (*image).state != ImageState::Execing as u32;
            ((*image).id, ((*image).cur, counts))
        });
        Truth {
            at: (*tree).latest,
            tree: (*tree).cur,
            images: images.collect(),
        }
    };
    TRUTH.with_borrow_mut(|truth| {
        let same = |last: &Truth| last.tree == now.tree && last.images == now.images;
        if !truth.last().is_some_and(same) {
            truth.push(now);
        }
    });
}

/// Every window of every image, and of the tree.
pub(super) fn check(tree: &Tree) -> Result<(), TestCaseError> {
    if !are_on() {
        return Ok(());
    }
    let truth = TRUTH.with_borrow(Clone::clone);
    let (mut of_tree, of_images) = state::windows();
    let mut tree = *tree;
    tree.complete_window();
    of_tree.extend((tree.window.updates != 0).then_some(tree.window));
    let mut images: BTreeMap<u64, Vec<ImageWindow>> = BTreeMap::new();
    let open = state::ended();
    let open = open.iter().map(|image| &image.window);
    for window in of_images.iter().chain(open).filter(|w| w.updates != 0) {
        images.entry(window.image).or_default().push(*window);
    }
    let highest = of_tree.iter().map(|window| window.max_rss).max();
    prop_assert_eq!(highest.unwrap_or(0), tree.peak_rss, "the tree's peak");
    for image in state::ended() {
        check_image(&image, images.get(&image.id).map_or(&[], Vec::as_slice))?;
    }
    for window in &of_tree {
        check_tree(window, &truth, &images)?;
    }
    for window in images.values().flatten() {
        check_window(window, &truth)?;
    }
    // And none is missing.
    let told: BTreeSet<u64> = of_tree.iter().map(|window| window.start).collect();
    for change in changes(&truth, |truth| truth.tree) {
        let start = change.0 - change.0 % config!(window_ns);
        prop_assert!(told.contains(&start), "nothing is told of {:?}", change);
    }
    Ok(())
}

/// When something changed, and to what.
fn changes<T: Default + PartialEq>(
    truth: &[Truth],
    what: impl Fn(&Truth) -> T,
) -> impl Iterator<Item = (u64, T)> {
    let mut before = T::default();
    truth.iter().filter_map(move |truth| {
        let now = what(truth);
        let other = what(truth);
        (now != std::mem::replace(&mut before, other)).then_some((truth.at, now))
    })
}

/// What was at the beginning of a window, and what it was changed to in it.
fn within(
    start: u64,
    truth: &[Truth],
    what: impl Fn(&Truth) -> Pages,
) -> (Pages, Vec<(u64, Pages)>) {
    let end = start + config!(window_ns);
    let all: Vec<(u64, Pages)> = changes(truth, what).collect();
    let before = all.iter().rev().find(|(at, _)| *at < start);
    let inside = all.iter().filter(|(at, _)| (start..end).contains(at));
    (
        before.map_or([0; MEMBERS], |(_, pages)| *pages),
        inside.copied().collect(),
    )
}

/// What a window says of itself.
struct Told {
    start: u64,
    last_change: u64,
    least: i64,
    largest: i64,
    largest_at: u64,
    min: Pages,
    max: Pages,
    last: Pages,
}

/// [`Told`], of either kind of window.
macro_rules! told {
    ($window:expr) => {
        Told {
            start: $window.start,
            last_change: $window.header.at,
            least: $window.min_rss,
            largest: $window.max_rss,
            largest_at: $window.max_rss_at,
            min: $window.min,
            max: $window.max,
            last: $window.last,
        }
    };
}

fn check_told(told: &Told, before: Pages, changes: &[(u64, Pages)]) -> Result<(), TestCaseError> {
    let values = || std::iter::once(before).chain(changes.iter().map(|(_, pages)| *pages));
    for member in 0..MEMBERS {
        let of_member = || values().map(|pages| pages[member]);
        prop_assert_eq!(
            of_member().min(),
            Some(told.min[member]),
            "least {}",
            member
        );
        prop_assert_eq!(of_member().max(), Some(told.max[member]), "most {}", member);
    }
    prop_assert_eq!(values().last(), Some(told.last), "the last");
    prop_assert_eq!(values().map(|pages| rss(&pages)).min(), Some(told.least));
    let largest = values().map(|pages| rss(&pages)).max().unwrap_or(0);
    // A reading that is booked after a later one can have been more than what was booked before and after.
    prop_assert!(told.largest >= largest);
    if told.largest == largest {
        let first = changes.iter().find(|(_, pages)| rss(pages) == largest);
        let at = first.filter(|_| rss(&before) != largest);
        prop_assert_eq!(at.map_or(told.start, |(at, _)| *at), told.largest_at);
    }
    let last = changes.last().map_or(told.start, |(at, _)| *at);
    let end = told.start + config!(window_ns);
    prop_assert!(
        (last..end).contains(&told.last_change),
        "{} {}",
        last,
        told.last_change
    );
    Ok(())
}

fn check_tree(
    window: &TreeWindow,
    truth: &[Truth],
    images: &BTreeMap<u64, Vec<ImageWindow>>,
) -> Result<(), TestCaseError> {
    let (before, changes) = within(window.start, truth, |truth| truth.tree);
    check_told(&told!(window), before, &changes)?;
    // Who held what when it was at its largest for the first time.
    let end = window.start + config!(window_ns);
    let before = truth.iter().rposition(|truth| truth.at < window.start);
    let inside = truth
        .iter()
        .enumerate()
        .filter(|(_, truth)| (window.start..end).contains(&truth.at));
    let first = before
        .into_iter()
        .chain(inside.map(|(index, _)| index))
        .find(|index| rss(&truth[*index].tree) == window.max_rss);
    let then = first.map(|index| truth[index].clone()).unwrap_or_default();
    prop_assert_eq!(rss(&then.tree), window.max_rss, "{:?}", window);
    prop_assert_eq!(then.tree, window.at_max, "{:?}", window);
    for (image, windows) in images {
        let (pages, counts) = then.of(*image);
        let pages = if counts { pages } else { [0; MEMBERS] };
        prop_assert_eq!(held(windows, window), pages, "{} of {:?}", image, window);
    }
    Ok(())
}

fn check_window(window: &ImageWindow, truth: &[Truth]) -> Result<(), TestCaseError> {
    let (before, changes) = within(window.start, truth, |truth| truth.of(window.image).0);
    check_told(&told!(window), before, &changes)
}

fn check_image(image: &Image, windows: &[ImageWindow]) -> Result<(), TestCaseError> {
    let highest = windows.iter().map(|window| window.max_rss).max();
    prop_assert_eq!(highest.unwrap_or(0), image.peak_rss, "{:?}", image);
    let last = windows.last().map_or(0, |window| rss(&window.last));
    prop_assert_eq!(last, rss(&image.cur), "the last value of {:?}", image);
    Ok(())
}

/// What an image held at the maximum of a window of the tree, see `timeline`.
fn held(windows: &[ImageWindow], of: &TreeWindow) -> Pages {
    let Some(latest) = windows.iter().rev().find(|w| w.start <= of.start) else {
        return [0; MEMBERS];
    };
    if latest.start == of.start && latest.seq == of.seq {
        return latest.at_tree_max;
    }
    // One that is only being built counts for nothing.
    if latest.counted == 0 {
        return [0; MEMBERS];
    }
    latest.last
}
