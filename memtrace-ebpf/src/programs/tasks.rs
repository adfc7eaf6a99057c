//! `iter/task`: goes through all threads of the machine when userspace reads, to take in processes that ran
//! before tracing began.

use crate::{adoption, kernel::Typed, preempt::undisturbed};
#[cfg(not(feature = "lean"))]
use crate::{
    caches, counters,
    kernel::{Struct as _, as_number},
};

/// `struct bpf_iter__task` (`kernel/bpf/task_iter.c`).
#[repr(C)]
pub(crate) struct Context {
    meta: *const u8,
    task: *const u8,
}

/// The thread that such a program is called for; none in the end.
#[inline(always)]
pub(crate) fn task(context: *const Context) -> Option<Typed> {
    // SAFETY: the context of these programs; volatile, so that the verifier sees the one load that it knows.
    let task = unsafe { core::ptr::read_volatile(&raw const (*context).task) };
    (!task.is_null()).then(|| Typed::new(task))
}

/// Called for each thread in the PID namespace of who reads, in the reader's context, and in the end without
/// one. What it has taken in is counted (`Control::attached`): as long as that changes, there can be more.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn attach(context: *const Context) -> i32 {
    let Some(task) = task(context) else {
        return 0;
    };
    undisturbed(|| {
        adoption::came_across(task);
        #[cfg(not(feature = "lean"))]
        if counters::threads_have_caches()
            && let Some(number) = as_number(task.address())
        {
            caches::attach_cache(number);
        }
    })
}
