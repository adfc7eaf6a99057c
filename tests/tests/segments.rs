//! What pages are for, to the page: against arithmetic and against the workload's own smaps.

use anyhow::{Context, Result};
use memtrace_tests::{
    Image, Lab, Run, Swap, mib, page, require_privileges, skip,
    smaps::{self, Held, Segments},
    threads_hold_back_changes, workloads,
};

/// The script's one image.
fn only(run: &Run) -> Result<&Image> {
    let mut images = run
        .summary
        .processes
        .iter()
        .flat_map(|process| &process.images);
    let image = images.next().context("no image")?;
    assert!(images.next().is_none());
    Ok(image)
}

/// Runs words, and compares the segments at their end, where a last mapping makes the peak, with smaps.
/// Gives them.
fn compare(lab: &Lab, words: &str) -> Result<Segments> {
    let (run, found) = compare_only(lab, words)?;
    run.summary.assert_exact();
    Ok(found)
}

/// The same where the kernel itself can make the result inexact.
fn compare_only(lab: &Lab, words: &str) -> Result<(Run, Segments)> {
    let run = lab.trace_with(&["--segments"], &format!("{words} anon 3 smaps @top"))?;
    let seen = run.summary.certificate.segments.as_ref();
    let seen = seen.context("nothing is said of segments")?;
    let certificate = &run.summary.certificate;
    let image = only(&run)?;
    if certificate.verdict == "exact" {
        assert_eq!(seen.verdict, "exact", "{words}: {certificate:?}");
        assert_eq!(image.segments_within_bytes, Some(0), "{words}");
    }
    let own = smaps::read(&lab.path("top"), workloads::SCRIPT)?;
    let found = smaps::at_peak(image, &own)?;
    assert_eq!(found, own, "{words}");
    Ok((run, found))
}

/// The pages of one segment.
fn of(all: &Segments, name: &str) -> Held {
    all.get(name).copied().unwrap_or_default()
}

/// Each segment grows by what the words say, and no other does.
#[test]
fn each_segment_grows_by_known_amounts() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let steps = [
        ("anon 100", "anon", 100),
        ("map 500 touch 70", "anon", 70),
        ("brk 90", "heap", 90),
        ("descend 1536", "stack", 1536),
        ("file @data 64", "file", 64),
        ("cow @data 64", "file", 64),
        ("shmem 40", "shmem", 40),
        ("memfd 50", "shmem", 50),
        ("anon 80 code", "anon", 80),
        ("anon 60 forbid allow", "anon", 60),
        ("thp 1024", "anon", 1024),
    ];
    let words: Vec<&str> = steps.iter().map(|step| step.0).collect();
    let none = compare(&lab, "make-file @data 64")?;
    let found = compare(&lab, &format!("make-file @data 64 {}", words.join(" ")))?;
    for name in [
        "text", "data", "heap", "stack", "anon", "lib", "file", "shmem",
    ] {
        let steps = steps.iter().filter(|step| step.1 == name);
        let by: u64 = steps.map(|step| step.2).sum();
        let more = of(&found, name).resident - of(&none, name).resident;
        // Of the stack some pages below what is in use are there before.
        assert!(
            more == by || name == "stack" && more <= by && more + 16 >= by,
            "{name}: {more} instead of {by}"
        );
    }
    Ok(())
}

/// What shrinks, moves, is mapped over or given back leaves the segment that it was in.
#[test]
fn what_goes_leaves_its_own_segment() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let steps = [
        ("anon 100 cut 30", "anon", 70),
        ("anon 100 unmap", "anon", 0),
        ("anon 100 dontneed touch 20", "anon", 20),
        ("anon 100 move", "anon", 100),
        ("anon 100 over 40", "anon", 60),
        ("anon 100 over 40 touch 10", "anon", 70),
        ("anon 50 grow 60 touch 110", "anon", 110),
        ("brk 80 brk-down 30", "heap", 50),
        ("file @data 64 cut 16", "file", 48),
        ("cow @data 64 unmap", "file", 0),
        ("shmem 60 cut 20", "shmem", 40),
        ("loop{ 20 anon 50 unmap brk 30 brk-down 30 }", "anon", 0),
    ];
    let words: Vec<&str> = steps.iter().map(|step| step.0).collect();
    // The last mapping makes the peak, whatever was there before.
    let none = compare(&lab, "make-file @data 64 anon 1900")?;
    let words = format!("make-file @data 64 {} anon 1900", words.join(" "));
    let found = compare(&lab, &words)?;
    for name in ["anon", "heap", "file", "shmem"] {
        let steps = steps.iter().filter(|step| step.1 == name);
        let left: u64 = steps.map(|step| step.2).sum();
        let more = of(&found, name).resident - of(&none, name).resident;
        assert_eq!(more, left, "{name}");
    }
    Ok(())
}

