//! What a thread is doing to which mapping, until its next change of a counter.

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::bpf_get_current_pid_tgid,
    macros::btf_map,
};
use memtrace_ebpf::{Image, ImageState, Member, Segment};

use super::{find, is_new_stack, kind};
use crate::{
    kernel::{Address, Struct as _, Typed, offset},
    state,
};

/// What is known of a context's mapping.
mod known {
    /// Nothing.
    pub(super) const NOTHING: u32 = 0;
    /// Its segment.
    pub(super) const SEGMENT: u32 = 1;
    /// An address in it.
    pub(super) const ADDRESS: u32 = 2;
}

/// What can happen to a segment that is known.
pub(crate) mod how {
    /// Pages come and go.
    pub(crate) const ALL: u32 = 0;
    /// The thread takes pages from itself on purpose, or another program tells of those that it takes.
    pub(crate) const RECLAIMS: u32 = 1;
    /// Pages only go; those that come are of another mapping.
    pub(crate) const GOES: u32 = 2;
}

/// What one thread is doing.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Context {
    /// Address space that it is done to.
    mm: u64,
    /// [`known::ADDRESS`].
    address: u64,
    /// One of [`known`].
    known: u32,
    /// [`known::SEGMENT`].
    segment: u32,
    /// Faults of the thread that were done when this one began ([`known::ADDRESS`]): with another number it is over.
    faults: u64,
    /// 1: the thread writes, and a page of a file may give way to a copy.
    may_copy: u32,
    /// Of [`how`].
    how: u32,
    /// 1: it takes pages from somebody, maybe from itself.
    reclaims: u64,
    /// The address space for whose next program the thread has begun to copy arguments: they are
    /// charged to it (`acct_arg_size()`, fs/exec.c), and lie in none of its mappings.
    executing: u64,
}

/// By tid. Those of threads that have ended make room by themselves. Userspace sets the size.
#[btf_map]
static CONTEXTS: LruHashMap<u32, Context, 1> = LruHashMap::new();

/// Reclaim, which a fault of the same thread can be in the middle of: one per CPU, told by the task. One that is
/// moved to another CPU meanwhile is told by nothing.
#[derive(Clone, Copy)]
#[repr(C)]
struct Reclaim {
    task: u64,
    mm: u64,
    segment: u64,
}

#[btf_map]
static RECLAIMS: PerCpuArray<Reclaim, 1> = PerCpuArray::new();

#[inline(always)]
fn tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// This thread's context, made now if there is none.
#[inline(always)]
fn own() -> Option<*mut Context> {
    const BPF_ANY: u64 = 0;
    if let Some(context) = CONTEXTS.get_ptr_mut(tid()) {
        return Some(context);
    }
    let nothing = Context {
        mm: 0,
        address: 0,
        known: known::NOTHING,
        segment: 0,
        faults: 0,
        may_copy: 0,
        how: 0,
        reclaims: 0,
        executing: 0,
    };
    // Without room what follows is told by nothing, and counted as such.
    let _ = CONTEXTS.insert(tid(), nothing, BPF_ANY);
    CONTEXTS.get_ptr_mut(tid())
}

/// Whether changes of this address space are followed, or will be: its first one makes its image.
#[inline(always)]
fn is_followed(mm: u64) -> bool {
    state::image(mm).is_some() || state::is_tracked(state::current_tgid())
}

/// The thread is about to do something to the mapping at `vma`, from `address` to `end`. A function of its
/// own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn context_begin(vma: u64, address: u64, end: u64, fault: u64) -> u64 {
    let mm = Address::new(vma).follow(offset!(vma_mm));
    if !is_followed(mm.address()) {
        return 0;
    }
    let Some(context) = own() else {
        return 0;
    };
    let segment = kind::segment_of_part(vma, address, end);
    // SAFETY: a map value that only its own thread changes.
    unsafe {
        (*context).mm = mm.address();
        (*context).known = known::SEGMENT;
        (*context).how = how::RECLAIMS;
        (*context).segment = segment as u32;
        let own = Typed::current().follow(offset!(task_mm)).address();
        if fault != 0 {
            // A fault of its own: execve has failed, or is not at its arguments.
            (*context).executing = if own != mm.address() && is_being_built(mm.address()) {
                own
            } else {
                0
            };
        }
    }
    0
}

