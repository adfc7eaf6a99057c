//! Records become the spans that follow from the changes by definition.

use std::collections::HashMap;

use memtrace_ebpf::{
    ChangeKind, Image, ImageWindow, MEMBERS, Member, TreeWindow, event::IMAGE_END,
};
use proptest::prelude::*;

use super::{
    History,
    history::{self, PAGE},
    windows::{STARTED_AT, changes, empty_image, windows},
};
use crate::{
    event::Event,
    export::stream::{Row, Scale, Stream},
    model::{Amounts, ImageSpan, TreeSpan},
};

const fn scale(width_ns: u64) -> Scale {
    Scale {
        page_size: PAGE,
        started_at: STARTED_AT,
        width_ns,
    }
}

/// Indices of images by id.
fn ids(history: &History) -> HashMap<u64, usize> {
    (0..history.image_count())
        .map(|index| (index as u64 + 1, index))
        .collect()
}

/// An image's end, with its last window.
fn end(window: &ImageWindow) -> Event {
    let mut bytes = vec![0; size_of::<Image>()];
    bytes[..4].copy_from_slice(&IMAGE_END.to_ne_bytes());
    let Ok(Event::ImageEnd(mut image)) = Event::decode(&bytes) else {
        panic!("a record of the right size");
    };
    image.id = window.image;
    image.window = *window;
    Event::ImageEnd(image)
}

/// The tree's spans and those of each image.
fn sorted(rows: &[Row], images: usize) -> (Vec<TreeSpan>, Vec<Vec<ImageSpan>>) {
    let mut tree = Vec::new();
    let mut by_image = vec![Vec::new(); images];
    for row in rows {
        match row {
            Row::Tree(span) => tree.push(*span),
            Row::Image(index, span) => by_image[*index].push(*span),
        }
    }
    (tree, by_image)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Windows as the kernel side sends them, open ones included.
    #[test]
    fn windows_become_spans(
        seed in any::<u64>(),
        width in prop_oneof![Just(1_000_000), Just(10_000_000), Just(70_000_000_000_u64)],
        ended in any::<bool>(),
    ) {
        let history = history::random(seed, 150);
        let ids = ids(&history);
        let (events, tree, images) = windows(&history, width);
        let mut stream = Stream::new(scale(width), &ids);
        let mut rows = Vec::new();
        // Ends are told apart from the timeline: the worst is all of them before all of it.
        let (ends, open): (Vec<_>, Vec<ImageWindow>) =
            images.into_iter().partition(|image| ended || image.last == [0; MEMBERS]);
        for image in &ends {
            stream.apply(&end(image), &mut rows);
        }
        for event in &events {
            stream.apply(event, &mut rows);
        }
        stream.finish(&tree, &open, &mut rows);
        let (tree, images) = sorted(&rows, history.image_count());
        let expected = history.timeline(width);
        prop_assert_eq!(tree, expected.tree);
        prop_assert_eq!(images, expected.images);
    }

    /// Every change is there: the last of those at one moment is what the history says.
    #[test]
    fn changes_become_spans(seed in any::<u64>()) {
        let history = history::random(seed, 150);
        let ids = ids(&history);
        let mut stream = Stream::new(scale(0), &ids);
        let mut rows = Vec::new();
        let events = changes(&history);
        for image in 1..=history.image_count() as u64 {
            if image % 2 == 0 {
                stream.apply(&end(&ImageWindow { updates: 0, ..empty_image(image) }), &mut rows);
            }
        }
        for event in &events {
            stream.apply(event, &mut rows);
        }
        prop_assert_eq!(rows.len(), 2 * events.len());
        let (tree, images) = sorted(&rows, history.image_count());
        let expected = history.timeline(0);
        // Between the counters of one change, the sum is between before and after.
        let values = |spans: &[TreeSpan]| {
            let mut by_time: Vec<(u64, Amounts)> = Vec::new();
            for span in spans {
                match by_time.last_mut() {
                    Some((at, last)) if *at == span.start_ns => *last = span.last,
                    _ => by_time.push((span.start_ns, span.last)),
                }
            }
            by_time
        };
        prop_assert_eq!(values(&tree), values(&expected.tree));
        for (spans, expected) in images.iter().zip(&expected.images) {
            prop_assert_eq!(
                spans.last().map(|span| span.last),
                expected.last().map(|span| span.last)
            );
        }
    }
}

