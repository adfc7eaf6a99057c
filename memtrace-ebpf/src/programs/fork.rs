//! `task:task_newtask` and `sched:sched_process_fork`. Both run in the creator's
//! context before the child's first instruction (`copy_process()` and
//! `kernel_clone()`, kernel/fork.c). The first also sees `io_uring` workers; the second
//! is a twin, in case the kernel skipped the first.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{
    creation,
    kernel::Typed,
    log::debug,
    preempt::{further, undisturbed},
    segments, state,
};

/// Arguments: the new task, clone flags.
#[btf_tracepoint(function = "task_newtask")]
pub(crate) fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        segments::lent(ctx.arg::<u64>(1));
        if let Some(tgid) = creation::process_created(Typed::new(ctx.arg::<*const u8>(0)), true) {
            debug!(&ctx, "process {} creates {}", state::current_tgid(), tgid);
        }
    })
}

/// Arguments: parent, child.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| forked(&ctx))
}

// What is known already is left as it is.
further!("sched_process_fork", FORK_AGAIN, sched_process_fork_2 sched_process_fork_3 => |_| {
    state::is_tracked(state::current_tgid())
});

#[inline(always)]
fn forked(ctx: &BtfTracePointContext) {
    if let Some(tgid) = creation::process_created(Typed::new(ctx.arg::<*const u8>(1)), false) {
        debug!(
            ctx,
            "process {} creates {}, not seen by the first hook",
            state::current_tgid(),
            tgid
        );
    }
}
