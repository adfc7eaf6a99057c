//! Records of the timeline in columns: numbers of the same meaning stand together, each as
//! the distance from what is likely, so that most of them are small.
//!
//! Every block stands alone: what distances are taken from begins at 0 in each.

use std::collections::HashMap;

use memtrace_ebpf::{
    Call, Change, ImageWindow, MEMBERS, Pages, SEGMENTS, SIZES, SegmentsChange, SizesChange,
    TreeWindow, event, rss,
};

use super::varint::{Bytes, Malformed, number_at, put, put_bytes, unzigzag, zigzag};
use crate::{blank, event::Event};

/// Numbers of the columns.
mod column {
    /// Kinds of records in order: pairs of kind and how many in a row.
    pub(super) const ORDER: usize = 0;
    /// Trees: pairs of index and how many in a row.
    pub(super) const TREE: usize = 1;
    /// Times, from the record before.
    pub(super) const AT: usize = 2;
    /// Images, from the record before that names one.
    pub(super) const IMAGE: usize = 3;
    /// Changes: members.
    pub(super) const MEMBER: usize = 4;
    /// Changes: pairs of kind and how many in a row.
    pub(super) const CHANGE_KIND: usize = 5;
    /// Changes: values, from the image's last of that member.
    pub(super) const VALUE: usize = 6;
    /// Virtual sizes, from the image's last; one column each.
    pub(super) const SIZES: usize = 8;
    /// Windows of images.
    pub(super) const IMAGE_WINDOW: usize = 16;
    /// Windows of the tree.
    pub(super) const TREE_WINDOW: usize = 40;
    /// Segments: resident pages, from the image's last; one column each.
    pub(super) const RESIDENT: usize = 64;
    /// Segments: swapped-out pages, likewise.
    pub(super) const SWAPPED: usize = 80;
    /// Calls.
    pub(super) const CALL: usize = 96;
    /// How many there can be.
    pub(super) const COUNT: usize = 112;
}

/// Whether a record belongs to the timeline.
pub(super) const fn is_timeline(event: &Event) -> bool {
    matches!(
        event,
        Event::Change(_)
            | Event::SizesChange(_)
            | Event::ImageWindow(_)
            | Event::TreeWindow(_)
            | Event::SegmentsChange(_)
            | Event::Call(_)
    )
}

/// Writes numbers to columns or reads them.
trait Lanes {
    /// A number, as its distance from `base`, modulo 2^64.
    fn lane(&mut self, column: usize, base: u64, value: &mut u64);
    /// A number that is often the same as the one before.
    fn run(&mut self, column: usize, value: &mut u32);

    fn signed(&mut self, column: usize, base: i64, value: &mut i64) {
        let mut number = value.cast_unsigned();
        self.lane(column, base.cast_unsigned(), &mut number);
        *value = number.cast_signed();
    }

    fn small(&mut self, column: usize, value: &mut u32) {
        let mut number = u64::from(*value);
        self.lane(column, 0, &mut number);
        *value = u32::try_from(number).unwrap_or(u32::MAX);
    }

    fn pages(&mut self, column: usize, base: &Pages, values: &mut Pages) {
        for (i, (base, value)) in base.iter().zip(values).enumerate() {
            self.signed(column + i, *base, value);
        }
    }
}

/// What is known of an image from earlier records of the block.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    pages: Pages,
    sizes: [u64; SIZES],
    resident: [i64; SEGMENTS],
    swapped: [i64; SEGMENTS],
}

/// What distances are taken from.
#[derive(Debug, Default)]
struct Context {
    at: u64,
    image: u64,
    start: u64,
    seq: u64,
    images: HashMap<u64, Known>,
    tree: Pages,
    tree_start: u64,
    tree_seq: u64,
    shared: i64,
    uncertain: i64,
    tid: u32,
    address: u64,
    resident: i64,
}

impl Context {
    fn record(&mut self, lanes: &mut impl Lanes, event: &mut Event) {
        let header = match event {
            Event::Change(change) => &mut change.header,
            Event::SizesChange(change) => &mut change.header,
            Event::ImageWindow(window) => &mut window.header,
            Event::TreeWindow(window) => &mut window.header,
            Event::SegmentsChange(change) => &mut change.header,
            Event::Call(call) => &mut call.header,
            _ => return,
        };
        lanes.run(column::TREE, &mut header.tree);
        lanes.lane(column::AT, self.at, &mut header.at);
        self.at = header.at;
        match event {
            Event::Change(change) => self.change(lanes, change),
            Event::SizesChange(change) => self.sizes_change(lanes, change),
            Event::ImageWindow(window) => self.image_window(lanes, window),
            Event::TreeWindow(window) => self.tree_window(lanes, window),
            Event::SegmentsChange(change) => self.segments_change(lanes, change),
            Event::Call(call) => self.call(lanes, call),
            _ => {}
        }
    }

