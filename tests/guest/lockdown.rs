//! Kernel lockdown, which can only be tightened until the next boot. One test, because its
//! steps have an order; a program of its own, because it must be the last one.

use std::fs;

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, lacks, memtrace, page};

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
    let run = lab.run(&[], &lab.script(words));
    match run {
        Ok(run) => {
            println!("{:#?}", run.summary.certificate);
            let base = lab.status("base")?.bytes("RssAnon")?;
            let peak = run.summary.root()?.last_image()?.peak_anon_bytes;
            if run.summary.certificate.verdict == "exact" {
                assert_eq!(peak - base, 500 * page());
            }
        }
        Err(error) => {
            let error = format!("{error:#}");
            println!("{error}");
            assert!(error.contains("lockdown"), "{error}");
            assert!(error.contains("lockdown=integrity"), "no remedy: {error}");
        }
    }
    let memtrace = memtrace()?.display().to_string();
    let finished = lab.to_end(&mut lab.fixed(&[memtrace.as_str(), "check"]))?;
    println!("{}", finished.stdout);
    if finished.code() != Some(0) {
        assert!(finished.stdout.contains("confidentiality"));
        assert!(finished.stdout.contains("lockdown=integrity"));
    }
    Ok(())
}
