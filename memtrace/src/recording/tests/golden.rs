//! The recording of version 1 that every later version must read, with what was expected of
//! it then. It holds the history of `tests/golden/make.events`, whose reports are written by
//! hand, and a timeline.

use std::path::PathBuf;

use memtrace_ebpf::{
    ImageWindow, Pages, TreeWindow,
    event::{Header, IMAGE_WINDOW, TREE_WINDOW},
};

use super::{
    super::{Entry, Head, Index, Reader, Writer, load::pass},
    head,
    history::{WIDTH, rss},
};
use crate::{
    blank,
    event::Event,
    model::{Final, Summary, testing::golden::history},
    report::{json, moment, range, select::Selection, text},
};

const MAKE: &str = include_str!("../../../tests/golden/make.events");

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recording/v1.memtrace")
}

/// One window of an image: start, last change, what it was, its largest, what it is.
fn image(id: u64, start: u64, at: u64, before: Pages, most: Pages, last: Pages) -> ImageWindow {
    ImageWindow {
        header: Header {
            kind: IMAGE_WINDOW,
            tree: 0,
            at: at * 1_000_000,
        },
        image: id,
        start: start * 1_000_000,
        min_rss: rss(&before).min(rss(&last)),
        max_rss: rss(&most),
        max_rss_at: start * 1_000_000,
        min: before,
        max: most,
        last,
        at_tree_max: most,
        sizes: [1000, 400, 34, 300, 135_168, 16_384, 0],
        updates: 1,
        counted: 1,
        ..blank::IMAGE_WINDOW
    }
}

fn tree(start: u64, at: u64, before: i64, most: i64, last: Pages) -> Event {
    Event::TreeWindow(Box::new(TreeWindow {
        header: Header {
            kind: TREE_WINDOW,
            tree: 0,
            at: at * 1_000_000,
        },
        start: start * 1_000_000,
        min_rss: before.min(rss(&last)),
        max_rss: most,
        max_rss_at: start * 1_000_000,
        last,
        updates: 1,
        ..blank::TREE_WINDOW
    }))
}

/// The timeline of `make.events`; times in milliseconds.
fn timeline() -> Vec<Event> {
    const NONE: Pages = [0; 4];
    const MAKE: Pages = [50, 100, 0, 0];
    const FORK: Pages = [40, 60, 0, 0];
    let window = |window: ImageWindow| Event::ImageWindow(Box::new(window));
    vec![
        tree(1000, 1005, 0, 150, MAKE),
        window(image(1, 1000, 1005, NONE, MAKE, MAKE)),
        tree(1100, 1101, 150, 250, [90, 160, 0, 0]),
        window(image(2, 1100, 1101, NONE, FORK, FORK)),
        tree(1140, 1145, 250, 370, [110, 260, 0, 0]),
        window(image(3, 1140, 1145, NONE, [20, 100, 0, 0], [20, 100, 0, 0])),
        tree(1150, 1150, 370, 370, [70, 200, 0, 0]),
        tree(1400, 1405, 270, 375, [70, 280, 0, 5]),
        window(image(
            3,
            1400,
            1405,
            [20, 100, 0, 0],
            [20, 200, 0, 5],
            [20, 180, 0, 5],
        )),
        tree(1600, 1600, 355, 355, MAKE),
        tree(1750, 1755, 150, 180, [50, 130, 0, 0]),
        window(image(4, 1750, 1755, NONE, [0, 30, 0, 0], [0, 30, 0, 0])),
        tree(1800, 1800, 180, 180, MAKE),
        tree(1900, 1900, 150, 165, [55, 110, 0, 0]),
        window(image(5, 1900, 1900, NONE, [5, 10, 0, 0], [5, 10, 0, 0])),
        tree(2000, 2000, 165, 165, [5, 10, 0, 0]),
    ]
}

/// Records by time, as they would come, and the end.
fn records() -> (Vec<Event>, Final) {
    let (mut events, end) = history(MAKE);
    for event in &mut events {
        if let Event::ImageEnd(image) = event {
            image.mm = 0;
        }
    }
    events.extend(timeline());
    events.sort_by_key(Event::at);
    (events, end)
}

