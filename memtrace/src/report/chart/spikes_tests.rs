//! What is claimed of spikes, against histories worked out by hand and against the definition.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::{collection::vec, prelude::*};

use super::{
    super::testing::{MIB, MS, S, Scene, amounts, spike_scene},
    *,
};
use crate::model::{Loss, Summary, Timeline};

fn run<'a>(built: &'a (Summary, Timeline)) -> Run<'a> {
    Run {
        summary: &built.0,
        timeline: &built.1,
        title: "",
        notes: &[],
        limit: None,
    }
}

const SHORT: u64 = 100 * MS;

/// Each change known: 60 MiB for 40 ms, and 30 MiB for 95 ms by another program. What is held
/// for exactly 100 ms is no spike, and a sampler is sure to see it.
#[test]
fn every_change_known() {
    let built = spike_scene().build(0);
    let found = spikes(&run(&built), SHORT, 10).unwrap();
    assert_eq!(found.count, 2);
    assert_eq!(found.sure, Some(120 * MIB));
    let [high, low] = found.listed.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((high.top, high.lasted), (160 * MIB, 100 * MIB));
    assert_eq!(high.at_ns, 500 * MS);
    assert_eq!((high.from_ns, high.until_ns), (500 * MS, 540 * MS));
    assert_eq!(high.by, Some((0, 60 * MIB)));
    assert_eq!((low.top, low.height()), (130 * MIB, 30 * MIB));
    assert_eq!(low.until_ns, 1095 * MS);
    // The program starts with less, two changes earlier.
    assert_eq!((low.at_ns, low.from_ns), (S + 2, S + 1));
    let (image, rise) = low.by.unwrap();
    assert_eq!(built.0.images[image].program.name(), b"helper");
    assert_eq!(rise, 30 * MIB);
}

/// In windows of 10 ms: the first spike can have filled the windows from 500 to 550 ms. The
/// second one can have lasted from 1,000 to 1,100 ms, so it is not claimed, and a sampler
/// may be sure of it.
#[test]
fn windows_claim_less() {
    let built = spike_scene().build(10 * MS);
    let found = spikes(&run(&built), SHORT, 10).unwrap();
    assert_eq!(found.count, 1);
    assert_eq!(found.sure, Some(130 * MIB));
    let spike = &found.listed[0];
    assert_eq!((spike.top, spike.lasted), (160 * MIB, 100 * MIB));
    assert_eq!((spike.from_ns, spike.until_ns), (500 * MS, 550 * MS));
    assert_eq!(spike.by, Some((0, 60 * MIB)));
    // Of the whole second, nothing but 100 MiB was held throughout.
    let slow = spikes(&run(&built), S, 10).unwrap();
    assert_eq!(slow.sure, Some(100 * MIB));
    // Windows say nothing about what is as short as they are.
    assert_eq!(spikes(&run(&built), 10 * MS, 10), None);
    assert_eq!(spikes(&run(&spike_scene().build(SHORT)), SHORT, 10), None);
}

/// Beside a gap nothing is claimed: what is missing can have lasted.
#[test]
fn losses_hide_spikes() {
    let mut built = spike_scene().build(0);
    built.1.losses.push(Loss {
        from_ns: 530 * MS,
        until_ns: 700 * MS,
        records: 1,
        reason: "the ring was full".to_owned(),
    });
    let found = spikes(&run(&built), SHORT, 10).unwrap();
    assert_eq!((found.count, found.sure), (1, None));
    assert_eq!(found.listed[0].top, 130 * MIB);
}

/// Before a tree was found and after it was left alive, anything may have been held.
#[test]
fn nothing_is_claimed_at_open_ends() {
    let short = |exits: bool| {
        let mut scene = Scene::new(&[b"true"]);
        scene.set(0, MS, amounts(50 * MIB, 0));
        scene.set(0, 20 * MS, amounts(10 * MIB, 0));
        if exits {
            scene.exit(0, 60 * MS, 0);
        } else {
            scene.set(0, 60 * MS, amounts(10 * MIB, 0));
        }
        scene.build(0)
    };
    // All of a run of 60 ms is a spike above nothing.
    let found = spikes(&run(&short(true)), SHORT, 10).unwrap();
    assert_eq!((found.count, found.sure), (1, Some(0)));
    assert_eq!(found.listed[0].height(), 50 * MIB);
    // The end of what goes on can be the beginning of more.
    let found = spikes(&run(&short(false)), SHORT, 10).unwrap();
    assert_eq!(found.listed[0].height(), 40 * MIB);
    let mut attached = short(false);
    attached.0.images[0].origin = Origin::Found;
    attached.1.tree.remove(0);
    let found = spikes(&run(&attached), SHORT, 10).unwrap();
    assert_eq!(found.count, 0, "{found:?}");
}

