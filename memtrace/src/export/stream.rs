//! Records of the timeline to spans, as they come: a recording of any length in little
//! memory. What the records mean is told at
//! [`ImageWindow`](memtrace_ebpf::ImageWindow)'s module.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use memtrace_ebpf::{
    Change, ChangeKind, ImageWindow, MEMBERS, Member, Pages, SIZES, Size, SizesChange, TreeWindow,
};

use crate::{
    event::Event,
    model::{Amounts, ImageSpan, Sizes, TreeSpan},
};

/// One row of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Tree(TreeSpan),
    /// With the image's index in the summary.
    Image(usize, ImageSpan),
}

/// How records are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Bytes per page.
    pub(super) page_size: u64,
    /// The tree's start, `CLOCK_BOOTTIME` in nanoseconds.
    pub(super) started_at: u64,
    /// Width of the windows that were recorded, nanoseconds; 0: each change was.
    pub(super) width_ns: u64,
}

/// State between records. Where each change is recorded, that is what every image holds;
/// where windows are, the number of each window of the tree, 16 bytes for each.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    scale: Scale,
    /// Index in the summary by the image's id.
    images: &'a HashMap<u64, usize>,
    /// Numbers of the tree's maxima by the start of the window.
    maxima: BTreeMap<u64, u64>,
    /// Start of the latest window of each image that was given.
    given: HashMap<u64, u64>,
    /// Last windows of images that ended, until the tree's window has come: ends are told
    /// apart from the timeline and can be told early.
    ended: Vec<ImageWindow>,
    /// What images did before the tree's first window, until their next window comes: time
    /// begins with the tree, so both may be one span.
    early: HashMap<u64, ImageSpan>,
    held: HashMap<u64, Held>,
    /// Images that ended and hold something until their last changes have come.
    ending: HashSet<u64>,
    tree: Pages,
    shared: i64,
}

/// What an image holds where each change is recorded.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    pages: Pages,
    sizes: [u64; SIZES],
    counted: bool,
}

/// Makes `later` say of both what it says of itself.
fn join(early: &ImageSpan, later: &mut ImageSpan) {
    later.min_rss = later.min_rss.min(early.min_rss);
    if early.max_rss >= later.max_rss {
        later.max_rss = early.max_rss;
        later.max_at_ns = early.max_at_ns;
    }
    later.max = Amounts {
        anon: later.max.anon.max(early.max.anon),
        file: later.max.file.max(early.max.file),
        shmem: later.max.shmem.max(early.max.shmem),
        swap: later.max.swap.max(early.max.swap),
    };
}

impl Held {
    fn is_empty(&self) -> bool {
        self.pages == [0; MEMBERS]
    }
}

impl<'a> Stream<'a> {
    pub(super) fn new(scale: Scale, images: &'a HashMap<u64, usize>) -> Self {
        Self {
            scale,
            images,
            maxima: BTreeMap::new(),
            given: HashMap::new(),
            ended: Vec::new(),
            early: HashMap::new(),
            held: HashMap::new(),
            ending: HashSet::new(),
            tree: [0; MEMBERS],
            shared: 0,
        }
    }

    /// Appends the rows that a record makes.
    pub(super) fn apply(&mut self, event: &Event, rows: &mut Vec<Row>) {
        match event {
            Event::TreeWindow(window) => self.tree_window(window, rows),
            Event::ImageWindow(window) => self.image_window(window, rows),
            Event::Change(change) => self.change(change, rows),
            Event::SizesChange(change) => self.sizes_change(change, rows),
            Event::ImageEnd(image) => {
                self.ended.push(image.window);
                self.give_ended(rows);
                if self.held.get(&image.id).is_some_and(Held::is_empty) {
                    self.held.remove(&image.id);
                } else if self.held.contains_key(&image.id) {
                    self.ending.insert(image.id);
                }
            }
            _ => {}
        }
    }

    fn tree_window(&mut self, window: &TreeWindow, rows: &mut Vec<Row>) {
        if window.updates == 0 || self.maxima.contains_key(&window.start) {
            return;
        }
        self.maxima.insert(window.start, window.seq);
        if self.is_early(window.start) {
            return;
        }
        rows.push(Row::Tree(TreeSpan {
            start_ns: self.since_start(window.start),
            min_rss: self.bytes(window.min_rss),
            max_rss: self.bytes(window.max_rss),
            max_at_ns: self.since_start(window.max_rss_at),
            at_max: self.amounts(&window.at_max),
            last: self.amounts(&window.last),
            shared: self.bytes(window.shared),
        }));
        self.give_ended(rows);
    }

    /// Gives last windows of which the tree's has come: then all that their images sent
    /// before have come too.
    fn give_ended(&mut self, rows: &mut Vec<Row>) {
        let latest = self.maxima.last_key_value().map(|(&start, _)| start);
        let (now, later) = mem::take(&mut self.ended)
            .into_iter()
            .partition(|window| Some(window.start) <= latest);
        self.ended = later;
        let now: Vec<ImageWindow> = now;
        for window in &now {
            self.image_window(window, rows);
        }
    }

    /// The end: windows that were open then, or when they were looked at last.
    pub(super) fn finish(
        &mut self,
        tree: &TreeWindow,
        images: &[ImageWindow],
        rows: &mut Vec<Row>,
    ) {
        self.tree_window(tree, rows);
        let ended = mem::take(&mut self.ended);
        for window in ended.iter().chain(images) {
            self.image_window(window, rows);
        }
        for (id, span) in mem::take(&mut self.early) {
            if let Some(&index) = self.images.get(&id) {
                rows.push(Row::Image(index, span));
            }
        }
    }