fn golden_head() -> Head {
    Head {
        width_ns: WIDTH,
        created_at: 950_000_000,
        command: vec![b"make".to_vec(), b"-j2".to_vec()],
        // Whatever they are now.
        record_sizes: vec![(1, 72), (8, 40)],
        ..head()
    }
}

fn record() -> Vec<u8> {
    let file = super::file();
    let writer = Writer::create(file.try_clone().unwrap(), &golden_head()).unwrap();
    let (events, end) = records();
    for event in &events {
        writer.event(event);
    }
    writer.finish(&end).unwrap();
    super::contents(&file)
}

fn shown(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn summary(mut reader: Reader) -> Summary {
    let passed = pass(&mut reader, |_| {}).unwrap();
    assert_eq!(reader.notes(), Vec::<String>::new());
    passed.summary
}

fn check(reader: Reader) {
    assert_eq!(reader.head(), &golden_head());
    let summary = summary(reader);
    let options = text::Options {
        verbose: true,
        per_process: true,
        width: 120,
        wrap: false,
    };
    assert_eq!(
        shown(|out| text::write(&summary, options, out)),
        include_str!("../../../tests/golden/make-long.txt")
    );
    assert_eq!(
        shown(|out| text::write(&summary, text::Options::default(), out)),
        include_str!("../../../tests/golden/make.txt")
    );
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(
        parse(&shown(|out| json::write(&summary, out))),
        parse(include_str!("../../../tests/golden/make.json"))
    );
}

/// The file of version 1 gives the reports that were written by hand for its history.
#[test]
fn version_1_is_read() {
    check(Reader::open(path()).unwrap());
}

/// What is written now gives the same. (For a new version of the format, the file that
/// `MEMTRACE_NEW_GOLDEN` names gets it.)
#[test]
fn what_is_written_now_reads_like_version_1() {
    let bytes = record();
    if let Some(path) = std::env::var_os("MEMTRACE_NEW_GOLDEN") {
        std::fs::write(path, &bytes).unwrap();
    }
    check(Reader::from_bytes("now", bytes).unwrap());
}

/// Its records are those of the history, one by one.
#[test]
fn the_records_of_version_1() {
    let mut reader = Reader::open(path()).unwrap();
    let read: Vec<Vec<u8>> = reader
        .entries()
        .filter_map(|entry| match entry.unwrap() {
            Entry::Event(event) => Some(event.bytes().to_vec()),
            _ => None,
        })
        .collect();
    let (events, _) = records();
    let expected: Vec<Vec<u8>> = events.iter().map(super::recorded).collect();
    assert!(read == expected);
}

/// Moments of version 1, to the byte. (By hand: 50 + 100 pages of make, 20 + 180 + 5 of cc.)
#[test]
fn moments_of_version_1() {
    let mut index = Index::open(path()).unwrap();
    let at = index.at(410_000_000).unwrap();
    let text =
        shown(|out| moment::write(index.summary(), &at, WIDTH, &Selection::default(), 120, out));
    assert_eq!(text, include_str!("../../../tests/golden/recording/at.txt"));
    let at = index.at_peak().unwrap();
    assert_eq!(at.sum().rss(), index.summary().tree.peak_rss);
}

/// A range of version 1, to the byte. (By hand, in pages: 270 for 15 ms, 355 for 195 ms, 150 for
/// 10 ms; cc 120 for 15 ms and 205 for 195 ms.)
#[test]
fn range_of_version_1() {
    let mut index = Index::open(path()).unwrap();
    let found = index.between(395_000_000, 604_000_000).unwrap();
    let text = shown(|out| {
        range::write(
            index.summary(),
            &found,
            WIDTH,
            &Selection::default(),
            120,
            out,
        )
    });
    assert_eq!(
        text,
        include_str!("../../../tests/golden/recording/between.txt")
    );
}