/// Whether an address space in which a thread has a page fault, and which is not its own, is that of the
/// program that it is about to execute: its image is so marked, or made by the change that this fault makes.
#[inline(always)]
fn is_being_built(mm: u64) -> bool {
    if let Some(image) = state::image(mm) {
        // SAFETY: a map value.
        return unsafe { (*image).state } == ImageState::Execing as u32;
    }
    // mm_init_owner() (kernel/fork.c) sets the owner before the first page.
    let owner = Address::new(mm).follow(offset!(mm_owner));
    owner.address() == Typed::current().address()
}

/// It is done.
#[inline(always)]
pub(crate) fn end() {
    if let Some(context) = CONTEXTS.get_ptr_mut(tid()) {
        // SAFETY: a map value that only its own thread changes.
        unsafe { (*context).known = known::NOTHING };
    }
}

/// Pages of the mapping at `vma`, of whatever process, are about to be taken from it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn reclaim_begin(vma: u64, address: u64) -> u64 {
    let mm = Address::new(vma).follow(offset!(vma_mm)).address();
    if state::image(mm).is_none() {
        return 0;
    }
    mark_reclaim(1);
    if let Some(reclaim) = RECLAIMS.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot. Another thread on the same CPU that comes between is told by its
        // task.
        unsafe {
            (*reclaim).task = Typed::current().address();
            (*reclaim).mm = mm;
            (*reclaim).segment = kind::segment_of(vma, address);
        }
    }
    0
}

/// Notes in the thread's context, if it has one, that what it does now is another thing: should it be
/// moved to another CPU before the counter changes, nothing is told by the fault that it is in the middle of.
#[inline(always)]
fn mark_reclaim(reclaims: u64) {
    if let Some(context) = CONTEXTS.get_ptr_mut(tid()) {
        // SAFETY: a map value that only its own thread changes.
        unsafe { (*context).reclaims = reclaims };
    }
}

/// They are.
#[inline(always)]
pub(crate) fn reclaim_end() {
    mark_reclaim(0);
    if let Some(reclaim) = RECLAIMS.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe { (*reclaim).task = 0 };
    }
}

/// Faults of the current thread that are done: `mm_account_fault()` (mm/memory.c) counts each at its end.
#[inline(always)]
fn faults() -> u64 {
    let task = Typed::current();
    task.load::<u64>(offset!(task_min_flt)) + task.load::<u64>(offset!(task_maj_flt))
}

/// The current process has a page fault at `address`; the mapping may only be made by it (a stack
/// that grows), so it is looked up when a counter changes.
#[inline(always)]
pub(crate) fn fault(address: u64, error: u64) {
    /// `X86_PF_WRITE` (`arch/x86/include/asm/trap_pf.h`).
    const WRITE: u64 = 2;
    if !state::is_tracked(state::current_tgid()) {
        return;
    }
    let Some(context) = own() else {
        return;
    };
    // SAFETY: a map value that only its own thread changes.
    unsafe {
        (*context).mm = Typed::current().follow(offset!(task_mm)).address();
        (*context).known = known::ADDRESS;
        (*context).how = how::ALL;
        (*context).address = address;
        (*context).faults = faults();
        (*context).may_copy = u32::from(error & WRITE != 0);
    }
}

/// The current process is about to do something to `len` bytes from `address`; a mapping that goes cannot
/// be looked up later.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn context_range(address: u64, len: u64, how: u64) -> u64 {
    let mm = Typed::current().follow(offset!(task_mm)).address();
    context_known(mm, find::segment_of_range(mm, address, len), how)
}

/// The current process is about to do something to this segment, if it is one.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn context_known(mm: u64, segment: u64, how: u64) -> u64 {
    if let Some(context) = own() {
        // SAFETY: a map value that only its own thread changes.
        unsafe {
            (*context).mm = mm;
            (*context).segment = segment as u32;
            (*context).how = how as u32;
            (*context).known = if segment < Segment::Unknown as u64 {
                known::SEGMENT
            } else {
                known::NOTHING
            };
        }
    }
    0
}