    /// Whether a window is before that in which the tree began. Nothing counts in it.
    fn is_early(&self, start: u64) -> bool {
        start.saturating_add(self.scale.width_ns) <= self.scale.started_at
    }

    /// A window of an image; the tree's has come before.
    fn image_window(&mut self, window: &ImageWindow, rows: &mut Vec<Row>) {
        let Some(&index) = self.images.get(&window.image) else {
            return;
        };
        let seen = self
            .given
            .get(&window.image)
            .is_some_and(|&start| start >= window.start);
        if window.updates == 0 || seen {
            return;
        }
        self.given.insert(window.image, window.start);
        // What execve is still building does not count.
        let last = if window.counted == 0 {
            [0; MEMBERS]
        } else {
            window.last
        };
        let at_tree_max = match self.maxima.get(&window.start) {
            Some(&seq) if seq == window.seq => window.at_tree_max,
            _ => last,
        };
        let mut span = ImageSpan {
            start_ns: self.since_start(window.start),
            min_rss: self.bytes(window.min_rss),
            max_rss: self.bytes(window.max_rss),
            max_at_ns: self.since_start(window.max_rss_at),
            max: self.amounts(&window.max),
            last: self.amounts(&last),
            at_tree_max: self.amounts(&at_tree_max),
            sizes: self.sizes(&window.sizes),
        };
        let early = self.early.remove(&window.image);
        match early {
            Some(early) if span.start_ns == 0 => join(&early, &mut span),
            Some(early) => rows.push(Row::Image(index, early)),
            None => {}
        }
        if self.is_early(window.start) {
            span.at_tree_max = span.last;
            self.early.insert(window.image, span);
        } else {
            rows.push(Row::Image(index, span));
        }
    }

    fn change(&mut self, change: &Change, rows: &mut Vec<Row>) {
        let at = change.header.at;
        if change.kind == ChangeKind::Shared as u32 {
            self.shared = change.value;
            rows.push(self.tree_row(at));
            return;
        }
        let held = self.held.entry(change.image).or_default();
        let before = if held.counted {
            held.pages
        } else {
            [0; MEMBERS]
        };
        if change.kind == ChangeKind::Enters as u32 {
            held.counted = true;
        } else {
            held.counted = change.kind == ChangeKind::Counted as u32;
            let member = usize::try_from(change.member).ok();
            if let Some(slot) = member.and_then(|member| held.pages.get_mut(member)) {
                *slot = change.value;
            }
        }
        let held = *held;
        rows.extend(self.image_row(change.image, &held, at));
        if held.counted {
            for ((sum, now), before) in self.tree.iter_mut().zip(held.pages).zip(before) {
                *sum = sum.saturating_add(now).saturating_sub(before);
            }
            rows.push(self.tree_row(at));
        }
        if held.is_empty() && self.ending.remove(&change.image) {
            self.held.remove(&change.image);
        }
    }

    fn sizes_change(&mut self, change: &SizesChange, rows: &mut Vec<Row>) {
        let held = self.held.entry(change.image).or_default();
        held.sizes = change.sizes;
        let held = *held;
        rows.extend(self.image_row(change.image, &held, change.header.at));
    }

    /// The tree after one change.
    fn tree_row(&self, at: u64) -> Row {
        let last = self.amounts(&self.tree);
        let start_ns = self.since_start(at);
        Row::Tree(TreeSpan {
            start_ns,
            min_rss: last.rss(),
            max_rss: last.rss(),
            max_at_ns: start_ns,
            at_max: last,
            last,
            shared: self.bytes(self.shared),
        })
    }

    /// An image after one change.
    fn image_row(&self, id: u64, held: &Held, at: u64) -> Option<Row> {
        let index = *self.images.get(&id)?;
        let last = self.amounts(&held.pages);
        let start_ns = self.since_start(at);
        let at_tree_max = if held.counted {
            last
        } else {
            Amounts::default()
        };
        Some(Row::Image(
            index,
            ImageSpan {
                start_ns,
                min_rss: last.rss(),
                max_rss: last.rss(),
                max_at_ns: start_ns,
                max: last,
                last,
                at_tree_max,
                sizes: self.sizes(&held.sizes),
            },
        ))
    }

    const fn since_start(&self, at: u64) -> u64 {
        at.saturating_sub(self.scale.started_at)
    }

    fn bytes(&self, pages: i64) -> u64 {
        // A counter that is below 0 for a moment is one that another CPU is about to raise.
        u64::try_from(pages)
            .unwrap_or(0)
            .saturating_mul(self.scale.page_size)
    }

    fn amounts(&self, pages: &Pages) -> Amounts {
        let of = |member: Member| self.bytes(pages.get(member as usize).copied().unwrap_or(0));
        Amounts {
            anon: of(Member::Anon),
            file: of(Member::File),
            shmem: of(Member::Shmem),
            swap: of(Member::Swap),
        }
    }

    fn sizes(&self, sizes: &[u64; SIZES]) -> Sizes {
        let raw = |size: Size| sizes.get(size as usize).copied().unwrap_or(0);
        let pages = |size: Size| raw(size).saturating_mul(self.scale.page_size);
        Sizes {
            total: pages(Size::Total),
            data: pages(Size::Data),
            stack: pages(Size::Stack),
            exec: pages(Size::Exec),
            heap: raw(Size::Heap),
            page_tables: raw(Size::PageTables),
            locked: pages(Size::Locked),
        }
    }
}
