//! Very many processes and threads, at once and one after the other.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use memtrace_tests::{
    Finished, Lab, Status, Summary, announced, descendants, exact_status, is_lacking, load,
    memtrace, require, require_privileges, run_to_end, workloads,
};

/// A number as reports for people have it.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|part| std::str::from_utf8(part).ok())
        .collect();
    parts.join(",")
}

/// Runs a script whose result as JSON would be hundreds of megabytes; gives the text.
fn report(lab: &Lab, options: &[&str], words: &str) -> Result<Finished> {
    let mut line = vec![memtrace()?.display().to_string(), "run".to_owned()];
    line.extend(options.iter().map(|option| (*option).to_owned()));
    line.push("--".to_owned());
    line.extend(lab.script(words));
    run_to_end(&mut lab.fixed(&line), lab.dir())?.success()
}

/// A fork bomb, four at a time: none is lost.
#[test]
fn a_hundred_thousand_processes_are_all_accounted_for() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let processes = announced("processes", load(100_000, 5_000));
    let four = "fork{ } fork{ } fork{ } fork{ } wait wait wait wait";
    let finished = report(&lab, &[], &format!("loop{{ {} {four} }}", processes / 4))?;
    let count = grouped(processes + 1);
    let expected = format!("{count} processes, {count} images");
    assert!(finished.stderr.contains(&expected), "{}", finished.stderr);
    let exact = finished
        .stderr
        .lines()
        .find(|line| line.starts_with("exact"));
    let yes = exact.is_some_and(|line| line.contains("yes") && line.contains("none lost"));
    let skips = is_lacking("undisturbed-programs")
        && finished.stderr.contains("the kernel skipped program");
    assert!(yes || skips, "{}", finished.stderr);
    Ok(())
}

/// Where nobody asks for single processes, those that have ended are counted and forgotten.
#[test]
fn a_storm_takes_no_more_memory_than_a_breeze() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let processes = announced("processes", load(100_000, 12_000));
    // With all of them it would be 60 MiB for 12,000.
    let most = 48 << 10;
    let words = format!("loop{{ {processes} fork{{ }} wait }}");
    let finished = report(&lab, &["--self-stats"], &words)?;
    let own = finished
        .stderr
        .lines()
        .find_map(|line| line.trim().strip_suffix("KiB of memory at most"))
        .context("nothing is said of memtrace's own memory")?;
    let own: u64 = own.trim().parse()?;
    assert!(own < most, "{own} KiB");
    Ok(())
}

/// What is told then is what is told of a recording, from which all processes are read.
#[test]
fn what_is_forgotten_is_missing_nowhere() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let processes = announced("processes", load(20_000, 5_000));
    let words = format!(
        "anon 500 fork{{ anon 300 exit 3 }} reap loop{{ {processes} fork{{ touch 2 vfork{{ }} wait }} wait }}"
    );
    let (text, recording) = (lab.path("text"), lab.path("storm.memtrace"));
    let to = |path: &Path| path.display().to_string();
    report(&lab, &["--text", &to(&text), "-o", &to(&recording)], &words)?;
    let text = fs::read_to_string(&text)?;
    let count = grouped(2 * processes + 2);
    assert!(text.contains(&format!("{count} processes")), "{text}");
    let line = [to(memtrace()?), "report".to_owned(), to(&recording)];
    let again = run_to_end(&mut lab.fixed(&line), lab.dir())?.success()?;
    assert_eq!(again.stdout, text);
    Ok(())
}

/// T3 with very many threads, all of which hold their pages at the same time.
#[test]
fn thousands_of_threads_have_the_peak_of_their_one_address_space() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let threads = announced("threads", load(5_000, 500)).to_string();
    let status = lab.path("top").display().to_string();
    let line = [workloads::CHURN, &threads, "3", "2", "barrier", &status];
    let run = lab.run(&[], &line)?;
    ensure!(run.finished.code() == Some(0), "{:?}", run.finished);
    assert_eq!(run.summary.processes.len(), 1);
    let (peak, truth) = (run.summary.tree.peak_rss_bytes, lab.status("top")?.rss()?);
    let certificate = &run.summary.certificate;
    // Up to 6.1 a flush can look like another thread's change, which counts twice then.
    let told = |reason: &String| reason.contains("another's flush of its cache");
    if certificate.verdict == "within" && certificate.reasons.iter().all(told) {
        assert!(
            (truth..=truth + certificate.within_bytes).contains(&peak),
            "{peak} and {truth}"
        );
    } else {
        run.summary.assert_exact();
        assert_eq!(peak, truth);
    }
    Ok(())
}

/// A crowd of children that all live at the same time, and what `/proc` says of all of them then.
fn crowd(lab: &Lab, options: &[&str], children: u64) -> Result<(Summary, u64, String)> {
    let words = format!(
        "pipe 0 pipe 1 loop{{ {children} fork{{ publish post 0 await 1 }} }} loop{{ {children} await 0 }} \
         status @top say full hear loop{{ {children} post 1 }} loop{{ {children} wait }}"
    );
    let mut memtrace = lab.converse(options, &words)?;
    memtrace.expect("full")?;
    let root = lab.status("top")?;
    let mut sum = root.rss()?;
    let pids = descendants(root.pid()?);
    ensure!(
        pids.len() as u64 == children,
        "{} of {children} live",
        pids.len()
    );
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).context("a child is gone")?;
        sum += Status::parse(&text).rss()?;
    }
    let (status, _) = memtrace.finish()?;
    ensure!(status.success(), "memtrace ended with {status}");
    let summary = Summary::read(&lab.path("summary.json"))?;
    let reasons = summary.certificate.reasons.join("; ");
    Ok((summary, sum, reasons))
}

/// Ten thousand processes at the same time fit into the defaults.
#[test]
fn thousands_of_live_processes_add_up_to_the_page() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let children = announced("live processes", load(10_000, 400));
    let (summary, truth, _) = crowd(&lab, &[], children)?;
    summary.assert_exact();
    assert_eq!(summary.processes.len() as u64, children + 1);
    assert_eq!(summary.tree.at_peak.len() as u64, children + 1);
    assert_eq!(summary.tree.peak_rss_bytes, truth);
    Ok(())
}

/// More than the defaults can follow are told to be too many, and the remedy that is named helps.
#[test]
fn more_images_than_the_defaults_hold_need_a_larger_map() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    // The default, 16,384, or on a small machine one of a tenth of the crowd.
    let children = announced("live processes", load(16_600, 400));
    let small: &[&str] = if children < 16_384 {
        &["--max-images", "40"]
    } else {
        &[]
    };
    let (summary, truth, reasons) = crowd(&lab, small, children)?;
    assert_eq!(summary.certificate.verdict, "incomplete");
    assert!(reasons.contains("--max-images"), "{reasons}");
    assert!(summary.tree.peak_rss_bytes < truth);

    let room = (children + 1).to_string();
    let (summary, truth, _) = crowd(&lab, &["--max-images", &room], children)?;
    summary.assert_exact();
    assert_eq!(summary.tree.peak_rss_bytes, truth);
    Ok(())
}
