//! From records to a [`Timeline`].

use std::collections::VecDeque;

use memtrace_ebpf::{Change, ImageWindow, SizesChange};

use super::{Loss, Timeline, changes::Changes, segments::Moments, spans::Spans, units::Units};
use crate::{
    event::Event,
    model::{Final, Summary},
};

/// How fine a timeline is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The width of the windows that were recorded, nanoseconds; 0: each change was.
    pub recorded_width_ns: u64,
    /// The width that is wanted, made a multiple of what was recorded; `None`, and anything
    /// less, is the recorded one.
    pub width_ns: Option<u64>,
    /// How many spans there may be, those of the tree and of all images together. When there
    /// are more, they become twice as wide, until no span could be saved any more.
    pub max_spans: usize,
}

impl Options {
    /// As fine as recorded, in 500,000 spans (about 100 MB).
    #[must_use]
    pub const fn new(recorded_width_ns: u64) -> Self {
        Self {
            recorded_width_ns,
            width_ns: None,
            max_spans: 500_000,
        }
    }
}

/// Takes records in as they come and makes a [`Timeline`] of them.
///
/// Records of the timeline must come in the order in which the kernel side sent them;
/// others may come anywhere between. Memory is bounded by [`Options::max_spans`] and the number
/// of images.
#[derive(Debug)]
pub struct Builder {
    options: Options,
    spans: Spans,
    /// The limit for now: above [`Options::max_spans`] only when that cannot be reached.
    limit: usize,
    /// Changes that may yet become a span each.
    single: Vec<Single>,
    changes: Option<Changes>,
    /// Last windows of images that ended. Their records do not come in the order of the
    /// timeline's, so they wait.
    ended: VecDeque<ImageWindow>,
    losses: Vec<RawLoss>,
    segments: Moments,
}

#[derive(Debug)]
enum Single {
    Change(Change),
    Sizes(Box<SizesChange>),
    End { image: u64, at: u64 },
}

#[derive(Debug)]
struct RawLoss {
    from: u64,
    until: u64,
    records: u64,
    reason: String,
}

/// How many ended images wait for windows of theirs at least.
const WAITING: usize = 4096;

/// Where each change was recorded and there are too many: where widths begin.
const NARROWEST_NS: u64 = 1024;

