//! Programs on kernel functions: they change no number but where the kernel keeps counts in
//! its threads (up to 6.1), and there they are what makes the numbers exact.

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, Summary, lacks, memtrace, page};

fn check(lab: &Lab) -> Result<serde_json::Value> {
    let memtrace = memtrace()?.display().to_string();
    let finished = lab.to_end(&mut lab.fixed(&[memtrace.as_str(), "check", "--json"]))?;
    serde_json::from_str(&finished.stdout).context("understand `memtrace check --json`")
}

/// A mix of everything, in one process and a child, has the same peaks either way.
#[test]
fn programs_on_kernel_functions_change_no_peak() -> Result<()> {
    if lacks("fentry") {
        return Ok(());
    }
    let lab = Lab::new()?;
    lab.alone("make-file @file 100")?;
    let words = "anon 500 shmem 70 file @file 100 fork{ anon 33 } wait anon 5";
    let on = lab.trace_with(&["--fentry", "on"], words)?.summary;
    let off = lab.trace_with(&["--fentry", "off"], words)?.summary;
    on.assert_exact();
    assert_eq!(on.tree.processes, off.tree.processes);
    let peaks = |summary: &Summary| {
        let tree = &summary.tree;
        [
            tree.peak_rss_bytes,
            tree.peak_anon_bytes,
            tree.peak_file_bytes,
            tree.peak_shmem_bytes,
        ]
    };
    let bound = if check(&lab)?["tier"] == "A+B" {
        assert_eq!(off.certificate.verdict, "within", "{:#?}", off.certificate);
        off.certificate.within_bytes
    } else {
        off.assert_exact();
        0
    };
    for (with, without) in peaks(&on).into_iter().zip(peaks(&off)) {
        assert!(
            with.abs_diff(without) <= bound,
            "{with} and {without}: more than {bound} apart"
        );
    }
    Ok(())
}

/// T2: threads that hold back counts of their own while somebody else drops their pages.
#[test]
fn what_threads_hold_back_is_counted_or_bounded() -> Result<()> {
    const THREADS: u64 = 64;
    const PAGES: u64 = 60;
    const STACK: u64 = 16;
    if lacks("fentry") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let threads: String = (0..THREADS)
        .map(|k| {
            format!(
                "thread{{ touch-part {k} {PAGES} meet {} nap-us 600000000 }} ",
                THREADS + 1
            )
        })
        .collect();
    let words = format!(
        "status @base map {} {threads} meet {} unmap exit 0",
        THREADS * PAGES,
        THREADS + 1
    );
    let on = lab.trace_with(&["--fentry", "on"], &words)?.summary;
    on.assert_exact();
    let base = lab.status("base")?.bytes("RssAnon")?;
    let truth = base + THREADS * (PAGES + STACK) * page();
    assert_eq!(on.root()?.last_image()?.peak_anon_bytes, truth);

    let off = lab.trace_with(&["--fentry", "off"], &words)?.summary;
    let peak = off.root()?.last_image()?.peak_anon_bytes;
    if check(&lab)?["tier"] == "A+B" {
        let certificate = &off.certificate;
        assert_eq!(certificate.verdict, "within", "{certificate:#?}");
        assert!(
            peak.abs_diff(truth) <= certificate.within_bytes,
            "{peak} instead of {truth}: {certificate:#?}"
        );
        assert!(peak < truth, "the threads held nothing back: {peak}");
    } else {
        off.assert_exact();
        assert_eq!(peak, truth);
    }
    Ok(())
}