/// Pages that are reclaimed, and come back.
#[test]
fn what_is_swapped_out_belongs_to_its_segment() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let _swap = match Swap::find(env!("CARGO_TARGET_TMPDIR")) {
        Ok(swap) => swap,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    // Up to 6.1 threads hold back changes of the swapper's counters, too.
    let words = "anon 300 pageout anon 300 pageout touch 100 anon 300 pageout unmap anon 900";
    let (_, found) = compare_only(&lab, words)?;
    // A page that is in use at that moment stays.
    let swapped = of(&found, "anon").swapped;
    assert!(swapped <= 500 && swapped + 50 >= 500, "{swapped}");
    Ok(())
}

/// A child has what its parent had, segment by segment, until it writes or executes.
#[test]
fn a_child_has_its_parents_segments() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // Without a heap, which can be one mapping with the bss here, and copied as one.
    let words = "anon 200 fork{ anon 100 smaps @child } wait";
    let run = lab.trace_with(&["--segments"], words)?;
    run.summary.assert_exact();
    let child = run
        .summary
        .processes
        .iter()
        .flat_map(|process| &process.images)
        .find(|image| image.kind == "fork")
        .context("no child")?;
    assert_eq!(child.segments_within_bytes, Some(0), "{child:?}");
    let own = smaps::read(&lab.path("child"), workloads::SCRIPT)?;
    assert_eq!(smaps::at_peak(child, &own)?, own);
    let none = compare(&lab, "anon 300")?;
    assert_eq!(of(&own, "anon").resident + 3, of(&none, "anon").resident);
    Ok(())
}

/// Runs words during which several change counters of one image, up to a last mapping that makes the peak;
/// whether its segments are called exact, which they then have to be.
fn is_called_exact(lab: &Lab, words: &str) -> Result<bool> {
    let words = format!("{words} anon 900 smaps @top");
    let run = lab.trace_with(&["--segments"], &words)?;
    run.summary.assert_exact();
    let mut images = run
        .summary
        .processes
        .iter()
        .flat_map(|process| &process.images);
    let image = images.next().context("no image")?;
    let exact = image.segments_within_bytes == Some(0);
    if exact {
        let own = smaps::read(&lab.path("top"), workloads::SCRIPT)?;
        assert_eq!(smaps::at_peak(image, &own)?, own, "{words}");
    }
    Ok(exact)
}

/// Whether the kernel's own functions tell segments apart here, and whoever changes a counter is known to have.
fn is_watched(lab: &Lab) -> Result<bool> {
    let run = lab.trace_with(&["--segments"], "anon 10")?;
    let seen = run.summary.certificate.segments.context("no word")?;
    Ok(seen.by == "functions" && !threads_hold_back_changes())
}

/// Threads that take turns mix nothing up.
#[test]
fn threads_that_take_turns_have_exact_segments() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "thread{ anon 200 brk 30 meet 2 meet 4 } meet 2 brk 50 anon 100 cut 40 meet 4";
    // An event without a change can look like one of which another thread's has booked the change.
    let mut exact = false;
    for _ in 0..10 {
        exact |= is_called_exact(&lab, words)?;
    }
    assert_eq!(exact, is_watched(&lab)?);
    // Those of a vfork child are in its creator's address space.
    let words = "vfork{ thread{ anon 20 meet 2 } meet 2 } reap";
    let exact = is_called_exact(&lab, words)?;
    assert!(!exact || is_watched(&lab)?);
    Ok(())
}

/// Where two change counters at the same moment, one's pages can be booked to the other's segment. Whenever that
/// was so, segments are not called exact.
#[test]
fn what_is_mixed_up_is_not_called_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let is_watched = is_watched(&lab)?;
    for (beside, wait) in [("thread{", ""), ("clonevm{", "wait")] {
        // A few pages can stay apart; many will not on more than one CPU.
        for times in [1, 2, 4, 16, 64, 256] {
            let words = format!(
                "{beside} meet 2 loop{{ {times} anon 20 unmap }} anon 30 meet 4 }} meet 2 \
                 loop{{ {times} brk 20 brk-down 20 }} brk 40 meet 4 {wait}"
            );
            let exact = is_called_exact(&lab, &words)?;
            assert!(is_watched || !exact, "{words}");
        }
    }
    Ok(())
}

/// Ordinary programs with libraries, threads and an allocator: the sum over segments is the RSS of every
/// image, and what is not exact is said.
#[test]
fn sums_are_right_for_ordinary_programs() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // While it sleeps, the shell holds still, and can be compared.
    let script = "sleep 1.5; for i in 1 2 3; do ls -lR /usr/include >/dev/null; done; \
                  sort -S 20M /etc/services >/dev/null; awk 'BEGIN { for (i = 0; i < 100000; i++) a[i] = i }'";
    let run = lab.run(&["--segments"], &["sh", "-c", script].map(str::to_owned))?;
    run.summary.assert_exact();
    let seen = run.summary.certificate.segments.context("no word")?;
    assert!(seen.images > 2, "{seen:?}");
    assert!(seen.compared_with_smaps > 0, "{seen:?}");
    assert!(
        seen.within_bytes
            .is_some_and(|bytes| bytes < mib(1) * page()),
        "{seen:?}"
    );
    Ok(())
}
