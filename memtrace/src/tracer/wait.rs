//! What the loop that follows a run waits for.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use memtrace_ebpf::Tree;

use super::watch::Watched;
use crate::{attend::View, model::Model};

/// Returns when much of the timeline waits; never without one.
pub(super) async fn much(timeline: Option<&Watched>) -> io::Result<()> {
    match timeline {
        Some(timeline) => {
            timeline.readable().await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}

/// Returns at that time, if there is one.
pub(super) async fn wake(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits, under `--wait-tree`, until the last process has ended and its memory is given back, too: since
/// 6.16 `sched_process_exit` comes before `exit_mm()`.
#[derive(Debug, Default)]
pub(super) struct Teardown {
    /// When no process was left.
    began: Option<Instant>,
    /// What the tree was when it was last seen to change, or looked for, and when that was.
    still: Option<(Still, Instant)>,
    /// No process was there any more, though the last was not seen to end.
    deserted: bool,
}

/// What changes while processes of a tree do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Still {
    live: i64,
    processes: u64,
    events: u64,
}

impl Teardown {
    /// An address space can outlive its processes for as long as someone else holds on to
    /// it; that is not waited for.
    const LIMIT: Duration = Duration::from_secs(2);

    /// After so long without news, processes are looked for: how the last of them ended may not have
    /// been seen.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// `is_deserted` looks whether no process of the tree is there any more.
    pub(super) fn is_over(
        &mut self,
        tree: &Tree,
        now: Instant,
        is_deserted: impl FnOnce() -> bool,
    ) -> bool {
        if tree.live > 0 {
            self.began = None;
            self.deserted = self.is_silent(tree, now) && is_deserted();
            return self.deserted;
        }
        let began = *self.began.get_or_insert(now);
        tree.rss == 0 || now.saturating_duration_since(began) > Self::LIMIT
    }

    /// Whether it is over though an end was not seen.
    pub(super) const fn is_unseen(&self) -> bool {
        self.deserted
    }

    /// Whether nothing has happened for so long that it is time to look again.
    fn is_silent(&mut self, tree: &Tree, now: Instant) -> bool {
        let seen = Still {
            live: tree.live,
            processes: tree.processes,
            events: tree.events,
        };
        match self.still {
            Some((still, since)) if still == seen => {
                let silent = now.saturating_duration_since(since) >= Self::PATIENCE;
                if silent {
                    self.still = Some((seen, now));
                }
                silent
            }
            _ => {
                self.still = Some((seen, now));
                false
            }
        }
    }
}

/// So long it is waited for the kernel to let go of processes that ended, whoever they are.
const FREED_WITHIN: Duration = Duration::from_millis(100);

/// So long if somebody has waited for one of them: then the kernel will, a grace period of RCU later.
const FREED_AT_LAST: Duration = Duration::from_secs(1);

/// Waits until the kernel has let go of all processes that ended, for their CPU times. Of zombies it does not.
pub(super) fn for_cpu_times(model: &mut Model, view: View, mut drain: impl FnMut(&mut Model)) {
    let began = Instant::now();
    let goes_on = |model: &Model| {
        let mut held = model.held().peekable();
        let waited = began.elapsed();
        let is_gone = |(tgid, started_at)| view.pid_of(tgid, started_at).is_none();
        held.peek().is_some()
            && (waited < FREED_WITHIN
                || waited < FREED_AT_LAST && view.has_same_ids() && held.any(is_gone))
    };
    while goes_on(model) {
        thread::sleep(Duration::from_millis(1));
        drain(model);
    }
}

/// Returns when the command may have ended.
pub(super) async fn ended(pidfd: Option<&Watched>) {
    match pidfd {
        Some(pidfd) => {
            if let Ok(mut ready) = pidfd.readable().await {
                // A process that has ended stays so: nothing to clear.
                ready.retain_ready();
            }
        }
        None => tokio::time::sleep(Duration::from_millis(1)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Teardown, Tree};
    use crate::blank;

    const MS: Duration = Duration::from_millis(1);

    fn tree(live: i64, rss: i64, events: u64) -> Tree {
        Tree {
            live,
            rss,
            events,
            ..blank::TREE
        }
    }

    #[test]
    fn memory_that_others_hold_is_not_waited_for() {
        let mut teardown = Teardown::default();
        let start = Instant::now();
        let at = |ms: u32| start + MS * ms;
        let never = || unreachable!("no process is left to look for");
        assert!(!teardown.is_over(&tree(0, 5, 9), at(0), never));
        assert!(!teardown.is_over(&tree(0, 5, 9), at(2000), never));
        assert!(teardown.is_over(&tree(0, 5, 9), at(2001), never));
        assert!(!teardown.is_unseen());
        assert!(Teardown::default().is_over(&tree(0, 0, 9), at(0), never));
    }

    /// A process whose end was not seen is waited for as long as it is there, and no longer.
    #[test]
    fn an_end_that_was_not_seen_is_found() {
        let mut teardown = Teardown::default();
        let start = Instant::now();
        let mut looks = 0;
        let mut over = |ms: u32, events: u64, deserted: bool| {
            teardown.is_over(&tree(1, 5, events), start + MS * ms, || {
                looks += 1;
                deserted
            })
        };
        assert!(!over(0, 1, true));
        assert!(!over(999, 1, true), "not yet");
        assert!(!over(1000, 1, false), "it is there");
        assert!(!over(1020, 1, true), "not before another second is over");
        assert!(!over(1900, 2, true), "something happens");
        assert!(!over(2899, 2, true));
        assert!(over(2900, 2, true));
        assert_eq!(looks, 2);
        assert!(teardown.is_unseen());
    }
}
