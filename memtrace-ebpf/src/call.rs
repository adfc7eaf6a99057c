//! System calls that change mappings, and page faults that read from a disk.

use crate::event::Header;

/// What a [`Call`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CallKind {
    /// `brk(2)`: the heap's end.
    Brk = 1,
    /// `mmap(2)`.
    Mmap = 2,
    /// `munmap(2)`.
    Munmap = 3,
    /// `mremap(2)`.
    Mremap = 4,
    /// `mprotect(2)`.
    Mprotect = 5,
    /// `madvise(2)`.
    Madvise = 6,
    /// A major page fault.
    MajorFault = 7,
}

impl CallKind {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Brk,
        Self::Mmap,
        Self::Munmap,
        Self::Mremap,
        Self::Mprotect,
        Self::Madvise,
        Self::MajorFault,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brk => "brk",
            Self::Mmap => "mmap",
            Self::Munmap => "munmap",
            Self::Mremap => "mremap",
            Self::Mprotect => "mprotect",
            Self::Madvise => "madvise",
            Self::MajorFault => "major-fault",
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// One of them; the record [`event::CALL`](crate::event::CALL) of the timeline.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Call {
    /// When it was done; of a fault, when its thread was next seen.
    pub header: Header,
    /// [`Image::id`](crate::Image::id).
    pub image: u64,
    /// When it began.
    pub began_at: u64,
    /// The first argument: an address, of `brk` the end that is asked for.
    pub address: u64,
    /// The second: bytes; of `brk` the end before.
    pub len: u64,
    /// What the call returned, as the kernel has it: an error is `-errno`.
    pub result: i64,
    /// The third: protection (mmap, mprotect), advice (madvise), new length (mremap).
    pub argument: u64,
    /// The fourth: flags (mmap, mremap).
    pub flags: u64,
    /// RSS of the image when it began and when it was done, pages. Other threads have a share in
    /// the difference.
    pub rss_before: i64,
    /// See [`Call::rss_before`].
    pub rss_after: i64,
    /// The thread.
    pub tid: u32,
    /// A [`CallKind`].
    pub kind: u32,
}

const _: () = assert!(size_of::<Call>() == 16 + 9 * 8 + 8);
