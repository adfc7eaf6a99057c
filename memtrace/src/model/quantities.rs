//! What each kind of number is worth. The certificate's verdict is that of RSS, of its parts and of
//! who held them; other numbers rest on other looks at other moments, and have verdicts of their own.

use super::certificate::{SizesSeen, Verdict};

/// What a kind of number is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It is the truth.
    Exact,
    /// It can differ from the truth by this many bytes.
    Within(u64),
    /// The largest of what was seen at certain moments: between them it may have been more.
    Seen(Moments),
    /// Something is missing; there is no bound.
    Incomplete,
}

/// The moments at which something was looked at that has no event of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moments {
    /// When a counter of RSS changed.
    CounterChanges,
    /// When a page came or went.
    PageFaults,
    /// The same, and at the end of each system call.
    SystemCalls,
    /// At samples.
    Samples,
}

impl Moments {
    /// `at_page_faults`, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CounterChanges => "at_counter_changes",
            Self::PageFaults => "at_page_faults",
            Self::SystemCalls => "at_system_calls",
            Self::Samples => "at_samples",
        }
    }
}

impl Worth {
    /// `exact`, `within`, `seen` or `incomplete`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Within(_) => "within",
            Self::Seen(_) => "seen",
            Self::Incomplete => "incomplete",
        }
    }

    /// The same number in a result that lacks something.
    const fn of_incomplete(self) -> Self {
        match self {
            Self::Exact | Self::Within(_) | Self::Incomplete => Self::Incomplete,
            // It claims no more than this anyway.
            Self::Seen(_) => self,
        }
    }

    /// As this one, and off by up to so many bytes more.
    const fn off_by(self, bytes: u64) -> Self {
        match self {
            Self::Exact if bytes == 0 => self,
            Self::Exact => Self::Within(bytes),
            Self::Within(already) => Self::Within(already.saturating_add(bytes)),
            Self::Seen(_) | Self::Incomplete => self,
        }
    }
}

impl From<Verdict> for Worth {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Exact => Self::Exact,
            Verdict::Within(bytes) => Self::Within(bytes),
            Verdict::Incomplete => Self::Incomplete,
        }
    }
}

/// What each kind of number is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantities {
    /// RSS and its parts, swap, and who held what: the certificate's verdict.
    pub rss: Worth,
    /// RSS + swap at once.
    pub rss_swap: Worth,
    /// Means of those.
    pub averages: Worth,
    /// The footprint: the truth lies between its bounds, `Within` how far they are apart.
    pub footprint: Worth,
    /// Pages of hugetlbfs.
    pub hugetlb: Worth,
    /// `VmPeak`, and all virtual sizes below.
    pub vm_size: Worth,
    /// `VmStk`.
    pub vm_stack: Worth,
    /// `VmPTE`.
    pub vm_page_tables: Worth,
    /// `VmData`.
    pub vm_data: Worth,
    /// `VmExe`.
    pub vm_text: Worth,
    /// `VmLib`.
    pub vm_lib: Worth,
    /// Between `start_brk` and `brk`.
    pub vm_heap: Worth,
    /// `VmLck`.
    pub vm_locked: Worth,
    /// Means of virtual sizes.
    pub vm_averages: Worth,
}

/// What decides, beside the verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grounds {
    pub(crate) sizes_seen: SizesSeen,
    /// Some of it ran before: how large it was then hides smaller peaks.
    pub(crate) attached: bool,
    /// Between the footprint's bounds, bytes.
    pub(crate) footprint_width: u64,
    /// By how much RSS + swap can be off beyond RSS; no bound if `None`.
    pub(crate) rss_swap_within: Option<u64>,
}

impl Quantities {
    /// Of a result with events for all counters.
    pub(crate) fn of(verdict: Verdict, grounds: &Grounds) -> Self {
        let rss = Worth::from(verdict);
        let (never_missed, others, page_tables) = match grounds.sizes_seen {
            SizesSeen::AtSystemCalls => (
                Worth::Exact,
                Worth::Exact,
                Worth::Seen(Moments::SystemCalls),
            ),
            SizesSeen::AtThreadsSystemCalls => (
                Worth::Exact,
                Worth::Seen(Moments::SystemCalls),
                Worth::Seen(Moments::SystemCalls),
            ),
            SizesSeen::AtPageFaults => (
                Worth::Exact,
                Worth::Seen(Moments::PageFaults),
                Worth::Seen(Moments::PageFaults),
            ),
            SizesSeen::NowAndThen => (
                Worth::Seen(Moments::Samples),
                Worth::Seen(Moments::Samples),
                Worth::Seen(Moments::Samples),
            ),
        };
        let whole = |worth: Worth| {
            if verdict == Verdict::Incomplete {
                worth.of_incomplete()
            } else {
                worth
            }
        };
        Self {
            rss,
            rss_swap: grounds
                .rss_swap_within
                .map_or(Worth::Incomplete, |bytes| rss.off_by(bytes)),
            averages: rss,
            footprint: rss.off_by(grounds.footprint_width),
            hugetlb: Worth::Seen(Moments::CounterChanges),
            vm_size: whole(if grounds.attached {
                page_tables
            } else {
                never_missed
            }),
            vm_stack: whole(never_missed),
            vm_page_tables: whole(page_tables),
            vm_data: whole(others),
            // The program's own text is there from its start to its end.
            vm_text: whole(never_missed),
            vm_lib: whole(others),
            vm_heap: whole(others),
            vm_locked: whole(others),
            vm_averages: whole(others),
        }
    }

