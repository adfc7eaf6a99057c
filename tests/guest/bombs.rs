//! T14: processes are created while their creators and memtrace's programs are preempted.

use std::{collections::BTreeMap, thread};

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, Partner, Summary};

const CHILDREN: usize = 500;

/// One partner for each CPU, all of them at work.
fn on_all_cpus(lab: &Lab, prefix: &[&str], words: &str) -> Result<Vec<Partner>> {
    let cpus = thread::available_parallelism()
        .context("count the CPUs")?
        .get();
    (0..cpus)
        .map(|cpu| {
            let cpu = cpu.to_string();
            let mut line: Vec<String> = prefix.iter().map(|&word| word.to_owned()).collect();
            line.extend(["taskset", "-c", &cpu].map(str::to_owned));
            line.extend(lab.script(&format!("say ready {words}")));
            let mut partner = Partner::start(&mut lab.fixed(&line))?;
            partner.expect("ready")?;
            Ok(partner)
        })
        .collect()
}

/// Every child is there, with its end and the same memory as its siblings. If the kernel
/// skipped a program or one found no way to wait for another, that is counted and nothing
/// is called exact.
fn every_child_is_accounted(summary: &Summary) {
    println!("{:#?}", summary.certificate);
    let certificate = &summary.certificate;
    assert_eq!(summary.processes.len(), CHILDREN + 1);
    if certificate.verdict != "exact" {
        assert_eq!(certificate.verdict, "incomplete");
        assert!(!certificate.reasons.is_empty());
        return;
    }
    summary.assert_exact();
    let mut peaks: BTreeMap<u64, usize> = BTreeMap::new();
    for process in &summary.processes {
        assert_eq!(process.exit_status, Some(0), "{process:?}");
        let peak = process
            .images
            .iter()
            .map(|image| image.peak_anon_bytes)
            .max();
        *peaks.entry(peak.unwrap_or(0)).or_default() += 1;
    }
    // The parent, and its children.
    assert!(peaks.len() <= 2, "{peaks:?}");
}

/// Untracked real-time processes that fault and fork interrupt a tracked fork bomb.
#[test]
fn a_fork_bomb_under_preemption_is_complete() -> Result<()> {
    let lab = Lab::new()?;
    let noise = on_all_cpus(
        &lab,
        &["chrt", "-f", "50"],
        "loop{ 1000000 anon 10 unmap fork{ anon 5 } wait nap-us 500 }",
    )?;
    let words = format!(
        "anon 20 loop{{ {} fork{{ anon 7 touch 3 }} fork{{ anon 7 touch 3 }} wait wait }}",
        CHILDREN / 2
    );
    let run = lab.trace(&words);
    drop(noise);
    every_child_is_accounted(&run?.summary);
    Ok(())
}

/// A tracked real-time fork bomb interrupts untracked processes that fault and fork, whose
/// programs it finds half run.
#[test]
fn a_fork_bomb_that_preempts_others_is_complete() -> Result<()> {
    let lab = Lab::new()?;
    let noise = on_all_cpus(
        &lab,
        &[],
        "loop{ 1000000 anon 10 unmap fork{ anon 5 } wait }",
    )?;
    let words = format!(
        "anon 20 loop{{ {} fork{{ anon 7 touch 3 }} fork{{ anon 7 touch 3 }} wait wait nap-us 500 }}",
        CHILDREN / 2
    );
    let mut line: Vec<String> = ["chrt", "-f", "50"].map(str::to_owned).to_vec();
    line.extend(lab.script(&words));
    let run = lab.run(&[], &line);
    drop(noise);
    let run = run?;
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    let summary = run.summary;
    // chrt's own image is the first one of the parent.
    every_child_is_accounted(&summary);
    Ok(())
}
