//! The result so far, of what goes on: read between records, without ending anything.

use std::time::{Duration, Instant};

use memtrace_ebpf::{Stat, Tree};

use super::{
    limits,
    session::Ending,
    setup::{tier, unseen_faults},
};
use crate::{
    kernel::{Features, clock, cpus},
    model::{
        CrossChecks, EndedByLimit, Final, Limit, Limited, Model, OwnCgroup, PssSnapshot, Summary,
    },
    probe::{Options, Probe, Remains},
};

/// For how long it is tried to read everything while nothing changes.
const PATIENCE: Duration = Duration::from_millis(10);

/// What is known of processes that go on: enough for a result, which takes time to put together.
#[derive(Debug)]
pub struct SoFar {
    model: Model,
    last: Final,
}

impl SoFar {
    /// Puts the result together, as at the end; whoever lives is alive in it. Better not done where records wait to
    /// be taken in.
    #[must_use]
    pub fn summary(self) -> Summary {
        self.model.finish(self.last)
    }
}

/// Why there is no result before the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoResult {
    /// What was sampled is put together at the end.
    #[error(
        "without BPF there is no result before the end: `memtrace check` tells what is missing"
    )]
    Sampled,
    /// The kernel side could not be read.
    #[error("what is known so far cannot be read: {0}")]
    Unread(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl NoResult {
    fn unread(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unread(Box::new(error))
    }
}

/// What the kernel side holds at about one moment.
#[derive(Debug)]
pub(super) struct Reading {
    remains: Remains,
    at: u64,
    /// By how much the peak grew while it was read, pages; `None`: nothing changed at all.
    moved: Option<u64>,
}

/// Reads the maps and, with `drain`, the records that belong to them; again for a while, if something changes meanwhile.
pub(super) fn read(
    probe: &mut Probe,
    mut drain: impl FnMut(&mut Probe),
) -> Result<Reading, NoResult> {
    let began = Instant::now();
    loop {
        let before = probe.tree().map_err(NoResult::unread)?;
        let remains = probe.so_far().map_err(NoResult::unread)?;
        // Not before everything is read: averages reach up to here.
        let at = clock::boottime().map_err(NoResult::unread)?;
        let after = probe.tree().map_err(NoResult::unread)?;
        // Whoever is not in the maps any more has told of its end.
        drain(probe);
        let moved = moved(&before, &after);
        if moved.is_none() || began.elapsed() >= PATIENCE {
            return Ok(Reading { remains, at, moved });
        }
    }
}

/// By how much the peak grew between two looks, pages; `None`: nothing was booked, nor was anything being booked.
fn moved(before: &Tree, after: &Tree) -> Option<u64> {
    let is_still = changes(before) == changes(after) && before.moment == 0;
    (!is_still).then(|| after.peak_rss.abs_diff(before.peak_rss))
}

/// What differs once anything was booked.
const fn changes(tree: &Tree) -> [u64; 5] {
    [
        tree.events,
        tree.processes,
        tree.images,
        tree.live.cast_unsigned(),
        tree.moment,
    ]
}

impl Reading {
    /// Says of numbers that were read while they changed that they were. The peak is one that there was, but may be an
    /// earlier one than who is said to have held it; whether that adds up the model checks.
    fn limit(&self, page_size: u64) -> Option<Limit> {
        self.moved.map(|pages| Limit {
            reason: "it was read while processes went on: what does not fit together by a little is of slightly different moments"
                .to_owned(),
            bound_bytes: Some(pages.saturating_mul(page_size)),
            of: Limited::Rss,
        })
    }

    /// The result of this and of the records that `model` has taken in, of what has been followed for `wall_ns`.
    /// `known` is what the tracer has besides.
    pub(super) fn result(
        self,
        model: Model,
        known: &Known<'_>,
        wall_ns: u64,
        checked: Checked,
    ) -> SoFar {
        let limit = self.limit(known.options.page_size);
        let ending = Ending {
            wall_ns,
            ..Ending::default()
        };
        let last = known.last(self.remains, self.at, ending, checked, limit);
        SoFar { model, last }
    }
}

/// What was found out besides what the kernel side counts.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) cross_checks: CrossChecks,
    pub(super) snapshots: Vec<PssSnapshot>,
    pub(super) ended_by_limit: Option<EndedByLimit>,
    pub(super) own_cgroup: Option<Box<OwnCgroup>>,
}

/// What is known of tracing itself.
pub(super) struct Known<'a> {
    pub(super) features: &'a Features,
    pub(super) options: &'a Options,
    pub(super) probe: &'a Probe,
    pub(super) limits: &'a [Limit],
    pub(super) command: &'a [Vec<u8>],
    pub(super) realtime_offset: i64,
}

impl Known<'_> {
    /// Everything besides the records that a result is made of. `more` are limits that came up at the end.
    pub(super) fn last(
        &self,
        remains: Remains,
        ended_at: u64,
        ending: Ending,
        checked: Checked,
        more: impl IntoIterator<Item = Limit>,
    ) -> Final {
        let Self {
            features,
            options,
            probe,
            limits: known_limits,
            command,
            realtime_offset,
        } = *self;
        let Remains {
            tree,
            images,
            processes,
            stats,
            missed,
            segments,
            branches,
        } = remains;
        let Ending {
            wait_status,
            wall_ns,
            user_ns,
            system_ns,
            maxrss_bytes,
        } = ending;
        let Checked {
            cross_checks,
            snapshots,
            ended_by_limit,
            own_cgroup,
        } = checked;
        let [.., most_swapped, _] = tree.peak;
        let tree_started = i64::try_from(tree.started_at).unwrap_or(0);
        let page_size = options.page_size;
        let overlaps = stats.get(Stat::CacheOverlap);
        let unverified = stats.get(Stat::Unverified);
        let limits: Vec<Limit> = known_limits
            .iter()
            .cloned()
            .chain(limits::of_overlaps(overlaps, tree.peak_threads, page_size))
            .chain(limits::of_unverified(unverified, options.cpus, page_size))
            .chain(limits::of_swap(
                most_swapped,
                options.cpus,
                page_size,
                cpus::is_realtime(),
            ))
            .chain(more)
            .chain(unseen_faults(features, probe, &tree, options))
            .collect();
        Final {
            ended_by_limit,
            snapshots,
            ended_at,
            tree,
            images,
            segments,
            branches,
            processes,
            stats,
            missed,
            undecodable: probe.undecodable(),
            cross_checks,
            tier: tier(probe, options.vm_events),
            limits,
            page_size,
            command: command.to_vec(),
            wait_status,
            wall_ns,
            user_ns,
            system_ns,
            maxrss_bytes,
            started_unix_ns: u64::try_from(tree_started.saturating_add(realtime_offset)).ok(),
            sampled: None,
            own_cgroup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Tree, moved};
    use crate::blank::TREE;

    /// What was read while the peak grew may be of before or after.
    #[test]
    fn a_peak_that_grows_meanwhile_is_a_bound() {
        let before = Tree {
            events: 7,
            peak_rss: 100,
            ..TREE
        };
        assert_eq!(moved(&before, &before), None);
        let changed = Tree {
            events: 8,
            ..before
        };
        assert_eq!(moved(&before, &changed), Some(0));
        let grown = Tree {
            peak_rss: 103,
            ..changed
        };
        assert_eq!(moved(&before, &grown), Some(3));
        let in_between = Tree {
            moment: 1,
            ..before
        };
        assert_eq!(moved(&in_between, &in_between), Some(0));
    }
}