    /// Of a result from samples, but for peaks of RSS.
    #[must_use]
    pub fn of_samples(verdict: Verdict) -> Self {
        let seen = Worth::Seen(Moments::Samples);
        Self {
            rss: verdict.into(),
            rss_swap: seen,
            averages: Worth::Incomplete,
            // Between the largest process and the sum, both as sampled.
            footprint: Worth::Incomplete,
            // Not looked at.
            hugetlb: Worth::Incomplete,
            vm_size: seen,
            vm_stack: seen,
            vm_page_tables: seen,
            vm_data: seen,
            vm_text: seen,
            vm_lib: seen,
            vm_heap: Worth::Incomplete,
            vm_locked: seen,
            vm_averages: Worth::Incomplete,
        }
    }

    /// All of them, by the name that programs know them by.
    #[must_use]
    pub const fn all(&self) -> [(&'static str, Worth); 14] {
        [
            ("rss", self.rss),
            ("rss_swap", self.rss_swap),
            ("averages", self.averages),
            ("footprint", self.footprint),
            ("hugetlb", self.hugetlb),
            ("vm_size", self.vm_size),
            ("vm_stack", self.vm_stack),
            ("vm_page_tables", self.vm_page_tables),
            ("vm_data", self.vm_data),
            ("vm_text", self.vm_text),
            ("vm_lib", self.vm_lib),
            ("vm_heap", self.vm_heap),
            ("vm_locked", self.vm_locked),
            ("vm_averages", self.vm_averages),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Grounds, Moments, Quantities, SizesSeen, Verdict, Worth};

    const GROUNDS: Grounds = Grounds {
        sizes_seen: SizesSeen::AtSystemCalls,
        attached: false,
        footprint_width: 0,
        rss_swap_within: Some(0),
    };

    /// Only what is looked at without an event of its own is less than exact in an exact result.
    #[test]
    fn an_exact_result_says_what_is_not() {
        let inexact = |grounds: &Grounds| -> Vec<(&str, Worth)> {
            let all = Quantities::of(Verdict::Exact, grounds).all();
            let inexact = all.into_iter().filter(|(_, worth)| *worth != Worth::Exact);
            inexact.collect()
        };
        let huge = ("hugetlb", Worth::Seen(Moments::CounterChanges));
        let tables = ("vm_page_tables", Worth::Seen(Moments::SystemCalls));
        assert_eq!(inexact(&GROUNDS), [huge, tables]);
        let swapping = Grounds {
            footprint_width: 4096,
            rss_swap_within: Some(8192),
            ..GROUNDS
        };
        assert_eq!(
            inexact(&swapping),
            [
                ("rss_swap", Worth::Within(8192)),
                ("footprint", Worth::Within(4096)),
                huge,
                tables
            ]
        );
    }

    /// Errors of RSS are errors of all that contains it, and nothing of an incomplete result is
    /// called exact.
    #[test]
    fn no_quantity_is_worth_more_than_what_it_rests_on() {
        let grounds = Grounds {
            footprint_width: 100,
            rss_swap_within: Some(10),
            ..GROUNDS
        };
        let within = Quantities::of(Verdict::Within(1000), &grounds);
        assert_eq!(within.averages, Worth::Within(1000));
        assert_eq!(within.rss_swap, Worth::Within(1010));
        assert_eq!(within.footprint, Worth::Within(1100));
        for sizes_seen in [
            SizesSeen::AtSystemCalls,
            SizesSeen::AtThreadsSystemCalls,
            SizesSeen::AtPageFaults,
            SizesSeen::NowAndThen,
        ] {
            let grounds = Grounds {
                sizes_seen,
                ..grounds
            };
            let all = Quantities::of(Verdict::Incomplete, &grounds).all();
            let bounded = |worth: &Worth| matches!(worth, Worth::Exact | Worth::Within(_));
            assert!(all.iter().all(|(_, worth)| !bounded(worth)), "{all:?}");
        }
    }

    #[test]
    fn without_a_bound_for_swap_there_is_none() {
        let grounds = Grounds {
            rss_swap_within: None,
            ..GROUNDS
        };
        let all = Quantities::of(Verdict::Exact, &grounds);
        assert_eq!((all.rss, all.rss_swap), (Worth::Exact, Worth::Incomplete));
    }
}