impl Builder {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        // Windows lie whole in one span.
        let recorded = options.recorded_width_ns;
        let wanted = options.width_ns.unwrap_or(0).max(recorded);
        let width = wanted.checked_next_multiple_of(recorded).unwrap_or(wanted);
        Self {
            spans: Spans::new(width),
            limit: options.max_spans.max(2),
            single: Vec::new(),
            changes: None,
            ended: VecDeque::new(),
            losses: Vec::new(),
            // They are a fraction of a span in size.
            segments: Moments::new(options.max_spans / 2),
            options,
        }
    }

    /// Takes one event in; those that are not about the timeline change nothing.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::TreeWindow(window) => self.spans.tree(window),
            Event::ImageWindow(window) => self.spans.image(window),
            Event::ImageEnd(image) if image.window.updates > 0 => {
                self.ended.push_back(image.window);
                self.take_ended(WAITING);
            }
            // Whatever changes of it were lost: it is gone.
            Event::ImageEnd(image) if self.takes_changes() => self.change(Single::End {
                image: image.id,
                at: image.header.at,
            }),
            Event::Change(change) => self.change(Single::Change(*change)),
            Event::SizesChange(change) => self.change(Single::Sizes(change.clone())),
            Event::SegmentsChange(change) => return self.segments.take(change),
            _ => return,
        }
        self.limit_spans();
    }

    /// Notes that records of the timeline are missing, between two moments of
    /// `CLOCK_BOOTTIME`. `reason` is a clause.
    pub fn loss(&mut self, from: u64, until: u64, records: u64, reason: impl Into<String>) {
        self.losses.push(RawLoss {
            from,
            until,
            records,
            reason: reason.into(),
        });
    }

    /// Puts the timeline together. `last` has the windows that are still open; the images of
    /// `summary` give the order.
    #[must_use]
    pub fn finish(mut self, last: &Final, summary: &Summary) -> Timeline {
        if self.single.len() > self.single_limit() {
            self.widen();
        }
        self.replay();
        if let Some(changes) = &mut self.changes {
            changes.close(&mut self.spans);
        }
        if last.tree.window.updates > 0 {
            self.spans.tree(&last.tree.window);
        }
        self.take_ended(0);
        for image in &last.images {
            if image.window.updates > 0 {
                self.spans.image(&image.window);
            }
        }
        self.spans.coarsen(self.options.max_spans);

        let zero = if last.tree.started_at > 0 {
            last.tree.started_at
        } else {
            last.ended_at.saturating_sub(summary.tree.duration_ns)
        };
        // What was before the tree began is one span with its beginning.
        let opening = self.spans.cell(zero);
        self.spans.regroup(|start| start.max(opening));
        self.spans.settle();

        let units = Units {
            zero,
            page_size: last.page_size,
        };
        let segments = self.segments.finish(last, summary, units);
        let tree = std::mem::take(&mut self.spans.tree);
        Timeline {
            width_ns: self.spans.width,
            recorded_width_ns: self.options.recorded_width_ns,
            end_ns: summary.tree.duration_ns,
            tree: tree
                .into_iter()
                .map(|entry| units.tree(entry.span))
                .collect(),
            images: summary
                .images
                .iter()
                .map(|image| {
                    let spans = self.spans.take(image.id);
                    spans
                        .into_iter()
                        .map(|entry| units.image(entry.span))
                        .collect()
                })
                .collect(),
            segments,
            losses: self
                .losses
                .into_iter()
                .map(|loss| Loss {
                    from_ns: units.ns(loss.from),
                    until_ns: units.ns(loss.until),
                    records: loss.records,
                    reason: loss.reason,
                })
                .collect(),
        }
    }

    /// Single changes are what came so far.
    const fn takes_changes(&self) -> bool {
        self.changes.is_some() || !self.single.is_empty()
    }

    /// Each change has a span of the tree and one of an image.
    const fn single_limit(&self) -> usize {
        self.limit / 2
    }

    fn change(&mut self, single: Single) {
        if let Some(changes) = &mut self.changes {
            apply(changes, &single, &mut self.spans);
            return;
        }
        self.single.push(single);
        if self.spans.width > 0 {
            self.replay();
        } else if self.single.len() > self.single_limit() {
            self.widen();
            self.replay();
        }
    }

    /// Each change cannot have a span: begins with a width that fits so far.
    fn widen(&mut self) {
        let at = |single: Option<&Single>| match single {
            Some(Single::Change(change)) => change.header.at,
            Some(Single::Sizes(change)) => change.header.at,
            Some(Single::End { at, .. }) => *at,
            None => 0,
        };
        let length = at(self.single.last()).saturating_sub(at(self.single.first()));
        let mut width = NARROWEST_NS;
        // Changes come in bursts: many spans are empty.
        while length / width > self.limit as u64 {
            width = width.saturating_mul(2);
        }
        self.spans.width = width;
    }

    /// From here on changes go where they belong at once.
    fn replay(&mut self) {
        if self.single.is_empty() {
            return;
        }
        let mut changes = self.changes.take().unwrap_or_else(Changes::new);
        for single in std::mem::take(&mut self.single) {
            apply(&mut changes, &single, &mut self.spans);
        }
        self.changes = Some(changes);
    }

    /// Takes in the last windows of images that ended, but for the latest `waiting`.
    fn take_ended(&mut self, waiting: usize) {
        while self.ended.len() > waiting {
            let ready = |window: &ImageWindow| waiting == 0 || self.spans.has_tree(window.start);
            if !self.ended.front().is_some_and(ready) {
                return;
            }
            if let Some(window) = self.ended.pop_front() {
                self.spans.image(&window);
            }
        }
    }

    fn limit_spans(&mut self) {
        if self.spans.count() > self.limit {
            if self.spans.width == 0 {
                // Changes do not come here without a width; windows should not.
                self.spans.width = NARROWEST_NS;
            }
            self.spans.coarsen(self.options.max_spans);
            // With more images than that, each step would save next to nothing.
            let rest = self.spans.count();
            self.limit = self
                .options
                .max_spans
                .max(rest.saturating_add(rest / 2))
                .max(2);
        }
    }
}

fn apply(changes: &mut Changes, single: &Single, spans: &mut Spans) {
    match single {
        Single::Change(change) => changes.apply(change, spans),
        Single::Sizes(change) => changes.resize(change, spans),
        Single::End { image, at } => changes.end(*image, *at, spans),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::merge, NARROWEST_NS};

    /// Doubling a width must never cut a span in two.
    #[test]
    fn cells_nest() {
        for at in [0, 1, 1023, 1024, 5_000_000_123, u64::MAX] {
            let narrow = merge::cell(at, NARROWEST_NS);
            assert_eq!(
                merge::cell(narrow, 2 * NARROWEST_NS),
                merge::cell(at, 2 * NARROWEST_NS)
            );
            assert_eq!(merge::cell(at, 0), at);
        }
    }
}
