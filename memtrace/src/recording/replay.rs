//! What the records of the timeline add up to: the state that a snapshot holds, and from
//! which a reader goes on.

use std::collections::BTreeMap;

use memtrace_ebpf::{
    ChangeKind, ImageWindow, MEMBERS, Pages, SEGMENTS, SIZES, SegmentsChange, SegmentsRecord,
    TreeWindow,
};

use super::{
    items::{Parts, each_item},
    varint::{Malformed, put, zigzag},
};
use crate::event::Event;

/// For how long the end of an image is remembered: records of its windows can come later
/// than that of its end, because they come through another buffer.
const REMEMBERED_NS: u64 = 10_000_000_000;

/// One image as its latest record left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// When its latest change was, `CLOCK_BOOTTIME` in nanoseconds.
    pub at: u64,
    /// Its counters, pages.
    pub pages: Pages,
    /// Virtual sizes, by [`Size`](memtrace_ebpf::Size), in the unit of each.
    pub sizes: [u64; SIZES],
    /// It counts in the tree.
    pub counted: bool,
    /// What its segments hold, where that was told apart.
    pub segments: Option<HeldSegments>,
}

/// Segments of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldSegments {
    /// Resident, by [`Segment`](memtrace_ebpf::Segment).
    pub resident: [i64; SEGMENTS],
    /// Swapped out, likewise.
    pub swapped: [i64; SEGMENTS],
}

impl HeldSegments {
    pub(crate) const fn after(change: &SegmentsChange) -> Self {
        Self {
            resident: change.resident,
            swapped: change.swapped,
        }
    }

    pub(crate) fn of(record: &SegmentsRecord) -> Self {
        let mut held = Self::default();
        let places = held.resident.iter_mut().zip(&mut held.swapped);
        for ((resident, swapped), [file, anon, swap, shmem]) in places.zip(record.cur) {
            *resident = file.wrapping_add(anon).wrapping_add(shmem);
            *swapped = swap;
        }
        held
    }

    /// The same in bytes.
    pub(crate) fn in_bytes(self, page: u64) -> Self {
        let page = i64::try_from(page).unwrap_or(i64::MAX);
        let bytes = |pages: i64| pages.saturating_mul(page);
        Self {
            resident: self.resident.map(bytes),
            swapped: self.swapped.map(bytes),
        }
    }
}

/// The tree as its latest window left it; where each change is recorded there is none, and
/// the tree is the sum of its images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldByTree {
    /// When its latest change was, `CLOCK_BOOTTIME` in nanoseconds.
    pub at: u64,
    /// Its sums, pages.
    pub pages: Pages,
}

/// All images that hold anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The time of the latest record.
    pub at: u64,
    /// Images by id.
    pub images: BTreeMap<u64, Held>,
    /// The tree.
    pub tree: HeldByTree,
    /// When images ended, of those that did lately.
    ended: BTreeMap<u64, u64>,
}

/// Tags of a snapshot's items.
const AT: u64 = 1;
const IMAGE: u64 = 2;
const TREE: u64 = 3;
const ENDED: u64 = 4;
const IMAGE_SEGMENTS: u64 = 5;

impl Replay {
    /// Takes in one record.
    pub fn apply(&mut self, event: &Event) {
        let at = event.at();
        match event {
            Event::Change(change) if change.kind == ChangeKind::Shared as u32 => {}
            Event::Change(change) => {
                let member = usize::try_from(change.member).unwrap_or(usize::MAX);
                self.change(change.image, at, |held| {
                    if change.kind == ChangeKind::Enters as u32 {
                        held.counted = true;
                        return;
                    }
                    held.counted = change.kind == ChangeKind::Counted as u32;
                    if let Some(slot) = held.pages.get_mut(member) {
                        *slot = change.value;
                    }
                });
                self.forget_empty(change.image);
            }
            Event::SizesChange(change) => {
                self.change(change.image, at, |held| held.sizes = change.sizes);
            }
            Event::SegmentsChange(change) => self.segments(change),
            Event::ImageWindow(window) => self.window(window),
            Event::TreeWindow(window) => self.tree_window(window),
            Event::ImageEnd(image) => self.end(image.id, at),
            Event::Fork(_)
            | Event::Exec(_)
            | Event::Exit(_)
            | Event::Freed(_)
            | Event::Oom(_)
            | Event::Segments(_)
            | Event::Call(_) => {}
        }
    }

