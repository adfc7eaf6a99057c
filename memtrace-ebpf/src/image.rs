//! An image: one address space (`mm_struct`) from its birth to its end.

use crate::{ImageWindow, Pages, TOUCHED_CPUS, event::Header};

/// Where an image is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ImageState {
    /// Being copied by `dup_mmap()`; the child does not run yet. Counted in the tree.
    Forking = 1,
    /// Being built by `execve()`; its pages are still charged to the old image
    /// (`acct_arg_size()`, fs/exec.c), so it is not counted in the tree yet.
    Execing = 2,
    /// In use and counted in the tree.
    Active = 3,
}

/// How an image came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ImageKind {
    /// A copy of its parent's address space.
    Fork = 1,
    /// A fresh address space for a program.
    Exec = 2,
    /// Its birth was missed.
    Found = 3,
    /// It existed before tracing began. Until all that it holds is read it is [`ImageState::Execing`], and not
    /// counted.
    Attached = 4,
}

/// A time integral of pages: `hi * 2^20 + lo` page-nanoseconds, with `lo < 2^20` after each step.
///
/// Two words, because 4 GiB for five hours already exceed 64 bits of page-nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Integral {
    /// Units of 2^20 page-nanoseconds.
    pub hi: u64,
    /// Page-nanoseconds below 2^20.
    pub lo: u64,
}

impl Integral {
    const SHIFT: u32 = 20;

    /// Adds `pages` held for `ns` nanoseconds. Negative values count as 0.
    #[inline(always)]
    pub fn add(&mut self, pages: i64, ns: u64) {
        if pages <= 0 {
            return;
        }
        let pages = pages as u64;
        let lo = self.lo + pages.wrapping_mul(ns & ((1 << Self::SHIFT) - 1));
        self.hi += pages.wrapping_mul(ns >> Self::SHIFT) + (lo >> Self::SHIFT);
        self.lo = lo & ((1 << Self::SHIFT) - 1);
    }

    /// So many page-nanoseconds, or as many as it can hold.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn of(page_ns: u128) -> Self {
        Self {
            hi: u64::try_from(page_ns >> Self::SHIFT).unwrap_or(u64::MAX),
            lo: page_ns as u64 & ((1 << Self::SHIFT) - 1),
        }
    }

    /// The whole integral in page-nanoseconds.
    #[must_use]
    pub const fn page_ns(&self) -> u128 {
        ((self.hi as u128) << Self::SHIFT) + self.lo as u128
    }
}

/// Index into [`Image::vm_peak`]: sizes of virtual memory, with the kernel's own
/// formulas (`task_mem()`, `fs/proc/task_mmu.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum VmField {
    /// `VmData`: private writable, without stacks. Pages.
    Data = 0,
    /// `VmStk`. Pages.
    Stack = 1,
    /// Executable mappings, `VmExe` + `VmLib`. Pages.
    Exec = 2,
    /// The heap between `start_brk` and `brk`. Bytes.
    Heap = 3,
    /// Page tables, `VmPTE`. Bytes.
    PageTables = 4,
    /// `VmLck`. Pages.
    Locked = 5,
    /// `VmPin`. Pages.
    Pinned = 6,
}

/// Number of [`VmField`]s.
pub const VM_FIELDS: usize = 7;

/// Index into [`Image::vm_cur`] and [`Image::vm_integral`]: the whole size, then each [`VmField`] in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum VmMean {
    /// `VmSize`, `mm->total_vm`.
    Size = 0,
    /// `VmData`, `mm->data_vm`.
    Data = 1,
    /// `VmStk`, `mm->stack_vm`.
    Stack = 2,
    /// `VmExe` + `VmLib`, `mm->exec_vm`.
    Exec = 3,
    /// `brk - start_brk`, bytes.
    Heap = 4,
    /// `VmPTE`, `mm->pgtables_bytes`.
    PageTables = 5,
    /// `VmLck`, `mm->locked_vm`.
    Locked = 6,
    /// `VmPin`, `mm->pinned_vm`.
    Pinned = 7,
}

/// Number of [`VmMean`]s.
pub const VM_MEANS: usize = 8;

const _: () = assert!(VM_MEANS == VM_FIELDS + 1);
const _: () = assert!(VmMean::Pinned as usize == VmField::Pinned as usize + 1);

