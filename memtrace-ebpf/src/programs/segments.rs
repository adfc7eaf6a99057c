//! What tells of the mapping that the next changes of counters are about: the kernel's own
//! functions where programs can be attached to them, else page faults and system calls.

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, fentry, fexit},
    programs::{BtfTracePointContext, FEntryContext, FExitContext},
};

use crate::{
    kernel::{Address, Struct as _, Typed, as_number, offset},
    preempt::undisturbed,
    programs::tasks,
    segments::{
        self, before,
        context::{self, how},
        find,
    },
    state,
};

/// `handle_mm_fault(vma, address, ...)`: a page fault, also one that the kernel makes by itself
/// (`get_user_pages()`).
#[fentry(function = "handle_mm_fault")]
pub(crate) fn segment_fault(ctx: FEntryContext) -> i32 {
    let address = ctx.arg::<u64>(1);
    begin(ctx.arg::<*const u8>(0) as u64, address, address, true)
}

/// `unmap_page_range(tlb, vma, addr, end, ...)`, or `__zap_vma_range()` since 7.3.
#[fentry(function = "unmap_page_range")]
pub(crate) fn segment_zap(ctx: FEntryContext) -> i32 {
    let (address, end) = (ctx.arg::<u64>(2), ctx.arg::<u64>(3));
    begin(ctx.arg::<*const u8>(1) as u64, address, end, false)
}

/// `copy_page_range(dst_vma, src_vma)`, at fork.
#[fentry(function = "copy_page_range")]
pub(crate) fn segment_copy(ctx: FEntryContext) -> i32 {
    let vma = Typed::new(ctx.arg::<*const u8>(0));
    let (start, end): (u64, u64) = (vma.load(offset!(vma_start)), vma.load(offset!(vma_end)));
    begin(vma.address(), start, end, false)
}

#[inline(always)]
fn begin(vma: u64, address: u64, end: u64, fault: bool) -> i32 {
    if let Some(vma) = as_number(vma) {
        context::context_begin(vma, address, end, fault.into());
    }
    0
}

/// Their ends.
#[fexit(function = "handle_mm_fault")]
pub(crate) fn segment_fault_done(ctx: FExitContext) -> i32 {
    end(&ctx)
}

/// See [`segment_fault_done`].
#[fexit(function = "unmap_page_range")]
pub(crate) fn segment_zap_done(ctx: FExitContext) -> i32 {
    end(&ctx)
}

/// See [`segment_fault_done`].
#[fexit(function = "copy_page_range")]
pub(crate) fn segment_copy_done(ctx: FExitContext) -> i32 {
    end(&ctx)
}

#[inline(always)]
fn end(_: &FExitContext) -> i32 {
    context::end();
    0
}

/// `try_to_unmap_one(folio, vma, address, arg)`: reclaim.
#[fentry(function = "try_to_unmap_one")]
pub(crate) fn segment_reclaim(ctx: FEntryContext) -> i32 {
    if let Some(vma) = as_number(ctx.arg::<*const u8>(1) as u64) {
        context::reclaim_begin(vma, ctx.arg::<u64>(2));
    }
    0
}

/// Its end.
#[fexit(function = "try_to_unmap_one")]
pub(crate) fn segment_reclaim_done(ctx: FExitContext) -> i32 {
    let _ = ctx;
    context::reclaim_end();
    0
}

/// `exceptions:page_fault_user(address, regs, error_code)`.
#[btf_tracepoint(function = "page_fault_user")]
pub(crate) fn segment_user_fault(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| context::fault(ctx.arg::<u64>(0), ctx.arg::<u64>(2)))
}

/// The same of the kernel's own accesses.
#[btf_tracepoint(function = "page_fault_kernel")]
pub(crate) fn segment_kernel_fault(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| context::fault(ctx.arg::<u64>(0), ctx.arg::<u64>(2)))
}

