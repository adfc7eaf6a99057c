//! What a recording without an end amounts to: the last checkpoint, and what the records
//! behind it say.
//!
//! The kernel side's own bookkeeping is gone with it. Where each change was recorded this is
//! the same bookkeeping, and as exact; where windows were, peaks are right and who held what at
//! them is known to a window. Either way the certificate says `incomplete`.

use std::collections::{BTreeMap, BTreeSet};

use memtrace_ebpf::{
    ChangeKind, Image, ImageKind, ImageState, ImageWindow, Integral, MEMBERS, Pages, Process,
    ProcessFlags, SegmentsRecord, Tree, TreeWindow,
    event::{Exec, Exit, Fork},
};

use super::{
    Head, State,
    last::{MOST_SNAPSHOTS, no_final},
};
use crate::{
    blank,
    event::Event,
    model::{CrossChecks, Final, Limit, Limited, PssSnapshot, Sampled, Stats},
};

/// The state at the end of what can be read.
#[derive(Debug)]
pub(super) struct Tail {
    tree: Tree,
    images: BTreeMap<u64, Image>,
    /// By number.
    processes: BTreeMap<u64, Process>,
    ended: BTreeSet<u64>,
    born: u64,
    stats: Stats,
    undecodable: u64,
    cross_checks: CrossChecks,
    snapshots: Vec<PssSnapshot>,
    segments: Vec<SegmentsRecord>,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            tree: blank::TREE,
            images: BTreeMap::new(),
            processes: BTreeMap::new(),
            ended: BTreeSet::new(),
            born: 0,
            stats: Stats::default(),
            undecodable: 0,
            cross_checks: CrossChecks::default(),
            snapshots: Vec::new(),
            segments: Vec::new(),
        }
    }
}

/// RSS of any numbers whatever.
const fn rss(pages: &Pages) -> i64 {
    pages[0].saturating_add(pages[1]).saturating_add(pages[3])
}

/// Adds to an integral; what a hostile file makes too large stays as large as can be.
fn add(integral: &mut Integral, pages: i64, ns: u64) {
    let more = u128::from(pages.max(0).unsigned_abs()) * u128::from(ns);
    *integral = Integral::of(integral.page_ns().saturating_add(more));
}

