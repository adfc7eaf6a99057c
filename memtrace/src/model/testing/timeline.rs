//! Timelines against what really was, at every instant.

use std::collections::BTreeMap;

use memtrace_ebpf::{MEMBERS, Pages, rss};
use proptest::prelude::*;

use super::{
    super::{
        Amounts, Final, ImageSpan, Model, Summary, Timeline,
        timeline::{Builder, Options},
    },
    PAGE,
    recorder::{Moment, Recorder},
    simulator::{Op, Simulator, ops},
};
use crate::event::Event;

/// Runs a history with a timeline. `life_first` decides which of the two rings is read first.
fn timeline(
    ops: &[(Op, u64)],
    recorder: Recorder,
    options: Options,
    life_first: bool,
) -> (Timeline, Summary, Vec<Moment>, Final) {
    let (truth, end) = Simulator::record(ops, recorder);
    let mut model = Model::new();
    let mut builder = Builder::new(options);
    let (life, records) = (&truth.events, &truth.recorder.records);
    let all: Vec<&Event> = if life_first {
        life.iter().chain(records).collect()
    } else {
        records.iter().chain(life).collect()
    };
    for event in all {
        model.apply(event);
        builder.apply(event);
    }
    let summary = model.finish(end.clone());
    let timeline = builder.finish(&end, &summary);
    (timeline, summary, truth.recorder.truth, end)
}

fn bytes(pages: i64) -> u64 {
    u64::try_from(pages).expect("never negative") * PAGE
}

fn amounts(pages: &Pages) -> Amounts {
    Amounts {
        file: bytes(pages[0]),
        anon: bytes(pages[1]),
        swap: bytes(pages[2]),
        shmem: bytes(pages[3]),
    }
}

/// Least and largest of something in one span, and when the largest was first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Envelope {
    min: i64,
    max: i64,
    max_at: u64,
}

impl Envelope {
    fn add(&mut self, value: i64, at: u64) -> bool {
        self.min = self.min.min(value);
        let higher = value > self.max;
        if higher {
            self.max = value;
            self.max_at = at;
        }
        higher
    }
}

/// What the naive book says of one cell.
#[derive(Clone, Debug, Default)]
struct Cell {
    tree: Envelope,
    /// All counted images at the tree's maximum and after the last change.
    at_max: BTreeMap<u64, Pages>,
    last: BTreeMap<u64, Pages>,
    images: BTreeMap<u64, (Envelope, Pages)>,
}

fn sum(held: &BTreeMap<u64, Pages>) -> Pages {
    let mut sum = [0; MEMBERS];
    for pages in held.values() {
        for (sum, pages) in sum.iter_mut().zip(pages) {
            *sum += pages;
        }
    }
    sum
}

/// Everything again, the slow way: a full copy of all that counts after every change.
fn cells(truth: &[Moment], width: u64, zero: u64) -> BTreeMap<u64, Cell> {
    let align = |at: u64| at - at.checked_rem(width).unwrap_or(0);
    let mut now: BTreeMap<u64, Pages> = BTreeMap::new();
    let mut all: BTreeMap<u64, Pages> = BTreeMap::new();
    let mut cells: BTreeMap<u64, Cell> = BTreeMap::new();
    for moment in truth {
        let start = align(moment.at).max(align(zero));
        let fresh = !cells.contains_key(&start);
        let cell = cells.entry(start).or_default();
        if fresh && width > 0 {
            let opening = rss(&sum(&now));
            cell.tree = Envelope {
                min: opening,
                max: opening,
                max_at: start,
            };
            cell.at_max = now.clone();
        }
        let before = all.insert(moment.image, moment.pages).unwrap_or_default();
        if moment.counted {
            now.insert(moment.image, moment.pages);
        }
        let total = rss(&sum(&now));
        if fresh && width == 0 {
            cell.tree = Envelope {
                min: total,
                max: total,
                max_at: moment.at,
            };
            cell.at_max = now.clone();
        } else if cell.tree.add(total, moment.at) {
            cell.at_max = now.clone();
        }
        cell.last = now.clone();
        let held = rss(&moment.pages);
        let (envelope, largest) = cell.images.entry(moment.image).or_insert_with(|| {
            let (opening, pages, at) = if width == 0 {
                (held, moment.pages, moment.at)
            } else {
                (rss(&before), before, start)
            };
            (
                Envelope {
                    min: opening,
                    max: opening,
                    max_at: at,
                },
                pages,
            )
        });
        envelope.add(held, moment.at);
        for (largest, pages) in largest.iter_mut().zip(moment.pages) {
            *largest = pages.max(*largest);
        }
    }
    cells
}

