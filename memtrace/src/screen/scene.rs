//! Everything that is shown of one moment, apart from the totals over time.

use std::collections::HashMap;

use super::{
    ended::Ended,
    look::{Look, Process},
    past::Past,
    trend::Trend,
};

/// The numbers of a [`Look`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) at_ns: u64,
    pub(super) rss: u64,
    pub(super) peak_rss: u64,
    pub(super) peak_at_ns: u64,
    pub(super) limit: Option<u64>,
    pub(super) alive: u64,
    pub(super) ended: u64,
    pub(super) updates: Option<u64>,
    pub(super) lost: u64,
    pub(super) off: u64,
    /// Updates in a second, since the look before.
    pub(super) updates_per_second: Option<u64>,
}

/// A process that is alive.
#[derive(Debug, Clone)]
pub(super) struct Alive {
    pub(super) process: Process,
    pub(super) trend: Trend,
}

/// What the latest look told, and what is kept of those before.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    pub(super) totals: Totals,
    pub(super) alive: Vec<Alive>,
    pub(super) ended: Ended,
    pub(super) past: Past,
}

impl Scene {
    pub(super) fn take(&mut self, look: Look) {
        let Look {
            at_ns,
            rss,
            peak_rss,
            peak_at_ns,
            limit,
            alive,
            ended,
            updates,
            lost,
            off,
            processes,
            newly_ended,
        } = look;
        let before = self.totals;
        self.totals = Totals {
            at_ns: at_ns.max(before.at_ns),
            rss,
            peak_rss,
            peak_at_ns,
            limit,
            alive,
            ended,
            updates,
            lost,
            off,
            updates_per_second: updates.map(|updates| {
                per_second(
                    updates.saturating_sub(before.updates.unwrap_or(0)),
                    at_ns.saturating_sub(before.at_ns),
                )
            }),
        };
        let at_ns = self.totals.at_ns;
        let mut trends: HashMap<u64, Trend> = self
            .alive
            .drain(..)
            .map(|alive| (alive.process.id, alive.trend))
            .collect();
        self.alive = processes
            .into_iter()
            .map(|process| {
                let mut trend = trends.remove(&process.id).unwrap_or_default();
                trend.push(at_ns, process.res);
                Alive { process, trend }
            })
            .collect();
        for process in newly_ended {
            self.ended.push(process);
        }
        self.past.push(
            at_ns,
            self.alive.iter().map(|alive| &alive.process).collect(),
        );
    }
}

fn per_second(count: u64, ns: u64) -> u64 {
    if ns == 0 {
        return 0;
    }
    let rate = u128::from(count) * 1_000_000_000 / u128::from(ns);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
