//! What the screen is told: one look at everything that is followed.

use crate::units::{grouped, human};

/// What is known at one moment. Amounts are bytes, times nanoseconds since tracing began.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// When this is. Never before the look that was taken last.
    pub at_ns: u64,
    /// Resident memory of everything followed, exact.
    pub rss: u64,
    /// The largest that it was so far, also between looks.
    pub peak_rss: u64,
    /// When it was that.
    pub peak_at_ns: u64,
    /// What it is to stay below, if there is such a limit.
    pub limit: Option<u64>,
    /// Processes alive.
    pub alive: u64,
    /// Processes ended so far.
    pub ended: u64,
    /// Updates of counters so far: what two looks differ by makes the rate. `None`: nothing is counted, but sampled.
    pub updates: Option<u64>,
    /// Records, images and processes lost so far. Nothing is exact once there are any.
    pub lost: u64,
    /// By how much the sums can be wrong on this kernel; [`u64::MAX`] if nobody knows.
    pub off: u64,
    /// Those that are alive, in any order.
    pub processes: Vec<Process>,
    /// Those that ended since the last look, each exactly once.
    pub newly_ended: Vec<Process>,
}

/// One process. Amounts are bytes, times nanoseconds since tracing began.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Unique, and never used again.
    pub id: u64,
    /// Its number, which the kernel may give again.
    pub pid: i32,
    /// The [`id`](Self::id) of the one that created it.
    pub parent: Option<u64>,
    /// Its name (`comm`), as it chose it: nothing is escaped.
    pub name: String,
    /// With its arguments; may be empty.
    pub command: String,
    /// When it started; 0 if that was before.
    pub started_ns: u64,
    /// How long it had run by then, if it had.
    pub before_ns: u64,
    /// When it ended, if it has.
    pub ended_ns: Option<u64>,
    /// Resident memory.
    pub res: u64,
    /// Of that, files and shared memory.
    pub shr: u64,
    /// Swapped out.
    pub swap: u64,
    /// Its address space.
    pub virt: u64,
    /// The largest resident memory that it had, exact.
    pub peak: u64,
    /// When it had that.
    pub peak_at_ns: u64,
}

impl Process {
    /// How long it had run at this time, or when it ended.
    pub(super) const fn age(&self, now: u64) -> u64 {
        let until = match self.ended_ns {
            Some(ended) => ended,
            None => now,
        };
        until
            .saturating_sub(self.started_ns)
            .saturating_add(self.before_ns)
    }
}

/// How exact it is, in a few words.
pub(super) fn certainty(lost: u64, off: u64) -> String {
    match (lost, off) {
        (0, 0) => "exact".to_owned(),
        (0, u64::MAX) => "not exact".to_owned(),
        (0, off) => format!("within {}", human(off)),
        (lost, _) => format!("not exact: {} lost", grouped(lost)),
    }
}
