//! What is less exact or missing on a kernel.

use std::fmt;

/// What is less exact or missing on this kernel, though memtrace works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// The counters are stored in a way unknown to us.
    UnknownCounters {
        /// What was found in their place.
        found: String,
    },
    /// `mm_struct.owner` does not exist (`CONFIG_MEMCG` is off).
    NoOwner,
    /// `task:task_newtask` does not exist.
    NoNewtask,
    /// `sched:sched_process_fork` does not exist.
    NoProcessFork,
    /// `mmap:exit_mmap` does not exist (kernels up to 5.15).
    NoExitMmap,
    /// `oom:mark_victim` does not exist or has unknown parameters.
    NoOomEvent,
    /// A number cannot be given, because its field does not exist.
    NoField {
        /// The field's path.
        field: &'static str,
        /// What is not reported therefore.
        meaning: &'static str,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCounters { found } => write!(
                f,
                "the kernel stores its RSS counters in an unknown way ({found}); values are taken from the tracepoint's own computation, which costs more"
            ),
            Self::NoOwner => f.write_str(
                "the kernel does not record who owns an address space (CONFIG_MEMCG is off); memory counts in its tree from the completion of fork or exec on",
            ),
            Self::NoNewtask => f.write_str(
                "tracepoint task:task_newtask does not exist; workers that the kernel starts for a process (io_uring) are not seen",
            ),
            Self::NoProcessFork => f.write_str(
                "tracepoint sched:sched_process_fork does not exist; a process is missed if the kernel skips the program on task:task_newtask",
            ),
            Self::NoExitMmap => f.write_str(
                "tracepoint mmap:exit_mmap does not exist; an address space ends when its counters reach zero after its last user has left",
            ),
            Self::NoOomEvent => f.write_str(
                "tracepoint oom:mark_victim does not exist or is unknown; a kill by the OOM killer looks like any other SIGKILL",
            ),
            Self::NoField { field, meaning } => {
                write!(f, "the kernel has no {field} as memtrace knows it; not reported: {meaning}")
            }
        }
    }
}
