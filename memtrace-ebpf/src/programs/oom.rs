//! `oom:mark_victim`. Its argument was a pid up to 6.6 and is the task since (the
//! change was also backported); userspace loads the program that fits.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use memtrace_ebpf::{
    ProcessFlags,
    event::{self, Oom},
};

use crate::{
    kernel::{Struct as _, Typed, offset},
    preempt::undisturbed,
    state,
};

/// First argument: the victim.
#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn mark_victim_task(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let task = Typed::new(ctx.arg::<*const u8>(0));
        // SAFETY: a field of the read-only data.
        mark(unsafe { task.load(offset!(task_tgid)) });
    })
}

/// First argument: the victim's pid.
#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn mark_victim_pid(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| mark(ctx.arg::<i32>(0) as u32))
}

#[inline(always)]
fn mark(tgid: u32) {
    let Some(process) = state::process(tgid) else {
        return;
    };
    // SAFETY: a map value; the flag is only ever set.
    let tree = unsafe {
        (*process).flags |= ProcessFlags::OOM_KILLED;
        (*process).tree
    };
    state::send(&Oom {
        header: event::Header {
            kind: event::OOM,
            tree,
            at: state::now(),
        },
        tgid,
        reserved: 0,
    });
}
