//! The fields that the programs read: where, how wide, and what follows if one is missing.

use memtrace_ebpf::{MEMBERS, Offsets};

use super::Limit;
use crate::kernel::{
    Btf, KernelError,
    btf::{BtfError, Field, Shape},
};

/// What follows if a field does not exist.
#[derive(Clone, Copy)]
enum Need {
    /// Nothing can be counted.
    Required,
    /// Its number is not reported.
    Optional,
    /// Not a matter of numbers but of this.
    Limits(fn() -> Limit),
}

/// One field of [`Offsets`].
struct Wanted {
    /// Where its offset goes.
    place: fn(&mut Offsets) -> &mut u32,
    /// Its paths on different kernels; the first that exists is taken.
    paths: &'static [&'static str],
    /// How many bytes the programs read; the field must have exactly as many. 0: checked otherwise.
    size: u32,
    need: Need,
    /// What it is, or what is not reported without it.
    meaning: &'static str,
}

macro_rules! wanted {
    ($($place:ident: $need:expr, $size:literal, [$($path:literal),+], $meaning:literal;)*) => {
        &[$(Wanted {
            place: |offsets| &mut offsets.$place,
            paths: &[$($path),+],
            size: $size,
            need: $need,
            meaning: $meaning,
        },)*]
    };
}

const OWNER: Need = Need::Limits(|| Limit::NoOwner);

/// Sizes: `unsigned long` and pointers 8, `atomic_t`, `int` and `pid_t` 4, `atomic_long_t` and `u64` 8.
#[rustfmt::skip]
const WANTED: &[Wanted] = wanted! {
    mm_users: Need::Required, 4, ["mm_struct.mm_users"], "number of users of an address space";
    mm_owner: OWNER, 8, ["mm_struct.owner"], "process that owns an address space";
    mm_total_vm: Need::Optional, 8, ["mm_struct.total_vm"], "size of virtual memory";
    mm_hiwater_vm: Need::Optional, 8, ["mm_struct.hiwater_vm"], "exact peak of virtual memory";
    mm_hiwater_rss: Need::Optional, 8, ["mm_struct.hiwater_rss"], "the kernel's own VmHWM";
    mm_data_vm: Need::Optional, 8, ["mm_struct.data_vm"], "size of data mappings";
    mm_stack_vm: Need::Optional, 8, ["mm_struct.stack_vm"], "size of stacks";
    mm_exec_vm: Need::Optional, 8, ["mm_struct.exec_vm"], "size of executable mappings";
    mm_locked_vm: Need::Optional, 8, ["mm_struct.locked_vm"], "locked memory";
    mm_pinned_vm: Need::Optional, 8, ["mm_struct.pinned_vm"], "pinned memory";
    mm_pgtables_bytes: Need::Optional, 8, ["mm_struct.pgtables_bytes"], "size of page tables";
    mm_hugetlb_usage: Need::Optional, 8, ["mm_struct.hugetlb_usage"], "pages of hugetlbfs";
    mm_start_brk: Need::Optional, 8, ["mm_struct.start_brk"], "size of the heap";
    mm_brk: Need::Optional, 8, ["mm_struct.brk"], "size of the heap";
    mm_start_code: Need::Optional, 8, ["mm_struct.start_code"], "size of the program's text";
    mm_end_code: Need::Optional, 8, ["mm_struct.end_code"], "size of the program's text";
    mm_arg_start: Need::Optional, 8, ["mm_struct.arg_start"], "arguments of commands";
    mm_arg_end: Need::Optional, 8, ["mm_struct.arg_end"], "arguments of commands";
    task_mm: Need::Required, 8, ["task_struct.mm"], "address space of a task";
    task_pid: Need::Required, 4, ["task_struct.pid"], "number of a thread";
    task_tgid: Need::Required, 4, ["task_struct.tgid"], "number of a process";
    task_group_leader: Need::Required, 8, ["task_struct.group_leader"], "first thread of a process";
    task_real_parent: Need::Optional, 8, ["task_struct.real_parent"], "who created a process that ran before";
    task_signal: Need::Required, 8, ["task_struct.signal"], "state that the threads of a process share";
    task_start_boottime: Need::Required, 8, ["task_struct.start_boottime", "task_struct.real_start_time"],
        "when a process was created";
    task_comm: Need::Required, 16, ["task_struct.comm"], "name of a task";
    task_min_flt: Need::Optional, 8, ["task_struct.min_flt"], "minor faults, and with them the footprint's bounds";
    task_maj_flt: Need::Optional, 8, ["task_struct.maj_flt"], "major faults";
    task_utime: Need::Optional, 8, ["task_struct.utime"], "CPU time in user mode";
    task_stime: Need::Optional, 8, ["task_struct.stime"], "CPU time in kernel mode";
    task_runtime: Need::Optional, 8, ["task_struct.se.sum_exec_runtime"], "exact CPU time";
    task_exit_code: Need::Required, 4, ["task_struct.exit_code"], "exit status of a thread";
    task_thread_pid: Need::Optional, 8, ["task_struct.thread_pid"], "PIDs as seen inside of PID namespaces";
    signal_live: Need::Required, 4, ["signal_struct.live"], "number of threads that have not begun to exit";
    signal_nr_threads: Need::Optional, 4, ["signal_struct.nr_threads"], "number of threads";
    signal_utime: Need::Optional, 8, ["signal_struct.utime"], "CPU time in user mode";
    signal_stime: Need::Optional, 8, ["signal_struct.stime"], "CPU time in kernel mode";
    signal_runtime: Need::Optional, 8, ["signal_struct.sum_sched_runtime"], "exact CPU time";
    signal_min_flt: Need::Optional, 8, ["signal_struct.min_flt"], "minor faults, and with them the footprint's bounds";
    signal_maj_flt: Need::Optional, 8, ["signal_struct.maj_flt"], "major faults";
    signal_maxrss: Need::Optional, 8, ["signal_struct.maxrss"], "the kernel's own ru_maxrss";
    signal_flags: Need::Required, 4, ["signal_struct.flags"], "whether a process ends as a whole";
    signal_group_exit_code: Need::Required, 4, ["signal_struct.group_exit_code"], "exit status of a process";
    pid_level: Need::Optional, 4, ["pid.level"], "PIDs as seen inside of PID namespaces";
    upid_nr: Need::Optional, 4, ["upid.nr"], "PIDs as seen inside of PID namespaces";
    bprm_filename: Need::Optional, 8, ["linux_binprm.filename"], "paths of commands";
};

