//! The verdict for each reason by itself.

use memtrace_ebpf::{Branch, Stat};

use super::{
    super::{
        BranchState, Certificate, CrossChecks, Final, Limit, Limited, Missed, Model, Verdict,
        Worth, reasons::has_remedy,
    },
    last, tree,
};

fn certificate(change: impl FnOnce(&mut Final)) -> Certificate {
    let mut end = last(tree(), 100);
    change(&mut end);
    Model::new().finish(end).certificate
}

fn verdict(change: impl FnOnce(&mut Final)) -> (Verdict, Vec<String>, Vec<String>) {
    let certificate = certificate(change);
    (
        certificate.verdict,
        certificate.reasons,
        certificate.remarks,
    )
}

/// Nothing happened, nothing was lost.
#[test]
fn an_empty_run_is_exact() {
    assert_eq!(verdict(|_| ()), (Verdict::Exact, Vec::new(), Vec::new()));
}

/// Every kind of loss is named with its count.
#[test]
fn losses_are_named() {
    let (verdict, reasons, _) = verdict(|end| {
        end.stats.set(Stat::RingFull, 3);
        end.stats.set(Stat::ReadFailed, 1);
        end.undecodable = 2;
    });
    assert_eq!(verdict, Verdict::Incomplete);
    assert_eq!(
        reasons,
        [
            "3 records lost, ring buffer full: raise --ring-size",
            "1 read of kernel memory that failed: run it again, and if it stays, report it with `memtrace check`",
            "2 records were lost in userspace: run it again, and if it stays, report it with `memtrace check`"
        ]
    );
}

/// What several roots have adds up to what all have, and no part is larger than the whole.
#[test]
fn roots_add_up_to_the_tree() {
    let branch = |now: i64, peak: i64| BranchState {
        totals: Branch {
            cur: [0, now, 0, 0],
            rss: now,
            peak_rss: peak,
            at_peak: [0, peak, 0, 0],
            ..Branch::default()
        },
        ..BranchState::default()
    };
    let judged = |branches: [BranchState; 2]| {
        let wrong = |reason: &String| reason.contains("totals of roots that are impossible");
        let (_, reasons, _) = verdict(|end| {
            end.tree.cur = [0, 5, 0, 0];
            end.tree.rss = 5;
            end.tree.peak = [0, 9, 0, 0];
            end.tree.peak_rss = 9;
            end.branches = branches.to_vec();
        });
        !reasons.iter().any(wrong)
    };
    assert!(judged([branch(2, 6), branch(3, 3)]));
    assert!(!judged([branch(2, 6), branch(2, 6)]), "a page is missing");
    assert!(!judged([branch(2, 10), branch(3, 3)]), "more than all");
    assert!(
        !judged([branch(2, 1), branch(3, 9)]),
        "more now than at most"
    );
    let mut members = branch(2, 6);
    members.totals.at_peak = [1, 6, 0, 0];
    assert!(!judged([members, branch(3, 3)]), "a sum of other members");
}

/// What heals by itself is a remark.
#[test]
fn what_heals_is_a_remark() {
    let (verdict, reasons, remarks) = verdict(|end| {
        end.stats.set(Stat::Torn, 5);
        end.stats.set(Stat::Outlived, 1);
    });
    assert_eq!((verdict, reasons.len()), (Verdict::Exact, 0));
    assert_eq!(
        remarks,
        [
            "5 sums read again",
            "1 update that came after the end of its image"
        ]
    );
}

/// Bounds add up; a reason without a bound outweighs them.
#[test]
fn bounds_add_up() {
    let limit = |reason: &str, bound_bytes| Limit {
        reason: reason.to_owned(),
        bound_bytes,
        of: Limited::Rss,
    };
    let (within, reasons, remarks) = verdict(|end| {
        end.limits.push(limit("silent caches", Some(4096)));
        end.limits.push(limit("no VmLck on this kernel", Some(0)));
        end.cross_checks = CrossChecks {
            count: 4,
            largest_difference_bytes: 8192,
            allowed_bytes: 4096,
            ..CrossChecks::default()
        };
    });
    assert_eq!(within, Verdict::Within(12288));
    assert_eq!(
        reasons,
        [
            "the largest difference in 4 comparisons with /proc was 8.0 KiB: run it again, and if it stays, report it with `memtrace check`",
            "up to 4.0 KiB: silent caches: run it again, and if it stays, report it with `memtrace check`"
        ]
    );
    assert_eq!(remarks, ["no VmLck on this kernel"]);
    let (incomplete, ..) = verdict(|end| {
        end.limits.push(limit("silent caches", Some(4096)));
        end.limits.push(limit("unknown layout", None));
    });
    assert_eq!(incomplete, Verdict::Incomplete);
}

/// What concerns RSS + swap alone makes nothing else less than exact.
#[test]
fn a_limit_of_one_quantity_is_its_own() {
    let certificate = certificate(|end| {
        end.limits.push(Limit {
            reason: "swapped in at once".to_owned(),
            bound_bytes: Some(8192),
            of: Limited::RssSwap,
        });
    });
    assert_eq!(certificate.verdict, Verdict::Exact);
    let quantities = certificate.quantities;
    assert_eq!(quantities.rss, Worth::Exact);
    assert_eq!(quantities.rss_swap, Worth::Within(8192));
    assert_eq!(
        certificate.remarks,
        ["RSS + swap is within 8.0 KiB: swapped in at once"]
    );
}

/// Whatever makes a result less than exact, each reason ends with what to do, names amounts in
/// units, and tells one from several.
#[test]
fn every_reason_says_what_to_do() {
    for count in [1, 2] {
        for stat in Stat::ALL {
            let (_, reasons, _) = verdict(|end| end.stats.set(stat, count));
            assert_helpful(&reasons);
        }
        let (_, reasons, _) = verdict(|end| {
            end.undecodable = count;
            end.tree.unlocked = count;
            // No such image is told of.
            end.tree.images = count;
            end.missed.push(Missed {
                program: "rss_stat".to_owned(),
                count,
            });
            end.limits.push(Limit {
                reason: "said elsewhere".to_owned(),
                bound_bytes: Some(4096 * count),
                of: Limited::Rss,
            });
            end.limits.push(Limit {
                reason: "said elsewhere, without a bound".to_owned(),
                bound_bytes: None,
                of: Limited::Rss,
            });
            end.cross_checks = CrossChecks {
                count,
                largest_difference_bytes: 8192,
                ..CrossChecks::default()
            };
        });
        assert!(reasons.len() >= 7, "{reasons:?}");
        assert_helpful(&reasons);
    }
}

#[track_caller]
fn assert_helpful(reasons: &[String]) {
    for reason in reasons {
        assert!(has_remedy(reason), "{reason}");
        assert!(!reason.contains(" bytes"), "{reason}");
        for wrong in [
            "1 records",
            "1 images",
            "1 times",
            "1 comparisons",
            "1 updates",
        ] {
            assert!(!reason.contains(wrong), "{reason}");
        }
    }
}

/// A difference that the kernel's own reading explains limits nothing.
#[test]
fn explained_differences_are_allowed() {
    let (verdict, reasons, _) = verdict(|end| {
        end.cross_checks = CrossChecks {
            count: 4,
            largest_difference_bytes: 4096,
            allowed_bytes: 4096,
            ..CrossChecks::default()
        };
    });
    assert_eq!((verdict, reasons.len()), (Verdict::Exact, 0));
}
