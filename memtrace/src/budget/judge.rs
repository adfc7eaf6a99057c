//! Whether a result keeps a budget, as far as its certificate lets that be said.

use super::{Budget, Finding, Judgement, Measured, Quantity, Scope, Size};
use crate::model::{ImageSummary, PeakRange, Summary, Verdict};

/// Holds a budget against a result.
#[must_use]
pub fn judge<'a>(summary: &Summary, budget: &'a Budget) -> Finding<'a> {
    let finding = |judgement, measured, alike| Finding {
        budget,
        judgement,
        measured,
        alike,
    };
    let limit = budget.limit;
    let mut candidates = match (&budget.scope, budget.quantity) {
        (Scope::Tree, Quantity::Peak | Quantity::Average) => {
            vec![tree(summary, budget.quantity)]
        }
        (Scope::Tree, Quantity::ProcessPeak) => {
            let mut of_images = images(summary, budget.quantity, |_| true);
            if summary.certificate.verdict == Verdict::Incomplete {
                // Others, that were not seen, may have been larger.
                for measured in &mut of_images {
                    measured.high = None;
                }
            }
            of_images
        }
        (Scope::Program(pattern), quantity) => images(summary, quantity, |image| {
            pattern.matches_program(&image.program)
        }),
    };
    // The one that decides comes first: what is surely missed, then what is in doubt, then
    // the largest of those that are surely kept.
    let rank = |measured: &Measured| match judged(measured, limit) {
        Judgement::Missed => 0,
        Judgement::Undecided => 1,
        Judgement::Kept | Judgement::NothingToJudge => 2,
    };
    candidates.sort_by_key(|measured| (rank(measured), std::cmp::Reverse(measured.bytes)));
    let Some(first) = candidates.first() else {
        return finding(Judgement::NothingToJudge, None, 0);
    };
    let judgement = judged(first, limit);
    let alike = candidates
        .iter()
        .filter(|measured| judged(measured, limit) == judgement)
        .count();
    finding(judgement, Some(*first), alike)
}

fn judged(measured: &Measured, limit: Size) -> Judgement {
    if measured.low > limit.bytes() {
        Judgement::Missed
    } else if measured.high.is_some_and(|high| high <= limit.bytes()) {
        Judgement::Kept
    } else {
        Judgement::Undecided
    }
}

fn tree(summary: &Summary, quantity: Quantity) -> Measured {
    let tree = &summary.tree;
    let average = quantity == Quantity::Average;
    let bytes = if average {
        tree.average_rss
    } else {
        tree.peak_rss
    };
    let (low, high) = bounds(summary, bytes, tree.peak_range, average);
    Measured {
        bytes,
        low,
        high,
        at_ns: (!average).then_some(tree.peak_at_ns),
        image: None,
    }
}

fn images(
    summary: &Summary,
    quantity: Quantity,
    wanted: impl Fn(&ImageSummary) -> bool,
) -> Vec<Measured> {
    let average = quantity == Quantity::Average;
    summary
        .images
        .iter()
        .enumerate()
        .filter(|(_, image)| image.ran() && wanted(image))
        .map(|(index, image)| {
            let bytes = if average {
                image.average_rss
            } else {
                image.peak_rss
            };
            let (low, high) = bounds(summary, bytes, image.peak_range, average);
            Measured {
                bytes,
                low,
                high,
                at_ns: (!average).then_some(image.peak_at_ns),
                image: Some(index),
            }
        })
        .collect()
}