impl Tail {
    /// The kernel side's state replaces all that was concluded from records.
    pub(super) fn checkpoint(&mut self, state: &State) {
        self.tree = state.tree;
        self.images = state
            .images
            .iter()
            .filter(|image| !self.ended.contains(&image.id))
            .map(|image| (image.id, *image))
            .collect();
        self.processes = state
            .processes
            .iter()
            .filter(|process| process.flags & ProcessFlags::EXITED == 0)
            .map(|process| (process.id, *process))
            .collect();
        self.stats = state.stats;
        self.undecodable = state.undecodable;
        self.cross_checks = state.cross_checks;
        self.segments.clone_from(&state.segments);
        let room = MOST_SNAPSHOTS.saturating_sub(self.snapshots.len());
        self.snapshots.extend(state.snapshots.iter().take(room));
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Fork(fork) => self.fork(fork),
            Event::Exec(exec) => self.exec(exec),
            Event::Exit(exit) => self.exit(exit),
            Event::Oom(oom) => {
                if let Some(process) = self.processes.get_mut(&oom.process) {
                    process.flags |= ProcessFlags::OOM_KILLED;
                }
            }
            Event::ImageEnd(image) => self.end(image),
            Event::ImageWindow(window) => self.image_window(window),
            Event::TreeWindow(window) => self.tree_window(window),
            Event::Change(change) => {
                let (at, id) = (change.header.at, change.image);
                if change.kind == ChangeKind::Shared as u32 {
                    return;
                }
                let counted = change.kind != ChangeKind::Uncounted as u32;
                let member = usize::try_from(change.member).unwrap_or(usize::MAX);
                let Some(mut pages) = self.image(id, at).map(|image| image.cur) else {
                    return;
                };
                if change.kind != ChangeKind::Enters as u32
                    && let Some(slot) = pages.get_mut(member)
                {
                    *slot = change.value;
                }
                self.book(id, pages, counted, at);
            }
            Event::SizesChange(_)
            | Event::Freed(_)
            | Event::Segments(_)
            | Event::SegmentsChange(_)
            | Event::Call(_) => {}
        }
    }

    fn fork(&mut self, fork: &Fork) {
        self.born = self.born.saturating_add(1);
        let process = Process {
            id: fork.process,
            image: fork.image,
            started_at: fork.started_at,
            tgid: fork.tgid,
            ns_tgid: fork.ns_tgid,
            creator: fork.creator,
            tree: fork.header.tree,
            flags: fork.flags,
            ..blank::PROCESS
        };
        self.processes.insert(fork.process, process);
        if fork.flags & (ProcessFlags::SHARES_IMAGE | ProcessFlags::PRE_EXEC) == 0
            && let Some(image) = self.image(fork.image, fork.header.at)
        {
            image.kind = if fork.flags & ProcessFlags::ATTACHED == 0 {
                ImageKind::Fork
            } else {
                ImageKind::Attached
            } as u32;
            image.tgid = fork.tgid;
            image.process = fork.process;
            if fork.flags & ProcessFlags::ATTACHED == 0 {
                image.inherited = fork.inherited.max(0);
            } else {
                image.hiwater_rss = fork.inherited.max(0).cast_unsigned();
            }
        }
    }

    fn exec(&mut self, exec: &Exec) {
        if let Some(process) = self.processes.get_mut(&exec.process) {
            if process.flags & ProcessFlags::ATTACHED != 0 && process.image == exec.image {
                // It was running that before.
                return;
            }
            process.image = exec.image;
            process.flags &= !(ProcessFlags::PRE_EXEC | ProcessFlags::SHARES_IMAGE);
        }
        if let Some(image) = self.image(exec.image, exec.header.at) {
            image.tgid = exec.tgid;
            image.process = exec.process;
        }
    }

    fn exit(&mut self, exit: &Exit) {
        self.processes.remove(&exit.process);
    }

    fn end(&mut self, image: &Image) {
        if image.state != ImageState::Execing as u32 {
            self.book(image.id, [0; MEMBERS], true, image.header.at);
        }
        self.images.remove(&image.id);
        self.ended.insert(image.id);
    }

    /// An image that lives; it is made up if it is not known yet.
    fn image(&mut self, id: u64, at: u64) -> Option<&mut Image> {
        if id == 0 || self.ended.contains(&id) {
            return None;
        }
        Some(self.images.entry(id).or_insert(Image {
            id,
            state: ImageState::Execing as u32,
            kind: ImageKind::Exec as u32,
            born_at: at,
            peak_rss_at: at,
            integral_at: [at; MEMBERS],
            vm_integral_at: at,
            ..blank::IMAGE
        }))
    }

    /// An image holds something else from now on.
    fn book(&mut self, id: u64, pages: Pages, counted: bool, at: u64) {
        let seq = self.tree.peak_seq;
        let Some(image) = self.image(id, at) else {
            return;
        };
        let before = counts(image);
        if image.seq != seq {
            image.at_peak = before;
            image.at_peak_shared = image.shared;
            image.seq = seq;
        }
        // The kernel side's state can be newer than a record that was on its way.
        if at < image.integral_at.iter().copied().max().unwrap_or(0) {
            return;
        }
        for (member, value) in pages.iter().enumerate() {
            let (Some(cur), Some(integral), Some(since), Some(peak)) = (
                image.cur.get_mut(member),
                image.integral.get_mut(member),
                image.integral_at.get_mut(member),
                image.peak.get_mut(member),
            ) else {
                continue;
            };
            add(integral, *cur, at.saturating_sub(*since));
            *since = at;
            *cur = *value;
            *peak = (*peak).max(*value);
        }
        image.events = image.events.saturating_add(1);
        if counted {
            image.state = ImageState::Active as u32;
        }
        let now = rss(&pages);
        if now > image.peak_rss {
            image.peak_rss = now;
            image.peak_rss_at = at;
            image.own_peak = pages;
        }
        image.peak_rss_swap = image.peak_rss_swap.max(now.saturating_add(pages[2]));
        let after = counts(image);
        self.book_tree(&before, &after, at);
    }

    fn book_tree(&mut self, before: &Pages, after: &Pages, at: u64) {
        self.start(at);
        let tree = &mut self.tree;
        let mut sums = tree.cur;
        for (sum, (before, after)) in sums.iter_mut().zip(before.iter().zip(after)) {
            *sum = sum.saturating_sub(*before).saturating_add(*after);
        }
        for (member, value) in sums.iter().enumerate() {
            let (Some(cur), Some(integral), Some(since), Some(peak)) = (
                tree.cur.get_mut(member),
                tree.integral.get_mut(member),
                tree.integral_at.get_mut(member),
                tree.peak.get_mut(member),
            ) else {
                continue;
            };
            add(integral, *cur, at.saturating_sub(*since));
            *since = at.max(*since);
            *cur = *value;
            *peak = (*peak).max(*value);
        }
        tree.events = tree.events.saturating_add(1);
        tree.rss = rss(&tree.cur);
        self.raise(self.tree.rss, at);
    }

    /// A new peak of the tree, if it is one.
    fn raise(&mut self, rss: i64, at: u64) {
        let tree = &mut self.tree;
        if rss > tree.peak_rss {
            tree.peak_rss = rss;
            tree.peak_rss_at = at;
            tree.peak_seq = tree.peak_seq.saturating_add(1);
            tree.peak_rss_swap = tree
                .peak_rss_swap
                .max(rss.saturating_add(tree.cur[2].max(0)));
            // What is shared after fork is not followed here.
            tree.family_lost = tree.family_lost.max(1);
        }
    }

    fn image_window(&mut self, window: &ImageWindow) {
        if window.counted != 0 {
            self.start(window.start);
        }
        self.book(
            window.image,
            window.last,
            window.counted != 0,
            window.header.at,
        );
        let Some(image) = self.images.get_mut(&window.image) else {
            return;
        };
        // A window that was open in the checkpoint has come.
        if image.window.start <= window.start {
            image.window.updates = 0;
        }
        for (peak, max) in image.peak.iter_mut().zip(window.max) {
            *peak = (*peak).max(max);
        }
        if window.max_rss > image.peak_rss {
            image.peak_rss = window.max_rss;
            image.peak_rss_at = window.max_rss_at;
        }
        image.peak_rss_swap = image.peak_rss_swap.max(image.peak_rss);
    }

    /// When the tree started, as far as known; 0 if it is not.
    pub(super) const fn started_at(&self) -> u64 {
        self.tree.started_at
    }

    /// The tree started by now. A window says so when it is over.
    fn start(&mut self, at: u64) {
        let tree = &mut self.tree;
        if tree.started_at == 0 {
            tree.started_at = at;
            tree.integral_at = [at; MEMBERS];
            tree.shared_integral_at = at;
        }
    }

    fn tree_window(&mut self, window: &TreeWindow) {
        self.start(window.start);
        if self.tree.window.start <= window.start {
            self.tree.window.updates = 0;
        }
        for (peak, max) in self.tree.peak.iter_mut().zip(window.max) {
            *peak = (*peak).max(max);
        }
        self.raise(window.max_rss, window.max_rss_at);
    }

    /// The result, as far as it is known. `why` it is no more, as a clause.
    pub(super) fn into_final(self, head: &Head, until: u64, why: String) -> Final {
        let Self {
            mut tree,
            images,
            processes,
            ended,
            born,
            stats,
            undecodable,
            cross_checks,
            snapshots,
            segments,
        } = self;
        // No counts of its own can contradict what is left of the records.
        tree.processes = born;
        tree.images = (images.len() as u64).saturating_add(ended.len() as u64);
        let mut sums = [0_i64; MEMBERS];
        for image in images.values() {
            for (sum, value) in sums.iter_mut().zip(counts(image)) {
                *sum = sum.saturating_add(value);
            }
        }
        tree.cur = sums;
        tree.rss = rss(&sums);
        let begun = if tree.started_at > 0 {
            tree.started_at
        } else {
            head.created_at
        };
        let started = i64::try_from(begun)
            .unwrap_or(0)
            .saturating_add(head.realtime_offset_ns);
        let is_sampled = head.tier == Sampled::TIER;
        let mut limits = head.limits.clone();
        limits.push(Limit {
            reason: why,
            bound_bytes: None,
            of: Limited::Rss,
        });
        Final {
            ended_at: until,
            tree,
            images: images.into_values().collect(),
            processes: processes.into_values().collect(),
            stats,
            undecodable,
            cross_checks,
            tier: head.tier.clone(),
            limits,
            command: head.command.clone(),
            wall_ns: until.saturating_sub(begun),
            started_unix_ns: u64::try_from(started).ok().filter(|_| head.created_at > 0),
            snapshots,
            segments,
            sampled: is_sampled.then(|| Box::new(Sampled::without_end())),
            ..no_final(page_size(head.page_size))
        }
    }
}

/// What an image counts for in the tree.
fn counts(image: &Image) -> Pages {
    if image.state == ImageState::Execing as u32 {
        [0; MEMBERS]
    } else {
        image.cur
    }
}

/// 4 KiB where it is not known.
pub(super) const fn page_size(recorded: u64) -> u64 {
    if recorded == 0 { 4096 } else { recorded }
}
