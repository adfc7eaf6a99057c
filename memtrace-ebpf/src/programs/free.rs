//! `sched:sched_process_free`: once per thread that ended, when nobody needs its `task_struct` any more and a grace
//! period of RCU has passed since (`delayed_put_task_struct()`, kernel/exit.c), in whatever context that is.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use memtrace_ebpf::event::{self, Freed};

use crate::{
    kernel::{Struct as _, Typed, offset},
    ring, state,
};

/// Argument: the task.
///
/// Neither guarded nor told to stop: it takes no lock, for it can interrupt who holds one; what it is skipped for is
/// known less well, but not wrong; and it tells of processes that ended while tracing went on, also later than that.
#[btf_tracepoint(function = "sched_process_free")]
pub(crate) fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    freed(Typed::new(ctx.arg::<*const u8>(0)));
    0
}

/// The kernel lets go of `task`, which cannot run any more. Up to here it could: after the end was told, and even after
/// wait4(2) had returned in another thread, it was still on its way off the CPU, and the scheduler adds up what a thread
/// ran when it leaves the CPU, or at a clock tick (`update_curr()`, kernel/sched/fair.c).
#[inline(always)]
fn freed(task: Typed) {
    let pid: u32 = task.load(offset!(task_pid));
    if pid != task.load(offset!(task_tgid)) {
        return;
    }
    // The last of its tasks gives it back, after this (`__put_task_struct()`, kernel/fork.c).
    let signal = task.follow(offset!(task_signal));
    let Some(ended) = state::take_ended(signal.address()) else {
        return;
    };
    // As far as the kernel knew when each thread left the group, this one last (`__exit_signal()`, kernel/exit.c).
    let of_all: u64 = signal.load(offset!(signal_runtime));
    let own: u64 = task.load(offset!(task_runtime));
    ring::send_freed(&Freed {
        header: event::Header {
            kind: event::FREED,
            tree: ended.tree,
            at: state::now(),
        },
        process: ended.process,
        // Of a process of one thread that is what its thread ran to the last.
        runtime: if own > of_all { own } else { of_all },
        utime: signal.load(offset!(signal_utime)),
        stime: signal.load(offset!(signal_stime)),
    });
}
