//! What the timeline's windows say of a machine that has ended.

extern crate std;

use std::{collections::BTreeMap, vec::Vec};

use memtrace_ebpf::{Image, ImageWindow, Timeline, Tree, TreeWindow, rss};
use proptest::{prop_assert_eq, test_runner::TestCaseError};

use super::state;
use crate::kernel::config;

/// Every window of every image, and of the tree: no peak is missing, and what images held at the maximum of
/// a window of the tree adds up to it.
pub(super) fn check(tree: &Tree) -> Result<(), TestCaseError> {
    if config!(timeline) != Timeline::Windows as u32 {
        return Ok(());
    }
    let (mut of_tree, of_images) = state::windows();
    of_tree.extend((tree.window.updates != 0).then_some(tree.window));
    let mut images: BTreeMap<u64, Vec<ImageWindow>> = BTreeMap::new();
    let open = state::ended();
    let open = open.iter().map(|image| &image.window);
    for window in of_images.iter().chain(open).filter(|w| w.updates != 0) {
        images.entry(window.image).or_default().push(*window);
    }
    for window in &of_tree {
        check_time(window.start, window.header.at)?;
        prop_assert_eq!(rss(&window.at_max), window.max_rss, "{:?}", window);
    }
    for window in images.values().flatten() {
        check_time(window.start, window.header.at)?;
    }
    let highest = of_tree.iter().map(|window| window.max_rss).max();
    prop_assert_eq!(highest.unwrap_or(0), tree.peak_rss, "the tree's peak");
    for image in state::ended() {
        check_image(&image, images.get(&image.id).map_or(&[], Vec::as_slice))?;
    }
    for window in &of_tree {
        let held = images.values().map(|windows| held(windows, window));
        prop_assert_eq!(held.sum::<i64>(), window.max_rss, "{:?}", window);
    }
    Ok(())
}

/// No change is told in a window of another time.
fn check_time(start: u64, last_change: u64) -> Result<(), TestCaseError> {
    let width = config!(window_ns);
    prop_assert_eq!(start, last_change - last_change % width);
    Ok(())
}

fn check_image(image: &Image, windows: &[ImageWindow]) -> Result<(), TestCaseError> {
    let highest = windows.iter().map(|window| window.max_rss).max();
    prop_assert_eq!(highest.unwrap_or(0), image.peak_rss, "{:?}", image);
    let last = windows.last().map_or(0, |window| rss(&window.last));
    prop_assert_eq!(last, rss(&image.cur), "the last value of {:?}", image);
    Ok(())
}

/// What an image held at the maximum of a window of the tree, see `timeline`.
fn held(windows: &[ImageWindow], of: &TreeWindow) -> i64 {
    let Some(latest) = windows.iter().rev().find(|w| w.start <= of.start) else {
        return 0;
    };
    if latest.start == of.start && latest.seq == of.seq {
        return rss(&latest.at_tree_max);
    }
    // One that is only being built counts for nothing.
    i64::from(latest.counted) * rss(&latest.last)
}