/// Numbers of system calls on x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).
mod number {
    pub(super) const MMAP: u64 = 9;
    pub(super) const MPROTECT: u64 = 10;
    pub(super) const MUNMAP: u64 = 11;
    pub(super) const BRK: u64 = 12;
    pub(super) const MREMAP: u64 = 25;
    pub(super) const MADVISE: u64 = 28;
    pub(super) const EXECVE: u64 = 59;
    pub(super) const MLOCK: u64 = 149;
    pub(super) const EXECVEAT: u64 = 322;
    pub(super) const MLOCK2: u64 = 325;
    pub(super) const PKEY_MPROTECT: u64 = 329;
}

/// `__USER_CS`: the call is one of 64 bits, and its number means what [`number`] says.
const USER_CS: u64 = 0x33;

/// `raw_syscalls:sys_enter(regs, id)`. Whatever was known before is over.
#[btf_tracepoint(function = "sys_enter")]
pub(crate) fn segment_syscall(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        if state::is_tracked(state::current_tgid()) {
            call(&ctx);
        }
    })
}

#[inline(always)]
fn call(ctx: &BtfTracePointContext) {
    const MAP_FIXED: u64 = 0x10;
    const MAP_ANONYMOUS: u64 = 0x20;
    const MREMAP_FIXED: u64 = 2;
    const PROT_WRITE: u64 = 2;
    const MADV_PAGEOUT: u64 = 21;
    use memtrace_ebpf::Segment;

    context::executed();
    let Some(regs) = as_number(ctx.arg::<*const u8>(0) as u64) else {
        return;
    };
    // SAFETY: the context has all arguments, each in eight bytes.
    let id = unsafe { ctx.as_ptr().cast::<u64>().add(1).read_volatile() };
    let regs = Address::new(regs);
    if regs.load::<u64>(offset!(regs_cs)) & 0xffff != USER_CS {
        return;
    }
    let mm = Typed::current().follow(offset!(task_mm)).address();
    let first: u64 = regs.load(offset!(regs_first));
    let second: u64 = regs.load(offset!(regs_second));
    let third: u64 = regs.load(offset!(regs_third));
    let fourth: u64 = regs.load(offset!(regs_fourth));
    match id {
        number::MUNMAP | number::MLOCK | number::MLOCK2 => {
            context::context_range(first, second, how::ALL.into());
        }
        number::MADVISE => {
            let how = if third == MADV_PAGEOUT {
                how::RECLAIMS
            } else {
                how::ALL
            };
            context::context_range(first, second, how.into());
        }
        number::BRK => {
            context::context_known(mm, Segment::Heap as u64, how::ALL.into());
        }
        // What a mapping takes the place of. Where a new one is populated at once its address is not
        // known yet, but that without a file it is anonymous is.
        number::MMAP if fourth & MAP_FIXED != 0 => {
            context::context_range(first, second, how::GOES.into());
        }
        number::MMAP if fourth & MAP_ANONYMOUS != 0 => {
            context::context_known(mm, Segment::Anon as u64, how::ALL.into());
        }
        number::MREMAP => {
            // Heap that moves is heap no more.
            if find::segment_of_range(mm, first, second) < Segment::Anon as u64 {
                segments::segments_moved(mm, second);
            }
            if fourth & MREMAP_FIXED == 0 {
                context::context_range(first, second, how::GOES.into());
            }
        }
        // Text that is made writable is data from then on.
        number::MPROTECT | number::PKEY_MPROTECT
            if third & PROT_WRITE != 0
                && find::segment_of_range(mm, first, second) == Segment::Text as u64 =>
        {
            segments::segments_moved(mm, second);
        }
        number::EXECVE | number::EXECVEAT => context::execute(),
        _ => {}
    }
}

/// `iter/task`: called for each thread in the PID namespace of who reads, in the reader's context. Those of images of
/// which userspace has found out what they had before tracing get that.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn base_segments(context: *const tasks::Context) -> i32 {
    let Some(task) = tasks::task(context) else {
        return 0;
    };
    undisturbed(|| {
        before::segments_based(task.follow(offset!(task_mm)).address());
    })
}