/// What an image counted for at the maximum of the tree's span that starts then.
fn held_at(spans: &[ImageSpan], start_ns: u64) -> Amounts {
    match spans.iter().rev().find(|span| span.start_ns <= start_ns) {
        Some(span) if span.start_ns == start_ns => span.at_tree_max,
        Some(span) => span.last,
        None => Amounts::default(),
    }
}

/// The promises that hold whatever the clocks do.
fn sums(timeline: &Timeline, summary: &Summary) {
    let largest = timeline.tree.iter().map(|span| span.max_rss).max();
    assert_eq!(largest.unwrap_or(0), summary.tree.peak_rss);
    for (image, spans) in summary.images.iter().zip(&timeline.images) {
        let largest = spans.iter().map(|span| span.max_rss).max();
        assert_eq!(largest.unwrap_or(0), image.peak_rss, "image {}", image.id);
        assert!(spans.is_sorted_by(|a, b| a.start_ns < b.start_ns));
    }
    assert!(timeline.tree.is_sorted_by(|a, b| a.start_ns < b.start_ns));
    for span in &timeline.tree {
        let held = timeline
            .images
            .iter()
            .fold(Amounts::default(), |sum, spans| {
                sum.plus(&held_at(spans, span.start_ns))
            });
        assert_eq!(held, span.at_max, "at {}", span.start_ns);
        assert_eq!(held.rss(), span.max_rss);
    }
}

/// Every number of every span.
fn compare(timeline: &Timeline, summary: &Summary, truth: &[Moment], zero: u64) {
    sums(timeline, summary);
    let cells = cells(truth, timeline.width_ns, zero);
    let ns = |at: u64| at.saturating_sub(zero);
    assert_eq!(timeline.tree.len(), cells.len());
    for (span, (start, cell)) in timeline.tree.iter().zip(&cells) {
        assert_eq!(span.start_ns, ns(*start));
        assert_eq!(span.min_rss, bytes(cell.tree.min));
        assert_eq!(span.max_rss, bytes(cell.tree.max));
        assert_eq!(span.max_at_ns, ns(cell.tree.max_at));
        assert_eq!(span.at_max, amounts(&sum(&cell.at_max)));
        assert_eq!(span.last, amounts(&sum(&cell.last)));
    }
    for (image, spans) in summary.images.iter().zip(&timeline.images) {
        let id = &image.id;
        let own: Vec<_> = cells
            .iter()
            .filter_map(|(start, cell)| Some((start, cell, cell.images.get(id)?)))
            .collect();
        assert_eq!(spans.len(), own.len(), "image {id}");
        for (span, (start, cell, (envelope, largest))) in spans.iter().zip(own) {
            let of = |held: &BTreeMap<u64, Pages>| held.get(id).map(amounts).unwrap_or_default();
            assert_eq!(span.start_ns, ns(*start));
            assert_eq!(span.min_rss, bytes(envelope.min));
            assert_eq!(span.max_rss, bytes(envelope.max));
            assert_eq!(span.max_at_ns, ns(envelope.max_at));
            assert_eq!(span.max, amounts(largest));
            assert_eq!(span.last, of(&cell.last));
            assert_eq!(span.at_tree_max, of(&cell.at_max));
        }
    }
}

/// Widths from less than the time between changes to more than the whole history.
fn widths() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1_u64..100, 1_000_u64..10_000_000, Just(1 << 40)]
}

