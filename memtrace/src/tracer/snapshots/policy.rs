//! When a snapshot is worth its cost: a pure function of times and amounts.

use std::time::Duration;

/// The peak must not have grown for this long.
const SETTLED: Duration = Duration::from_millis(20);
/// Between two snapshots.
const PAUSE: Duration = Duration::from_millis(500);
/// After one that came to nothing; doubled each time, up to the longest.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// Snapshots take at most one part in so many of the time since the start, in processor time.
const SHARE: u32 = 20;
/// Growth of the peak that makes a new snapshot: bytes, or one part in so many.
const GROWTH_BYTES: u64 = 1 << 20;
const GROWTH_PART: u64 = 20;
/// What the kernel needs for a page table walk, until it has been measured: nanoseconds per
/// MiB, as on a virtual machine with pages of 4 KiB. With large pages it is much less.
const ASSUMED_NS_PER_MIB: u64 = 16_000;
/// Larger trees are left alone: while an address space is looked at, its memory is not given
/// back, also if its process ends or executes a program just then.
pub(super) const MOST_BYTES: u64 = 16 << 30;
/// And so are trees with more processes, which seldom stay the same for long enough.
pub(super) const MOST_PROCESSES: u64 = 256;

/// The tree as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Time since the command was let go.
    pub(super) at: Duration,
    /// The peak of the tree's RSS, bytes.
    pub(super) peak: u64,
    /// How long ago that was reached.
    pub(super) peak_age: Duration,
    /// The tree's RSS, bytes.
    pub(super) rss: u64,
    /// Processes alive.
    pub(super) processes: u64,
    /// Bytes of the RSS that are known to be shared, or may be.
    pub(super) ambiguous: u64,
}

/// Decides, and learns what snapshots cost.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Only where shares make a difference of more than one part in so many, if not 0.
    ambiguous_part: u64,
    /// The peak that the last snapshot belongs to.
    peak: u64,
    /// Not before.
    next: Duration,
    /// What all of them took.
    spent: Duration,
    /// What the last one took.
    last: Duration,
    /// How many came to nothing since the last one that did not.
    failed: u32,
}

impl Policy {
    /// Snapshots only where 1 % of the RSS or more may count more than once.
    pub(super) fn to_narrow() -> Self {
        Self {
            ambiguous_part: 100,
            ..Self::default()
        }
    }

    /// Whether to take a snapshot now.
    pub(super) fn is_due(&self, now: &Now) -> bool {
        let grown = now.peak.saturating_sub(self.peak);
        let expected = self.spent.saturating_add(self.expected(now.rss));
        now.at >= self.next
            && (grown > GROWTH_BYTES || grown > self.peak / GROWTH_PART)
            && now.peak_age >= SETTLED
            && now.rss <= MOST_BYTES
            && (self.ambiguous_part == 0
                || now.ambiguous.saturating_mul(self.ambiguous_part) >= now.rss)
            && (1..=MOST_PROCESSES).contains(&now.processes)
            && expected.saturating_mul(SHARE) <= now.at
    }

    /// A snapshot for that peak was taken, and the processor time it took.
    pub(super) fn taken(&mut self, at: Duration, peak: u64, cost: Duration) {
        self.failed = 0;
        self.peak = peak;
        self.spend(at, cost, PAUSE);
    }

    /// One came to nothing.
    pub(super) fn came_to_nothing(&mut self, at: Duration, cost: Duration) {
        let pause = RETRY
            .saturating_mul(1 << self.failed.min(16))
            .min(LONGEST_RETRY);
        self.failed = self.failed.saturating_add(1);
        self.spend(at, cost, pause);
    }

    fn spend(&mut self, at: Duration, cost: Duration, pause: Duration) {
        self.last = cost;
        self.spent = self.spent.saturating_add(cost);
        self.next = at.saturating_add(pause);
    }

