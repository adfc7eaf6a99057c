//! What the kernel's features mean for the certificate.

use memtrace_ebpf::MAX_CPUS;

use super::cross_check;
use crate::{
    kernel,
    model::{
        self,
        reasons::{Remedy, counted},
    },
    probe::ProbeError,
};

/// A limit of this kernel, as the certificate states it.
pub(super) fn of_kernel(limit: &kernel::Limit) -> model::Limit {
    let bound_bytes = match limit {
        // No numbers change: the counters' other events cover it, or a field is left out.
        kernel::Limit::NoNewtask
        | kernel::Limit::NoProcessFork
        | kernel::Limit::NoExitMmap
        | kernel::Limit::NoOomEvent
        | kernel::Limit::NoField { .. }
        // The tracepoint's own value is the kernel's exact sum.
        | kernel::Limit::UnknownCounters { .. } => Some(0),
        _ => None,
    };
    model::Limit {
        reason: limit.to_string(),
        bound_bytes,
        of: model::Limited::Rss,
    }
}

/// How many faults a thread holds back at most, up to 6.1: it flushes at the first fault
/// after it has counted more than `TASK_RSS_EVENTS_THRESH` (64), in
/// `check_sync_rss_stat()` (mm/memory.c).
const FAULTS: u64 = 66;

/// What one fault of a file maps at most, `do_fault_around()` (mm/memory.c); one page else.
const AROUND: u64 = 64 << 10;

/// How much threads that are not looked at hold back, up to 6.1.
pub(super) fn of_threads(peak_threads: i64, page_size: u64, why: &str) -> model::Limit {
    let threads = u64::try_from(peak_threads).unwrap_or(1).max(1);
    let bytes = threads
        .saturating_mul(FAULTS)
        .saturating_mul(AROUND.max(page_size));
    model::Limit {
        reason: Remedy::NewKernel.end(&format!(
            "each of up to {} at a time may hold back {FAULTS} page faults before this kernel counts them, and {why}",
            counted(threads, "thread", "threads")
        )),
        bound_bytes: Some(bytes),
        of: model::Limited::Rss,
    }
}

/// A thread's flush that came between another thread's direct change of the same counter
/// and the event of that change counted twice in it: at most what the other threads can be
/// flushing at a time, one of which may be preempted on any CPU.
pub(super) fn of_overlaps(
    overlaps: u64,
    peak_threads: i64,
    page_size: u64,
) -> Option<model::Limit> {
    let others = u64::try_from(peak_threads.saturating_sub(1))
        .unwrap_or(0)
        .max(1);
    (overlaps > 0).then(|| model::Limit {
        reason: Remedy::NewKernel.end(&format!(
            "{} one thread's change of a counter could not be told from another's flush of its cache",
            counted(overlaps, "time", "times")
        )),
        bound_bytes: Some(others.saturating_mul(FAULTS).saturating_mul(AROUND.max(page_size))),
        of: model::Limited::Rss,
    })
}

/// Processes that the programs take for living ones were not there any more.
pub(super) fn of_unseen_ends(unseen: bool) -> Option<model::Limit> {
    unseen.then(|| model::Limit {
        reason: Remedy::Again
            .end("the end of a process was not seen: it is shown as still running, and is not"),
        bound_bytes: None,
        of: model::Limited::Rss,
    })
}

/// The programs that ran when tracing ended could not be waited for.
pub(super) fn of_unsettled(why: Option<&ProbeError>) -> Option<model::Limit> {
    why.map(|why| model::Limit {
        reason: Remedy::MoreMemory.end(&format!(
            "programs may have been at work when their maps were read, for they could not be waited for ({why})"
        )),
        bound_bytes: None,
        of: model::Limited::Rss,
    })
}