    fn image(&mut self, lanes: &mut impl Lanes, image: &mut u64) -> &mut Known {
        lanes.lane(column::IMAGE, self.image, image);
        self.image = *image;
        self.images.entry(*image).or_default()
    }

    fn change(&mut self, lanes: &mut impl Lanes, change: &mut Change) {
        let Change {
            header: _,
            image,
            value,
            member,
            kind,
        } = change;
        lanes.run(column::CHANGE_KIND, kind);
        lanes.small(column::MEMBER, member);
        let known = self.image(lanes, image);
        // A member that no kernel has counts as the first, on both sides.
        let slot = usize::try_from(*member).unwrap_or(0) % MEMBERS;
        if let Some(before) = known.pages.get_mut(slot) {
            lanes.signed(column::VALUE, *before, value);
            *before = *value;
        }
    }

    fn sizes_change(&mut self, lanes: &mut impl Lanes, change: &mut SizesChange) {
        let SizesChange {
            header: _,
            image,
            sizes,
        } = change;
        let known = self.image(lanes, image);
        put_sizes(lanes, known, sizes);
    }

    fn segments_change(&mut self, lanes: &mut impl Lanes, change: &mut SegmentsChange) {
        let SegmentsChange {
            header: _,
            image,
            resident,
            swapped,
        } = change;
        let known = self.image(lanes, image);
        for (column, before, values) in [
            (column::RESIDENT, &mut known.resident, resident),
            (column::SWAPPED, &mut known.swapped, swapped),
        ] {
            for (i, (before, value)) in before.iter_mut().zip(values).enumerate() {
                lanes.signed(column + i, *before, value);
                *before = *value;
            }
        }
    }

    fn call(&mut self, lanes: &mut impl Lanes, call: &mut Call) {
        const BASE: usize = column::CALL;
        let Call {
            header,
            image,
            began_at,
            address,
            len,
            result,
            argument,
            flags,
            rss_before,
            rss_after,
            tid,
            kind,
        } = call;
        lanes.run(BASE, kind);
        self.image(lanes, image);
        let mut thread = u64::from(*tid);
        lanes.lane(BASE + 1, self.tid.into(), &mut thread);
        *tid = u32::try_from(thread).unwrap_or(u32::MAX);
        lanes.lane(BASE + 2, header.at, began_at);
        lanes.lane(BASE + 3, self.address, address);
        lanes.lane(BASE + 4, 0, len);
        // Most return the address that they were given, or another.
        lanes.signed(BASE + 5, address.cast_signed(), result);
        lanes.lane(BASE + 6, 0, argument);
        lanes.lane(BASE + 7, 0, flags);
        lanes.signed(BASE + 8, self.resident, rss_before);
        lanes.signed(BASE + 9, *rss_before, rss_after);
        self.tid = *tid;
        self.address = *address;
        self.resident = *rss_after;
    }

    fn image_window(&mut self, lanes: &mut impl Lanes, window: &mut ImageWindow) {
        const BASE: usize = column::IMAGE_WINDOW;
        let ImageWindow {
            header: _,
            image,
            start,
            seq,
            min_rss,
            max_rss,
            max_rss_at,
            min,
            max,
            last,
            at_tree_max,
            sizes,
            updates,
            counted,
        } = window;
        lanes.lane(BASE, self.start, start);
        lanes.lane(BASE + 1, self.seq, seq);
        lanes.lane(BASE + 2, *start, max_rss_at);
        self.start = *start;
        self.seq = *seq;
        let known = self.image(lanes, image);
        let before = wrapping_rss(&known.pages);
        lanes.signed(BASE + 3, before, min_rss);
        lanes.signed(BASE + 4, before, max_rss);
        lanes.pages(BASE + 5, &known.pages, last);
        lanes.pages(BASE + 9, last, min);
        lanes.pages(BASE + 13, last, max);
        lanes.pages(BASE + 17, last, at_tree_max);
        lanes.small(BASE + 21, updates);
        lanes.small(BASE + 22, counted);
        known.pages = *last;
        put_sizes(lanes, known, sizes);
    }

