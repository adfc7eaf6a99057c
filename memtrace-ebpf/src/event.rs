//! Records of the ring buffers. Every record starts with a [`Header`].

use crate::COMM_LEN;

/// [`Fork`]: a process was created.
pub const FORK: u32 = 1;
/// [`Exec`]: a process runs a new program.
pub const EXEC: u32 = 2;
/// [`Exit`]: a process, or the rest of its threads, ended.
pub const EXIT: u32 = 3;
/// [`Image`](crate::Image): an address space ended.
pub const IMAGE_END: u32 = 4;
/// [`Oom`]: the OOM killer chose a process.
pub const OOM: u32 = 5;
/// [`ImageWindow`](crate::ImageWindow): what an image held in a stretch of time.
pub const IMAGE_WINDOW: u32 = 6;
/// [`TreeWindow`](crate::TreeWindow): the same of the tree.
pub const TREE_WINDOW: u32 = 7;
/// [`Change`](crate::Change): one change of one counter.
pub const CHANGE: u32 = 8;
/// [`SizesChange`](crate::SizesChange): virtual sizes of an image that changed.
pub const SIZES_CHANGE: u32 = 9;
/// [`SegmentsRecord`](crate::SegmentsRecord): segments of an address space that ended.
pub const SEGMENTS: u32 = 10;
/// [`SegmentsChange`](crate::SegmentsChange): what the segments of an image hold.
pub const SEGMENTS_CHANGE: u32 = 11;
/// [`Call`](crate::Call): a system call that changes mappings, or a major page fault.
pub const CALL: u32 = 12;
/// [`Freed`]: the kernel has let go of a process.
pub const FREED: u32 = 13;

/// How many bytes of a program's path a record holds.
pub const PATH_LEN: usize = 256;
/// How many bytes of a program's arguments a record holds.
pub const ARGS_LEN: usize = 1024;

/// What a record is and when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// [`FORK`] to [`FREED`].
    pub kind: u32,
    /// Index of the tree.
    pub tree: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub at: u64,
}

/// A process was created (`task:task_newtask` or `sched:sched_process_fork`), or,
/// for the root, registered. Sent once per process.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Fork {
    /// Header.
    pub header: Header,
    /// [`Process::id`](crate::Process::id).
    pub process: u64,
    /// That of its creator; 0 for a root.
    pub creator_process: u64,
    /// Its tgid in the initial PID namespace.
    pub tgid: u32,
    /// Its tgid in its own PID namespace.
    pub ns_tgid: u32,
    /// The creator's tgid.
    pub creator: u32,
    /// [`ProcessFlags`](crate::ProcessFlags) at birth.
    pub flags: u32,
    /// Its image's id: a fork image's own, or with `SHARES_IMAGE` the creator's; 0 if unknown.
    pub image: u64,
    /// `start_boottime`.
    pub started_at: u64,
    /// RSS of the new image when the fork completed, in pages; of a process that ran before
    /// ([`ProcessFlags::ATTACHED`](crate::ProcessFlags::ATTACHED)) the kernel's `VmHWM` of it up to then.
    pub inherited: i64,
    /// `comm`, NUL-padded.
    pub comm: [u8; COMM_LEN],
}

/// A process runs a new program (`sched:sched_process_exec`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Exec {
    /// Header.
    pub header: Header,
    /// [`Process::id`](crate::Process::id).
    pub process: u64,
    /// Its tgid.
    pub tgid: u32,
    /// Id of the thread that called execve before it became the leader.
    pub old_tid: u32,
    /// The new image's id; 0 if it could not be tracked.
    pub image: u64,
    /// Id of the image it left, 0 if that was not tracked (the root's first exec).
    pub old_image: u64,
    /// `signal->maxrss` so far, pages.
    pub maxrss: u64,
    /// Bytes of all arguments, each ended by NUL.
    pub args_total: u32,
    /// How many of them are in [`Exec::args`]. 0 with a larger total: they could not be read.
    pub args_len: u32,
    /// Length of [`Exec::path`] with its NUL; 0 if it could not be read.
    pub path_len: u32,
    /// No meaning.
    pub reserved: u32,
    /// `comm`, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// The path as given to execve.
    pub path: [u8; PATH_LEN],
    /// The arguments.
    pub args: [u8; ARGS_LEN],
}

/// All threads of a process have begun to exit (`sched:sched_process_exit`).
///
/// Two last threads can each see themselves as the last: then a second record
/// follows, with [`Exit::again`] set, whose totals replace those of the first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Exit {
    /// Header.
    pub header: Header,
    /// [`Process::id`](crate::Process::id).
    pub process: u64,
    /// Its tgid.
    pub tgid: u32,
    /// Status as wait(2) encodes it.
    pub wait_status: u32,
    /// 1 for a further record of the same process.
    pub again: u32,
    /// [`ProcessFlags`](crate::ProcessFlags) at the end.
    pub flags: u32,
    /// CPU time of its threads in user mode, as far as accounted to tasks, ns.
    pub utime: u64,
    /// The same in kernel mode.
    pub stime: u64,
    /// Minor faults.
    pub min_flt: u64,
    /// Major faults.
    pub maj_flt: u64,
    /// `signal->maxrss`, pages.
    pub maxrss: u64,
    /// Threads ever created.
    pub threads: u32,
    /// No meaning.
    pub reserved: u32,
}

/// The kernel has let go of the last that it kept of a process that ended (`sched:sched_process_free` of its first
/// thread): nothing of it can run any more, so its CPU times are final. A grace period after somebody waited for it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Freed {
    /// Header.
    pub header: Header,
    /// [`Process::id`](crate::Process::id).
    pub process: u64,
    /// For how long its threads ran, by the scheduler's clock, ns; 0 if the kernel does not tell.
    pub runtime: u64,
    /// How much of that was found to be in user mode by the kernel's clock ticks, ns: the sum of both need not be
    /// [`Freed::runtime`], which wait4(2) divides as these two are to each other.
    pub utime: u64,
    /// The same in kernel mode.
    pub stime: u64,
}

/// The OOM killer chose a process (`oom:mark_victim`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Oom {
    /// Header.
    pub header: Header,
    /// [`Process::id`](crate::Process::id).
    pub process: u64,
    /// Its tgid.
    pub tgid: u32,
    /// No meaning.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Fork>() == 16 + 16 + 16 + 24 + 16);
const _: () = assert!(size_of::<Exec>() == 16 + 8 + 8 + 24 + 16 + 16 + PATH_LEN + ARGS_LEN);
const _: () = assert!(size_of::<Exit>() == 16 + 8 + 16 + 40 + 8);
const _: () = assert!(size_of::<Oom>() == 32);
const _: () = assert!(size_of::<Freed>() == 16 + 32);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, sizes pinned above to the sum of the fields: no padding; any bytes are valid.
unsafe impl aya::Pod for Fork {}
#[cfg(feature = "user")]
// SAFETY: as for `Fork`.
unsafe impl aya::Pod for Exec {}
#[cfg(feature = "user")]
// SAFETY: as for `Fork`.
unsafe impl aya::Pod for Exit {}
#[cfg(feature = "user")]
// SAFETY: as for `Fork`.
unsafe impl aya::Pod for Oom {}
#[cfg(feature = "user")]
// SAFETY: as for `Fork`.
unsafe impl aya::Pod for Header {}
