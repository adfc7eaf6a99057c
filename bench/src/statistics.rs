//! Arithmetic on measured values.

/// The value in the middle of the sorted values, or the mean of the two in the middle.
/// `None` if there is no value.
#[must_use]
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which a part of the values lies, `part` from 0 to 1, interpolated between
/// neighbours. `None` if there is no value or one that is no number.
#[must_use]
pub(crate) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = part.clamp(0.0, 1.0) * last as f64;
    let below = place.floor();
    let low = sorted.get(below as usize)?;
    let high = sorted.get(place.ceil() as usize)?;
    Some(low + (high - low) * (place - below))
}

/// How often `base` fits into `value`; `None` if `base` is not above 0.
#[must_use]
pub(crate) fn ratio(value: f64, base: f64) -> Option<f64> {
    (base > 0.0).then(|| value / base)
}

/// One measurement with a tool beside the one without, and what both need for a program that
/// ends at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// With the tool.
    pub(crate) with: f64,
    /// With the tool, for a program that ends at once.
    pub(crate) start: f64,
    /// Without.
    pub(crate) without: f64,
    /// Without, for a program that ends at once.
    pub(crate) bare_start: f64,
}

impl Pair {
    /// The ratio of what remains beyond start-up; `None` if nothing remains without the tool.
    #[must_use]
    pub(crate) fn beyond_start(self) -> Option<f64> {
        ratio(
            (self.with - self.start).max(0.0),
            self.without - self.bare_start,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Pair, median, quantile, ratio};

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn quartiles_lie_between_neighbours() {
        let values = [10.0, 50.0, 30.0, 20.0, 40.0];
        assert_eq!(quantile(&values, 0.25), Some(20.0));
        assert_eq!(quantile(&values, 0.75), Some(40.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.25), Some(1.25));
        assert_eq!(quantile(&values, 0.0), Some(10.0));
        assert_eq!(quantile(&values, 1.0), Some(50.0));
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(3.0, 0.0), None);
        assert_eq!(ratio(3.0, -1.0), None);
    }

    #[test]
    fn start_up_is_taken_off_both_sides() {
        let pair = Pair {
            with: 1200.0,
            start: 100.0,
            without: 1010.0,
            bare_start: 10.0,
        };
        assert_eq!(pair.beyond_start(), Some(1.1));
        // A tool that only seems to be faster than its own start-up costs nothing.
        let faster = Pair { with: 50.0, ..pair };
        assert_eq!(faster.beyond_start(), Some(0.0));
        let nothing = Pair {
            without: 10.0,
            ..pair
        };
        assert_eq!(nothing.beyond_start(), None);
    }
}
