//! Recordings, put together here from their records: independent of what `memtrace report`
//! makes of them.

use std::path::Path;

use anyhow::{Context, Result};
use memtrace::{
    event::Event,
    model::{
        Amounts, Final, ImageSpan, Model, Summary, Timeline,
        timeline::{Builder, Options},
    },
    recording::{Entry, Reader},
};

/// Everything in a recording.
#[derive(Debug)]
pub struct Recorded {
    /// All records in order.
    pub events: Vec<Event>,
    /// How many checkpoints there are.
    pub checkpoints: usize,
    /// How many records of the timeline the recording says were lost in the kernel.
    pub lost: u64,
    /// The end, if it has one.
    pub last: Option<Final>,
    /// What the reader found wrong with the file.
    pub notes: Vec<String>,
    /// The width it was recorded with.
    pub width_ns: u64,
}

impl Recorded {
    /// Reads one.
    ///
    /// # Errors
    /// It is missing or no recording.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = Reader::open(path)?;
        let mut recorded = Self {
            events: Vec::new(),
            checkpoints: 0,
            lost: 0,
            last: None,
            notes: Vec::new(),
            width_ns: reader.head().width_ns,
        };
        while let Some(entry) = reader.next_entry()? {
            match entry {
                Entry::Event(event) => recorded.events.push(event),
                Entry::Checkpoint(_) => recorded.checkpoints += 1,
                Entry::Loss(loss) => {
                    assert!(!loss.life, "{loss:?}");
                    recorded.lost += loss.records;
                }
                Entry::End(last) => recorded.last = Some(*last),
            }
        }
        recorded.notes = reader.notes();
        Ok(recorded)
    }

    /// The result and the timeline, with spans of another width if that is wider.
    ///
    /// # Errors
    /// It has no end.
    pub fn timeline(&self, width_ns: Option<u64>, max_spans: usize) -> Result<(Summary, Timeline)> {
        let last = self.last.clone().context("the recording has no end")?;
        let mut model = Model::new();
        let mut builder = Builder::new(Options {
            recorded_width_ns: self.width_ns,
            width_ns,
            max_spans,
        });
        for event in &self.events {
            model.apply(event);
            builder.apply(event);
        }
        let summary = model.finish(last.clone());
        let timeline = builder.finish(&last, &summary);
        Ok((summary, timeline))
    }
}

/// What an image counted for at the maximum of the tree's span that starts then.
#[must_use]
pub fn held_at(spans: &[ImageSpan], start_ns: u64) -> Amounts {
    match spans.iter().rev().find(|span| span.start_ns <= start_ns) {
        Some(span) if span.start_ns == start_ns => span.at_tree_max,
        Some(span) => span.last,
        None => Amounts::default(),
    }
}

/// Checks what a timeline promises: its maxima are the peaks that the kernel side kept, of the
/// tree and of each image, and at each span's maximum the images' parts sum to it, to the byte.
///
/// # Panics
/// When something is not so.
#[track_caller]
pub fn assert_complete(summary: &Summary, timeline: &Timeline) {
    assert_eq!(timeline.losses, []);
    let largest = timeline.tree.iter().map(|span| span.max_rss).max();
    assert_eq!(largest, Some(summary.tree.peak_rss), "the tree");
    assert!(timeline.tree.is_sorted_by(|a, b| a.start_ns < b.start_ns));
    assert_eq!(summary.images.len(), timeline.images.len());
    for (image, spans) in summary.images.iter().zip(&timeline.images) {
        let largest = spans.iter().map(|span| span.max_rss).max().unwrap_or(0);
        assert_eq!(largest, image.peak_rss, "{image:?}");
        assert!(spans.is_sorted_by(|a, b| a.start_ns < b.start_ns));
        if image.end_ns.is_some() {
            let last = spans.last().map(|span| span.last.rss()).unwrap_or_default();
            assert_eq!(last, 0, "{image:?}");
        }
    }
    for span in &timeline.tree {
        let held = timeline
            .images
            .iter()
            .fold(Amounts::default(), |sum, spans| {
                sum.plus(&held_at(spans, span.start_ns))
            });
        assert_eq!(held, span.at_max, "{span:?}");
        assert_eq!(held.rss(), span.max_rss, "{span:?}");
        assert!(span.min_rss <= span.last.rss() && span.last.rss() <= span.max_rss);
    }
}
