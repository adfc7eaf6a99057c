//! `oom:mark_victim`. Its argument was a pid up to 6.6 and is the task since (the
//! change was also backported); userspace loads the program that fits.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use memtrace_ebpf::event::{self, Oom};

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
        mark(task.load(offset!(task_tgid)));
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
    // SAFETY: a map value.
    let index = unsafe { (*process).tree };
    let Some(tree) = state::tree(index) else {
        return;
    };
    let held = state::lock(tree);
    // Again, for it could have ended meanwhile; while the lock is held its entry stays its own.
    let mut id = 0;
    if let Some(process) = state::process(tgid) {
        // SAFETY: a map value.
        unsafe {
            (*process).oom_killed = 1;
            id = (*process).id;
        }
    }
    state::unlock(tree, held);
    if id == 0 {
        return;
    }
    state::send(&Oom {
        header: event::Header {
            kind: event::OOM,
            tree: index,
            at: state::now(),
        },
        process: id,
        tgid,
        reserved: 0,
    });
}
