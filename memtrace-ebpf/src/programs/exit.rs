//! `sched:sched_process_exit`: once per thread, in its own context (`do_exit()`,
//! kernel/exit.c). Up to 6.15 after `exit_mm()`, since 6.16 before it; nothing here
//! depends on that, for memory ends with the image and not with the process.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use memtrace_ebpf::{
    Process, ProcessFlags, Stat,
    event::{self, Exit},
};

use crate::{
    atomic, counters, family,
    kernel::{Struct as _, Typed, offset},
    life,
    preempt::{further, undisturbed},
    state,
};

/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h).
const SIGNAL_GROUP_EXIT: u32 = 4;

/// First argument: the exiting task.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| exited(&ctx))
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
    // SAFETY: a field of the read-only data.
    let tid = unsafe { task.load::<u32>(offset!(task_pid)) };
    let left = !is_seen(tid) && state::process(state::current_tgid()).is_some();
    if left {
        state::count(Stat::ProcessHealed);
    }
    left
}

#[inline(always)]
fn exited(ctx: &BtfTracePointContext) {
    let task = Typed::new(ctx.arg::<*const u8>(0));
    let tgid = state::current_tgid();
    let Some(process) = state::process(tgid) else {
        return;
    };
    // SAFETY: a field of the read-only data.
    let tid = unsafe { task.load::<u32>(offset!(task_pid)) };
    state::set_exit_seen(tid);
    // SAFETY: fields of the read-only data; `process` and what `tree` gives are map values.
    unsafe {
        atomic::add(&raw mut (*process).utime, task.load(offset!(task_utime)));
        atomic::add(&raw mut (*process).stime, task.load(offset!(task_stime)));
        atomic::add(
            &raw mut (*process).min_flt,
            task.load(offset!(task_min_flt)),
        );
        atomic::add(
            &raw mut (*process).maj_flt,
            task.load(offset!(task_maj_flt)),
        );
        if counters::threads_have_caches() {
            if let Some(tree) = state::tree((*process).tree) {
                let held = state::lock(tree);
                (*tree).threads -= 1;
                state::unlock(tree, held);
            }
            // After exit_mm(), which has flushed it, on every kernel that has caches.
            state::remove_cache(tid);
        }
        let signal = task.follow(offset!(task_signal));
        if signal.load::<i32>(offset!(signal_live)) == 0 {
            process_exited(ctx, tgid, process);
        }
        // From here on another thread can remove the entry: nothing may be written to it. What is read
        // of another one's tells at worst to remove what is not there.
        atomic::add(&raw mut (*process).exits, 1);
        if (*process).exited != 0 && (*process).exits >= (*process).threads {
            state::remove_process_locked(tgid.into());
        }
    }
}

/// The last thread of the process ends, or one of two that both find nobody else alive.
///
/// # Safety
///
/// `process` must point at the entry of the current process.
#[inline(always)]
unsafe fn process_exited(ctx: &BtfTracePointContext, tgid: u32, process: *mut Process) {
    let task = Typed::new(ctx.arg::<*const u8>(0));
    // SAFETY: as the caller vouches; fields of the read-only data; what `tree` gives is a map value.
    unsafe {
        let signal = task.follow(offset!(task_signal));
        let Some(tree) = state::tree((*process).tree) else {
            return;
        };
        let held = state::lock(tree);
        family::family_user_leaves((*process).mm, state::now());
        let again = (*process).exited;
        (*process).exited = 1;
        state::unlock(tree, held);
        let mm: u64 = task.follow(offset!(task_mm)).address();
        if mm != 0
            && let Some(image) = state::image(mm)
        {
            life::note_hiwater(task.follow(offset!(task_mm)), image);
        }
        // Without a branch, so that the verifier does not follow two ways.
        let oom_killed = (*process).oom_killed as u32 * ProcessFlags::OOM_KILLED;
        // wait_task_zombie() reports the group's code, or else the leader's.
        let flags: u32 = signal.load(offset!(signal_flags));
        let wait_status: u32 = if flags & SIGNAL_GROUP_EXIT != 0 {
            signal.load(offset!(signal_group_exit_code))
        } else {
            task.follow(offset!(task_group_leader))
                .load(offset!(task_exit_code))
        };
        debug!(
            ctx,
            "process {} ends with wait status {}", tgid, wait_status
        );
        state::send(&Exit {
            header: event::Header {
                kind: event::EXIT,
                tree: (*process).tree,
                at: state::now(),
            },
            process: (*process).id,
            tgid,
            wait_status,
            again: again as u32,
            flags: (*process).flags | oom_killed,
            utime: (*process).utime,
            stime: (*process).stime,
            min_flt: (*process).min_flt,
            maj_flt: (*process).maj_flt,
            maxrss: signal.load(offset!(signal_maxrss)),
            threads: (*process).threads as u32,
            reserved: 0,
        });
        if again == 0 {
            state::set_tracked(tgid, false);
            atomic::add((&raw mut (*tree).live).cast(), 1_u64.wrapping_neg());
        }
    }
}
