//! Levels and the line through them, worked out by hand.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::{
    super::testing::{MIB, MS, S, Scene, amounts, build_scene, jobs_scene},
    *,
};
use crate::model::{Summary, Timeline};

fn of(built: &(Summary, Timeline)) -> Option<Concurrency> {
    concurrency(&Run {
        summary: &built.0,
        timeline: &built.1,
        title: "",
        notes: &[],
        limit: None,
    })
}

/// Three jobs of 100, 120 and 90 MiB beside 1 MiB, so sums of 101, 221 and 311 MiB. The line
/// through them by least squares: the mean is at 2 and 211 MiB, and the slope is
/// (-1 * -110 + 0 * 10 + 1 * 100) / (1 + 0 + 1) = 105 MiB; for none, 211 - 2 * 105 = 1 MiB;
/// the second sum is 10 MiB above it. In 512 MiB: (512 - 1 - 10) / 105 = 4.8.
#[test]
fn jobs_cost_what_the_line_says() {
    for width in [0, 10 * MS] {
        let built = jobs_scene().build(width);
        let found = of(&built).unwrap();
        assert_eq!(built.0.images[found.image].program.name(), b"cc1");
        assert_eq!(found.at_peak, 3);
        let seen: Vec<(usize, u64, u64, u64)> = found
            .levels
            .iter()
            .map(|l| (l.at_once, l.for_ns, l.largest / MIB, l.held / MIB))
            .collect();
        let expected = [(1, S, 101, 100), (2, 2 * S, 221, 220), (3, S, 311, 310)];
        assert_eq!(seen, expected, "{width}");
        let line = found.line.unwrap();
        let mib = MIB as f64;
        assert_eq!(
            [line.each, line.base, line.above],
            [105.0 * mib, mib, 10.0 * mib]
        );
        let fits = [256, 512, 1024, 5].map(|mib| line.fitting(mib * MIB));
        assert_eq!(fits, [2, 4, 9, 0]);
    }
}

/// Changes of the same nanosecond: what is between them is not a moment. The second job's start
/// and the first one's growth come together; one job is never seen with the sum of both.
#[test]
fn changes_at_the_same_time_are_one() {
    let (summary, mut timeline) = jobs_scene().build(0);
    let at = timeline
        .tree
        .iter()
        .position(|span| span.start_ns == 1100 * MS + 1);
    let at = at.unwrap();
    // The 1.1 MiB that the second job begins with, as if of the moment of its growth.
    let later = timeline.tree[at + 1].start_ns;
    timeline.tree[at].start_ns = later;
    for span in timeline.images.iter_mut().flatten() {
        if span.start_ns == 1100 * MS + 1 {
            span.start_ns = later;
        }
    }
    let found = of(&(summary, timeline)).unwrap();
    let sums: Vec<u64> = found.levels.iter().map(|l| l.largest / MIB).collect();
    assert_eq!(sums, [101, 221, 311]);
}

/// Two counts: each costs what it held, if that is more than the second added. Jobs of 100 and 60 MiB
/// beside 1 MiB, so sums of 101 and 161 MiB; each held 80 MiB, and for none there is 1 MiB. The
/// first sum is 20 MiB above that line.
#[test]
fn of_two_counts_nothing_is_promised_too_much() {
    let mut scene = Scene::new(&[b"sh"]);
    scene.set(0, MS, amounts(MIB, 0));
    for (i, mib) in (0..).zip([100, 60]) {
        let from = i * S + 2 * MS;
        let (worker, _) = scene.fork(0, from);
        let image = scene.exec(worker, from + MS, &[b"job"]);
        scene.set(image, from + 10 * MS, amounts(mib * MIB, 0));
    }
    scene.exit(0, 2 * S, 0);
    let line = of(&scene.build(10 * MS)).unwrap().line.unwrap();
    let mib = MIB as f64;
    assert_eq!(
        [line.each, line.base, line.above],
        [80.0 * mib, mib, 20.0 * mib]
    );
    assert_eq!(
        [161, 181, 261].map(|mib| line.fitting(mib * MIB)),
        [1, 2, 3]
    );
}

/// A count that lasted alone is no line; a single process at a time is no concurrency.
#[test]
fn little_is_not_claimed() {
    let mut scene = Scene::new(&[b"sh"]);
    scene.set(0, MS, amounts(0, 0));
    let workers = [scene.fork(0, 2 * MS).0, scene.fork(0, 2 * MS).0];
    for (i, worker) in (1..).zip(workers) {
        let image = scene.exec(worker, i * 100 * MS, &[b"job"]);
        scene.set(image, i * 100 * MS + MS, amounts(10 * MIB, 0));
    }
    assert_eq!(of(&scene.build(0)).unwrap().line, None);
    let mut scene = Scene::new(&[b"sh"]);
    for i in 1..4 {
        let (process, _) = scene.fork(0, i * 100 * MS);
        scene.exec(process, i * 100 * MS + MS, &[format!("p{i}").as_bytes()]);
        scene.exit(process, i * 100 * MS + 50 * MS, 0);
    }
    // Before it executes, a copy of the shell is a second shell.
    let found = of(&scene.build(0)).unwrap();
    assert_eq!((found.image, found.levels.len(), found.line), (0, 2, None));
    assert_eq!(of(&(Scene::new(&[b"true"]).build(0))), None);
}

/// Every sum that is claimed was there, with that many of them: gone through change by change.
#[test]
fn what_is_seen_was_there() {
    let scene = build_scene(30);
    for width in [0, MS, 10 * MS] {
        let (summary, timeline) = scene.build(width);
        let found = of(&(summary.clone(), timeline)).unwrap();
        let name = summary.images[found.image].program.name();
        assert_eq!(name, b"cc1");
        let mut held = vec![0_u64; summary.images.len()];
        let mut truth: BTreeMap<usize, u64> = BTreeMap::new();
        let mut sums: std::collections::BTreeSet<(usize, u64, u64)> = Default::default();
        for change in scene.ordered() {
            held[change.image] = change.to.rss();
            let own = held
                .iter()
                .zip(&summary.images)
                .filter(|(held, image)| **held > 0 && image.program.name() == name);
            let (count, of_it) = own.fold((0, 0), |(n, sum), (held, _)| (n + 1, sum + held));
            let sum: u64 = held.iter().sum();
            let most = truth.entry(count).or_default();
            *most = sum.max(*most);
            sums.insert((count, sum, of_it));
        }
        for level in &found.levels {
            let own = (level.at_once, level.largest, level.held);
            // Few of them can have been there for less than a window.
            let none = width > 0 && level.largest == 0;
            assert!(none || sums.contains(&own), "{width}: {level:?}");
            assert!(level.largest <= truth[&level.at_once]);
            if width == 0 {
                assert_eq!(level.largest, truth[&level.at_once]);
            }
        }
        assert!(
            found
                .levels
                .iter()
                .filter(|level| level.largest > 0)
                .count()
                > 4
        );
        assert_eq!(found.levels.len(), 8);
    }
}
