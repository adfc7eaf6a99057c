//! What userspace tells the programs before they are loaded. Both structs live
//! in `.rodata`, which is frozen before load: the verifier takes every field for
//! a known constant and removes the branches that it rules out.

/// An [`Offsets`] field of this value: the running kernel has no such field.
pub const ABSENT: u32 = u32::MAX;

/// The highest CPU number plus one that the programs can sum over.
pub const MAX_CPUS: usize = 512;

/// How many CPUs [`SumScheme::Touched`] remembers per image before it sums over all.
pub const TOUCHED_CPUS: usize = 32;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Byte offsets of kernel struct fields on the running kernel, from its BTF.
        ///
        /// A field named `mm_owner` is `mm_struct.owner`. [`ABSENT`] marks what this
        /// kernel does not have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct Offsets {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl Offsets {
            /// Nothing is known.
            pub const UNKNOWN: Self = Self { $($name: ABSENT,)* };

            /// The fields with their names, in declaration order.
            #[must_use]
            pub fn named(&self) -> [(&'static str, u32); Self::COUNT] {
                [$((stringify!($name), self.$name),)*]
            }

            /// How many fields there are.
            pub const COUNT: usize = [$(stringify!($name),)*].len();
        }
    };
}

offsets! {
    /// `mm_struct.rss_stat`.
    mm_rss_stat,
    /// `mm_struct.mm_users`, the number of users of the address space.
    mm_users,
    /// `mm_struct.owner` (`CONFIG_MEMCG`).
    mm_owner,
    /// `mm_struct.total_vm` in pages.
    mm_total_vm,
    /// `mm_struct.hiwater_vm` in pages.
    mm_hiwater_vm,
    /// `mm_struct.hiwater_rss` in pages.
    mm_hiwater_rss,
    /// `mm_struct.data_vm` in pages.
    mm_data_vm,
    /// `mm_struct.stack_vm` in pages.
    mm_stack_vm,
    /// `mm_struct.exec_vm` in pages.
    mm_exec_vm,
    /// `mm_struct.locked_vm` in pages.
    mm_locked_vm,
    /// `mm_struct.pinned_vm` in pages.
    mm_pinned_vm,
    /// `mm_struct.pgtables_bytes` in bytes.
    mm_pgtables_bytes,
    /// `mm_struct.hugetlb_usage` in pages (`CONFIG_HUGETLB_PAGE`).
    mm_hugetlb_usage,
    /// `mm_struct.start_brk`.
    mm_start_brk,
    /// `mm_struct.brk`.
    mm_brk,
    /// `mm_struct.start_code`.
    mm_start_code,
    /// `mm_struct.end_code`.
    mm_end_code,
    /// `mm_struct.arg_start`.
    mm_arg_start,
    /// `mm_struct.arg_end`.
    mm_arg_end,
    /// `percpu_counter.lock`, within one element of `rss_stat`.
    counter_lock,
    /// `percpu_counter.count`, within one element of `rss_stat`.
    counter_count,
    /// `percpu_counter.counters`, within one element of `rss_stat`.
    counter_counters,
    /// Size of one element of `rss_stat`.
    counter_stride,
    /// `task_struct.mm`.
    task_mm,
    /// `task_struct.pid` (the thread's id).
    task_pid,
    /// `task_struct.tgid` (the process's id).
    task_tgid,
    /// `task_struct.group_leader`.
    task_group_leader,
    /// `task_struct.real_parent`.
    task_real_parent,
    /// `task_struct.signal`.
    task_signal,
    /// `task_struct.start_boottime` (`real_start_time` before 5.5).
    task_start_boottime,
    /// `task_struct.comm`.
    task_comm,
    /// `task_struct.min_flt`.
    task_min_flt,
    /// `task_struct.maj_flt`.
    task_maj_flt,
    /// `task_struct.utime` in nanoseconds.
    task_utime,
    /// `task_struct.stime` in nanoseconds.
    task_stime,
    /// `task_struct.se.sum_exec_runtime`, for how long the thread ran, ns.
    task_runtime,
    /// `task_struct.exit_code`.
    task_exit_code,
    /// `task_struct.rss_stat.count`, where threads hold back changes (up to 6.1).
    task_rss_count,
    /// `task_struct.thread_pid`.
    task_thread_pid,
    /// `signal_struct.live`, threads that have not begun to exit.
    signal_live,
    /// `signal_struct.nr_threads`.
    signal_nr_threads,
    /// `signal_struct.utime` in nanoseconds, of threads that are gone.
    signal_utime,
    /// `signal_struct.stime` in nanoseconds, of threads that are gone.
    signal_stime,
    /// `signal_struct.sum_sched_runtime`, for how long threads ran that are gone, ns.
    signal_runtime,
    /// `signal_struct.min_flt`, of threads that are gone.
    signal_min_flt,
    /// `signal_struct.maj_flt`, of threads that are gone.
    signal_maj_flt,
    /// `signal_struct.maxrss` in pages.
    signal_maxrss,
    /// `signal_struct.flags`.
    signal_flags,
    /// `signal_struct.group_exit_code`.
    signal_group_exit_code,
    /// `pid.level`, depth of the innermost PID namespace.
    pid_level,
    /// `pid.numbers`, one `upid` per namespace level.
    pid_numbers,
    /// Size of `upid`.
    upid_stride,
    /// `upid.nr`.
    upid_nr,
    /// `linux_binprm.filename`.
    bprm_filename,
    /// `bpf_array.pptrs`, where a per-CPU array map keeps its per-CPU pointers.
    array_pptrs,
    /// `mm_struct.end_data`.
    mm_end_data,
    /// `mm_struct.exe_file`.
    mm_exe_file,
    /// `mm_struct.mm_mt.ma_root`, the root of the tree of mappings (since 6.1).
    mm_mt_root,
    /// `vm_area_struct.vm_start`.
    vma_start,
    /// `vm_area_struct.vm_end`.
    vma_end,
    /// `vm_area_struct.vm_mm`.
    vma_mm,
    /// `vm_area_struct.vm_flags`.
    vma_flags,
    /// `vm_area_struct.vm_file`.
    vma_file,
    /// `vm_area_struct.vm_ops`.
    vma_ops,
    /// `file.f_inode`.
    file_inode,
    /// `inode.i_sb`.
    inode_super,
    /// `super_block.s_magic`.
    super_magic,
    /// `file.f_path.dentry`.
    file_dentry,
    /// `dentry.d_name.len`.
    dentry_name_len,
    /// `task_struct.flags`.
    task_flags,
    /// `mm_struct.map_count`.
    mm_map_count,
    /// `dentry.d_name.name`.
    dentry_name,
    /// `maple_range_64.pivot`.
    range_pivots,
    /// `maple_range_64.slot`.
    range_slots,
    /// `maple_arange_64.pivot`.
    arange_pivots,
    /// `maple_arange_64.slot`.
    arange_slots,
    /// `pt_regs.di`, the first argument of a system call on x86-64.
    regs_first,
    /// `pt_regs.si`, the second.
    regs_second,
    /// `pt_regs.dx`, the third.
    regs_third,
    /// `pt_regs.r10`, the fourth.
    regs_fourth,
    /// `pt_regs.cs`.
    regs_cs,
}