    fn tree_window(&mut self, lanes: &mut impl Lanes, window: &mut TreeWindow) {
        const BASE: usize = column::TREE_WINDOW;
        let TreeWindow {
            header: _,
            start,
            seq,
            min_rss,
            max_rss,
            max_rss_at,
            min,
            max,
            last,
            at_max,
            shared,
            uncertain,
            updates,
        } = window;
        lanes.lane(BASE, self.tree_start, start);
        lanes.lane(BASE + 1, self.tree_seq, seq);
        lanes.lane(BASE + 2, *start, max_rss_at);
        let before = wrapping_rss(&self.tree);
        lanes.signed(BASE + 3, before, min_rss);
        lanes.signed(BASE + 4, before, max_rss);
        lanes.pages(BASE + 5, &self.tree, last);
        lanes.pages(BASE + 9, last, min);
        lanes.pages(BASE + 13, last, max);
        lanes.pages(BASE + 17, last, at_max);
        lanes.signed(BASE + 21, self.shared, shared);
        lanes.signed(BASE + 22, self.uncertain, uncertain);
        lanes.lane(BASE + 23, 0, updates);
        self.tree_start = *start;
        self.tree_seq = *seq;
        self.tree = *last;
        self.shared = *shared;
        self.uncertain = *uncertain;
    }
}

fn put_sizes(lanes: &mut impl Lanes, known: &mut Known, sizes: &mut [u64; SIZES]) {
    for (i, (before, size)) in known.sizes.iter_mut().zip(sizes).enumerate() {
        lanes.lane(column::SIZES + i, *before, size);
        *before = *size;
    }
}

/// RSS of any numbers whatever.
const fn wrapping_rss(pages: &Pages) -> i64 {
    pages[0].wrapping_add(pages[1]).wrapping_add(pages[3])
}

const _: () = assert!(rss(&[1, 2, 4, 8]) == wrapping_rss(&[1, 2, 4, 8]));

/// The record kind of an event of the timeline.
const fn kind_of(event: &Event) -> u32 {
    match event {
        Event::Change(_) => event::CHANGE,
        Event::SizesChange(_) => event::SIZES_CHANGE,
        Event::ImageWindow(_) => event::IMAGE_WINDOW,
        Event::SegmentsChange(_) => event::SEGMENTS_CHANGE,
        Event::Call(_) => event::CALL,
        _ => event::TREE_WINDOW,
    }
}

/// Pairs of value and how often it comes in a row.
#[derive(Debug, Default)]
struct Run {
    value: u32,
    times: u64,
}

/// Columns that are being filled.
#[derive(Debug)]
struct Filling {
    columns: [Vec<u8>; column::COUNT],
    runs: [Run; column::COUNT],
    len: usize,
}

impl Lanes for Filling {
    #[inline]
    fn lane(&mut self, column: usize, base: u64, value: &mut u64) {
        if let Some(out) = self.columns.get_mut(column) {
            let before = out.len();
            put(out, zigzag(value.wrapping_sub(base).cast_signed()));
            self.len += out.len() - before;
        }
    }

    fn run(&mut self, column: usize, value: &mut u32) {
        let Some(run) = self.runs.get_mut(column) else {
            return;
        };
        if run.times > 0 && run.value == *value {
            run.times += 1;
            return;
        }
        self.end_run(column);
        if let Some(run) = self.runs.get_mut(column) {
            *run = Run {
                value: *value,
                times: 1,
            };
        }
    }
}

impl Filling {
    fn end_run(&mut self, column: usize) {
        if let (Some(run), Some(out)) = (self.runs.get_mut(column), self.columns.get_mut(column))
            && run.times > 0
        {
            let before = out.len();
            put(out, run.value.into());
            put(out, run.times);
            run.times = 0;
            self.len += out.len() - before;
        }
    }
}

/// A block of the timeline that is being filled.
#[derive(Debug)]
pub(super) struct Timeline {
    filling: Filling,
    context: Context,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            filling: Filling {
                columns: std::array::from_fn(|_| Vec::new()),
                runs: std::array::from_fn(|_| Run::default()),
                len: 0,
            },
            context: Context::default(),
        }
    }
}

impl Timeline {
    /// Takes a record of the timeline in; others are nothing for it.
    pub(super) fn push(&mut self, event: &Event) {
        let mut event = event.clone();
        let mut kind = kind_of(&event);
        self.filling.run(column::ORDER, &mut kind);
        self.context.record(&mut self.filling, &mut event);
    }