/// Finds everything but what depends on the layout of the counters.
pub(super) fn find(btf: &Btf, limits: &mut Vec<Limit>) -> Result<Offsets, KernelError> {
    let mut offsets = Offsets::UNKNOWN;
    for wanted in WANTED {
        match locate(btf, wanted)? {
            Some(offset) => *(wanted.place)(&mut offsets) = offset,
            None => limits.push(match wanted.need {
                Need::Limits(limit) => limit(),
                Need::Required | Need::Optional => Limit::NoField {
                    field: main_path(wanted),
                    meaning: wanted.meaning,
                },
            }),
        }
    }
    find_upids(btf, &mut offsets, limits)?;
    Ok(offsets)
}

/// The name by which messages call a field: that on recent kernels.
fn main_path(wanted: &Wanted) -> &'static str {
    wanted.paths.first().copied().unwrap_or_default()
}

/// The offset of a field; `None` if it may be missing and is, or has another size.
fn locate(btf: &Btf, wanted: &Wanted) -> Result<Option<u32>, KernelError> {
    let field = main_path(wanted);
    let meaning = wanted.meaning;
    let required = matches!(wanted.need, Need::Required);
    for path in wanted.paths {
        let found = match btf.field(path) {
            // As good as missing: the programs cannot read it.
            Err(BtfError::BitField { .. }) if !required => return Ok(None),
            found => found?,
        };
        let Some(found) = found else { continue };
        let size = btf.size_of(found.of)?;
        if size == wanted.size {
            return Ok(Some(found.offset));
        }
        if required {
            return Err(KernelError::FieldSize {
                field,
                meaning,
                found: size,
                expected: wanted.size,
            });
        }
        return Ok(None);
    }
    if required {
        Err(KernelError::MissingField { field, meaning })
    } else {
        Ok(None)
    }
}

/// `pid.numbers` has one `struct upid` per PID namespace: a flexible array, or one of
/// length 1 before it was declared as what it is.
fn find_upids(
    btf: &Btf,
    offsets: &mut Offsets,
    limits: &mut Vec<Limit>,
) -> Result<(), KernelError> {
    if let Some(Field { offset, of }) = btf.field("pid.numbers")?
        && let Shape::Array { element, .. } = btf.shape(of)?
        && btf.struct_name(element)? == Some("upid")
    {
        offsets.pid_numbers = offset;
        offsets.upid_stride = btf.size_of(element)?;
    } else {
        limits.push(Limit::NoField {
            field: "pid.numbers",
            meaning: "PIDs as seen inside of PID namespaces",
        });
    }
    Ok(())
}

/// Whether threads hold back changes of the counters, and where: `struct task_rss_stat
/// { int events; int count[NR_MM_COUNTERS]; }` (up to 6.1).
pub(super) fn find_task_caches(btf: &Btf, offsets: &mut Offsets) -> Result<bool, KernelError> {
    if btf.field("task_struct.rss_stat")?.is_none() {
        return Ok(false);
    }
    let field = "task_struct.rss_stat.count";
    let meaning = "changes of the counters that threads hold back";
    let Some(found) = btf.field(field)? else {
        return Err(KernelError::MissingField { field, meaning });
    };
    let expected = 4 * MEMBERS as u32;
    let size = btf.size_of(found.of)?;
    if size != expected {
        return Err(KernelError::FieldSize {
            field,
            meaning,
            found: size,
            expected,
        });
    }
    offsets.task_rss_count = found.offset;
    Ok(true)
}

/// What sums over CPUs need in addition: where a per-CPU array map keeps its addresses.
pub(super) fn find_per_cpu(btf: &Btf, offsets: &mut Offsets) -> Result<(), KernelError> {
    let field = "bpf_array.pptrs";
    let meaning = "addresses of per-CPU memory";
    let Some(found) = btf.field(field)? else {
        return Err(KernelError::MissingField { field, meaning });
    };
    // A flexible array of pointers; its elements are read, not itself.
    let Shape::Array { element, .. } = btf.shape(found.of)? else {
        return Err(KernelError::MissingField { field, meaning });
    };
    let size = btf.size_of(element)?;
    if size != 8 {
        return Err(KernelError::FieldSize {
            field,
            meaning,
            found: size,
            expected: 8,
        });
    }
    offsets.array_pptrs = found.offset;
    Ok(())
}
