//! Whether to boot again. What a test says is never asked twice: a test that fails now and
//! then is a finding. What an emulator breaks says nothing about memtrace.

use super::record::{End, Record};

/// How often to boot at most.
pub(crate) const BOOTS: u32 = 3;

/// Whether a kernel died of its emulator. A kernel patches its code by way of a breakpoint,
/// which stands there for a moment (`text_poke_bp_batch()`, arch/x86/kernel/alternative.c);
/// QEMU's translation can keep it for longer, and no handler knows it then. Each program that
/// is attached has code patched; no other code has breakpoints.
fn is_emulators(words: &str) -> bool {
    words.contains("Oops: int3")
}

/// Why to boot again, if that is so: `bad` tests and programs failed, and `begun` says
/// whether the first program had started.
pub(crate) fn reason(end: &End, bad: usize, begun: bool, boots: u32) -> Option<String> {
    if bad > 0 || boots >= BOOTS {
        return None;
    }
    match end {
        End::Stalled | End::Gone => Some(end.text()),
        End::Died(words) if is_emulators(words) => Some(format!("QEMU ran stale code: {words}")),
        End::Died(words) if !begun => Some(format!("it died before the first test: {words}")),
        // memtrace may have killed it. And programs have limits of their own: that all of them
        // together take too long is no accident.
        End::Died(_) | End::TooLong | End::Done => None,
    }
}

/// The same of a boot.
pub(crate) fn reason_of(record: &Record) -> Option<String> {
    let bad = record.results.count(super::protocol::Outcome::Failed) + record.results.broken.len();
    reason(&record.end, bad, record.results.begun, record.boots)
}

#[cfg(test)]
mod tests {
    use super::{BOOTS, End, reason};

    fn died(words: &str) -> End {
        End::Died(words.to_owned())
    }

    #[test]
    fn a_boot_that_shows_nothing_is_repeated() {
        for end in [End::Stalled, End::Gone, died("Oops: int3: 0000 [#1]")] {
            for begun in [false, true] {
                assert!(reason(&end, 0, begun, 1).is_some(), "{end:?}");
            }
        }
        assert!(reason(&died("Kernel panic"), 0, false, 1).is_some());
    }

    #[test]
    fn one_that_shows_something_is_not() {
        assert_eq!(reason(&died("Kernel panic"), 0, true, 1), None);
        for end in [End::Done, End::TooLong] {
            assert_eq!(reason(&end, 0, true, 1), None);
        }
    }

    #[test]
    fn a_failed_test_is_never_repeated() {
        for end in [
            End::Done,
            End::Stalled,
            End::Gone,
            End::TooLong,
            died("Oops: int3"),
            died("Kernel panic"),
        ] {
            for begun in [false, true] {
                assert_eq!(reason(&end, 1, begun, 1), None, "{end:?}");
            }
        }
    }

    #[test]
    fn patience_ends() {
        assert!(reason(&End::Stalled, 0, true, BOOTS - 1).is_some());
        assert_eq!(reason(&End::Stalled, 0, true, BOOTS), None);
    }
}
