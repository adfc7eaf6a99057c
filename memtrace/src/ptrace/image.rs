//! One address space: what was read of it, and what follows from the readings.

use std::{collections::BTreeSet, sync::Arc};

use memtrace_ebpf::{MEMBERS, Member};

use super::status::Memory;
use crate::model::{Amounts, Origin, Program, VmPeaks};

/// One address space.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) origin: Origin,
    /// The image it was copied from.
    pub(super) parent: Option<usize>,
    /// The process it was made for.
    pub(super) owner: usize,
    pub(super) program: Arc<Program>,
    /// It cannot have existed before: when its maker was last known to do something else.
    pub(super) earliest: u64,
    /// When it was first seen.
    pub(super) start: u64,
    pub(super) end: Option<u64>,
    /// Processes that use it.
    pub(super) users: BTreeSet<usize>,
    /// Of one that was there before: `VmHWM` and `VmPeak` then. As long as those stay, what is larger since is not
    /// in them.
    pub(super) before: Option<(u64, u64)>,
    /// The largest `VmPeak` that was read: it never falls.
    pub(super) largest_size: u64,
    /// The largest `VmHWM` that was read; of one that was there before, the largest of what it was since.
    pub(super) hwm: u64,
    /// It was read when its last user was about to end, so that `hwm` is final.
    pub(super) read_at_end: bool,
    /// How far the last `VmHWM` was below what had been read before.
    pub(super) fallen: u64,
    /// The image of the same process that took its place.
    pub(super) replaced_by: Option<usize>,
    /// Held at the first look, by an image that fork made.
    pub(super) inherited: u64,
    /// The first reading and the last: when, what it held, its virtual size.
    first: Option<(u64, Amounts, u64)>,
    last: Option<(u64, Amounts, u64)>,
    /// Areas under the lines between readings: each kind, in the kernel's order, and the virtual size.
    areas: ([u128; MEMBERS], u128),
    /// The reading with the largest RSS.
    pub(super) largest: (u64, Amounts),
    /// The largest readings of each kind, and of RSS + swap.
    pub(super) peak: Amounts,
    pub(super) peak_rss_swap: u64,
    pub(super) vm: VmPeaks,
    pub(super) threads: u32,
    /// It turned out to be another one, shared.
    pub(super) void: bool,
}

impl Image {
    /// One that was seen for the first time.
    pub(super) fn new(origin: Origin, owner: usize, earliest: u64, now: u64) -> Self {
        Self {
            origin,
            parent: None,
            owner,
            program: Arc::default(),
            earliest,
            start: now,
            end: None,
            users: BTreeSet::new(),
            before: None,
            largest_size: 0,
            hwm: 0,
            read_at_end: false,
            fallen: 0,
            replaced_by: None,
            inherited: 0,
            first: None,
            last: None,
            areas: ([0; MEMBERS], 0),
            largest: (now, Amounts::default()),
            peak: Amounts::default(),
            peak_rss_swap: 0,
            vm: VmPeaks::default(),
            threads: 1,
            void: false,
        }
    }

    /// Takes in what was read of it.
    pub(super) fn observe(&mut self, at: u64, memory: &Memory) {
        let now = memory.now;
        if let Some((then, before, size)) = self.last {
            let width = u128::from(at.saturating_sub(then));
            let area = |from: u64, to: u64| (u128::from(from) + u128::from(to)) * width / 2;
            let ends = in_order(&before).into_iter().zip(in_order(&now));
            for (sum, (from, to)) in self.areas.0.iter_mut().zip(ends) {
                *sum += area(from, to);
            }
            self.areas.1 += area(size, memory.vm_size);
        } else {
            if self.origin == Origin::Fork {
                self.inherited = now.rss();
            }
            self.first = Some((at, now, memory.vm_size));
            self.largest = (at, now);
        }
        self.last = Some((at, now, memory.vm_size));
        // VmHWM is never below VmRSS of the same look, but of another one it can be.
        self.hwm = self.hwm.max(now.rss());
        self.largest_size = self.largest_size.max(memory.vm.size);
        if self.before.is_none_or(|(hwm, _)| memory.hwm > hwm) {
            self.hwm = self.hwm.max(memory.hwm);
        }
        if now.rss() > self.largest.1.rss() {
            self.largest = (at, now);
        }
        self.peak = largest(self.peak, now);
        self.peak_rss_swap = self.peak_rss_swap.max(now.rss().saturating_add(now.swap));
        let VmPeaks {
            size,
            data,
            stack,
            exec,
            text,
            lib,
            heap: _,
            page_tables,
            locked,
            pinned,
        } = memory.vm;
        let is_since = self.before.is_none_or(|(_, peak)| size > peak);
        let size = if is_since { size } else { memory.vm_size };
        for (peak, now) in [
            (&mut self.vm.size, size),
            (&mut self.vm.data, data),
            (&mut self.vm.stack, stack),
            (&mut self.vm.exec, exec),
            (&mut self.vm.text, text),
            (&mut self.vm.lib, lib),
            (&mut self.vm.page_tables, page_tables),
            (&mut self.vm.locked, locked),
            (&mut self.vm.pinned, pinned),
        ] {
            *peak = (*peak).max(now);
        }
    }

    /// It was read when its last user was about to end, after it was [observed](Self::observe)
    /// then. Only this reading is certain to be of this image and not of the one that the
    /// process is about to become, so that a mark that has fallen tells of a reset.
    pub(super) fn read_at_end(&mut self, hwm: u64) {
        self.read_at_end = true;
        self.fallen = self.hwm.saturating_sub(hwm);
    }

    /// Whether it was looked at even once.
    pub(super) const fn was_read(&self) -> bool {
        self.last.is_some()
    }

    /// What it held when it was read last.
    pub(super) fn last(&self) -> Option<Amounts> {
        self.last.map(|(_, held, _)| held)
    }

    /// How large it was then, virtually.
    pub(super) fn last_size(&self) -> u64 {
        self.last.map_or(0, |(_, _, size)| size)
    }

    /// The areas under the lines between the readings until a time, byte nanoseconds: of each kind, in the kernel's
    /// order, and of the virtual size. Before the first reading and after the last it is taken to be as at that.
    pub(super) fn areas(&self, until: u64) -> ([u128; MEMBERS], u128) {
        let (mut kinds, mut size) = self.areas;
        let ends = [
            self.first
                .map(|first| (first.0.saturating_sub(self.start), first)),
            self.last.map(|last| (until.saturating_sub(last.0), last)),
        ];
        for (width, (_, held, whole)) in ends.into_iter().flatten() {
            let width = u128::from(width);
            for (area, bytes) in kinds.iter_mut().zip(in_order(&held)) {
                *area = area.saturating_add(u128::from(bytes) * width);
            }
            size = size.saturating_add(u128::from(whole) * width);
        }
        (kinds, size)
    }
}

/// In the kernel's order.
pub(super) const fn in_order(held: &Amounts) -> [u64; MEMBERS] {
    let mut members = [0; MEMBERS];
    members[Member::File as usize] = held.file;
    members[Member::Anon as usize] = held.anon;
    members[Member::Swap as usize] = held.swap;
    members[Member::Shmem as usize] = held.shmem;
    members
}

/// Kind by kind.
pub(super) fn largest(one: Amounts, other: Amounts) -> Amounts {
    Amounts {
        anon: one.anon.max(other.anon),
        file: one.file.max(other.file),
        shmem: one.shmem.max(other.shmem),
        swap: one.swap.max(other.swap),
    }
}
