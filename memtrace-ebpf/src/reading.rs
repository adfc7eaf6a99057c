//! Reading a counter of the kernel that others change meanwhile.

/// One reading of a `percpu_counter`: the value, and whether it is one that the counter had.
///
/// A CPU that moves its share into `count` takes the counter's lock, adds to `count`, then takes it off the
/// share (`percpu_counter_add_batch()`, `lib/percpu_counter.c`). So `count` is read first and last, and the
/// lock within: free then, no move was half done when the shares were first looked at; free and with the
/// same `count` afterwards, none began before they had been looked at.
///
/// A held lock is never taken for a stable value: its holder may have been stopped between the two.
///
/// `first` is `count`, then the lock; `last` is the lock, then `count`, in the order in which they are
/// read. The caller sees to it that the CPU keeps that order: x86 does by itself, elsewhere fences do
/// ([`Config::fences`](crate::Config::fences)).
#[inline(always)]
pub fn reading(
    first: (i64, u32),
    shares: impl FnOnce() -> i64,
    last: impl FnOnce() -> (u32, i64),
) -> (i64, bool) {
    let (before, held) = first;
    let value = before + shares();
    let (still_held, after) = last();
    (value, held | still_held == 0 && before == after)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::reading;

    const CPUS: usize = 2;

    #[derive(Clone, Copy)]
    struct Counter {
        lock: u32,
        count: i64,
        share: [i64; CPUS],
    }

    impl Counter {
        fn value(&self) -> i64 {
            self.count + self.share.iter().sum::<i64>()
        }
    }

    /// One step of a CPU that changes the counter.
    #[derive(Clone, Copy)]
    enum Step {
        Lock,
        AddToCount(i64),
        TakeOff(usize, i64),
        Unlock,
        AddToShare(usize, i64),
    }

    fn apply(counter: &mut Counter, step: Step) {
        match step {
            Step::Lock => counter.lock = 1,
            Step::AddToCount(by) => counter.count += by,
            Step::TakeOff(cpu, by) => counter.share[cpu] -= by,
            Step::Unlock => counter.lock = 0,
            Step::AddToShare(cpu, by) => counter.share[cpu] += by,
        }
    }

    /// What the writers do, one after the other as the lock has it.
    fn writers() -> Vec<Vec<Step>> {
        let moves = |cpu, share, by| {
            vec![
                Step::Lock,
                Step::AddToCount(share + by),
                Step::TakeOff(cpu, share),
                Step::Unlock,
            ]
        };
        vec![
            vec![],
            vec![Step::AddToShare(0, 1)],
            moves(0, 31, 1),
            moves(1, 30, 2),
            [moves(0, 31, 1), vec![Step::AddToShare(0, 1)]].concat(),
            [vec![Step::AddToShare(1, 1)], moves(1, 31, 1)].concat(),
            [moves(0, 31, 1), moves(1, 30, 2)].concat(),
            // Whoever sums up for /proc moves nothing.
            vec![Step::Lock, Step::Unlock],
        ]
    }

    /// A way of reading: what is read in which order.
    type Reader = fn(&mut dyn FnMut() -> Counter) -> (i64, bool);

    fn right(look: &mut dyn FnMut() -> Counter) -> (i64, bool) {
        let count = look().count;
        let first = (count, look().lock);
        let shares = look().share[0] + look().share[1];
        let lock = look().lock;
        let last = (lock, look().count);
        reading(first, || shares, || last)
    }

    /// As it was: the lock read before the count, and not again.
    fn wrong(look: &mut dyn FnMut() -> Counter) -> (i64, bool) {
        let lock = look().lock;
        let count = look().count;
        let shares = look().share[0] + look().share[1];
        let last = look().count;
        reading((count, lock), || shares, || (0, last))
    }

    /// Reads in every way that the steps can come between the reader's looks; counts readings that say
    /// that they are sums and are none that the counter had meanwhile.
    fn mistakes(reader: Reader) -> usize {
        const LOOKS: u32 = 6;
        let mut found = 0;
        for steps in writers() {
            // How many steps were done at each look, never fewer than at the one before.
            let places = steps.len() + 1;
            'ways: for way in 0..places.pow(LOOKS) {
                let mut done = Vec::new();
                let mut rest = way;
                for _ in 0..LOOKS {
                    done.push(rest % places);
                    rest /= places;
                }
                if done.windows(2).any(|pair| pair[0] > pair[1]) {
                    continue 'ways;
                }
                let mut looks = done.iter();
                let at = |done: usize| {
                    let mut counter = Counter {
                        lock: 0,
                        count: 1000,
                        share: [31, 30],
                    };
                    for &step in steps.iter().take(done) {
                        apply(&mut counter, step);
                    }
                    counter
                };
                let (value, is_sum) = reader(&mut || at(looks.next().copied().unwrap_or(0)));
                // Between the locked steps the parts do not add up: what counts is before and after.
                let whole = |counter: &Counter| counter.lock == 0;
                let had = (0..=steps.len())
                    .map(at)
                    .filter(whole)
                    .any(|counter| counter.value() == value);
                found += usize::from(is_sum && !had);
            }
        }
        found
    }

    #[test]
    fn what_is_called_a_sum_was_one() {
        assert_eq!(mistakes(right), 0);
    }

    /// The test would notice.
    #[test]
    fn the_lock_read_first_is_not_enough() {
        assert_ne!(mistakes(wrong), 0);
    }
}
