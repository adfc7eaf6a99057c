//! Whoever reads the records goes first: when every CPU is busy with what is traced, a reader
//! that waits for its turn is how a buffer fills up.

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