/// Between what the truth lies.
fn bounds(
    summary: &Summary,
    bytes: u64,
    peak: Option<PeakRange>,
    average: bool,
) -> (u64, Option<u64>) {
    match (peak, summary.certificate.verdict) {
        // Sampled without a bound; but no mean is above its peak.
        (Some(peak), _) if average => (0, peak.high),
        (Some(peak), _) => (peak.low, peak.high),
        (None, Verdict::Exact) => (bytes, Some(bytes)),
        (None, Verdict::Within(error)) => (
            bytes.saturating_sub(error),
            Some(bytes.saturating_add(error)),
        ),
        (None, Verdict::Incomplete) => (0, None),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{Judgement, Quantity, Summary, Verdict, judge};
    use crate::{
        budget::{Budget, Doubt, Pattern, Scope, Size},
        model::{PeakRange, golden},
    };

    /// The recorded run of `make`: its peak is 1,536,000 bytes, that of its largest image
    /// 921,600 (pid 101, cc), its mean 410,208 (tests/golden/make.json).
    fn make() -> Summary {
        golden::make()
    }

    fn tree(quantity: Quantity, limit: u64) -> Budget {
        Budget::tree(
            format!("--{}", quantity.key()),
            quantity,
            Size::from_bytes(limit),
        )
    }

    fn program(pattern: &str, quantity: Quantity, limit: u64) -> Budget {
        Budget {
            scope: Scope::Program(Pattern::new(pattern).unwrap()),
            ..tree(quantity, limit)
        }
    }

    /// At the limit a budget is kept, one byte below it is missed.
    #[test]
    fn exact_results_are_decided_to_the_byte() {
        let summary = make();
        for (quantity, value) in [
            (Quantity::Peak, 1_536_000),
            (Quantity::ProcessPeak, 921_600),
            (Quantity::Average, 410_208),
        ] {
            for (limit, expected) in [
                (value, Judgement::Kept),
                (value + 1, Judgement::Kept),
                (u64::MAX, Judgement::Kept),
                (value - 1, Judgement::Missed),
                (0, Judgement::Missed),
            ] {
                let budget = tree(quantity, limit);
                let finding = judge(&summary, &budget);
                assert_eq!(finding.judgement, expected, "{quantity:?}, limit {limit}");
                let missed = expected == Judgement::Missed;
                assert_eq!(finding.is_missed(Doubt::Measured), missed);
            }
        }
    }

    /// Each image of a program counts on its own: cc's are 900 and 120 KiB.
    #[test]
    fn programs_are_judged_one_by_one() {
        let summary = make();
        let at = |pattern, quantity, limit| {
            let budget = program(pattern, quantity, limit);
            let finding = judge(&summary, &budget);
            (finding.judgement, finding.alike)
        };
        assert_eq!(at("cc", Quantity::Peak, 921_600), (Judgement::Kept, 2));
        assert_eq!(at("cc", Quantity::Peak, 921_599), (Judgement::Missed, 1));
        assert_eq!(at("cc", Quantity::Peak, 122_879), (Judgement::Missed, 2));
        assert_eq!(
            at("cc -c a.c", Quantity::Peak, 122_880),
            (Judgement::Missed, 1)
        );
        assert_eq!(at("cc", Quantity::Average, 450_560), (Judgement::Kept, 2));
        assert_eq!(at("cc", Quantity::Average, 450_559), (Judgement::Missed, 1));
        assert_eq!(at("ld", Quantity::Peak, 0), (Judgement::NothingToJudge, 0));
    }

    /// Within a bound, what lies inside of it cannot be decided, at either end.
    #[test]
    fn a_bound_leaves_room_for_doubt() {
        let mut summary = make();
        summary.certificate.verdict = Verdict::Within(1000);
        for (limit, expected, measured) in [
            (1_537_000, Judgement::Kept, false),
            (1_536_999, Judgement::Undecided, false),
            (1_536_000, Judgement::Undecided, false),
            (1_535_999, Judgement::Undecided, true),
            (1_535_000, Judgement::Undecided, true),
            (1_534_999, Judgement::Missed, true),
        ] {
            let budget = tree(Quantity::Peak, limit);
            let finding = judge(&summary, &budget);
            assert_eq!(finding.judgement, expected, "{limit}");
            assert_eq!(finding.is_missed(Doubt::Measured), measured, "{limit}");
            let (kept, missed) = (expected == Judgement::Kept, expected == Judgement::Missed);
            assert_eq!(finding.is_missed(Doubt::Kept), missed, "{limit}");
            assert_eq!(finding.is_missed(Doubt::Missed), !kept, "{limit}");
        }
    }

    /// Without a bound nothing is sure, unless the result gives a range of its own.
    #[test]
    fn incomplete_results_decide_only_what_they_can() {
        let mut summary = make();
        summary.certificate.verdict = Verdict::Incomplete;
        for limit in [0, 1_535_999, u64::MAX - 1] {
            let budget = tree(Quantity::Peak, limit);
            assert_eq!(
                judge(&summary, &budget).judgement,
                Judgement::Undecided,
                "{limit}"
            );
        }
        // Sampled: at least the largest process, at most anything.
        summary.tree.peak_range = Some(PeakRange {
            low: 900,
            high: None,
        });
        for (limit, expected) in [(899, Judgement::Missed), (900, Judgement::Undecided)] {
            let budget = tree(Quantity::Peak, limit);
            assert_eq!(judge(&summary, &budget).judgement, expected, "{limit}");
        }
        // No mean is above the highest peak.
        summary.tree.peak_range = Some(PeakRange {
            low: 900,
            high: Some(5000),
        });
        for (limit, expected) in [(5000, Judgement::Kept), (4999, Judgement::Undecided)] {
            let budget = tree(Quantity::Average, limit);
            assert_eq!(judge(&summary, &budget).judgement, expected, "{limit}");
        }
    }

    /// The line names the budget, the number, who and when.
    #[test]
    fn messages_name_number_process_and_moment() {
        let summary = make();
        let said = |budget: &Budget| judge(&summary, budget).message(&summary, Doubt::Measured);
        assert_eq!(
            said(&tree(Quantity::Peak, 1_024_000)),
            "budget --max-peak missed: peak 1.5 MiB (1,536,000 bytes) is 500.0 KiB over the limit of 1000.0 KiB (1,024,000 bytes), at +0.400 s, held by cc [101] (900.0 KiB), make [100] (600.0 KiB)"
        );
        assert_eq!(
            said(&tree(Quantity::ProcessPeak, 614_400)),
            "budget --max-process-peak missed: process peak 900.0 KiB (921,600 bytes) of cc [101] -c a.c is 300.0 KiB over the limit of 600.0 KiB (614,400 bytes), at +0.400 s"
        );
        assert_eq!(
            said(&tree(Quantity::Average, 409_184)),
            "budget --max-average missed: average 400.6 KiB (410,208 bytes) is 1.0 KiB over the limit of 399.6 KiB (409,184 bytes)"
        );
        let doubtful = Summary {
            certificate: crate::model::Certificate {
                verdict: Verdict::Within(4096),
                ..summary.certificate.clone()
            },
            ..summary.clone()
        };
        let budget = tree(Quantity::Peak, 1_536_000);
        let finding = judge(&doubtful, &budget);
        assert_eq!(
            finding.message(&doubtful, Doubt::Measured),
            "budget --max-peak cannot be decided and counts as kept: peak 1.5 MiB (1,536,000 bytes), truly between 1.5 MiB (1,531,904 bytes) and 1.5 MiB (1,540,096 bytes), limit 1.5 MiB (1,536,000 bytes), at +0.400 s, held by cc [101] (900.0 KiB), make [100] (600.0 KiB)"
        );
    }
}
