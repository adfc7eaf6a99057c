//! One moment or one stretch of a recording, without reading all of its timeline: what is
//! told of processes is read whole, and of the timeline what lies between the last snapshot
//! and what is asked for.

mod between;
mod track;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use memtrace_ebpf::{ImageWindow, TreeWindow};

pub use self::between::{ImageRange, Range};
use super::{
    Entry, Head, ReadError, Reader, Replay,
    columns::Records,
    format::{flag, kind},
    load::{pass, summarize},
    reader::Place,
    replay::{Held, HeldSegments},
};
use crate::{
    event::Event,
    model::{Amounts, Sizes, Summary},
};

/// A recording in which moments can be looked up.
#[derive(Debug)]
pub struct Index {
    reader: Reader,
    summary: Summary,
    notes: Vec<String>,
    head: Head,
    /// Blocks of the timeline and of snapshots in the order of the file.
    pub(super) places: Vec<Place>,
    /// When images ended, with their last windows.
    ended: BTreeMap<u64, (u64, Option<ImageWindow>)>,
    /// Windows that were open at the end.
    open: Vec<ImageWindow>,
    open_tree: Option<TreeWindow>,
    /// What segments held when images ended, or at the end.
    last_segments: HashMap<u64, HeldSegments>,
    /// When the tree started, `CLOCK_BOOTTIME`.
    zero: u64,
    /// When it was over, in the same clock.
    until: u64,
    /// Whether reading may begin at a snapshot.
    pub(super) use_snapshots: bool,
}

/// What was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When, in nanoseconds since the tree's start.
    pub at_ns: u64,
    /// Images that held anything, by index in [`Summary::images`]; those that did not count
    /// in the tree yet are left out.
    pub images: BTreeMap<usize, (Amounts, Sizes)>,
    /// What those held by segment, bytes, where that was recorded.
    pub segments: BTreeMap<usize, HeldSegments>,
}

impl Moment {
    /// The sum over all images.
    #[must_use]
    pub fn sum(&self) -> Amounts {
        self.images
            .values()
            .fold(Amounts::default(), |sum, (held, _)| sum.plus(held))
    }
}