    /// Takes in what a window of an image left.
    pub(super) fn window(&mut self, window: &ImageWindow) {
        self.change(window.image, window.header.at, |held| {
            held.pages = window.last;
            held.sizes = window.sizes;
            held.counted = window.counted != 0;
        });
        self.forget_empty(window.image);
    }

    /// Takes in what segments hold. That of an image that holds nothing any more is nothing.
    pub(super) fn segments(&mut self, change: &SegmentsChange) {
        self.change(change.image, change.header.at, |held| {
            held.segments = Some(HeldSegments::after(change));
        });
    }

    /// Takes in what a window of the tree left.
    pub(super) fn tree_window(&mut self, window: &TreeWindow) {
        self.at = self.at.max(window.header.at);
        self.tree = HeldByTree {
            at: window.header.at,
            pages: window.last,
        };
    }

    /// An image has ended: what is told of it later is older.
    pub(super) fn end(&mut self, image: u64, at: u64) {
        self.images.remove(&image);
        self.ended.insert(image, at);
    }

    fn change(&mut self, image: u64, at: u64, change: impl FnOnce(&mut Held)) {
        self.at = self.at.max(at);
        if self.ended.contains_key(&image) {
            return;
        }
        let held = self.images.entry(image).or_default();
        change(held);
        held.at = held.at.max(at);
    }

    /// What holds nothing needs no place. (Sizes are told before the first page is.)
    fn forget_empty(&mut self, image: u64) {
        let empty = |held: &Held| held.pages == [0; MEMBERS];
        if self.images.get(&image).is_some_and(empty) {
            self.images.remove(&image);
        }
    }

    pub(super) fn parts(&mut self) -> Parts {
        let now = self.at;
        self.ended
            .retain(|_, at| now.saturating_sub(*at) < REMEMBERED_NS);
        let mut parts = Parts::default();
        parts.number(AT, now);
        let since = |at: u64| zigzag(at.wrapping_sub(now).cast_signed());
        parts.item(TREE, |body| {
            put(body, since(self.tree.at));
            for value in self.tree.pages {
                put(body, zigzag(value));
            }
        });
        for (id, held) in &self.images {
            let Held {
                at,
                pages,
                sizes,
                counted,
                segments,
            } = held;
            parts.item(IMAGE, |body| {
                put(body, *id);
                put(body, since(*at));
                put(body, (*counted).into());
                for value in pages {
                    put(body, zigzag(*value));
                }
                for size in sizes {
                    put(body, *size);
                }
            });
            if let Some(HeldSegments { resident, swapped }) = segments {
                parts.item(IMAGE_SEGMENTS, |body| {
                    put(body, *id);
                    put(body, SEGMENTS as u64);
                    for (resident, swapped) in resident.iter().zip(swapped) {
                        put(body, zigzag(*resident));
                        put(body, zigzag(*swapped));
                    }
                });
            }
        }
        for (id, at) in &self.ended {
            parts.item(ENDED, |body| {
                put(body, *id);
                put(body, since(*at));
            });
        }
        parts
    }

    pub(super) fn read(parts: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut replay = Self::default();
        each_item(parts, |tag, mut body| {
            let base = replay.at;
            let since = |distance: i64| base.wrapping_add(distance.cast_unsigned());
            match tag {
                AT => replay.at = body.number()?,
                TREE => {
                    replay.tree.at = since(body.signed()?);
                    for slot in &mut replay.tree.pages {
                        *slot = body.signed()?;
                    }
                }
                IMAGE => {
                    let id = body.number()?;
                    let mut held = Held {
                        at: since(body.signed()?),
                        counted: body.number()? != 0,
                        ..Held::default()
                    };
                    for slot in &mut held.pages {
                        *slot = body.signed()?;
                    }
                    for slot in &mut held.sizes {
                        *slot = body.number()?;
                    }
                    replay.images.insert(id, held);
                }
                IMAGE_SEGMENTS => {
                    let id = body.number()?;
                    let known = body.number()?.min(SEGMENTS as u64);
                    let mut held = HeldSegments::default();
                    let slots = held.resident.iter_mut().zip(&mut held.swapped);
                    for ((resident, swapped), _) in slots.zip(0..known) {
                        *resident = body.signed()?;
                        *swapped = body.signed()?;
                    }
                    // Its image comes first.
                    if let Some(image) = replay.images.get_mut(&id) {
                        image.segments = Some(held);
                    }
                }
                ENDED => {
                    let id = body.number()?;
                    replay.ended.insert(id, since(body.signed()?));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(replay)
    }
}