/// The state of one image; a map value while it lives, and the record
/// [`event::IMAGE_END`](crate::event::IMAGE_END) when it ends.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Image {
    /// Filled when the image is sent as a record.
    pub header: Header,
    /// Unique number of the image, from 1, in order of birth.
    pub id: u64,
    /// Address of the `mm_struct`; reused by the kernel after the image ended.
    pub mm: u64,
    /// The image it was forked from (its `id`), or 0.
    pub parent: u64,
    /// [`Process::id`](crate::Process::id) of the process that [`Image::tgid`] is of.
    pub process: u64,
    /// Index of the [`Branch`](crate::Branch) it counts in.
    pub branch: u64,
    /// Process that owns it (`mm->owner`'s tgid; for a fork image under construction, the creator's).
    pub tgid: u32,
    /// Index of the tree it counts in.
    pub tree: u32,
    /// An [`ImageState`].
    pub state: u32,
    /// An [`ImageKind`].
    pub kind: u32,
    /// When it was first seen; if execve built it, when it was first in use.
    pub born_at: u64,
    /// Its value now: exact sums, absolute.
    pub cur: Pages,
    /// Peak of each member.
    pub peak: Pages,
    /// Peak of RSS.
    pub peak_rss: i64,
    /// When the peak of RSS was reached.
    pub peak_rss_at: u64,
    /// All members at the peak of RSS.
    pub own_peak: Pages,
    /// 1 if the last change raised the peak, so that [`Image::own_peak`] is [`Image::cur`].
    pub own_peak_is_cur: u64,
    /// Peak of RSS + swap.
    pub peak_rss_swap: i64,
    /// RSS + swap after an increase that a swap-in may take back with its next
    /// event (`do_swap_page()` counts the page before it uncounts the swap entry), or 0.
    pub held_rss_swap: i64,
    /// What it held when its tree was at the peak number [`Image::seq`].
    pub at_peak: Pages,
    /// [`Image::shared`] at that moment.
    pub at_peak_shared: i64,
    /// The tree's [`peak_seq`](crate::Tree::peak_seq) that [`Image::at_peak`] belongs to.
    pub seq: u64,
    /// Time integral of each member.
    pub integral: [Integral; crate::MEMBERS],
    /// Until when each member is integrated.
    pub integral_at: [u64; crate::MEMBERS],
    /// Number of counter updates seen.
    pub events: u64,
    /// How many readings of its counters were begun: each has a number.
    pub readings: u64,
    /// The number of the reading of each member that [`Image::cur`] is from. One with a higher number was
    /// begun later and has all that one with a lower has.
    pub booked: [u64; crate::MEMBERS],
    /// Peaks of virtual sizes, by [`VmField`].
    pub vm_peak: [u64; VM_FIELDS],
    /// Virtual sizes when last seen, by [`VmMean`].
    pub vm_cur: [u64; VM_MEANS],
    /// Their time integrals.
    pub vm_integral: [Integral; VM_MEANS],
    /// Until when they are integrated.
    pub vm_integral_at: u64,
    /// 1 if the timeline's window does not have them yet.
    pub sizes_are_new: u64,
    /// `max(mm->hiwater_vm, mm->total_vm)` when last seen, pages: the exact `VmPeak`.
    pub hiwater_vm: u64,
    /// Of an image that was there before: `mm->hiwater_vm` when tracing began. As long as that stays, what the
    /// whole has been since is not in it.
    pub vm_before: u64,
    /// The kernel's own idea of the RSS peak, `VmHWM`, pages. Approximate (`get_mm_rss()`
    /// reads no per-CPU shares).
    pub hiwater_rss: u64,
    /// Bytes of its main program's text, `end_code - start_code`, page-aligned.
    pub text_bytes: u64,
    /// RSS when the fork that made it had completed, or 0.
    pub inherited: i64,
    /// Pages of hugetlbfs when last seen, in small pages: `mm->hugetlb_usage`, `HugetlbPages`. Not in
    /// RSS, and no event of their own.
    pub huge: i64,
    /// Peak of [`Image::huge`].
    pub peak_huge: i64,
    /// [`Image::inherited`] as far as it can still be shared with relatives: an upper bound.
    pub shared: i64,
    /// Pages of its last increase that are perhaps swapped in, and then shared again: until the next event
    /// tells (`do_swap_page()` counts the page before it uncounts the swap entry).
    pub held_shared: i64,
    /// By how much [`Image::shared`] may be too high: pages freed or copied on write since the fork.
    pub uncertain: i64,
    /// Resident pages that it ever gave back.
    pub freed: u64,
    /// Of a fork image: [`Image::freed`] of the one it was forked from when its first pages were copied.
    pub freed_before: u64,
    /// When the owner's page faults were looked at last.
    pub looked_at: u64,
    /// Page faults of the owner that are accounted for in [`Image::uncertain`].
    pub faults_seen: u64,
    /// 1 if the last increase seen came from a fault that was not finished yet.
    pub fault_pending: u64,
    /// 1 once the owner's last thread has ended and was looked at (`sched_process_exit`), and no other process
    /// ever used it: nothing is written to it any more.
    pub user_left: u64,
    /// 1 once a process was created that shares it ([`ProcessFlags::SHARES_IMAGE`](crate::ProcessFlags::SHARES_IMAGE)).
    pub lent: u64,
    /// How many processes that share it have not left it.
    pub borrowers: u64,
    /// Address of the mm this one shares pages with (parent, or the relative that took over), or 0.
    pub sharer: u64,
    /// First of the fork images that share pages with this one (an mm address), or 0.
    pub heir: u64,
    /// Last of them, or 0.
    pub last_heir: u64,
    /// Next older and younger image with the same [`Image::sharer`], or 0.
    pub older: u64,
    /// See [`Image::older`].
    pub younger: u64,
    /// Up to 6.1: pages of each member that threads hold back in their caches, as last seen.
    pub held_back: Pages,
    /// Up to 6.1: `mm->rss_stat.count` of each member, as far as its changes are booked.
    pub counted: Pages,
    /// Sum of all counters when the image ended: 0, unless something was lost.
    pub residual: i64,
    /// CPUs on which updates were seen (scheme B), one bit each.
    pub cpu_mask: [u64; crate::MAX_CPUS / 64],
    /// The same as a list.
    pub cpus: [u16; TOUCHED_CPUS],
    /// Length of the list; more than [`TOUCHED_CPUS`] means "sum over all".
    pub ncpus: u32,
    /// Why the record was sent: 1 the last user left and all counters are 0,
    /// 2 `exit_mmap`, 3 read from the map while alive.
    pub end_reason: u32,
    /// [`Image::events`] when [`Image::window`] was opened.
    pub events_before: u64,
    /// The timeline's open window, if one is, but for [what it has grown to](Image::complete_window): the image's
    /// last one, complete, when it has ended. Where each change is sent, what was sent last; no window is open then.
    pub window: ImageWindow,
}

const _: () = assert!(size_of::<Image>().is_multiple_of(8));

#[cfg(feature = "user")]
// SAFETY: `repr(C)`; u32 fields come in pairs and arrays of u16 fill whole words, so there is no padding.
unsafe impl aya::Pod for Image {}
