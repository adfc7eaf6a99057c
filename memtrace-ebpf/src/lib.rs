//! The ABI between memtrace's BPF programs and its userspace: every type and
//! constant that crosses the kernel boundary, defined once.
//!
//! * [`Offsets`] and [`Config`]: read-only data that userspace sets before load.
//! * [`Image`], [`Process`], [`Tree`]: map values, the exact state kept in the kernel.
//! * [`event`]: records of the ring buffers. They only tell the story (who was
//!   born, what was executed, what ended, and in a ring of their own what memory was at
//!   every moment); peaks never depend on them.
//! * [`Stat`]: one counter for every way in which a program can lose something.
//!
//! All types are `#[repr(C)]` without padding, so that they can be read as
//! plain bytes on either side; sizes are pinned by compile-time assertions.
//! Amounts of memory are in pages of the running kernel, times in nanoseconds
//! of `CLOCK_BOOTTIME`, unless a name says otherwise.
#![no_std]

mod branch;
mod call;
mod config;
pub mod event;
mod grown;
mod image;
mod process;
mod reading;
mod segment;
mod stat;
mod timeline;
mod tree;

// What the programs compute is tested here, on the host: their modules, over maps, helpers and a kernel that
// are made up (`host`). They name this crate and aya's as they do in the programs.
#[cfg(test)]
extern crate self as aya_ebpf;
#[cfg(test)]
extern crate self as memtrace_ebpf;
#[cfg(test)]
mod accounting;
#[cfg(test)]
mod adoption;
#[cfg(test)]
#[path = "host/atomic.rs"]
mod atomic;
#[cfg(test)]
mod births;
#[cfg(test)]
mod branches;
#[cfg(test)]
#[expect(dead_code, reason = "the programs use more of it")]
mod counters;
#[cfg(test)]
mod creation;
#[cfg(test)]
mod departure;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod envelope;
#[cfg(test)]
#[expect(dead_code, reason = "the programs use more of it")]
mod execution;
#[cfg(test)]
mod family;
#[cfg(test)]
mod footprint;
#[cfg(test)]
mod host;
#[cfg(test)]
#[expect(dead_code, reason = "the programs use more of it")]
mod kernel;
#[cfg(test)]
#[expect(dead_code, reason = "the programs use more of it")]
mod life;
#[cfg(test)]
#[path = "host/moment.rs"]
mod moment;
#[cfg(test)]
mod peaks;
#[cfg(test)]
#[path = "host/repeat.rs"]
mod repeat;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod with_swap;
#[cfg(test)]
mod words;
#[cfg(test)]
pub(crate) use host::{helpers, segments, state};

/// Stands in the object for a call of the kernel's `bpf_preempt_disable()`: the number of a
/// helper that no kernel has. Userspace replaces the instruction before load.
pub const PREEMPT_DISABLE: u32 = 0x7d00_0001;
/// The same for `bpf_preempt_enable()`.
pub const PREEMPT_ENABLE: u32 = 0x7d00_0002;
/// The same for `bpf_rdonly_cast()`.
pub const RDONLY_CAST: u32 = 0x7d00_0003;
/// Stands in the object for the flags of maps whose entries the kernel can allocate one by one
/// where that is allowed to programs like these.
pub const ALLOCATION: usize = 0x7d00_0004;

pub use branch::{Branch, Wanted};
pub use call::{Call, CallKind};
pub use config::{
    ABSENT, Config, CounterLayout, MAX_CPUS, Offsets, PID_LIMIT, SumScheme, TOUCHED_CPUS, Timeline,
};
pub use image::{Image, ImageKind, ImageState, Integral, VM_FIELDS, VM_MEANS, VmField, VmMean};
pub use process::{Process, ProcessFlags};
pub use reading::reading;
pub use segment::{BASES, Base, SEGMENTS, Segment, SegmentHooks, SegmentsChange, SegmentsRecord};
pub use stat::Stat;
pub use timeline::{Change, ChangeKind, ImageWindow, SIZES, Size, SizesChange, TreeWindow};
pub use tree::{Control, EPOCHS, MAX_TREES, Tree};

/// `NR_MM_COUNTERS` of the kernel (`include/linux/mm_types_task.h`).
pub const MEMBERS: usize = 4;

/// One of the four counters in `mm_struct.rss_stat`, numbered as in the kernel
/// (`include/linux/mm_types_task.h`, unchanged from 5.10 to 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Member {
    /// `MM_FILEPAGES`: resident pages of file mappings.
    File = 0,
    /// `MM_ANONPAGES`: resident anonymous pages.
    Anon = 1,
    /// `MM_SWAPENTS`: anonymous pages that were swapped out. Not resident.
    Swap = 2,
    /// `MM_SHMEMPAGES`: resident pages of shared memory (tmpfs, memfd, `SysV`, shared anonymous).
    Shmem = 3,
}

/// A value for each [`Member`], in pages.
pub type Pages = [i64; MEMBERS];

/// Resident set size: everything but swap, as `get_mm_rss()` defines it.
#[must_use]
#[inline(always)]
pub const fn rss(pages: &Pages) -> i64 {
    pages[Member::File as usize] + pages[Member::Anon as usize] + pages[Member::Shmem as usize]
}

/// Length of `task_struct.comm`, `TASK_COMM_LEN`.
pub const COMM_LEN: usize = 16;