impl Index {
    /// Reads what is told of processes, and finds the timeline.
    ///
    /// # Errors
    ///
    /// As [`load`](super::load).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path: PathBuf = path.as_ref().to_owned();
        let mut reader = Reader::open(&path)?.finding_timeline();
        let mut ended = BTreeMap::new();
        let mut last_segments = HashMap::new();
        let passed = pass(&mut reader, |entry| {
            if let Entry::Event(Event::ImageEnd(image)) = entry {
                let window = (image.window.updates > 0).then_some(image.window);
                ended.insert(image.id, (image.header.at, window));
            }
            if let Entry::Event(Event::Segments(segments)) = entry {
                last_segments.insert(segments.image, HeldSegments::of(segments));
            }
        })?;
        let last = passed.last;
        let (summary, notes) = if reader.has_ended() {
            (passed.summary, reader.notes())
        } else {
            // What it amounts to is told by the timeline, too.
            let all = summarize(&path)?;
            (all.summary, all.notes)
        };
        for segments in &last.segments {
            let left = HeldSegments::of(segments);
            last_segments.entry(segments.image).or_insert(left);
        }
        let zero = if last.tree.started_at > 0 {
            last.tree.started_at
        } else {
            last.ended_at.saturating_sub(summary.tree.duration_ns)
        };
        let open = last.images.iter().map(|image| image.window);
        Ok(Self {
            places: reader.take_places(),
            head: reader.head().clone(),
            reader,
            notes,
            ended,
            last_segments,
            open: open.filter(|window| window.updates > 0).collect(),
            open_tree: Some(last.tree.window).filter(|window| window.updates > 0),
            zero,
            until: last.ended_at,
            summary,
            use_snapshots: true,
        })
    }

    /// The same as when it was recorded.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What is wrong with the file, as far as it was read: one sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What was known before the run.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// How long it reaches, in nanoseconds since the tree's start.
    #[must_use]
    pub const fn end_ns(&self) -> u64 {
        self.until.saturating_sub(self.zero)
    }

    /// What every image held at a moment, in nanoseconds since the tree's start: what its last
    /// change until then had left. Where windows were recorded and it changed again within
    /// the same window, the state is that of the window's beginning.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn at(&mut self, at_ns: u64) -> Result<Moment, ReadError> {
        let at_ns = at_ns.min(self.end_ns());
        let at = self.zero.saturating_add(at_ns);
        let mut replay = self.replay_to(at)?;
        let ended = self.ended.iter();
        for (image, (end, window)) in ended {
            if *end <= at {
                replay.images.remove(image);
            } else if let Some(window) = window.as_ref().filter(|w| w.header.at <= at) {
                replay.window(window);
                settle(&mut replay, *image, &self.last_segments);
            }
        }
        for window in self.open.iter().filter(|window| window.header.at <= at) {
            // A checkpoint's can be older than what came after it.
            let newest = |held: &Held| held.at <= window.header.at;
            if replay.images.get(&window.image).is_none_or(newest) {
                replay.window(window);
                settle(&mut replay, window.image, &self.last_segments);
            }
        }
        let page = self.summary.page_size;
        let index = index_of(&self.summary);
        let counted = replay.images.iter().filter(|(_, held)| held.counted);
        let mut moment = Moment {
            at_ns,
            images: BTreeMap::new(),
            segments: BTreeMap::new(),
        };
        for (id, held) in counted {
            if let Some(index) = index.get(id) {
                moment.images.insert(*index, in_bytes(held, page));
                let segments = held.segments.map(|segments| segments.in_bytes(page));
                moment.segments.extend(segments.map(|held| (*index, held)));
            }
        }
        Ok(moment)
    }

    /// What every image held when the tree was at its peak: to the byte, whatever the width
    /// of the windows. Virtual sizes as in [`Index::at`].
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn at_peak(&mut self) -> Result<Moment, ReadError> {
        let tree = &self.summary.tree;
        let holders: BTreeMap<usize, Amounts> = tree
            .at_peak
            .iter()
            .map(|holder| (holder.image, holder.held))
            .collect();
        let moment = self.at(self.summary.tree.peak_at_ns)?;
        let images = holders
            .into_iter()
            .map(|(image, held)| {
                let sizes = moment.images.get(&image).map(|(_, sizes)| *sizes);
                (image, (held, sizes.unwrap_or_default()))
            })
            .collect();
        Ok(Moment { images, ..moment })
    }

    /// What the records up to a time leave.
    fn replay_to(&mut self, at: u64) -> Result<Replay, ReadError> {
        let (mut replay, from) = self.snapshot(at)?;
        self.each_record(from, at, |event| {
            if event.at() <= at {
                replay.apply(event);
            }
        })?;
        Ok(replay)
    }

    /// The last snapshot that holds nothing from after `at`, and which of the places is
    /// behind it.
    fn snapshot(&mut self, at: u64) -> Result<(Replay, usize), ReadError> {
        if !self.use_snapshots {
            return Ok((Replay::default(), 0));
        }
        let starts: Vec<usize> = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| {
                place.header.kind == kind::SNAPSHOT
                    && !place.header.has(flag::CONTINUES)
                    && place.header.first_at <= at
            })
            .map(|(index, _)| index)
            .collect();
        for start in starts.into_iter().rev() {
            if let Some(found) = self.read_snapshot(start)? {
                return Ok(found);
            }
        }
        Ok((Replay::default(), 0))
    }

    /// The snapshot that begins at a place, if it is whole, and what is behind it.
    fn read_snapshot(&mut self, start: usize) -> Result<Option<(Replay, usize)>, ReadError> {
        let mut parts = Vec::new();
        let mut next = start;
        while let Some(place) = self.places.get(next).copied() {
            let expected = place.header.kind == kind::SNAPSHOT
                && place.header.has(flag::CONTINUES) == (next > start);
            let Some(raw) = self.reader.contents(place)?.filter(|_| expected) else {
                return Ok(None);
            };
            parts.push(raw);
            next += 1;
            if !place.header.has(flag::CONTINUED) {
                return Ok(Replay::read(&parts).ok().map(|replay| (replay, next)));
            }
        }
        Ok(None)
    }

    /// Shows all records from a place on, of those blocks that have any up to `until`.
    fn each_record(
        &mut self,
        from: usize,
        until: u64,
        mut see: impl FnMut(&Event),
    ) -> Result<(), ReadError> {
        let wanted: Vec<Place> = self
            .places
            .iter()
            .skip(from)
            .filter(|place| place.header.kind == kind::EVENTS && place.header.first_at <= until)
            .copied()
            .collect();
        for place in wanted {
            let Some(raw) = self.reader.contents(place)? else {
                self.damaged(place);
                continue;
            };
            let Ok(mut records) = Records::new(raw, place.header.count) else {
                self.damaged(place);
                continue;
            };
            loop {
                match records.next() {
                    Ok(Some(event)) => see(&event),
                    Ok(None) => break,
                    Err(_) => {
                        self.damaged(place);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn damaged(&mut self, place: Place) {
        let note = self.reader.block_note(place);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Segments of an image in its last window. At the end of an image what it held is gone, and so told
/// only where programs see its mappings go.
fn settle(replay: &mut Replay, image: u64, last: &HashMap<u64, HeldSegments>) {
    if let (Some(held), Some(segments)) = (replay.images.get_mut(&image), last.get(&image)) {
        held.segments = Some(*segments);
    }
}

/// Where each image is in the summary.
fn index_of(summary: &Summary) -> HashMap<u64, usize> {
    let images = summary.images.iter().enumerate();
    images.map(|(index, image)| (image.id, index)).collect()
}

fn bytes(pages: i64, page: u64) -> u64 {
    pages.max(0).unsigned_abs().saturating_mul(page)
}

fn amounts(pages: &memtrace_ebpf::Pages, page: u64) -> Amounts {
    let [file, anon, swap, shmem] = pages.map(|pages| bytes(pages, page));
    Amounts {
        anon,
        file,
        shmem,
        swap,
    }
}

fn in_bytes(held: &Held, page: u64) -> (Amounts, Sizes) {
    let [total, data, stack, exec, heap, page_tables, locked] = held.sizes;
    let sizes = Sizes {
        total: total.saturating_mul(page),
        data: data.saturating_mul(page),
        stack: stack.saturating_mul(page),
        exec: exec.saturating_mul(page),
        heap,
        page_tables,
        locked: locked.saturating_mul(page),
    };
    (amounts(&held.pages, page), sizes)
}
