//! From events to a result: a pure state machine without I/O, clock or kernel.
//!
//! ```text
//! Model::new() -> apply(&Event) ... -> finish(Final) -> Summary
//! ```
//!
//! The exact numbers (peaks, who held what at the peak, time integrals) are kept
//! by the kernel side and arrive in [`IMAGE_END`](memtrace_ebpf::event::IMAGE_END)
//! records and in [`Final`]. The model joins them with the story (who created
//! whom, who ran what, who ended how), turns them into bytes and nanoseconds, and
//! checks that everything fits together: [`Certificate`].
//!
//! The result does not depend on the order in which events are applied.
//!
//! ```
//! use memtrace::{event::Event, model::Model};
//!
//! # fn records() -> Vec<Vec<u8>> { Vec::new() }
//! let mut model = Model::new();
//! for record in records() {
//!     match Event::decode(&record) {
//!         Ok(event) => model.apply(&event),
//!         Err(error) => eprintln!("{error}"), // count it in `Final::undecodable`
//!     }
//! }
//! ```

mod branches;
mod build;
mod certificate;
mod checks;
mod cpu_times;
mod final_state;
mod fold;
mod measured;
mod numbers;
mod own_cgroup;
mod processes;
mod quantities;
pub(crate) mod reasons;
mod sampled;
mod segments;
mod story;
mod summary;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) use self::testing::golden;
pub mod timeline;

use std::collections::BTreeMap;

use memtrace_ebpf::{Image, SegmentsRecord};

pub use self::timeline::{ImageSpan, Loss, SegmentsMoment, Sizes, Timeline, TreeSpan};
pub(crate) use self::{
    certificate::is_loss,
    story::{program_of, until_nul},
};
pub use self::{
    certificate::{Certificate, Lost, SizesSeen, Verdict},
    final_state::{BranchState, CrossChecks, EndedByLimit, Final, Limit, Limited, Missed, Stats},
    own_cgroup::{CgroupEvents, CgroupStat, OwnCgroup},
    quantities::{Moments, Quantities, Worth},
    sampled::Sampled,
    segments::{SegmentUse, Segments, SegmentsSeen},
    summary::{
        Amounts, Before, BranchSummary, Counts, Fate, Footprint, Holder, ImageSummary, ImageUse,
        Origin, Outcome, PeakRange, ProcessSummary, Program, PssSnapshot, Summary, TreeSummary,
        Usage, UseKind, VmMeans, VmPeaks,
    },
};
use self::{fold::Folded, measured::Measured, story::Story};
use crate::event::Event;

/// The state between events.
#[derive(Clone, Debug, Default)]
pub struct Model {
    story: Story,
    /// Images that have ended, by id.
    ended: BTreeMap<u64, Measured>,
    /// Ids that ended more than once.
    repeated: Vec<u64>,
    /// Segments of images that have ended, by the image's id.
    segments: BTreeMap<u64, SegmentsRecord>,
    /// What was counted and forgotten, if that is wanted.
    folded: Option<Folded>,
}

impl Model {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing has happened yet; and of processes that have ended, those that hold nothing at the tree's peak and
    /// are not the largest are only counted ([`Summary::only_counted`]), so that any number of them takes bounded
    /// memory. Events must come in the order of time. Segments of images are not told apart.
    #[must_use]
    pub fn of_totals() -> Self {
        Self {
            folded: Some(Folded::new()),
            ..Self::default()
        }
    }

    /// The same, forgetting as soon as it can.
    #[cfg(test)]
    pub(crate) fn of_totals_in_batches(batch: usize) -> Self {
        Self {
            folded: Some(Folded::in_batches(batch)),
            ..Self::default()
        }
    }

    /// Takes one event in. Order does not matter, unless it is a model of [totals](Model::of_totals).
    pub fn apply(&mut self, event: &Event) {
        if let Some(folded) = &mut self.folded
            && folded.knows(event)
        {
            return;
        }
        self.take(event);
        if let Some(folded) = &mut self.folded {
            folded.look(&mut self.story, &mut self.ended);
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Fork(fork) => self.story.fork(fork),
            Event::Exec(exec) => self.story.exec(exec),
            Event::Exit(exit) => self.story.exit(exit),
            Event::Freed(freed) => self.story.freed(freed),
            Event::ImageEnd(image) => self.image_end(image),
            Event::Oom(oom) => self.story.oom(oom),
            Event::Segments(segments) => self.segments_end(segments),
            // The timeline's own; see `timeline::Builder`.
            Event::ImageWindow(_)
            | Event::TreeWindow(_)
            | Event::Change(_)
            | Event::SizesChange(_)
            | Event::SegmentsChange(_)
            | Event::Call(_) => {}
        }
    }

    /// Processes that ended and that the kernel has not let go of, as far as it was told: their ids in the initial
    /// PID namespace, and when they were created ([`Process::started_at`](memtrace_ebpf::Process::started_at)).
    pub fn held(&self) -> impl Iterator<Item = (u32, u64)> {
        self.story.held()
    }

    fn image_end(&mut self, image: &Image) {
        let measured = Measured::ended(image);
        let is_forgotten = |folded: &Folded| folded.images.contains(image.id);
        if self.folded.as_ref().is_some_and(is_forgotten) {
            self.repeated.push(image.id);
        } else if let Some(old) = self.ended.get_mut(&image.id) {
            self.repeated.push(image.id);
            // No order of arrival may decide which of them counts.
            if old.until < measured.until {
                *old = measured;
            }
        } else {
            self.ended.insert(image.id, measured);
        }
    }

    /// Of several of one image the last counts, in whatever order they come.
    fn segments_end(&mut self, record: &SegmentsRecord) {
        let known = self.segments.entry(record.image).or_insert(*record);
        if known.header.at < record.header.at {
            *known = *record;
        }
    }

    /// Puts the result together.
    ///
    /// Never fails: whatever does not fit is named in the result's certificate.
    #[must_use]
    pub fn finish(self, last: Final) -> Summary {
        let Self {
            story,
            ended,
            repeated,
            segments,
            folded,
        } = self;
        let folded = folded.unwrap_or_else(Folded::new);
        build::build(story, ended, &repeated, segments, &folded, last)
    }
}
