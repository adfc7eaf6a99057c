//! What tier P cannot follow: it says so, and no bound of it is wrong.

use anyhow::{Context as _, Result};
use memtrace_tests::{
    Lab, Summary,
    tier_p::{PTRACE, bounds, check},
};

/// Pages that are several times the error of the kernel's counters, which grows with the square
/// of the CPUs.
fn large() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    6000 + 12 * cpus * cpus.max(16) * 2
}

fn says(summary: &Summary, what: &str) -> bool {
    let reasons = &summary.certificate.reasons;
    reasons.iter().any(|reason| reason.contains(what))
}

/// A process without a tracer, that was waited for, large and small: what is known of it is in
/// the tree's lower bound, and there is no upper one.
#[test]
fn a_process_without_a_tracer_makes_a_result_incomplete() -> Result<()> {
    let lab = Lab::new()?;
    let large = large();
    for (pages, waits) in [
        (2 * large, ""),
        (0, ""),
        (large, "fork{ exec{ SELF "),
        (0, "fork{ "),
    ] {
        // In a child that executed a program, its former image could have been as large.
        let close = match waits.matches('{').count() {
            0 => "",
            1 => "} reap",
            _ => "} } reap",
        };
        let words = format!(
            "{waits} untraced{{ anon {pages} status @hidden }} reap {close} anon 20 status @root"
        );
        let summary = lab.trace_with(&PTRACE, &words)?.summary;
        check(&summary);
        let hidden = lab.status("hidden")?;
        assert!(summary.process(hidden.pid()?).is_err(), "it was followed");
        assert_eq!(summary.certificate.verdict, "incomplete", "{words}");
        assert!(says(&summary, "a process that is not followed"), "{words}");
        let tree = &summary.tree;
        assert_eq!(tree.peak_rss_high_bytes, None, "{words}: {tree:?}");
        let low = tree.peak_rss_low_bytes.context("no lower bound")?;
        assert!(low <= hidden.rss()?.max(lab.status("root")?.rss()?));
        if pages > 0 {
            // Twice the error would be for both marks.
            assert!(low > hidden.rss()? / 2, "{words}: {tree:?}");
        }
    }
    Ok(())
}

/// Faults of processes that were followed are never taken for those of others, whoever waits
/// for them, and if nobody does.
#[test]
fn what_was_followed_is_not_taken_for_something_else() -> Result<()> {
    let lab = Lab::new()?;
    for words in [
        "loop{ 20 fork{ anon 30 fork{ exec{ NOTHING } } wait exec{ NOTHING } } wait }",
        "loop{ 20 vfork{ exec{ NOTHING } } wait }",
        // An orphan comes to the command, after its creator was waited for.
        "subreaper fork{ anon 10 fork{ await-orphan anon 40 } } reap reap",
        // A zombie is inherited, and nobody waits for it.
        "fork{ fork{ anon 40 exit 3 } nap-us 1000 } reap",
        "thread{ anon 400 meet 2 exit-thread } anon 100 meet 2",
        "fork{ kill 9 } reap fork{ segv } reap",
        "loop{ 20 clonevm{ exit 0 } reap }",
    ] {
        let summary = lab.trace_with(&PTRACE, words)?.summary;
        check(&summary);
        assert_eq!(
            summary.certificate.verdict, "within",
            "{words}: {:?}",
            summary.certificate
        );
        assert!(!says(&summary, "a process that is not followed"), "{words}");
    }
    Ok(())
}

/// A mark that was seen and then reset: what was mapped is the bound. The end of the thread
/// that leads the process is one of the moments at which the mark is read.
#[test]
fn a_reset_that_is_noticed_leaves_the_bound_of_what_was_mapped() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(
        &PTRACE,
        &format!(
            "anon {} status @top thread{{ await-leader unmap reset-hwm status @after exit 0 }} exit-thread",
            large()
        ),
    )?;
    let summary = run.summary;
    check(&summary);
    let (top, after) = (lab.status("top")?, lab.status("after")?);
    assert!(after.bytes("VmHWM")? < top.rss()? / 2, "it was not reset");
    assert!(
        says(&summary, "reset its VmHWM"),
        "{:?}",
        summary.certificate
    );
    let image = summary.root()?.last_image()?;
    bounds(image, top.rss()?);
    assert!(image.peak_rss_high_bytes >= Some(top.bytes("VmPeak")?));
    assert!(summary.tree.peak_rss_high_bytes >= Some(top.bytes("VmPeak")?));
    Ok(())
}

/// A mark that is reset before anybody reads it is gone. The certificate says what it assumes.
#[test]
fn a_reset_that_nobody_sees_is_an_assumption() -> Result<()> {
    let lab = Lab::new()?;
    let summary = lab
        .trace_with(
            &PTRACE,
            &format!("anon {} status @top unmap reset-hwm status @after", large()),
        )?
        .summary;
    check(&summary);
    let (top, after) = (lab.status("top")?, lab.status("after")?);
    assert!(after.bytes("VmHWM")? < top.rss()? / 2, "it was not reset");
    assert!(
        says(&summary, "assume that no program resets its VmHWM"),
        "{:?}",
        summary.certificate
    );
    Ok(())
}
