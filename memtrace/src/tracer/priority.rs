//! Whoever reads the records goes first: when every CPU is busy with what is traced, a reader
//! that waits for its turn is how a buffer fills up.

use super::realtime;
use crate::kernel::cpus;
use rustix::process::{getpriority_process, setpriority_process};

/// A nice value; half of what root can have, so that others can still go before.
const NICE: i32 = -10;

/// A priority that was raised; it is put back when this is dropped.
#[derive(Debug)]
pub(super) struct Priority {
    before: Option<i32>,
}

impl Priority {
    /// Raises the priority of the calling thread (setpriority(2): on Linux it belongs to a
    /// thread). Call it when the command is already forked, and in the thread that reads.
    ///
    /// Not to be allowed to (`CAP_SYS_NICE`) is no failure: what is lost is counted.
    pub(super) fn raise() -> Self {
        let before = getpriority_process(None).ok().filter(|nice| *nice > NICE);
        Self {
            before: before.filter(|_| setpriority_process(None, NICE).is_ok()),
        }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(nice) = self.before {
            // Lowering a priority is always allowed.
            let _ = setpriority_process(None, nice);
        }
    }
}

/// As long as this lives, no thread of usual priority takes the CPU from the calling one.
///
/// Programs that the kernel runs for a tracepoint are not preempted before 7.0; one that it runs for somebody who
/// reads can be, and whoever waits for what that holds, on the same CPU and without being preempted, waits in
/// vain.
#[derive(Debug)]
pub(super) struct Undisturbed {
    before: Option<(i32, i32)>,
}

impl Undisturbed {
    /// Makes the calling thread one of the lowest priority in real time. Not to be allowed to (`CAP_SYS_NICE`)
    /// is no failure: who waits in vain gives up, and that is counted.
    ///
    /// Not on a kernel whose own threads have priorities in real time (`PREEMPT_RT`): those that give programs
    /// memory have this one, and could not run.
    pub(super) fn begin() -> Self {
        if cpus::is_realtime() {
            return Self { before: None };
        }
        Self {
            before: realtime::begin(),
        }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            realtime::end(before);
        }
    }
}
