//! Scheduling in real time; one of the few places that need `unsafe`, for no crate that we use has these calls.

/// Gives the calling thread the lowest priority in real time; policy and priority that it had before, `None` if
/// it is not allowed to, or has one already.
pub(super) fn begin() -> Option<(i32, i32)> {
    // SAFETY: numbers, and a pointer to a live struct of the right type.
    unsafe {
        let policy = libc::sched_getscheduler(0);
        if !matches!(
            policy,
            libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE
        ) {
            return None;
        }
        let lowest = libc::sched_get_priority_min(libc::SCHED_FIFO);
        set(libc::SCHED_FIFO, lowest).then_some((policy, 0))
    }
}

/// Puts it back.
pub(super) fn end((policy, priority): (i32, i32)) {
    // Less is always allowed.
    let _ = set(policy, priority);
}

fn set(policy: i32, priority: i32) -> bool {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: a pointer to a live struct of the right type.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}