/// How `mm_struct.rss_stat` is laid out (KERNEL facts: `percpu_counter` since 6.2,
/// commit f1a7941243c1; one allocation for the four since 6.6, commit 14ef95be6f55).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CounterLayout {
    /// `struct percpu_counter[4]`: a shared count plus one share per CPU.
    PerCpu = 1,
    /// `atomic_long_t count[4]` (up to 6.1), plus silent per-task caches.
    Atomic = 2,
    /// Unknown to us: take the `size` that the classic tracepoint computes.
    Classic = 3,
}

/// How the per-CPU shares are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SumScheme {
    /// Scheme A: every possible CPU, at every event.
    AllCpus = 1,
    /// Scheme B: the CPUs on which events of the image were seen; all of them
    /// at exec, at the end of the image and once more than [`TOUCHED_CPUS`] were seen.
    Touched = 2,
}

/// What of the timeline is kept and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Timeline {
    /// Nothing.
    Off = 0,
    /// Envelopes of windows: [`ImageWindow`](crate::ImageWindow), [`TreeWindow`](crate::TreeWindow).
    Windows = 1,
    /// Each change: [`Change`](crate::Change), [`SizesChange`](crate::SizesChange).
    EveryChange = 2,
}

/// Thread group ids are below this: `PID_MAX_LIMIT` (include/linux/threads.h). The
/// limit in force, `kernel.pid_max`, can change, and since 6.14 belongs to a PID namespace.
pub const PID_LIMIT: u32 = 4 << 20;