/// The current process is about to execute another program.
#[inline(always)]
pub(crate) fn execute() {
    if let Some(context) = own() {
        // SAFETY: a map value that only its own thread changes.
        unsafe {
            (*context).known = known::NOTHING;
            (*context).executing = Typed::current().follow(offset!(task_mm)).address();
        }
    }
}

/// The current thread has executed another program, or has not: the address space for which it
/// copied arguments can be gone, and another one at the same address.
#[inline(always)]
pub(crate) fn executed() {
    if let Some(context) = CONTEXTS.get_ptr_mut(tid()) {
        // SAFETY: a map value that only its own thread changes.
        unsafe {
            (*context).known = known::NOTHING;
            (*context).executing = 0;
        }
    }
}

/// Whether the thread copies arguments for the next program of this address space's process.
#[inline(always)]
pub(super) fn is_executing(mm: u64) -> bool {
    CONTEXTS.get_ptr_mut(tid()).is_some_and(|context| {
        // SAFETY: a map value that only its own thread changes.
        unsafe { (*context).executing == mm }
    })
}

/// The segment of a change of `member` of the image of `mm` by `delta`, made by the current thread.
#[inline(always)]
pub(super) fn segment(mm: u64, image: *mut Image, member: u32, delta: i64) -> u32 {
    if member == Member::Shmem as u32 {
        return Segment::Shmem as u32;
    }
    let context = CONTEXTS.get_ptr_mut(tid());
    // SAFETY: a map value that only its own thread changes.
    let reclaims = context.is_none_or(|context| unsafe { (*context).reclaims } != 0);
    if reclaims && let Some(reclaim) = RECLAIMS.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe {
            if (*reclaim).mm == mm && (*reclaim).task == Typed::current().address() {
                return (*reclaim).segment as u32;
            }
        }
    }
    if let Some(context) = context {
        // SAFETY: a map value that only its own thread changes.
        unsafe {
            if (*context).reclaims != 0 {
                return Segment::Unknown as u32;
            }
            let how = (*context).how;
            // A thread that waits for memory may have to take its own, of any mapping.
            if how != how::RECLAIMS && is_reclaiming() {
                return Segment::Unknown as u32;
            }
            if (*context).mm == mm && (*context).known == known::SEGMENT {
                let comes = if member == Member::Swap as u32 {
                    delta < 0
                } else {
                    delta > 0
                };
                return if how == how::GOES && comes {
                    Segment::Unknown as u32
                } else {
                    (*context).segment
                };
            }
            if (*context).mm == mm
                && (*context).known == known::ADDRESS
                && is_of_fault(context, member, delta)
            {
                return find::segment_at(mm, (*context).address) as u32;
            }
        }
    }
    if is_new_stack(mm, image) {
        return Segment::Stack as u32;
    }
    Segment::Unknown as u32
}

/// Whether the current thread takes pages to have some itself (direct reclaim, also of a memory cgroup).
#[inline(always)]
fn is_reclaiming() -> bool {
    /// `PF_MEMALLOC` (include/linux/sched.h).
    const MEMALLOC: u32 = 0x800;
    Typed::current().load::<u32>(offset!(task_flags)) & MEMALLOC != 0
}

/// Whether a change can be one of the fault that the thread is in the middle of. The fault brings pages, takes
/// them out of swap, and a write can copy one page of a file; all else is what it reclaims meanwhile.
///
/// # Safety
///
/// `context` must point at a map value.
#[inline(always)]
unsafe fn is_of_fault(context: *mut Context, member: u32, delta: i64) -> bool {
    // SAFETY: the caller vouches for the pointer; only its own thread changes it.
    unsafe {
        if (*context).faults != faults() {
            return false;
        }
        if member == Member::File as u32 && delta < 0 {
            let may_copy = (*context).may_copy != 0 && delta == -1;
            (*context).may_copy = 0;
            return may_copy;
        }
        if member == Member::Swap as u32 {
            delta < 0
        } else {
            delta > 0
        }
    }
}
