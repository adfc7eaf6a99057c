//! System calls that change mappings, with their arguments and results, and major page faults, on
//! request. Nothing else depends on them.

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::LruHashMap,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use memtrace_ebpf::{Call, CallKind, Image, event, rss};

use crate::{
    kernel::{Address, Struct as _, Typed, as_number, offset},
    preempt::undisturbed,
    state,
};

/// What a thread is in the middle of.
#[derive(Clone, Copy)]
#[repr(C)]
struct Pending {
    began_at: u64,
    address: u64,
    len: u64,
    argument: u64,
    flags: u64,
    rss: i64,
    /// A [`CallKind`], or 0.
    kind: u64,
    /// Its last page fault.
    fault_address: u64,
    fault_at: u64,
    fault_rss: i64,
    /// Major faults of the thread that have been told.
    told: u64,
    /// 1 once [`Pending::told`] is known.
    known: u64,
}

/// By tid. Userspace sets the size.
#[btf_map]
static PENDING_CALLS: LruHashMap<u32, Pending, 1> = LruHashMap::new();

#[inline(always)]
fn own() -> Option<*mut Pending> {
    const BPF_ANY: u64 = 0;
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(pending) = PENDING_CALLS.get_ptr_mut(tid) {
        return Some(pending);
    }
    let nothing = Pending {
        began_at: 0,
        address: 0,
        len: 0,
        argument: 0,
        flags: 0,
        rss: 0,
        kind: 0,
        fault_address: 0,
        fault_at: 0,
        fault_rss: 0,
        told: 0,
        known: 0,
    };
    let _ = PENDING_CALLS.insert(tid, nothing, BPF_ANY);
    PENDING_CALLS.get_ptr_mut(tid)
}

/// The current process's image and its RSS.
#[inline(always)]
fn image() -> Option<(*mut Image, i64)> {
    let mm = Typed::current().follow(offset!(task_mm));
    let image = state::image(mm.address())?;
    // SAFETY: a map value.
    let resident = unsafe { rss(&(*image).cur) };
    Some((image, resident))
}

/// `raw_syscalls:sys_enter(regs, id)`.
#[btf_tracepoint(function = "sys_enter")]
pub(crate) fn call_begin(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        if state::is_tracked(state::current_tgid()) {
            begin(&ctx);
        }
    })
}

/// Numbers of system calls on x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).
#[inline(always)]
const fn kind_of(id: u64) -> u64 {
    match id {
        9 => CallKind::Mmap as u64,
        10 => CallKind::Mprotect as u64,
        11 => CallKind::Munmap as u64,
        12 => CallKind::Brk as u64,
        25 => CallKind::Mremap as u64,
        28 => CallKind::Madvise as u64,
        _ => 0,
    }
}

#[inline(always)]
fn begin(ctx: &BtfTracePointContext) {
    /// `__USER_CS`: the call is one of 64 bits, and its number means what [`kind_of`] says.
    const USER_CS: u64 = 0x33;
    // SAFETY: the context has all arguments, each in eight bytes.
    let id = unsafe { ctx.as_ptr().cast::<u64>().add(1).read_volatile() };
    let kind = kind_of(id);
    let Some(pending) = own() else {
        return;
    };
    tell_fault(pending);
    // SAFETY: a map value that only its own thread changes.
    unsafe {
        (*pending).kind = 0;
        if kind == 0 {
            return;
        }
        let (Some(regs), Some((_, resident))) =
            (as_number(ctx.arg::<*const u8>(0) as u64), image())
        else {
            return;
        };
        let regs = Address::new(regs);
        if regs.load::<u64>(offset!(regs_cs)) & 0xffff != USER_CS {
            return;
        }
        (*pending).began_at = state::now();
        (*pending).address = regs.load(offset!(regs_first));
        (*pending).len = regs.load(offset!(regs_second));
        (*pending).argument = regs.load(offset!(regs_third));
        (*pending).flags = regs.load(offset!(regs_fourth));
        (*pending).rss = resident;
        (*pending).kind = kind;
        if kind == CallKind::Brk as u64 {
            let mm = Typed::current().follow(offset!(task_mm));
            (*pending).len = mm.load(offset!(mm_brk));
            (*pending).argument = 0;
            (*pending).flags = 0;
        }
    }
}

/// `raw_syscalls:sys_exit(regs, ret)`.
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn call_end(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        if !state::is_tracked(state::current_tgid()) {
            return;
        }
        let Some(pending) = own() else {
            return;
        };
        tell_fault(pending);
        // SAFETY: the context has all arguments, each in eight bytes; a map value that only its own
        // thread changes.
        unsafe {
            let kind = (*pending).kind;
            (*pending).kind = 0;
            let Some((image, resident)) = image().filter(|_| kind != 0) else {
                return;
            };
            let result = ctx.as_ptr().cast::<i64>().add(1).read_volatile();
            state::send_to_timeline(&Call {
                header: header(image, state::now()),
                image: (*image).id,
                began_at: (*pending).began_at,
                address: (*pending).address,
                len: (*pending).len,
                result,
                argument: (*pending).argument,
                flags: (*pending).flags,
                rss_before: (*pending).rss,
                rss_after: resident,
                tid: bpf_get_current_pid_tgid() as u32,
                kind: kind as u32,
            });
        }
    })
}

/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
unsafe fn header(image: *mut Image, at: u64) -> event::Header {
    event::Header {
        kind: event::CALL,
        // SAFETY: the caller vouches for the pointer.
        tree: unsafe { (*image).tree },
        at,
    }
}

/// `exceptions:page_fault_user(address, regs, error_code)`.
#[btf_tracepoint(function = "page_fault_user")]
pub(crate) fn call_user_fault(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| fault(ctx.arg::<u64>(0)))
}

/// The same of the kernel's own accesses.
#[btf_tracepoint(function = "page_fault_kernel")]
pub(crate) fn call_kernel_fault(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| fault(ctx.arg::<u64>(0)))
}

/// Whether it will be a major one is known when the thread is next seen.
#[inline(always)]
fn fault(address: u64) {
    if !state::is_tracked(state::current_tgid()) {
        return;
    }
    let (Some(pending), Some((_, resident))) = (own(), image()) else {
        return;
    };
    tell_fault(pending);
    // SAFETY: a map value that only its own thread changes.
    unsafe {
        (*pending).fault_address = address;
        (*pending).fault_at = state::now();
        (*pending).fault_rss = resident;
    }
}

/// Tells of the thread's last fault, if the kernel has counted another major one since
/// (`mm_account_fault()`, mm/memory.c).
#[inline(always)]
fn tell_fault(pending: *mut Pending) {
    // SAFETY: a map value that only its own thread changes.
    unsafe {
        let counted: u64 = Typed::current().load(offset!(task_maj_flt));
        let before = (*pending).told;
        let known = (*pending).known;
        (*pending).told = counted;
        (*pending).known = 1;
        if known == 0 || counted == before || (*pending).fault_at == 0 {
            return;
        }
        let Some((image, resident)) = image() else {
            return;
        };
        let began_at = (*pending).fault_at;
        (*pending).fault_at = 0;
        state::send_to_timeline(&Call {
            header: header(image, state::now()),
            image: (*image).id,
            began_at,
            address: (*pending).fault_address,
            len: 0,
            result: (counted - before) as i64,
            argument: 0,
            flags: 0,
            rss_before: (*pending).fault_rss,
            rss_after: resident,
            tid: bpf_get_current_pid_tgid() as u32,
            kind: CallKind::MajorFault as u32,
        });
    }
}
