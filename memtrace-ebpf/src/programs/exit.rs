//! `sched:sched_process_exit`: once per thread, in its own context (`do_exit()`,
//! kernel/exit.c). Up to 6.15 after `exit_mm()`, since 6.16 before it; nothing here
//! depends on that, for memory ends with the image and not with the process.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use memtrace_ebpf::Stat;

use crate::{
    departure,
    kernel::{Struct as _, Typed, offset},
    log::debug,
    preempt::{further, undisturbed},
    state,
};

/// First argument: the exiting task.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let task = Typed::new(ctx.arg::<*const u8>(0));
        let tgid = state::current_tgid();
        let Some(process) = state::process(tgid) else {
            return;
        };
        // SAFETY: its entry.
        let left = unsafe { departure::exited(task, tgid, process) };
        debug!(&ctx, "a thread of process {} ends: {} are left", tgid, left);
    })
}

further!("sched_process_exit", EXIT_AGAIN, sched_process_exit_2 sched_process_exit_3 => |ctx| {
    is_left(ctx, state::is_exit_seen)
});
// A mark that the last one is skipped for stays until a thread with that id is created.
further!("sched_process_exit", in EXIT_AGAIN, sched_process_exit_4 => |ctx| {
    is_left(ctx, state::take_exit_seen)
});

/// Whether no program has seen this thread of a followed process end.
#[inline(always)]
fn is_left(ctx: &BtfTracePointContext, is_seen: impl FnOnce(u32) -> bool) -> bool {
    let task = Typed::new(ctx.arg::<*const u8>(0));
    let tid = task.load::<u32>(offset!(task_pid));
    let left = !is_seen(tid) && state::process(state::current_tgid()).is_some();
    if left {
        state::count(Stat::ProcessHealed);
    }
    left
}