    /// How many bytes there are so far, about.
    pub(super) const fn len(&self) -> usize {
        self.filling.len
    }

    /// The block's contents; begins the next one.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.filling.len + 4 * column::COUNT);
        for column in 0..column::COUNT {
            self.filling.end_run(column);
            if let Some(bytes) = self.filling.columns.get_mut(column)
                && !bytes.is_empty()
            {
                put(&mut out, column as u64);
                put_bytes(&mut out, bytes);
                bytes.clear();
            }
        }
        self.filling.len = 0;
        // Its map keeps its room.
        let mut images = std::mem::take(&mut self.context.images);
        images.clear();
        self.context = Context {
            images,
            ..Context::default()
        };
        out
    }
}

/// Columns that are being read.
#[derive(Debug)]
struct Reading {
    raw: Vec<u8>,
    /// Where the rest of each begins and ends.
    columns: [(usize, usize); column::COUNT],
    runs: [Run; column::COUNT],
    malformed: bool,
}

impl Reading {
    fn next(&mut self, column: usize) -> u64 {
        let Some((at, end)) = self.columns.get_mut(column) else {
            return 0;
        };
        let bytes = self.raw.get(..*end).unwrap_or_default();
        number_at(bytes, at).unwrap_or_else(|Malformed| {
            self.malformed = true;
            0
        })
    }
}

impl Lanes for Reading {
    fn lane(&mut self, column: usize, base: u64, value: &mut u64) {
        let distance = unzigzag(self.next(column)).cast_unsigned();
        *value = base.wrapping_add(distance);
    }

    fn run(&mut self, column: usize, value: &mut u32) {
        let over = self.runs.get(column).is_none_or(|run| run.times == 0);
        if over {
            let next = u32::try_from(self.next(column));
            let times = self.next(column);
            let Ok(next) = next else {
                self.malformed = true;
                return;
            };
            if times == 0 {
                self.malformed = true;
                return;
            }
            if let Some(run) = self.runs.get_mut(column) {
                *run = Run { value: next, times };
            }
        }
        if let Some(run) = self.runs.get_mut(column) {
            run.times = run.times.saturating_sub(1);
            *value = run.value;
        }
    }
}

/// A block of the timeline that is being read, one record at a time.
#[derive(Debug)]
pub(super) struct Records {
    reading: Reading,
    context: Context,
    left: u32,
}

impl Records {
    pub(super) fn new(raw: Vec<u8>, count: u32) -> Result<Self, Malformed> {
        let mut columns = [(0, 0); column::COUNT];
        let mut rest = Bytes(&raw);
        while !rest.is_empty() {
            let number = rest.number()?;
            let bytes = rest.bytes()?;
            let end = raw.len() - rest.0.len();
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            if let Some(column) = columns.get_mut(number) {
                *column = (end - bytes.len(), end);
            }
        }
        Ok(Self {
            reading: Reading {
                raw,
                columns,
                runs: std::array::from_fn(|_| Run::default()),
                malformed: false,
            },
            context: Context::default(),
            left: count,
        })
    }

    /// The next record, `None` after the last. After an error there are no more.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut kind = 0;
        self.reading.run(column::ORDER, &mut kind);
        let mut header = blank::HEADER;
        header.kind = kind;
        let mut event = match kind {
            event::CHANGE => Event::Change(Change {
                header,
                image: 0,
                value: 0,
                member: 0,
                kind: 0,
            }),
            event::SIZES_CHANGE => Event::SizesChange(Box::new(SizesChange {
                header,
                image: 0,
                sizes: [0; SIZES],
            })),
            event::IMAGE_WINDOW => Event::ImageWindow(Box::new(ImageWindow {
                header,
                ..blank::IMAGE_WINDOW
            })),
            event::CALL => Event::Call(Box::new(Call {
                header,
                ..blank::CALL
            })),
            event::SEGMENTS_CHANGE => Event::SegmentsChange(Box::new(SegmentsChange {
                header,
                image: 0,
                resident: [0; SEGMENTS],
                swapped: [0; SEGMENTS],
            })),
            event::TREE_WINDOW => Event::TreeWindow(Box::new(TreeWindow {
                header,
                ..blank::TREE_WINDOW
            })),
            _ => {
                self.left = 0;
                return Err(Malformed);
            }
        };
        self.context.record(&mut self.reading, &mut event);
        if self.reading.malformed {
            self.left = 0;
            return Err(Malformed);
        }
        Ok(Some(event))
    }
}
