//! Whatever is folded how, no peak is lost and the parts sum to the whole.

use proptest::{collection::vec, prelude::*};

use super::super::testing::{Change, MIB, MS, Scene, amounts, build_scene};
use super::*;
use crate::model::{Summary, Timeline};

fn folded(summary: &Summary, timeline: &Timeline, limits: Limits) -> Folded {
    let run = Run {
        summary,
        timeline,
        title: "",
        notes: &[],
        limit: None,
    };
    fold(&run, &Layers::new(summary), limits)
}

/// What every row held at a window's maximum, found by walking its entries.
fn at_max(folded: &Folded, window: usize) -> Vec<Amounts> {
    let of = |row: &Row| {
        let before = row.entries.iter().rev();
        match before.clone().find(|entry| entry.window <= window) {
            Some(entry) if entry.window == window => entry.at_max,
            Some(entry) => entry.last,
            None => Amounts::default(),
        }
    };
    folded.rows.iter().map(of).collect()
}

fn most(folded: &Folded) -> u64 {
    let windows = folded.windows.iter();
    windows.map(|window| window.span.max_rss).max().unwrap_or(0)
}

/// Checks a fold against the changes themselves.
fn check(scene: &Scene, width: u64, limits: Limits) -> Result<(), TestCaseError> {
    let (summary, timeline) = scene.build(width);
    let folded = folded(&summary, &timeline, limits);
    prop_assert!(folded.windows.len() <= limits.windows.max(FEWEST_WINDOWS));
    let peak = most(&folded);
    prop_assert_eq!(peak, summary.tree.peak_rss, "the peak is kept");
    for pair in folded.windows.windows(2) {
        prop_assert!(pair[0].span.start_ns < pair[1].span.start_ns);
    }
    let stacks = folded.stacks();
    for (w, window) in folded.windows.iter().enumerate() {
        let parts = at_max(&folded, w);
        let sum = parts.iter().fold(Amounts::default(), |sum, p| sum.plus(p));
        prop_assert_eq!(sum, window.span.at_max, "window {}", w);
        prop_assert_eq!(sum.rss(), window.span.max_rss, "window {}", w);
        let stacked: u64 = stacks.iter().map(|stack| stack.at_max[w]).sum();
        prop_assert_eq!(stacked, window.span.max_rss, "layers of window {}", w);
        let ended: u64 = stacks.iter().map(|stack| stack.last[w]).sum();
        prop_assert_eq!(ended, window.span.last.rss(), "layers after window {}", w);
    }
    // From the changes: the least and the most in each window, and what the images held.
    let mut held = vec![Amounts::default(); summary.images.len()];
    let mut tree = 0;
    let mut changes = scene.ordered().into_iter().peekable();
    for (w, window) in folded.windows.iter().enumerate() {
        let next = folded
            .windows
            .get(w + 1)
            .map_or(u64::MAX, |n| n.span.start_ns);
        let (mut least, mut most) = (tree, tree);
        let mut largest: Vec<u64> = held.iter().map(Amounts::rss).collect();
        while let Some(change) = changes.next_if(|change| change.at < next) {
            tree = tree + change.to.rss() - held[change.image].rss();
            held[change.image] = change.to;
            least = least.min(tree);
            most = most.max(tree);
            largest[change.image] = largest[change.image].max(change.to.rss());
        }
        prop_assert_eq!(window.span.min_rss, least, "least of window {}", w);
        prop_assert_eq!(window.span.max_rss, most, "most of window {}", w);
        prop_assert_eq!(window.span.last.rss(), tree, "end of window {}", w);
        for row in &folded.rows {
            let entry = row.entries.iter().find(|entry| entry.window == w);
            if let (Some(image), Some(entry)) = (row.image, entry) {
                prop_assert_eq!(entry.max_rss, largest[image], "image {}", image);
                prop_assert_eq!(entry.last, held[image], "image {}", image);
            }
        }
    }
    let drawn: usize = folded.rows.iter().map(|row| row.count).sum();
    prop_assert_eq!(drawn, summary.images.len(), "every image is in a row");
    Ok(())
}

/// A scene of any changes of a few images.
fn scene(changes: &[(u64, usize, u64)]) -> Scene {
    let mut scene = Scene::new(&[b"root"]);
    for name in [&b"a"[..], b"b", b"a", b"c"] {
        let (process, _) = scene.fork(0, 0);
        scene.exec(process, 0, &[name]);
    }
    let images = 9;
    for &(at, image, mib) in changes {
        scene.changes.push(Change {
            at: MS + at * 100_000,
            image: image % images,
            to: amounts(mib * MIB, mib / 3 * MIB),
        });
    }
    scene
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any story, in any width, folded to any size.
    #[test]
    fn folding_is_exact(
        changes in vec((0_u64..2000, 0_usize..9, 0_u64..500), 1..400),
        width in prop_oneof![Just(0), Just(MS), Just(10 * MS)],
        windows in 1_usize..300,
        entries in prop_oneof![Just(10_usize), Just(200), Just(100_000)],
        rows in 0_usize..12,
    ) {
        check(&scene(&changes), width, Limits { windows, entries, rows })?;
    }
}

/// A build with hundreds of processes, with and without room for all of them.
#[test]
fn a_build_is_folded_exactly() -> Result<(), TestCaseError> {
    let scene = build_scene(60);
    for width in [0, 10 * MS] {
        for rows in [3, 50, 10_000] {
            let limits = Limits {
                windows: 700,
                entries: 2_000,
                rows,
            };
            check(&scene, width, limits)?;
        }
    }
    Ok(())
}

/// One change more than there is room for does not move what is already there.
#[test]
fn what_fits_stays_as_it_is() {
    let (summary, timeline) = build_scene(3).build(10 * MS);
    let limits = Limits {
        windows: timeline.tree.len(),
        entries: 100_000,
        rows: 1_000,
    };
    let folded = folded(&summary, &timeline, limits);
    assert_eq!(folded.width_ns, 10 * MS);
    let spans: Vec<TreeSpan> = folded.windows.iter().map(|window| window.span).collect();
    assert_eq!(spans, timeline.tree);
}

/// A run without a timeline has rows, and nothing in them.
#[test]
fn nothing_recorded() {
    let (summary, _) = build_scene(1).build(MS);
    let limits = Limits {
        windows: 10,
        entries: 10,
        rows: 100,
    };
    let folded = folded(&summary, &Timeline::default(), limits);
    assert!(folded.windows.is_empty());
    assert!(folded.rows.iter().all(|row| row.entries.is_empty()));
}
