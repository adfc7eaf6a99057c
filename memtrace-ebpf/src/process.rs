//! A process: a thread group, with one image at a time.

/// Bits of [`Process::flags`].
#[derive(Clone, Copy, Debug)]
pub struct ProcessFlags;

impl ProcessFlags {
    /// The root before its first exec: its image is memtrace's own and never counted.
    pub const PRE_EXEC: u32 = 1;
    /// It shares its creator's image (`CLONE_VM`, as vfork and `posix_spawn` do).
    pub const SHARES_IMAGE: u32 = 2;
    /// The OOM killer chose it.
    pub const OOM_KILLED: u32 = 4;
    /// Its end has been reported.
    pub const EXITED: u32 = 8;
}

/// State of a live process in a tree; map value, keyed by tgid.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Process {
    /// Address of its `mm_struct`.
    pub mm: u64,
    /// Its image's id, 0 if that is not tracked.
    pub image: u64,
    /// When it was created (`start_boottime`); with the tgid its identity.
    pub started_at: u64,
    /// Thread group id in the initial PID namespace.
    pub tgid: u32,
    /// Thread group id in its own PID namespace.
    pub ns_tgid: u32,
    /// tgid of the process that created it (not of its current parent).
    pub creator: u32,
    /// Index of its tree.
    pub tree: u32,
    /// [`ProcessFlags`].
    pub flags: u32,
    /// tgid of the last process it created for which there was no room, or 0.
    pub refused_child: u32,
    /// Address of the last `mm_struct` it was to have an image of for which there was no
    /// room, its own or that of a child under construction, or 0.
    pub refused_mm: u64,
    /// Threads that were created, itself included.
    pub threads: u64,
    /// Threads whose exit was seen.
    pub exits: u64,
    /// CPU time in user mode of its threads that exited, ns.
    pub utime: u64,
    /// The same in kernel mode.
    pub stime: u64,
    /// Minor faults of its threads that exited.
    pub min_flt: u64,
    /// Major faults of its threads that exited.
    pub maj_flt: u64,
}

const _: () = assert!(size_of::<Process>() == 104);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, u64s and an even number of u32s, no padding.
unsafe impl aya::Pod for Process {}
