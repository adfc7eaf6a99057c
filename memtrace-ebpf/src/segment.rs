//! What memory is for: every page of an image belongs to one segment.

use crate::{MEMBERS, Pages, event::Header};

/// What a page is for. Decided by the mapping that it lies in, so that protection (`mprotect`)
/// does not move it from one segment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Segment {
    /// The program's own file where it was never writable: code and constants.
    Text = 0,
    /// The program's own file where it is or was writable, and what follows it without a file (bss).
    Data = 1,
    /// Between `start_brk` and the largest `brk`.
    Heap = 2,
    /// The first thread's stack (`VM_GROWSDOWN`). Those of further threads are plain mappings.
    Stack = 3,
    /// Mappings without a file.
    Anon = 4,
    /// Files with the name of a shared library (`*.so`, `*.so.*`): code, constants and data.
    Lib = 5,
    /// Other files.
    File = 6,
    /// Shared memory, which the kernel counts by itself (`MM_SHMEMPAGES`).
    Shmem = 7,
    /// What could not be told. Below 0 where pages left that belong to other segments.
    Unknown = 8,
}

/// Number of [`Segment`]s.
pub const SEGMENTS: usize = 9;

impl Segment {
    /// All of them, in index order.
    pub const ALL: [Self; SEGMENTS] = [
        Self::Text,
        Self::Data,
        Self::Heap,
        Self::Stack,
        Self::Anon,
        Self::Lib,
        Self::File,
        Self::Shmem,
        Self::Unknown,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Data => "data",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Anon => "anon",
            Self::Lib => "lib",
            Self::File => "file",
            Self::Shmem => "shmem",
            Self::Unknown => "unknown",
        }
    }
}

/// How changes of counters are told apart by segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SegmentHooks {
    /// Not at all.
    Off = 0,
    /// By programs on the kernel's own functions, which have the mapping (tier B).
    Functions = 1,
    /// By addresses of page faults and arguments of system calls (tier C).
    Hints = 2,
}

/// What the segments of one image hold; a map value while it lives, and the record
/// [`event::SEGMENTS`](crate::event::SEGMENTS) when it ends. Their sum is what is booked of the image.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SegmentsRecord {
    /// Filled when it is sent.
    pub header: Header,
    /// [`Image::id`](crate::Image::id).
    pub image: u64,
    /// Pages that came or went while it could not be told where: no other segment is wrong by more.
    pub untold: u64,
    /// Each segment's members now, by [`Segment`].
    pub cur: [Pages; SEGMENTS],
    /// The same when the image's RSS was at its peak.
    pub at_peak: [Pages; SEGMENTS],
    /// Largest resident pages of each segment.
    pub peak_resident: [i64; SEGMENTS],
    /// Largest number of swapped-out pages of each segment.
    pub peak_swapped: [i64; SEGMENTS],
    /// The image's members as far as they are booked to segments.
    pub booked: Pages,
    /// As [`SegmentsRecord::untold`], after the last user of the address space had left: no peak is wrong
    /// for it.
    pub untold_at_end: u64,
    /// 1 while [`SegmentsRecord::at_peak`] is the same as `cur`.
    pub at_peak_is_cur: u64,
    /// Pages that segments held when the image's last page was gone, in absolute numbers, beyond what
    /// could not be told: what was booked to one and left another. Of an image that was there before tracing: the
    /// pages that it had then, until a [`Base`] tells what they are for.
    pub residual: u64,
    /// Pages of address space of each segment, as seen when it was looked at last.
    pub mapped: [u64; SEGMENTS],
    /// The same when the image's RSS was at its peak.
    pub mapped_at_peak: [u64; SEGMENTS],
    /// Largest of those seen.
    pub peak_mapped: [u64; SEGMENTS],
    /// The image's pages of address space, without heap and stack, when it was looked at.
    pub looked_for: u64,
    /// When that was.
    pub looked_at: u64,
    /// 1: the sizes are known. 2: there were too many mappings.
    pub mapped_known: u64,
    /// 1: every change that was booked by the event of another thread's is in [`SegmentsRecord::mixed`]; else those
    /// of threads of one process are not.
    pub watched: u64,
    /// How often a change was, or can have been, booked by the event of another one, and so to the segment of
    /// that one.
    pub mixed: u64,
    /// The thread whose event booked a change of each member last.
    pub bookers: [u32; MEMBERS],
    /// No meaning: room for indices that verifiers know less of.
    pub reserved: [u64; 3],
}

/// What the segments of one image hold after a change; the record
/// [`event::SEGMENTS_CHANGE`](crate::event::SEGMENTS_CHANGE) of the timeline. Where windows are recorded, it
/// is sent with each window of the image, and holds as of its last change.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SegmentsChange {
    /// When the change was.
    pub header: Header,
    /// [`Image::id`](crate::Image::id).
    pub image: u64,
    /// Resident pages, by [`Segment`].
    pub resident: [i64; SEGMENTS],
    /// Swapped-out pages, by [`Segment`].
    pub swapped: [i64; SEGMENTS],
}

/// What an image that was there before tracing had in each segment then, as userspace found out: a map value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Base {
    /// [`Image::id`](crate::Image::id); 0 once its segments have it.
    pub image: u64,
    /// No segment of it is wrong by more pages.
    pub within: u64,
    /// Pages of each segment, beyond what is booked to it. Of [`Segment::Unknown`], which gives them, it has no meaning.
    pub held: [Pages; SEGMENTS],
}

/// As many can be told at a time.
pub const BASES: usize = 256;

const _: () = assert!(size_of::<Base>() == 16 + 288);
const _: () = assert!(size_of::<SegmentsChange>() == 16 + 8 + 2 * 72);
const _: () =
    assert!(size_of::<SegmentsRecord>() == 16 + 16 + 2 * 288 + 2 * 72 + 32 + 24 + 3 * 72 + 24 + 56);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, the size asserted above is the sum of the fields: no padding; any bytes are valid.
unsafe impl aya::Pod for SegmentsRecord {}

#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for Base {}
