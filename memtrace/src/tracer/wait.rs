//! What the loop that follows a run waits for.

use std::{
    io,
    time::{Duration, Instant},
};

use memtrace_ebpf::Tree;

use super::watch::Watched;

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

/// Waits, under `--wait-tree`, until the memory of the last process is given back, too:
/// since 6.16 `sched_process_exit` comes before `exit_mm()`.
#[derive(Debug, Default)]
pub(super) struct Teardown {
    /// When no process was left.
    began: Option<Instant>,
}

impl Teardown {
    /// An address space can outlive its processes for as long as someone else holds on to
    /// it; that is not waited for.
    const LIMIT: Duration = Duration::from_secs(2);

    pub(super) fn is_over(&mut self, tree: &Tree) -> bool {
        if tree.live > 0 {
            self.began = None;
            return false;
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        tree.rss == 0 || began.elapsed() > Self::LIMIT
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