proptest! {
    #[test]
    fn spans_are_what_was(
        ops in ops(),
        recorded in widths(),
        wanted in proptest::option::of(widths()),
        few in proptest::option::of(0_usize..200),
        life_first: bool,
    ) {
        let options = Options {
            recorded_width_ns: recorded,
            width_ns: wanted,
            max_spans: few.unwrap_or(500_000),
        };
        let (timeline, summary, truth, end) =
            timeline(&ops, Recorder::new(recorded, 0), options, life_first);
        prop_assert!(timeline.width_ns >= recorded.max(wanted.unwrap_or(0)));
        prop_assert_eq!(timeline.recorded_width_ns, recorded);
        prop_assert_eq!(timeline.end_ns, summary.tree.duration_ns);
        let spans = timeline.tree.len() + timeline.images.iter().map(Vec::len).sum::<usize>();
        if few.is_none() {
            let wide = recorded.max(wanted.unwrap_or(0));
            prop_assert_eq!(timeline.width_ns, wide.next_multiple_of(recorded.max(1)));
        } else {
            // Not less than one span for each image, and the tree's beside it.
            prop_assert!(spans <= options.max_spans.max(2 * summary.images.len() + 2));
        }
        compare(&timeline, &summary, &truth, end.tree.started_at);
    }

    /// Clocks are read before turns are taken: times may step back a little.
    #[test]
    fn sums_hold_whatever_the_clocks_do(
        ops in ops(),
        recorded in widths(),
        early in 1_u64..1000,
        few in 0_usize..200,
    ) {
        let options = Options { recorded_width_ns: recorded, width_ns: None, max_spans: few };
        let (timeline, summary, ..) = timeline(&ops, Recorder::new(recorded, early), options, false);
        sums(&timeline, &summary);
    }
}

/// Five million changes: as many spans as allowed, and the peak is still in it.
#[test]
fn many_changes_become_few_spans() {
    let ops: Vec<_> = (0..20_000)
        .map(|i| {
            let pages = if i == 12_345 {
                1000
            } else {
                10 - i64::from(i % 21)
            };
            (
                Op::Touch {
                    who: 0,
                    member: 1,
                    pages,
                },
                1_000,
            )
        })
        .collect();
    let options = Options {
        max_spans: 1_000,
        ..Options::new(0)
    };
    let (timeline, summary, truth, end) = timeline(&ops, Recorder::new(0, 0), options, false);
    assert!(timeline.width_ns > 0);
    assert!(timeline.tree.len() > 100, "{}", timeline.tree.len());
    compare(&timeline, &summary, &truth, end.tree.started_at);
}

/// The end of a recording that was cut is what the maps held some time before: windows that
/// are known better by then change nothing.
#[test]
fn windows_from_before_change_nothing() {
    let ops: Vec<_> = (0..40)
        .map(|pages| {
            (
                Op::Touch {
                    who: 0,
                    member: 1,
                    pages,
                },
                400_000,
            )
        })
        .collect();
    let (truth, mut end) = Simulator::record(&ops, Recorder::new(1_000_000, 0));
    let mut model = Model::new();
    truth.events.iter().for_each(|event| model.apply(event));
    let summary = model.finish(end.clone());
    let finish = |end: &Final| {
        let mut builder = Builder::new(Options::new(1_000_000));
        truth
            .recorder
            .records
            .iter()
            .for_each(|event| builder.apply(event));
        builder.finish(end, &summary)
    };
    end.tree.window.updates = 0;
    end.images
        .iter_mut()
        .for_each(|image| image.window.updates = 0);
    let without = finish(&end);
    let old = |event: &&Event| event.at() < end.ended_at / 2;
    for event in truth.recorder.records.iter().filter(old) {
        match event {
            Event::TreeWindow(window) => end.tree.window = **window,
            Event::ImageWindow(window) => {
                let image = end.images.iter_mut().find(|image| image.id == window.image);
                image.expect("it lives").window = **window;
            }
            _ => {}
        }
    }
    assert!(end.tree.window.updates > 0 && without.tree.len() > 10);
    assert_eq!(finish(&end), without);
}

/// What was lost is said, in time since the tree's start.
#[test]
fn losses_are_kept() {
    let (truth, end) = Simulator::record(&[], Recorder::new(1_000, 0));
    let mut model = Model::new();
    truth.events.iter().for_each(|event| model.apply(event));
    let summary = model.finish(end.clone());
    let mut builder = Builder::new(Options::new(1_000));
    let zero = end.tree.started_at;
    builder.loss(zero + 5, zero + 9, 3, "the disk was full");
    let timeline = builder.finish(&end, &summary);
    let [loss] = timeline.losses.as_slice() else {
        panic!("{:?}", timeline.losses);
    };
    assert_eq!((loss.from_ns, loss.until_ns, loss.records), (5, 9, 3));
}
