//! Segments over time against what really was, at every instant.

use memtrace_ebpf::{SEGMENTS, SegmentsChange, event, rss};
use proptest::prelude::*;

use super::{
    super::{
        ImageSummary, Model, SegmentsMoment, Timeline,
        timeline::{Builder, Options},
    },
    PAGE,
    recorder::{Moment, Recorder},
    simulator::{Simulator, ops},
};
use crate::{blank, event::Event};

/// Segments that sum to what the image held; more can have left one than came.
fn change(moment: &Moment) -> Event {
    let mut resident = [0; SEGMENTS];
    for (i, pages) in moment.pages.iter().enumerate().filter(|(i, _)| *i != 2) {
        resident[i] = *pages;
    }
    resident[6] += 9;
    resident[8] -= 9;
    Event::SegmentsChange(Box::new(SegmentsChange {
        header: event::Header {
            kind: event::SEGMENTS_CHANGE,
            at: moment.at,
            ..blank::HEADER
        },
        image: moment.image,
        resident,
        swapped: [0; SEGMENTS],
    }))
}

fn sum(moment: &SegmentsMoment) -> i64 {
    moment.rss() / PAGE.cast_signed()
}

/// What the image really held then.
fn really(image: &ImageSummary, truth: &[Moment], zero: u64, at_ns: u64) -> i64 {
    if image.end_ns.is_some_and(|end| at_ns >= end) {
        return 0;
    }
    let held = truth
        .iter()
        .rfind(|moment| moment.image == image.id && moment.at.saturating_sub(zero) <= at_ns);
    held.map_or(0, |moment| rss(&moment.pages))
}

proptest! {
    /// Each moment sums to the RSS of its image. While there is room, that is so of every instant; else the
    /// largest is there all the same.
    #[test]
    fn segments_sum_to_the_rss(ops in ops(), few in proptest::option::of(0_usize..200), life_first: bool) {
        let (truth, end) = Simulator::record(&ops, Recorder::new(0, 0));
        let zero = end.tree.started_at;
        let moments = &truth.recorder.truth;
        let changes: Vec<Event> = moments.iter().map(change).collect();
        let mut model = Model::new();
        let mut builder = Builder::new(Options { max_spans: few.unwrap_or(500_000), ..Options::new(0) });
        let life = truth.events.iter();
        let all: Vec<&Event> = if life_first {
            life.chain(&changes).collect()
        } else {
            changes.iter().chain(life).collect()
        };
        for event in all {
            model.apply(event);
            builder.apply(event);
        }
        let summary = model.finish(end.clone());
        let Timeline { segments, .. } = builder.finish(&end, &summary);
        prop_assert!(changes.is_empty() || segments.len() == summary.images.len());
        for (image, story) in summary.images.iter().zip(&segments) {
            prop_assert!(story.is_sorted_by_key(|moment| moment.at_ns));
            for (i, moment) in story.iter().enumerate() {
                // Of changes at the same moment the last one counts.
                if story.get(i + 1).is_none_or(|next| next.at_ns > moment.at_ns) {
                    prop_assert_eq!(sum(moment), really(image, moments, zero, moment.at_ns));
                }
            }
            let own = moments.iter().filter(|moment| moment.image == image.id);
            let own = own.map(|moment| moment.at.saturating_sub(zero));
            for at_ns in own.clone().filter(|_| few.is_none()) {
                let holds = story.partition_point(|moment| moment.at_ns <= at_ns).checked_sub(1);
                let held = holds.map_or(0, |i| sum(&story[i]));
                prop_assert_eq!(held, really(image, moments, zero, at_ns), "at {}", at_ns);
            }
            let most = own.map(|at_ns| really(image, moments, zero, at_ns)).max();
            prop_assert!(story.iter().map(sum).max().unwrap_or(0) >= most.unwrap_or(0));
        }
    }
}