    fn expected(&self, rss: u64) -> Duration {
        Duration::from_nanos((rss >> 20).saturating_mul(ASSUMED_NS_PER_MIB)).max(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MS: Duration = Duration::from_millis(1);

    fn now(at: Duration, peak: u64, peak_age: Duration) -> Now {
        Now {
            at,
            peak,
            peak_age,
            rss: peak,
            processes: 2,
            ambiguous: 0,
        }
    }

    #[test]
    fn what_nothing_would_narrow_is_left_alone() {
        let policy = Policy::to_narrow();
        let settled = now(MS * 200, 64 * MIB, MS * 20);
        assert!(!policy.is_due(&settled));
        assert!(!policy.is_due(&Now {
            ambiguous: MIB / 2,
            ..settled
        }));
        assert!(policy.is_due(&Now {
            ambiguous: MIB,
            ..settled
        }));
    }

    #[test]
    fn a_peak_must_have_settled() {
        let policy = Policy::default();
        assert!(!policy.is_due(&now(MS * 200, 64 * MIB, MS * 19)));
        assert!(policy.is_due(&now(MS * 200, 64 * MIB, MS * 20)));
        assert!(
            !policy.is_due(&now(MS * 200, 0, MS * 200)),
            "nothing is there"
        );
    }

    #[test]
    fn a_peak_must_have_grown() {
        let mut policy = Policy::default();
        policy.taken(MS * 200, 100 * MIB, MS);
        let at = MS * 10_000;
        assert!(!policy.is_due(&now(at, 100 * MIB, at)));
        assert!(!policy.is_due(&now(at, 101 * MIB, at)));
        assert!(policy.is_due(&now(at, 101 * MIB + 1, at)));
        // Of a small tree, a part is enough.
        let mut policy = Policy::default();
        policy.taken(MS * 200, 2 * MIB, MS);
        assert!(!policy.is_due(&now(at, 2 * MIB + MIB / 10, at)));
        assert!(policy.is_due(&now(at, 2 * MIB + MIB / 10 + 1, at)));
    }

    #[test]
    fn too_large_trees_are_left_alone() {
        let policy = Policy::default();
        let fits = Now {
            processes: MOST_PROCESSES,
            ..now(Duration::from_secs(1000), MOST_BYTES, MS * 20)
        };
        assert!(policy.is_due(&fits));
        let more = MOST_PROCESSES + 1;
        assert!(!policy.is_due(&Now {
            processes: more,
            ..fits
        }));
        let rss = MOST_BYTES + 1;
        assert!(!policy.is_due(&Now { rss, ..fits }));
        assert!(!policy.is_due(&Now {
            processes: 0,
            ..fits
        }));
    }

    /// A command whose peak grows all the time, looked at every 20 ms for ten minutes.
    fn simulate(cost: impl Fn(u64) -> Duration, succeeds: bool) -> (Vec<Duration>, Duration) {
        let mut policy = Policy::default();
        let (mut times, mut spent) = (Vec::new(), Duration::ZERO);
        for look in 1..30_000_u32 {
            let at = MS * 20 * look;
            let peak = u64::from(look) * MIB / 4;
            if policy.is_due(&now(at, peak, SETTLED)) {
                let cost = cost(peak);
                times.push(at);
                spent += cost;
                if succeeds {
                    policy.taken(at, peak, cost);
                } else {
                    policy.came_to_nothing(at, cost);
                }
                assert!(
                    spent * SHARE <= at + cost * SHARE,
                    "{spent:?} of {at:?} is more than its share and one more"
                );
            }
        }
        (times, spent)
    }

    #[test]
    fn cheap_snapshots_come_twice_a_second() {
        let (times, _) = simulate(|_| MS / 10, true);
        assert!(times.len() > 1000, "{}", times.len());
        let pauses = times.iter().zip(times.iter().skip(1));
        assert!(pauses.into_iter().all(|(a, b)| *b - *a >= PAUSE));
    }

    #[test]
    fn costly_snapshots_come_seldom() {
        // 100 ms per GiB: six times what is assumed.
        let (times, spent) = simulate(|peak| Duration::from_nanos(peak / 10), true);
        assert!((2..500).contains(&times.len()), "{times:?}");
        assert!(spent <= Duration::from_secs(30) + MS * 800, "{spent:?}");
    }

    #[test]
    fn what_comes_to_nothing_is_tried_less_and_less() {
        let (times, _) = simulate(|_| MS / 10, false);
        assert!((30..100).contains(&times.len()), "{}", times.len());
        let first = times.first().copied().unwrap_or_default();
        assert!(times.get(1).is_some_and(|second| *second - first < PAUSE));
        let last = times.iter().rev().take(2).copied().collect::<Vec<_>>();
        assert!(matches!(last[..], [b, a] if b - a >= LONGEST_RETRY));
    }
}
