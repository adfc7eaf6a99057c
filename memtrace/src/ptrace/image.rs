//! One address space: what was read of it, and what follows from the readings.

use std::{collections::BTreeSet, sync::Arc};

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
    /// The largest `VmHWM` that was read.
    pub(super) hwm: u64,
    /// It was read when its last user was about to end, so that `hwm` is final.
    pub(super) read_at_end: bool,
    /// How far the last `VmHWM` was below what had been read before.
    pub(super) fallen: u64,
    /// The image of the same process that took its place.
    pub(super) replaced_by: Option<usize>,
    /// Held at the first look, by an image that fork made.
    pub(super) inherited: u64,
    first_read: u64,
    last: Option<(u64, Amounts, u64)>,
    /// Areas under the lines between readings: each kind and the virtual size.
    areas: ([u128; 4], u128),
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
            hwm: 0,
            read_at_end: false,
            fallen: 0,
            replaced_by: None,
            inherited: 0,
            first_read: now,
            last: None,
            areas: ([0; 4], 0),
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
            let [anon, file, shmem, swap] = &mut self.areas.0;
            *anon += area(before.anon, now.anon);
            *file += area(before.file, now.file);
            *shmem += area(before.shmem, now.shmem);
            *swap += area(before.swap, now.swap);
            self.areas.1 += area(size, memory.vm_size);
        } else {
            if self.origin == Origin::Fork {
                self.inherited = now.rss();
            }
            self.first_read = at;
            self.largest = (at, now);
        }
        self.last = Some((at, now, memory.vm_size));
        // VmHWM is never below VmRSS of the same look, but of another one it can be.
        self.hwm = self.hwm.max(memory.hwm).max(now.rss());
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

    /// Means over the time between the first and the last reading: of each kind, and of
    /// the virtual size.
    pub(super) fn averages(&self) -> (Amounts, u64) {
        let Some((at, last, size)) = self.last else {
            return (Amounts::default(), 0);
        };
        let over_ns = at.saturating_sub(self.first_read);
        if over_ns == 0 {
            return (last, size);
        }
        let mean = |area: u128| u64::try_from(area / u128::from(over_ns)).unwrap_or(u64::MAX);
        let [anon, file, shmem, swap] = self.areas.0;
        let amounts = Amounts {
            anon: mean(anon),
            file: mean(file),
            shmem: mean(shmem),
            swap: mean(swap),
        };
        (amounts, mean(self.areas.1))
    }

    /// Whether it was looked at even once.
    pub(super) const fn was_read(&self) -> bool {
        self.last.is_some()
    }

    /// The areas under the lines between the readings of each kind, byte nanoseconds.
    pub(super) const fn areas(&self) -> [u128; 4] {
        self.areas.0
    }
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
