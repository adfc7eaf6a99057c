//! Kernel lockdown, which can only be tightened until the next boot. One test, because its
//! steps have an order; a program of its own, because it must be the last one.

use std::fs;

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, Run, lacks, memtrace, page};

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// `integrity` changes nothing. Under `confidentiality` memtrace measures exactly, or it
/// refuses, names the reason and what to do about it.
#[test]
fn lockdown_leaves_exact_numbers_or_none() -> Result<()> {
    if lacks("lockdown") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let words = "status @base anon 500";
    fs::write(LOCKDOWN, "integrity").context("lock the kernel down")?;
    let run = lab.trace(words)?;
    run.summary.assert_exact();
    let base = lab.status("base")?.bytes("RssAnon")?;
    let peak = run.summary.root()?.last_image()?.peak_anon_bytes;
    assert_eq!(peak - base, 500 * page());

    fs::write(LOCKDOWN, "confidentiality").context("lock the kernel down further")?;
    let exact = |run: &Run| -> Result<()> {
        run.summary.assert_exact();
        let base = lab.status("base")?.bytes("RssAnon")?;
        let peak = run.summary.root()?.last_image()?.peak_anon_bytes;
        assert_eq!(peak - base, 500 * page());
        Ok(())
    };
    match lab.run(&["--backend", "bpf"], &lab.script(words)) {
        Ok(run) => exact(&run)?,
        Err(error) => {
            let error = format!("{error:#}");
            assert!(error.contains("lockdown"), "{error}");
            assert!(error.contains("lockdown=integrity"), "no remedy: {error}");
        }
    }
    // Left to itself it may do without BPF, if it says so.
    let run = lab.trace(words)?;
    let certificate = &run.summary.certificate;
    if certificate.verdict == "exact" {
        exact(&run)?;
    } else {
        assert_eq!(certificate.tier, "P", "{certificate:#?}");
        assert!(
            run.finished.stderr.contains("lockdown"),
            "{}",
            run.finished.stderr
        );
        let peak = run.summary.tree.peak_rss_bytes;
        let true_peak = lab.status("base")?.rss()? + 500 * page();
        assert!(
            peak.abs_diff(true_peak) <= certificate.within_bytes,
            "{peak} instead of {true_peak}: {certificate:#?}"
        );
    }
    let memtrace = memtrace()?.display().to_string();
    let finished = lab.to_end(&mut lab.fixed(&[memtrace.as_str(), "check"]))?;
    if finished.code() != Some(0) {
        assert!(finished.stdout.contains("confidentiality"));
        assert!(finished.stdout.contains("lockdown=integrity"));
    }
    Ok(())
}
