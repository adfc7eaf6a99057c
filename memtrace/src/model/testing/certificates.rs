//! The verdict for each reason by itself.

use memtrace_ebpf::Stat;

use super::{
    super::{CrossChecks, Final, Limit, Model, Verdict},
    last, tree,
};

fn verdict(change: impl FnOnce(&mut Final)) -> (Verdict, Vec<String>, Vec<String>) {
    let mut end = last(tree(), 100);
    change(&mut end);
    let certificate = Model::new().finish(end).certificate;
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
            "1 reads of kernel memory that failed",
            "2 records were lost in userspace"
        ]
    );
}

/// What heals by itself is a remark.
#[test]
fn what_heals_is_a_remark() {
    let (verdict, reasons, remarks) = verdict(|end| {
        end.stats.set(Stat::Torn, 5);
        end.stats.set(Stat::Unverified, 1);
    });
    assert_eq!((verdict, reasons.len()), (Verdict::Exact, 0));
    assert_eq!(
        remarks,
        ["5 sums read again", "1 sums that could not be verified"]
    );
}

/// Bounds add up; a reason without a bound outweighs them.
#[test]
fn bounds_add_up() {
    let limit = |reason: &str, bound_bytes| Limit {
        reason: reason.to_owned(),
        bound_bytes,
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
            "the largest difference in 4 comparisons with /proc was 8192 bytes",
            "silent caches (up to 4096 bytes)"
        ]
    );
    assert_eq!(remarks, ["no VmLck on this kernel"]);
    let (incomplete, ..) = verdict(|end| {
        end.limits.push(limit("silent caches", Some(4096)));
        end.limits.push(limit("unknown layout", None));
    });
    assert_eq!(incomplete, Verdict::Incomplete);
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
