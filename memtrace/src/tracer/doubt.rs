//! When a difference counts that a comparison finds: once it has lasted for several looks.

use std::time::Duration;

/// After how long a difference is looked at again, to see whether it lasts.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
];

/// A difference that may go away, if there is one.
#[derive(Debug)]
pub(super) struct Doubt<T> {
    open: Option<Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    /// What was compared.
    of: T,
    /// How often it was looked at again.
    tries: usize,
}

impl<T> Default for Doubt<T> {
    fn default() -> Self {
        Self { open: None }
    }
}

impl<T> Doubt<T> {
    /// Takes what a look found: what was compared, and the difference in bytes; `None` if it did not hold
    /// still. Gives the difference if the comparison counts: nothing differs, or what does has stayed
    /// while nothing else changed (`is_same`).
    pub(super) fn take(
        &mut self,
        seen: Option<(T, u64)>,
        is_same: impl FnOnce(&T, &T) -> bool,
    ) -> Option<u64> {
        let before = self.open.take();
        let (of, difference) = seen?;
        if before.as_ref().is_some_and(|open| !is_same(&open.of, &of)) {
            return None;
        }
        let tries = before.map_or(0, |open| open.tries + 1);
        if difference > 0 && tries < PAUSES.len() {
            self.open = Some(Open { of, tries });
            return None;
        }
        Some(difference)
    }

    /// Whether it is to be looked at again.
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How long to wait before the next look, if there is to be one.
    pub(super) fn pause(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        PAUSES.get(open.tries).copied()
    }

    /// What differed is not there any more, or cannot be looked at.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Doubt;

    /// Looks at something in a state that differs by so much; gives what counts, and the milliseconds
    /// until the next look.
    fn look(doubt: &mut Doubt<u32>, state: u32, difference: u64) -> (Option<u64>, Option<u128>) {
        let counted = doubt.take(Some((state, difference)), |one, other| one == other);
        (counted, doubt.pause().map(|pause| pause.as_millis()))
    }

    #[test]
    fn what_does_not_differ_counts_at_once() {
        let mut doubt = Doubt::default();
        assert_eq!(look(&mut doubt, 1, 0), (Some(0), None));
        assert!(!doubt.is_open());
    }

    /// A program that a virtual CPU was taken away from needs longer than a look to book what it saw.
    #[test]
    fn a_difference_counts_after_five_more_looks_only() {
        let mut doubt = Doubt::default();
        // Growing, so that it is told which one counts.
        for (grows, pause) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80)] {
            assert_eq!(look(&mut doubt, 1, grows), (None, Some(pause)));
            assert!(doubt.is_open());
        }
        assert_eq!(look(&mut doubt, 1, 6), (Some(6), None));
        assert!(!doubt.is_open());
        // The next one begins anew.
        assert_eq!(look(&mut doubt, 1, 7), (None, Some(5)));
    }

    #[test]
    fn a_difference_that_goes_away_is_not_counted() {
        for looks in 1..=5 {
            let mut doubt = Doubt::default();
            for _ in 0..looks {
                assert_eq!(look(&mut doubt, 1, 4096).0, None);
            }
            assert_eq!(look(&mut doubt, 1, 0), (Some(0), None));
            assert!(!doubt.is_open());
        }
    }

    /// Nothing is known then of what differed, nor of whether what is there now would stay.
    #[test]
    fn a_difference_is_forgotten_when_what_was_compared_changes_or_goes() {
        for looks in 1..=5 {
            let mut doubt = Doubt::default();
            let differ = |doubt: &mut _| {
                for _ in 0..looks {
                    assert_eq!(look(doubt, 1, 4096).0, None);
                }
            };
            differ(&mut doubt);
            assert_eq!(look(&mut doubt, 2, 4096), (None, None));
            differ(&mut doubt);
            assert_eq!(doubt.take(None, |_, _| true), None);
            assert_eq!(doubt.pause(), None);
            differ(&mut doubt);
            doubt.forget();
            assert_eq!(doubt.pause(), None);
            // Not going on from where the last one was.
            assert_eq!(look(&mut doubt, 1, 4096), (None, Some(5)));
        }
    }
}
