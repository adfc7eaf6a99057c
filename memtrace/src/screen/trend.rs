//! What one process held at the latest looks.

/// Looks that are kept of a process.
pub(super) const POINTS: usize = 32;

/// A ring of amounts, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trend {
    points: [u64; POINTS],
    /// How many there were, of which the last are kept.
    count: usize,
    at_ns: u64,
    growth: i64,
}

impl Trend {
    pub(super) fn push(&mut self, at_ns: u64, res: u64) {
        if let Some(before) = self.last() {
            self.growth = growth(before, res, at_ns.saturating_sub(self.at_ns));
        }
        self.at_ns = at_ns;
        if let Some(point) = self.points.get_mut(self.count % POINTS) {
            *point = res;
        }
        self.count = self.count.wrapping_add(1);
    }

    fn last(&self) -> Option<u64> {
        let place = self.count.checked_sub(1)? % POINTS;
        self.points.get(place).copied()
    }

    /// Bytes that it grew by in a second, between the last two looks.
    pub(super) const fn growth(&self) -> i64 {
        self.growth
    }

    /// The amounts kept, the latest last, put together to at most `columns` of which each has the
    /// largest of its looks.
    pub(super) fn columns(&self, columns: usize) -> Vec<u64> {
        let each = POINTS.div_ceil(columns.max(1));
        let kept = self.count.min(POINTS);
        let first = self.count - kept;
        // Groups are of the same looks each time, so that columns move and do not flicker.
        let mut out: Vec<u64> = Vec::new();
        let mut group = None;
        for place in first..self.count {
            let point = self.points.get(place % POINTS).copied().unwrap_or_default();
            match out.last_mut() {
                Some(last) if group == Some(place / each) => *last = point.max(*last),
                _ => out.push(point),
            }
            group = Some(place / each);
        }
        let surplus = out.len().saturating_sub(columns);
        out.split_off(surplus)
    }
}

fn growth(before: u64, now: u64, ns: u64) -> i64 {
    if ns == 0 {
        return 0;
    }
    let rate = (i128::from(now) - i128::from(before)) * 1_000_000_000 / i128::from(ns);
    i64::try_from(rate).unwrap_or(if rate < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::{POINTS, Trend};

    /// The latest are kept, and a column is as high as the largest in it.
    #[test]
    fn columns_keep_the_largest() {
        let mut trend = Trend::default();
        assert!(trend.columns(8).is_empty());
        for res in [1, 2, 9, 3, 5] {
            trend.push(0, res);
        }
        assert_eq!(trend.columns(8), [9, 5]);
        for look in 0..100 {
            trend.push(look, look);
        }
        let columns = trend.columns(POINTS);
        assert_eq!(columns, (68..100).collect::<Vec<_>>());
        assert!(trend.columns(8).len() <= 8);
        assert_eq!(trend.columns(8).last(), Some(&99));
    }

    /// Growth is per second, whatever the time between looks, and goes both ways.
    #[test]
    fn growth_is_per_second() {
        let mut trend = Trend::default();
        trend.push(0, 1_000);
        assert_eq!(trend.growth(), 0);
        trend.push(500_000_000, 2_000);
        assert_eq!(trend.growth(), 2_000);
        trend.push(2_500_000_000, 0);
        assert_eq!(trend.growth(), -1_000);
        trend.push(2_500_000_000, u64::MAX);
        assert_eq!(trend.growth(), 0);
        trend.push(2_500_000_001, 0);
        assert_eq!(trend.growth(), i64::MIN);
    }
}