/// What execve builds is seen, but counts only when the image enters.
#[test]
fn what_does_not_count_is_not_in_the_tree() {
    let ids = HashMap::from([(1, 0)]);
    let mut stream = Stream::new(scale(0), &ids);
    let mut rows = Vec::new();
    let mut change = |at: u64, kind: ChangeKind, value: i64| {
        let Event::Change(mut change) = changes(&one_page()).remove(0) else {
            unreachable!("it has a change");
        };
        change.header.at = STARTED_AT + at;
        change.kind = kind as u32;
        change.member = Member::Anon as u32;
        change.value = value;
        stream.apply(&Event::Change(change), &mut rows);
    };
    change(1, ChangeKind::Uncounted, 2);
    change(2, ChangeKind::Enters, 0);
    change(3, ChangeKind::Counted, 5);
    change(4, ChangeKind::Shared, 3);
    let (tree, images) = sorted(&rows, 1);
    let seen: Vec<_> = tree
        .iter()
        .map(|span| (span.start_ns, span.max_rss / PAGE, span.shared / PAGE))
        .collect();
    assert_eq!(seen, [(2, 2, 0), (3, 5, 0), (4, 5, 3)]);
    let seen: Vec<_> = images[0]
        .iter()
        .map(|span| {
            (
                span.start_ns,
                span.last.rss() / PAGE,
                span.at_tree_max.rss() / PAGE,
            )
        })
        .collect();
    assert_eq!(seen, [(1, 2, 0), (2, 2, 2), (3, 5, 5)]);
}

fn one_page() -> History {
    let mut history = History::new(&[b"true"]);
    history.set(0, [1, 0, 0, 0]);
    history
}

/// What an image did before the tree began is in the span in which it began, and nothing of
/// the tree is.
#[test]
fn time_begins_with_the_tree() {
    let ids = HashMap::from([(1, 0)]);
    let early = ImageWindow {
        start: STARTED_AT - 10,
        max_rss: 7,
        max_rss_at: STARTED_AT - 3,
        last: [7, 0, 0, 0],
        updates: 1,
        counted: 0,
        ..empty_image(1)
    };
    let first = ImageWindow {
        start: STARTED_AT,
        seq: 2,
        max_rss: 5,
        max_rss_at: STARTED_AT + 2,
        last: [4, 0, 0, 0],
        at_tree_max: [5, 0, 0, 0],
        updates: 1,
        ..empty_image(1)
    };
    let (_, tree, _) = windows(&one_page(), 10);
    let tree_early = TreeWindow {
        start: STARTED_AT - 10,
        seq: 1,
        ..tree
    };
    let tree = TreeWindow {
        start: STARTED_AT,
        seq: 2,
        ..tree
    };
    let mut stream = Stream::new(scale(10), &ids);
    let mut rows = Vec::new();
    stream.apply(&Event::TreeWindow(Box::new(tree_early)), &mut rows);
    stream.apply(&Event::ImageWindow(Box::new(early)), &mut rows);
    assert_eq!(rows, []);
    stream.finish(&tree, &[first], &mut rows);
    let (tree, images) = sorted(&rows, 1);
    assert_eq!(tree.len(), 1);
    let [span] = images[0][..] else {
        panic!("one span: {images:?}");
    };
    assert_eq!(
        (span.start_ns, span.max_rss, span.max_at_ns),
        (0, 7 * PAGE, 0)
    );
    assert_eq!(
        (span.last.rss(), span.at_tree_max.rss()),
        (4 * PAGE, 5 * PAGE)
    );
}
