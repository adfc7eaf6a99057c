//! Statistics of a few measurements, as benchmark tools give them.

/// What some measurements of one quantity have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of the sample (with n - 1); `None` for a single measurement.
    pub sigma: Option<f64>,
    /// The one in the middle, or the mean of the two there.
    pub median: f64,
    /// The least.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// How many are so far away that something else must have happened.
    pub outliers: usize,
}

/// Deviations from the median, in units of the median deviation, beyond which a measurement
/// is an outlier: ten standard deviations of normally distributed ones, as for hyperfine.
const OUTLIER: f64 = 14.826;

impl Statistics {
    /// Of measurements whose smallest possible difference is `quantum`; `None` if there are none.
    #[must_use]
    pub fn of(values: &[u64], quantum: u64) -> Option<Self> {
        let (&min, &max) = (values.iter().min()?, values.iter().max()?);
        let count = values.len() as f64;
        // Around the least value, so that large and nearly equal ones lose no digits.
        let offsets: Vec<f64> = values.iter().map(|value| (value - min) as f64).collect();
        let mean = offsets.iter().sum::<f64>() / count;
        let sigma = (values.len() > 1).then(|| {
            let squares: f64 = offsets.iter().map(|value| (value - mean).powi(2)).sum();
            (squares / (count - 1.0)).sqrt()
        });
        let middle = median(offsets.clone());
        let deviations: Vec<f64> = offsets.iter().map(|value| (value - middle).abs()).collect();
        // Where nearly all are equal, one quantum more is nothing special.
        let scale = median(deviations.clone()).max(quantum as f64);
        let outliers = deviations
            .iter()
            .filter(|deviation| **deviation > OUTLIER * scale)
            .count();
        Some(Self {
            mean: mean + min as f64,
            sigma,
            median: middle + min as f64,
            min,
            max,
            outliers,
        })
    }

    /// This mean as a multiple of another, with the standard deviation of that, if it can be
    /// told: of independent measurements, relative errors add up in squares.
    #[must_use]
    pub fn relative_to(&self, other: &Self) -> Option<(f64, Option<f64>)> {
        if other.mean <= 0.0 {
            return None;
        }
        let ratio = self.mean / other.mean;
        let sigma = match (self.sigma, other.sigma) {
            (Some(own), Some(theirs)) if self.mean > 0.0 => {
                Some(ratio * ((own / self.mean).powi(2) + (theirs / other.mean).powi(2)).sqrt())
            }
            _ => None,
        };
        Some((ratio, sigma))
    }
}

/// Of at least one value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = values.get(half).copied().unwrap_or(0.0);
    if values.len().is_multiple_of(2) && half > 0 {
        f64::midpoint(values.get(half - 1).copied().unwrap_or(upper), upper)
    } else {
        upper
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::Statistics;

    fn of(values: &[u64]) -> Statistics {
        Statistics::of(values, 0).unwrap()
    }

    fn near(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() <= expected.abs() * 1e-12,
            "{value} is not {expected}"
        );
    }

    /// NIST's certified values, univariate: `NumAcc1` (certified mean 10000002, standard deviation 1), and
    /// `NumAcc3` and `NumAcc4` in units of a tenth (1000000.2 and 10000000.2, both 0.1; 1001
    /// values that alternate around the first).
    #[test]
    fn certified_values_are_reproduced() {
        let statistics = of(&[10_000_001, 10_000_003, 10_000_002]);
        near(statistics.mean, 10_000_002.0);
        near(statistics.sigma.unwrap(), 1.0);
        for base in [10_000_002, 100_000_002] {
            let mut values = vec![base];
            values.extend([base - 1, base + 1].repeat(500));
            let statistics = of(&values);
            near(statistics.mean, base as f64);
            near(statistics.sigma.unwrap(), 1.0);
            near(statistics.median, base as f64);
        }
    }

    /// By hand: squares of deviations from 5 sum to 32, over 7.
    #[test]
    fn a_small_sample() {
        let statistics = of(&[4, 2, 4, 5, 4, 7, 5, 9]);
        near(statistics.mean, 5.0);
        near(statistics.sigma.unwrap(), (32.0_f64 / 7.0).sqrt());
        near(statistics.median, 4.5);
        assert_eq!((statistics.min, statistics.max), (2, 9));
        assert_eq!(statistics.outliers, 0);
        let single = of(&[7]);
        assert_eq!((single.mean, single.sigma, single.median), (7.0, None, 7.0));
        assert_eq!(Statistics::of(&[], 1), None);
        let largest = of(&[u64::MAX, u64::MAX]);
        assert_eq!((largest.max, largest.sigma), (u64::MAX, Some(0.0)));
    }

    /// The median deviation of 100, 102, 98, 101, 99 and one more is 1.5 (of 2, 1, 1, 0 ... by
    /// hand); 14.826 times that is the border.
    #[test]
    fn what_is_far_away_is_an_outlier() {
        // Median 100.5; deviations 0.5, 1.5, 2.5, 0.5, 1.5 and that of the last; their median
        // is 1.5, the border 22.239 above.
        for (last, expected) in [(122, 0), (123, 1), (5000, 1)] {
            let statistics = of(&[100, 102, 98, 101, 99, last]);
            near(statistics.median, 100.5);
            assert_eq!(statistics.outliers, expected, "{last}");
        }
        // A few pages more, where nearly all are equal, are none; many are.
        for (pages, expected) in [(1, 0), (14, 0), (15, 1)] {
            let values = [40_960, 40_960, 40_960, 40_960 + pages * 4096];
            let statistics = Statistics::of(&values, 4096).unwrap();
            assert_eq!(statistics.outliers, expected, "{pages}");
        }
    }

    /// By hand: 20 with 10 % over 10 with 10 % is 2 with the root of 2 %.
    #[test]
    fn errors_of_a_ratio_add_up_in_squares() {
        let with = |mean, sigma| Statistics {
            mean,
            sigma,
            ..of(&[1])
        };
        let (ratio, sigma) = with(20.0, Some(2.0))
            .relative_to(&with(10.0, Some(1.0)))
            .unwrap();
        near(ratio, 2.0);
        near(sigma.unwrap(), 2.0 * 0.02_f64.sqrt());
        // 3, 4 and 5: 30 % and 40 % make 50 %.
        let (ratio, sigma) = with(10.0, Some(3.0))
            .relative_to(&with(10.0, Some(4.0)))
            .unwrap();
        near(ratio, 1.0);
        near(sigma.unwrap(), 0.5);
        let single = with(10.0, None).relative_to(&with(5.0, Some(1.0))).unwrap();
        assert_eq!(single, (2.0, None));
        assert_eq!(with(1.0, None).relative_to(&with(0.0, None)), None);
    }
}