/// Sums that could not be verified have a share of each CPU twice or not at all, at most, until the
/// next update of the same counter.
pub(super) fn of_unverified(sums: u64, cpus: u32, page_size: u64) -> Option<model::Limit> {
    (sums > 0).then(|| model::Limit {
        reason: Remedy::Again.end(&format!(
            "{} of a counter's shares could not be verified, because others moved them all the time",
            counted(sums, "sum", "sums")
        )),
        bound_bytes: Some(
            sums.saturating_mul(u64::from(cpus))
                .saturating_mul(cross_check::batch(cpus.into()))
                .saturating_mul(page_size),
        ),
        of: model::Limited::Rss,
    })
}

/// What swapping in can add to RSS + swap: `do_swap_page()` (mm/memory.c) counts a folio as resident and
/// then uncounts its swap entries, under one lock, so that each CPU can be between the two with one
/// folio of at most what a page table maps; any number of threads where locks sleep (`PREEMPT_RT`).
pub(super) fn of_swap(
    peak_swap: i64,
    cpus: u32,
    page_size: u64,
    realtime: bool,
) -> Option<model::Limit> {
    const ENTRY: u64 = 8;
    let folio = page_size.saturating_mul(page_size / ENTRY);
    (peak_swap > 0).then(|| model::Limit {
        reason:
            "pages that come back from swap on several CPUs at once can count twice for a moment"
                .to_owned(),
        bound_bytes: (!realtime).then(|| u64::from(cpus).saturating_mul(folio)),
        of: model::Limited::RssSwap,
    })
}

/// Shares of CPUs beyond what the programs can sum over would be missing.
pub(super) fn of_machine(cpus: u32) -> Option<model::Limit> {
    (cpus as usize > MAX_CPUS).then(|| model::Limit {
        reason: Remedy::LimitCpus.end(&format!(
            "this machine may have {cpus} CPUs, but shares are summed over {MAX_CPUS} only"
        )),
        bound_bytes: None,
        of: model::Limited::Rss,
    })
}

#[cfg(test)]
mod tests {
    use super::{of_swap, of_unseen_ends, of_unsettled, of_unverified};
    use crate::{model::Limited, probe::ProbeError};

    /// Nobody knows what such a process did last, and its memory counts as if it was there.
    #[test]
    fn an_end_that_was_not_seen_leaves_no_bound() {
        assert!(of_unseen_ends(false).is_none());
        let limit = of_unseen_ends(true).map(|limit| (limit.bound_bytes, limit.of));
        assert_eq!(limit, Some((None, Limited::Rss)));
    }

    /// What may be half written has no bound.
    #[test]
    fn programs_that_were_not_waited_for_leave_no_bound() {
        assert!(of_unsettled(None).is_none());
        let why = ProbeError::Missing {
            kind: "map",
            name: "GRACE",
        };
        let limit = of_unsettled(Some(&why)).map(|limit| (limit.bound_bytes, limit.of));
        assert_eq!(limit, Some((None, Limited::Rss)));
    }

    /// Without swap RSS + swap is RSS.
    #[test]
    fn rss_and_swap_is_bounded_where_anything_was_swapped() {
        assert!(of_swap(0, 4, 4096, false).is_none());
        let bound =
            |realtime| of_swap(1, 4, 4096, realtime).map(|limit| (limit.bound_bytes, limit.of));
        assert_eq!(bound(false), Some((Some(8 << 20), Limited::RssSwap)));
        assert_eq!(bound(true), Some((None, Limited::RssSwap)));
    }

    /// A value that is not known to be right is not called exact: off by a share of each CPU.
    #[test]
    fn sums_that_could_not_be_verified_are_bounded() {
        assert!(of_unverified(0, 2, 4096).is_none());
        let bound =
            |sums, cpus| of_unverified(sums, cpus, 4096).and_then(|limit| limit.bound_bytes);
        assert_eq!(bound(1, 2), Some(2 * 32 * 4096));
        assert_eq!(bound(3, 64), Some(3 * 64 * 128 * 4096));
    }
}
