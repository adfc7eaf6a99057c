//! Threads and processes that end.

use memtrace_ebpf::{
    Process, ProcessFlags,
    event::{self, Exit},
};

use crate::{
    atomic, counters, ends, family,
    kernel::{Struct, Typed, config, offset},
    state,
};

/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h).
const SIGNAL_GROUP_EXIT: u32 = 4;

/// The current thread ends: `task`, of the process `tgid`. Returns how many of its
/// threads have not begun to.
///
/// # Safety
///
/// `process` must point at the entry of `tgid`.
#[inline(always)]
pub(crate) unsafe fn exited(task: Typed, tgid: u32, process: *mut Process) -> i32 {
    // SAFETY: `process` as the caller vouches, and what `tree` gives is a
    // map value.
    unsafe {
        let tid = task.load::<u32>(offset!(task_pid));
        state::set_exit_seen(tid);
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
        let left = signal.load::<i32>(offset!(signal_live));
        if left == 0 {
            process_exited(task, tgid, (*process).id);
        }
        // From here on another thread can remove the entry: nothing may be written to it. What is read
        // of another one's tells at worst to remove what is not there.
        atomic::add(&raw mut (*process).exits, 1);
        if (*process).exited != 0 && (*process).exits >= (*process).threads {
            state::remove_process_locked(tgid.into());
        }
        left
    }
}

/// The status that wait(2) will give for the process of `task`: `wait_task_zombie()` (kernel/exit.c)
/// reports the group's code, or else the leader's.
#[inline(always)]
fn wait_status(task: impl Struct) -> u32 {
    let signal = task.follow(offset!(task_signal));
    let flags: u32 = signal.load(offset!(signal_flags));
    if flags & SIGNAL_GROUP_EXIT != 0 {
        signal.load(offset!(signal_group_exit_code))
    } else {
        task.follow(offset!(task_group_leader))
            .load(offset!(task_exit_code))
    }
}

/// The last thread of the process `id`, `tgid`, ends, or one of two that both find nobody else alive; `task` is one of
/// them.
#[inline(always)]
pub(crate) fn process_exited(task: impl Struct, tgid: u32, id: u64) {
    let Some(process) = state::process(tgid) else {
        return;
    };
    // SAFETY: map values.
    unsafe {
        let Some(tree) = state::tree((*process).tree) else {
            return;
        };
        let mm: u64 = task.follow(offset!(task_mm)).address();
        if mm != 0
            && let Some(image) = state::image(mm)
        {
            ends::note_hiwater(task.follow(offset!(task_mm)), image);
        }
        let signal = task.follow(offset!(task_signal));
        // Entries are removed under it, and this one's can be another's by now.
        let held = state::lock(tree);
        let at = state::now();
        if (*process).id == id {
            let again = (*process).exited;
            (*process).exited = 1;
            if again == 0 {
                family::family_user_leaves((*process).mm, (*process).image, at);
                state::set_tracked(tgid, false);
                atomic::add((&raw mut (*tree).live).cast(), 1_u64.wrapping_neg());
            }
            // Without a branch, so that the verifier does not follow two ways.
            let oom_killed = (*process).oom_killed as u32 * ProcessFlags::OOM_KILLED;
            state::send(&Exit {
                header: event::Header {
                    kind: event::EXIT,
                    tree: (*process).tree,
                    at,
                },
                process: id,
                tgid,
                wait_status: wait_status(task),
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
            if config!(cpu_times) != 0 {
                state::note_ended(signal.address(), id, (*process).tree);
            }
        }
        state::unlock(tree, held);
    }
}
