//! A process: a thread group, with one image at a time.

/// Bits of [`Process::flags`].
#[derive(Clone, Copy, Debug)]
pub struct ProcessFlags;

impl ProcessFlags {
    /// The root before its first exec: its image is memtrace's own and never counted.
    pub const PRE_EXEC: u32 = 1;
    /// It shares its creator's image (`CLONE_VM`, as vfork and `posix_spawn` do).
    pub const SHARES_IMAGE: u32 = 2;
    /// The OOM killer chose it. In a record, or what userspace makes of a map value: there it has a
    /// word of its own.
    pub const OOM_KILLED: u32 = 4;
    /// Its end has been reported. As [`ProcessFlags::OOM_KILLED`].
    pub const EXITED: u32 = 8;
    /// It ran before tracing began, and has executed no program since.
    pub const ATTACHED: u32 = 16;
    /// How it ended is not known. Never set by the programs: of one that was looked at in /proc alone.
    pub const STATUS_UNKNOWN: u32 = 32;
    /// What it used is not known; likewise.
    pub const USAGE_UNKNOWN: u32 = 64;
}

/// State of a live process in a tree; map value, keyed by tgid.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Process {
    /// A number that no other process of this run has, from 1 on: its identity. (Ids of the kernel are
    /// used again.)
    pub id: u64,
    /// Address of its `mm_struct`.
    pub mm: u64,
    /// Its image's id, 0 if that is not tracked.
    pub image: u64,
    /// When it was created (`start_boottime`).
    pub started_at: u64,
    /// Thread group id in the initial PID namespace.
    pub tgid: u32,
    /// Thread group id in its own PID namespace.
    pub ns_tgid: u32,
    /// tgid of the process that created it (not of its current parent).
    pub creator: u32,
    /// Index of its tree.
    pub tree: u32,
    /// Index of its [`Branch`](crate::Branch).
    pub branch: u32,
    /// No meaning.
    pub reserved: u32,
    /// [`ProcessFlags`]. As [`Process::mm`] and [`Process::image`] changed by the process's own hooks, and by who takes
    /// it in if it ran before tracing began; hence under the tree's lock once it runs.
    pub flags: u32,
    /// tgid of the last process it created for which there was no room, or 0.
    pub refused_child: u32,
    /// Address of the last `mm_struct` it was to have an image of for which there was no
    /// room, its own or that of a child under construction, or 0.
    pub refused_mm: u64,
    /// 1 when the OOM killer chose it. A word of its own, because that happens on any CPU; set under
    /// the tree's lock, under which the entry is removed too.
    pub oom_killed: u64,
    /// 1 when its end has been reported. Set under the tree's lock.
    pub exited: u64,
    /// Threads that were created, itself included.
    pub threads: u64,
    /// Threads whose exit was seen; raised by each as the last that it does with the entry, which the
    /// last of them removes.
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

const _: () = assert!(size_of::<Process>() == 136);

impl Process {
    /// [`Process::flags`] with those that have words of their own.
    #[must_use]
    pub const fn all_flags(&self) -> u32 {
        let mut flags = self.flags;
        if self.oom_killed != 0 {
            flags |= ProcessFlags::OOM_KILLED;
        }
        if self.exited != 0 {
            flags |= ProcessFlags::EXITED;
        }
        flags
    }
}

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, u64s and an even number of u32s, no padding.
unsafe impl aya::Pod for Process {}