proptest! {
    /// The definition itself: the largest over all stretches of that length around a moment of
    /// the least in it.
    #[test]
    fn lasted_is_the_opening(steps in vec((1_u64..6, 0_u64..5), 1..24), interval in 1_u64..12) {
        let flat: Vec<u64> = steps
            .iter()
            .flat_map(|&(length, amount)| std::iter::repeat_n(amount, length as usize))
            .collect();
        let long = interval as usize;
        let least: Vec<u64> = flat
            .windows(long)
            .map(|stretch| stretch.iter().copied().min().unwrap_or(0))
            .collect();
        let found = lasted(&steps, interval);
        let mut at = 0_usize;
        for (&(length, _), found) in steps.iter().zip(found) {
            // The stretch's first unit; it is flat, so that all of them have the same.
            let first = (at + 1).saturating_sub(long);
            let expected = least
                .iter()
                .enumerate()
                .filter(|&(begin, _)| begin >= first && begin < at + length as usize)
                .map(|(_, &least)| least)
                .max();
            prop_assert_eq!(found, expected.unwrap_or(0));
            at += length as usize;
        }
    }

    /// What windows claim is true of the changes themselves: each claimed spike is another
    /// stretch above what lasted, at least so high, and over when it is said to be.
    #[test]
    fn windows_never_claim_too_much(
        changes in vec((1_u64..1200, 1_u64..60), 1..60),
        width in prop_oneof![Just(0), Just(MS), Just(10 * MS), Just(30 * MS)],
    ) {
        let mut scene = Scene::new(&[b"root"]);
        for &(at, mib) in &changes {
            scene.set(0, at * MS, amounts(mib * MIB, 0));
        }
        scene.exit(0, 1300 * MS, 0);
        let built = scene.build(width);
        let found = spikes(&run(&built), SHORT, usize::MAX).unwrap();
        prop_assert_eq!(found.count, found.listed.len());
        // The sum as it was: what it held from which moment on; nothing before and after.
        let ordered = scene.ordered();
        let mut steps = vec![(SHORT, 0)];
        for (i, change) in ordered.iter().enumerate() {
            let next = ordered.get(i + 1).map_or(change.at + SHORT, |next| next.at);
            steps.push((next - change.at, change.to.rss()));
        }
        let truth = lasted(&steps, SHORT);
        let step_at = |at: u64| ordered.partition_point(|change| change.at <= at);
        let most = truth.iter().copied().max();
        prop_assert!(found.sure >= most, "sure of {:?}, not {:?}", found.sure, most);
        let mut seen = BTreeSet::new();
        for spike in &found.listed {
            let moments = [spike.at_ns, spike.at_ns.saturating_sub(1)].map(step_at);
            let at = moments.into_iter().find(|&at| steps[at].1 == spike.top);
            prop_assert!(at.is_some(), "{:?} was not there", spike);
            let at = at.unwrap_or(0);
            prop_assert!(steps[at].1 - truth[at] >= spike.height());
            prop_assert!(spike.height() >= built.0.tree.peak_rss / LEAST_PART);
            // Where the stretch above what lasted begins.
            let begins = (0..=at).rev().take_while(|&i| steps[i].1 > truth[i]).last();
            prop_assert!(seen.insert(begins.unwrap()), "two in one");
            prop_assert!(spike.until_ns - spike.from_ns < SHORT);
            prop_assert!(steps[step_at(spike.until_ns)].1 <= spike.lasted);
            let before = spike.from_ns.checked_sub(1).map_or(0, step_at);
            prop_assert!(steps[before].1 <= spike.lasted);
        }
    }
}
