//! A set of numbers that are given one after the other.

use std::collections::BTreeMap;

/// A set of numbers, as ranges: those of a tree's processes fill up to a few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// First and last number of each range; none touches another.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl Numbers {
    /// How many there are.
    pub(super) const fn len(&self) -> u64 {
        self.count
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.range_of(number).is_some()
    }

    /// Puts one in.
    pub(super) fn insert(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        self.count += 1;
        let before = number
            .checked_sub(1)
            .and_then(|before| self.range_of(before));
        let after = number
            .checked_add(1)
            .and_then(|after| self.ranges.remove(&after));
        let first = before.unwrap_or(number);
        self.ranges.insert(first, after.unwrap_or(number));
    }

    /// The first number of the range that a number is in.
    fn range_of(&self, number: u64) -> Option<u64> {
        let (first, last) = self.ranges.range(..=number).next_back()?;
        (number <= *last).then_some(*first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Numbers;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(0_u64..40, 0..60)) {
            let mut set = Numbers::default();
            for number in &numbers {
                set.insert(*number);
            }
            let expected: BTreeSet<u64> = numbers.into_iter().collect();
            prop_assert_eq!(set.len(), expected.len() as u64);
            for number in 0..41 {
                prop_assert_eq!(set.contains(number), expected.contains(&number));
            }
            let gaps = (0..41).filter(|n| expected.contains(n) && !expected.contains(&(n + 1)));
            prop_assert_eq!(set.ranges.len(), gaps.count());
        }
    }

    #[test]
    fn the_last_number_is_one_too() {
        let mut set = Numbers::default();
        for number in [u64::MAX, 0, u64::MAX - 1] {
            set.insert(number);
        }
        assert_eq!((set.len(), set.ranges.len()), (3, 2));
        assert!(set.contains(u64::MAX) && set.contains(0) && !set.contains(1));
    }
}