/// Everything else that is decided at start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// A [`CounterLayout`].
    pub layout: u32,
    /// A [`SumScheme`].
    pub scheme: u32,
    /// Highest possible CPU number plus one, at most [`MAX_CPUS`].
    pub cpus: u32,
    /// log2 of the page size.
    pub page_shift: u32,
    /// The name by which a process asks to become the root of a tree with
    /// `prctl(PR_SET_NAME)`; see the `register` program. As long as names can be, all but a
    /// NUL: what follows a shorter one is undefined. At a multiple of 8.
    pub root_name: [u8; crate::COMM_LEN],
    /// Offset of `size` in the record of the classic tracepoint `kmem:rss_stat`
    /// ([`CounterLayout::Classic`]).
    pub classic_size: u32,
    /// A [`Timeline`].
    pub timeline: u32,
    /// Userspace is woken when this many bytes of the timeline wait for it.
    pub timeline_wake: u32,
    /// 1: images end at `mmap:exit_mmap` alone. 0: with their last page too, where the kernel
    /// does not have that tracepoint, or may skip the program on it.
    pub ends_at_exit_mmap: u32,
    /// Number, in the kernel's BTF, of a struct that begins with 32 bits: with it the programs read
    /// shares of counters directly ([`RDONLY_CAST`](crate::RDONLY_CAST)). 0: with the helper.
    pub share_type: u32,
    /// How many of [`Config::cpus`] exist. Of those beyond, in benchmarks, something is read
    /// as if it were a share, and not counted.
    pub real_cpus: u32,
    /// A [`SegmentHooks`](crate::SegmentHooks).
    pub segments: u32,
    /// Index of the tree of which that process becomes the root.
    pub root_tree: u32,
    /// 1: this CPU may read in another order than the program, so fences keep the order in which a
    /// counter's parts are read; see [`reading`](crate::reading).
    pub fences: u32,
    /// 1: who waits stands in line with `bpf_spin_lock()`, which the kernel takes in these programs, and
    /// counters are per CPU; numbers change in [moments](crate::Tree::moment). 0: under
    /// [`Tree::lock`](crate::Tree::lock).
    pub spin_lock: u32,
    /// 1: processes are taken in that ran before tracing began.
    pub attached: u32,
    /// How many [`Branch`](crate::Branch)es the tree has; 0 if it has one root, and nobody asks for them.
    pub branches: u32,
    /// 1: what the scheduler says of processes that are gone is told ([`Freed`](crate::event::Freed)).
    pub cpu_times: u32,
    /// No meaning.
    pub reserved: u32,
    /// Width of the timeline's windows, [`Timeline::Windows`].
    pub window_ns: u64,
}

impl Config {
    /// What the object file holds until userspace overrides it: no layout, so that
    /// an unconfigured object accounts for nothing.
    pub const UNSET: Self = Self {
        layout: 0,
        scheme: SumScheme::AllCpus as u32,
        cpus: 0,
        page_shift: 12,
        root_name: [0; crate::COMM_LEN],
        classic_size: 24,
        timeline: Timeline::Off as u32,
        timeline_wake: 0,
        ends_at_exit_mmap: 0,
        share_type: 0,
        real_cpus: 0,
        segments: 0,
        root_tree: 0,
        fences: 0,
        spin_lock: 0,
        attached: 0,
        branches: 0,
        cpu_times: 0,
        reserved: 0,
        window_ns: 0,
    };
}

const _: () = assert!(size_of::<Offsets>() == 4 * Offsets::COUNT);
const _: () = assert!(size_of::<Config>() == 96);
// Compared in words.
const _: () = assert!(core::mem::offset_of!(Config, root_name).is_multiple_of(8));

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, only `u32` fields, hence no padding and any bytes are valid.
unsafe impl aya::Pod for Offsets {}
#[cfg(feature = "user")]
// SAFETY: `repr(C)`; the size asserted above is the sum of the fields, hence no padding.
unsafe impl aya::Pod for Config {}
