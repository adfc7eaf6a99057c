//! Maps and buffers that are too small: what is lost is counted, what is kept is exact, and the
//! verdict says which.

use anyhow::{Result, ensure};
use memtrace_ebpf::{
    Image,
    event::{Exit, Fork},
};
use memtrace_tests::{Lab, Run, Summary, exact_status, require, require_privileges};

/// Children that all live at the same time, with a page of their own each. The first one says
/// what each of them has.
const CHILDREN: u64 = 20;

fn crowd() -> String {
    let others = CHILDREN - 1;
    format!(
        "pipe 0 pipe 1 fork{{ anon 10 status @child post 0 await 1 }} await 0 \
         loop{{ {others} fork{{ anon 10 post 0 await 1 }} await 0 }} status @parent \
         loop{{ {CHILDREN} post 1 }} loop{{ {CHILDREN} wait }}"
    )
}

/// Checks that it is incomplete and that a reason names the option to raise.
#[track_caller]
fn assert_incomplete(run: &Run, option: &str) {
    let certificate = &run.summary.certificate;
    assert_eq!(certificate.verdict, "incomplete", "{certificate:?}");
    let named = certificate
        .reasons
        .iter()
        .any(|reason| reason.contains(option));
    assert!(named, "no reason names {option}: {certificate:?}");
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    assert!(run.finished.stderr.contains(option), "-q hides the reason");
}

/// Images that find no room are missing, and only those: the tree's sum is that of the rest.
#[test]
fn images_beyond_the_map_are_missing_and_the_rest_is_exact() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for room in [1, 2, 8, CHILDREN] {
        let run = lab.trace_with(&["--max-images", &room.to_string()], &crowd())?;
        assert_incomplete(&run, "--max-images");
        let (parent, child) = (lab.status("parent")?.rss()?, lab.status("child")?.rss()?);
        let tree = &run.summary.tree;
        assert_eq!(tree.processes, CHILDREN + 1, "room for {room}");
        assert_eq!(
            tree.peak_rss_bytes,
            parent + (room - 1) * child,
            "room for {room}"
        );
        let processes = run.summary.processes.iter();
        let without = processes.filter(|process| process.images.is_empty());
        let missing = CHILDREN + 1 - room;
        assert_eq!(without.count() as u64, missing, "room for {room}");
        let lost = run.summary.certificate.lost.maps_full;
        assert_eq!(lost, missing, "lost and missing");
    }
    Ok(())
}

/// With just enough room nothing is missing.
#[test]
fn maps_that_are_just_large_enough_are_exact() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let room = (CHILDREN + 1).to_string();
    let options = ["--max-images", &room, "--max-processes", &room];
    let summary = lab.trace_with(&options, &crowd())?.summary;
    summary.assert_exact();
    let (parent, child) = (lab.status("parent")?.rss()?, lab.status("child")?.rss()?);
    assert_eq!(summary.tree.peak_rss_bytes, parent + CHILDREN * child);
    Ok(())
}

/// Processes that find no room are not followed, but their memory, which their creator copied
/// to them, is: the peak is right, and so is the count.
#[test]
fn processes_beyond_the_map_still_count_with_their_memory() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for room in [1, 8, CHILDREN] {
        let run = lab.trace_with(&["--max-processes", &room.to_string()], &crowd())?;
        assert_incomplete(&run, "--max-processes");
        let (parent, child) = (lab.status("parent")?.rss()?, lab.status("child")?.rss()?);
        let tree = &run.summary.tree;
        assert_eq!(tree.processes, CHILDREN + 1);
        assert_eq!(
            tree.peak_rss_bytes,
            parent + CHILDREN * child,
            "room for {room}"
        );
        let processes = run.summary.processes.iter();
        let endless = processes.filter(|process| process.exit_status.is_none());
        let missing = CHILDREN + 1 - room;
        assert_eq!(endless.count() as u64, missing, "room for {room}");
        let lost = run.summary.certificate.lost.maps_full;
        assert_eq!(lost, missing, "lost and missing");
    }
    Ok(())
}

/// What programs of processes that are not followed use is unknown, and not claimed.
#[test]
fn programs_of_processes_that_are_not_followed_are_never_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "fork{ nap-us 100000 } fork{ exec{ SELF anon 5000 } } wait wait";
    let run = lab.trace_with(&["--max-processes", "2"], words)?;
    assert_incomplete(&run, "--max-processes");
    Ok(())
}

/// How many of these records a ring of `size` bytes refuses if nobody reads: each takes eight
/// bytes more, and one byte of the ring stays free (`__bpf_ringbuf_reserve()`,
/// kernel/bpf/ringbuf.c).
fn refused(size: usize, records: impl IntoIterator<Item = usize>) -> u64 {
    let mut used = 0;
    let mut refused = 0;
    for record in records {
        let needed = (record + 8).next_multiple_of(8);
        if used + needed < size {
            used += needed;
        } else {
            refused += 1;
        }
    }
    refused
}

/// A run during which nobody reads, while `children` processes come and go one after the other.
fn unattended(lab: &Lab, options: &[&str], children: u64) -> Result<Summary> {
    let words = format!("loop{{ {children} fork{{ anon 10 }} wait }} anon 3000 status @top exit 5");
    let Run { finished, summary } = lab.unattended(options, &words)?;
    ensure!(
        finished.code() == Some(5),
        "memtrace ended so: {finished:?}"
    );
    Ok(summary)
}

/// A ring that nobody reads: the records that it refuses are counted to the last one, and the
/// peak, which the kernel side keeps, is exact all the same.
#[test]
fn a_full_ring_loses_names_but_not_the_peak() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let children = 300;
    let (fork, exit, image) = (size_of::<Fork>(), size_of::<Exit>(), size_of::<Image>());
    for kib in [4, 32, 128] {
        let size = kib.to_string();
        let summary = unattended(&lab, &["--ring-size", &size], children)?;
        // A process tells of its end before its memory goes since 6.16, and after it before.
        let orders = [[fork, exit, image], [fork, image, exit]].map(|order| {
            let records = (0..children).flat_map(|_| order);
            refused(kib << 10, records.chain(order.into_iter().skip(1)))
        });
        let lost = summary.certificate.lost.ring;
        assert!(
            orders.contains(&lost),
            "{kib} KiB: {lost} lost, expected {orders:?}"
        );
        assert!(lost > 0, "the workload");
        assert_eq!(summary.certificate.verdict, "incomplete");
        let reasons = &summary.certificate.reasons;
        assert!(
            reasons.iter().any(|reason| reason.contains("--ring-size")),
            "{reasons:?}"
        );
        assert_eq!(summary.certificate.residual_bytes, 0);
        let top = lab.status("top")?;
        assert_eq!(summary.tree.peak_rss_bytes, top.rss()?, "{kib} KiB");
        assert_eq!(summary.exit_status, Some(5));
    }
    Ok(())
}

/// A ring that is large enough until somebody reads it again loses nothing.
#[test]
fn a_reader_that_was_stopped_misses_nothing_that_the_ring_holds() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let summary = unattended(&lab, &[], 1000)?;
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 1001);
    assert_eq!(summary.tree.peak_rss_bytes, lab.status("top")?.rss()?);
    Ok(())
}
